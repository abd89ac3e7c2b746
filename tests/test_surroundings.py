"""Runs in unusual surroundings: from a zip file, and at the end of the interpreter."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import geir

UNROLLS = ["geir.reference", "geir.Fused()"]
RUN = """
def run():
    zs, state = model(5 * torch.ones(20, 2, 3))
    (zs.sum() + state.v.sum()).backward()
    assert model.log_tau_mem.grad.isfinite()
    print(geir.__file__, int(zs.sum()))
"""


def python(code, **environment):
    command = [sys.executable, "-P", "-c", code]  # -P: not from the current folder
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("unroll", UNROLLS)
def test_it_runs_from_a_zip_file(unroll, tmp_path):
    package = Path(geir.__file__).parent
    with zipfile.ZipFile(tmp_path / "geir.zip", "w") as archive:
        for file in package.rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                archive.write(file, file.relative_to(package.parent))
    model = f"model = geir.LIF(tau_mem=geir.learnable(0.02), unroll={unroll})"
    place, spikes = python(f"import torch, geir\n{model}\n{RUN}\nrun()", PYTHONPATH=str(tmp_path / "geir.zip"))
    assert place.startswith(str(tmp_path / "geir.zip"))
    assert int(spikes) > 0


@pytest.mark.parametrize("unroll", UNROLLS)
def test_the_first_call_may_be_at_exit(unroll):
    model = f"model = geir.LIF(tau_mem=geir.learnable(0.02), unroll={unroll})"
    code = f"import atexit, torch, geir\n{model}\n{RUN}\natexit.register(run)"
    _, spikes = python(code, PYTHONPATH=str(Path(geir.__file__).parents[1]))
    assert int(spikes) > 0
