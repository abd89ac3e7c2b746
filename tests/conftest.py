import os
from pathlib import Path

# Two test processes share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings
from model_table import MODELS

# It is run by hand where Brian2 is, and writes what a test compares with.
collect_ignore = ["neurons/brian2_traces.py"]

pytest_plugins = ["event_fixtures"]

settings.register_profile("geir", deadline=None, derandomize=True)
settings.load_profile("geir")

# Uninitialised memory reads as NaN, so that a test sees it.
torch.utils.deterministic.fill_uninitialized_memory = True
torch.use_deterministic_algorithms(True, warn_only=True)


def pytest_collection_modifyitems(items):
    """Two processes must find the same tests, so no name may contain an address."""
    unstable = [item.nodeid for item in items if " at 0x" in item.nodeid]
    assert not unstable, f"the names of these tests differ from run to run; give `ids`: {unstable}"


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """A file that is imported must not draw from PyTorch's generator: what it makes would depend on the files before."""
    before = torch.get_rng_state()
    report = yield
    if isinstance(collector, pytest.Module) and report.passed and not torch.equal(torch.get_rng_state(), before):
        report.outcome = "failed"
        report.longrepr = (
            f"{collector.nodeid} draws random numbers while it is imported; draw them in a test or a fixture, with "
            "`seeding.seeded`, or from a torch.Generator with a seed"
        )
    return report


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def models_stay_as_they_are():
    """Tests share the models of the table, so a test that converts one must convert a copy."""
    yield
    changed = [m for m in MODELS for t in m.state_dict().values() if t.dtype == torch.float64]
    assert not changed, f"the test changed a model of the table, {changed[0]}; copy it first"


@pytest.fixture
def real_data():
    """The folder of real data, or skip."""
    folder = Path(os.environ.get("GEIR_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no folder of real data; set GEIR_DATA to one")
    return folder
