"""The page "Coming from Brian2": its programs of geir and of Brian2 compute the same."""

from importlib.util import find_spec

import brian2_programs
import numpy as np
import pytest
import torch

if not brian2_programs.PAGE.exists():
    pytest.skip("the documentation is not part of the source distribution", allow_module_level=True)
STORED = np.load(brian2_programs.OUTPUTS)
with_brian2 = pytest.mark.skipif(not find_spec("brian2"), reason="Brian2 is not installed: pip install 'geir[brian2]'")


@pytest.fixture(autouse=True)
def in_float64():
    """As Brian2, and the page."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def run_geir(name, program=None):
    """The spikes of a program of geir, pairs of step and neuron in order, and its potentials, shape (time, neurons)."""
    scope = {"__name__": "program"}
    exec("from typing import NamedTuple\nimport torch\nfrom torch import nn\nimport geir", scope)
    exec(program or brian2_programs.GEIR[name], scope)
    return {"spikes": scope["zs"].nonzero().numpy(), "potentials": scope["v"].detach().numpy()}


def check(actual, expected):
    assert len(expected["potentials"]) >= 100
    assert len(expected["spikes"]) > 5, "too few spikes for this test to see that they are the same"
    np.testing.assert_array_equal(actual["spikes"], expected["spikes"])
    np.testing.assert_allclose(actual["potentials"], expected["potentials"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", brian2_programs.NAMES)
def test_programs_of_the_page_compute_what_brian2_did(name):
    check(run_geir(name), {part: STORED[f"{name}/{part}"] for part in ("spikes", "potentials")})


@with_brian2
@pytest.mark.filterwarnings("ignore")  # those of Brian2 are not ours
@pytest.mark.parametrize("name", brian2_programs.NAMES)
def test_brian2_computes_what_is_stored(name):
    outputs = brian2_programs.run_brian2(name)
    np.testing.assert_array_equal(outputs["spikes"], STORED[f"{name}/spikes"])
    np.testing.assert_allclose(outputs["potentials"], STORED[f"{name}/potentials"], rtol=1e-9, atol=1e-9)


@with_brian2
@pytest.mark.filterwarnings("ignore")
def test_adaptive_exponential_neurons_agree_with_runge_and_kuttas_method_too(monkeypatch):
    programs = brian2_programs.BRIAN2
    monkeypatch.setitem(programs, "equations", programs["equations"].replace('method="euler"', 'method="rk4"'))
    program = brian2_programs.GEIR["equations"].replace("Euler()", "RungeKutta4()")
    check(run_geir("equations", program), brian2_programs.run_brian2("equations"))


def test_the_agreement_depends_on_the_step_from_which_refractoriness_and_delays_count():
    for name, detail in (
        ("current", "period=2e-3 - dt"),
        ("synapses", "delay=2e-3 + dt"),
        ("synapses", "delay=1.5e-3"),
    ):
        assert detail in brian2_programs.GEIR[name]
        other = detail.partition(" ")[0] if " " in detail else f"{detail} + dt"
        actual = run_geir(name, brian2_programs.GEIR[name].replace(detail, other))
        assert not np.allclose(actual["potentials"], STORED[f"{name}/potentials"], atol=1e-3), detail
