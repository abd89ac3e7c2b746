"""`check_neuron` accepts sound models, of the library and of users, and finds broken ones."""

from typing import NamedTuple

import pytest
import torch
from quadratic_neuron import QIF, QIFState
from torch import Tensor

import geir
from geir.testing import check_neuron, contract


def test_a_user_defined_neuron_of_ten_lines_keeps_the_contract():
    check_neuron(QIF(), compiled=True)


def broken(method):
    """A QIF with another step."""
    return type("Broken", (QIF,), {"step": method, "__module__": __name__})()


def step_with_memory(self, x, state):
    self.calls = getattr(self, "calls", 0) + 1
    return QIF.step(self, x, state)


@pytest.mark.filterwarnings("ignore:Broken runs on the reference loop")
@pytest.mark.parametrize(
    ("method", "promise"),
    [
        (step_with_memory, "A run changes neither"),
        (lambda self, x, state: QIF.step(self, x - x.mean(), state), "Samples and neurons do not mix"),
        (lambda self, x, state: QIF.step(self, x.detach(), state), "Gradients equal finite differences"),
        (
            lambda self, x, state: (QIF.step(self, x, state)[0][..., :1], QIF.step(self, x, state)[1]),
            "The output has the shape",
        ),
        (lambda self, x, state: QIF.step(self, x * 0, state), "is silent or spikes in almost every step"),
        (
            lambda self, x, state: (QIF.step(self, x, state)[0], QIFState(state.v * 0 + 0.5 * torch.rand(()).double())),
            "A run changes neither",
        ),
    ],
    ids=["stores state", "mixes samples", "detaches its input", "changes the shape", "ignores its input", "is random"],
)
def test_check_neuron_finds_a_broken_neuron(method, promise):
    with pytest.raises(AssertionError, match=promise):
        check_neuron(broken(method))


class QuadraticState(NamedTuple):
    v: Tensor


class Quadratic(geir.ODENeuron[QuadraticState], affine=True):
    """Declared affine, but quadratic."""

    def rest(self):
        return QuadraticState(torch.zeros(()))

    def derivative(self, x, state):
        return QuadraticState(20 * x - state.v**2)

    def threshold(self, before, after):
        return after.v - 1

    def reset(self, z, state):
        return QuadraticState((1 - z) * state.v)


def test_check_neuron_finds_a_false_declaration_of_affinity():
    with pytest.raises(AssertionError, match="A model declared affine has an affine derivative"):
        check_neuron(Quadratic())


def test_all_checks_are_listed():
    functions = {f for name, f in vars(contract).items() if name.startswith("check_") and name != "check_neuron"}
    assert functions == {*contract.CHECKS, contract.check_compiles}


@pytest.mark.parametrize(("given", "hint"), [(QIF, r"QIF'>; call it: QIF\(\)"), (3, "3"), (torch.nn.ReLU(), "ReLU")])
def test_what_is_not_a_neuron_is_refused(given, hint):
    with pytest.raises(TypeError, match=f"check_neuron expected a neuron such as geir.LIF.*, got .*{hint}"):
        check_neuron(given)
