"""The code of README and CONTRIBUTING runs."""

import re
import sys
import textwrap
import types
from pathlib import Path

import pytest
import torch

README = Path(__file__).parents[1] / "README.md"


def test_python_examples_of_the_readme_run(monkeypatch, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    assert len(blocks) >= 5
    monkeypatch.chdir(tmp_path)
    # The examples run in a module, so that the classes they define can be pickled.
    module = types.ModuleType("readme")
    monkeypatch.setitem(sys.modules, "readme", module)
    scope = vars(module)
    for block in blocks:
        exec(compile(block, str(README), "exec"), scope)
    assert scope["more"].shape == (5, 8, 10)
    assert scope["zs"].shape == (100, 32, 50)
    assert scope["spikes"].shape == (1, 1, 8, 30, 30)


def test_the_template_of_a_neuron_in_contributing_runs(monkeypatch):
    text = README.with_name("CONTRIBUTING.md").read_text()
    (template,) = re.findall(r"```python\n(.*?)```", text, re.S)
    module = types.ModuleType("geir.neurons.myneuron")
    module.__package__ = "geir.neurons"
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(textwrap.dedent(template), "CONTRIBUTING.md", "exec"), vars(module))
    neuron = vars(module)["MyNeuron"]()
    zs, state = neuron(torch.ones(100, 3))
    assert zs.sum() > 10
    assert state.i.shape == (3,)


@pytest.mark.parametrize("job", re.findall(r"python3 run.py (\w+)", README.read_text()))
def test_run_py_has_the_jobs_named_in_the_readme(job):
    scope = {"__name__": "run", "__file__": str(README.with_name("run.py"))}
    exec(README.with_name("run.py").read_text(), scope)
    assert job in scope["JOBS"]
