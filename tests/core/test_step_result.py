"""The values that a user's step returns."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

import geir


class OwnState(NamedTuple):
    v: Tensor


class Own(geir.Neuron[OwnState]):
    def rest(self):
        return OwnState(v=torch.zeros(()))

    def step(self, x, state):
        v = 0.9 * state.v + x
        return self.result(self.surrogate(v - 1), OwnState(v))


RESULTS = {
    "state first": (lambda z, state: (state, z), r"\(OwnState, Tensor\)"),
    "output only": (lambda z, state: z, "Tensor"),
    "state only": (lambda z, state: state, "OwnState"),
    "potential in place of the state": (lambda z, state: (z, state.v), r"\(Tensor, Tensor\)"),
    "plain tuple as the state": (lambda z, state: (z, (state.v,)), r"\(Tensor, tuple\)"),
    "three values": (lambda z, state: (z, state, state.v), r"\(Tensor, OwnState, Tensor\)"),
    "nothing": (lambda z, state: None, "NoneType"),
}


@pytest.mark.filterwarnings("ignore:.*runs on the reference loop")
@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize("over_time", [True, False])
def test_a_step_that_does_not_return_output_and_state_is_told_what_to_return(name, over_time):
    result, given = RESULTS[name]
    kind = type("Own", (Own,) if over_time else (geir.CellMixin, Own), {"result": staticmethod(result)})
    with pytest.raises(
        TypeError, match=rf"Own.step must return the output and the next state, \(z, OwnState\), got {given}\."
    ):
        kind()(torch.rand(10, 3))


def test_a_list_is_as_good_as_a_tuple():
    kind = type("Own", (Own,), {"result": staticmethod(lambda z, state: [z, state])})
    zs, _ = kind()(torch.ones(10, 3))
    assert zs.sum() > 10


def test_an_if_on_a_potential_is_told_to_use_where():
    class Deciding(Own):
        def step(self, x, state):
            v = 0.9 * state.v + x
            z = self.surrogate(v - 1)
            if z > 0:
                v = v - 1
            return z, OwnState(v)

    with pytest.warns(RuntimeWarning, match=r"read the data of a tensor .*; use torch.where instead of if"):
        Deciding()(torch.ones(10))
