"""Direct calls notice every change of what they depend on."""

import copy
import io
import pickle
from typing import NamedTuple

import pytest
import torch
from direct_helpers import assert_same, CHANGES, ordinary, warm_up
from torch import Tensor

import geir
from geir._runtime.compiler import find_compiler
from geir._runtime.kernels import direct, direct_preparation
from geir.wrappers import CellMixin

pytestmark = [
    pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler"),
    pytest.mark.usefixtures("no_gradients"),
]


@pytest.mark.filterwarnings("ignore:ParametrizedLIF runs on the reference loop")
@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("form", [geir.LIF, geir.LIFCell], ids=lambda form: form.__name__)
def test_a_direct_call_notices_every_change_of_the_model(form, name, uses):
    # From no spikes to a spike in every step.
    model, x = form(), torch.rand(5, 8) * torch.logspace(-1, 1, 8)
    state = warm_up(model, x)
    assert uses
    before = model(x, state)
    CHANGES[name](model)
    for _ in range(4):  # also when the changed model is called directly
        after = model(x, state)
        assert_same(after, ordinary(model, x, state))
    if name != "other memory":
        assert not all(map(torch.equal, (before[0], before[1].v), (after[0], after[1].v)))


@pytest.mark.parametrize("form", [geir.LIF, geir.LIFCell], ids=lambda form: form.__name__)
def test_the_initial_state_follows_the_resting_potential(form):
    model, x = form(), torch.zeros(5, 4)
    for _ in range(4):
        model(x)
    model.v_rest.fill_(0.3)
    torch.testing.assert_close(model(x)[1].v, torch.full(x.shape[form is geir.LIF :], 0.3))


@pytest.mark.parametrize("form", [geir.LIF, geir.LIFCell], ids=lambda form: form.__name__)
def test_a_direct_call_notices_another_dtype_with_the_same_bytes(form):
    model, x = form(), torch.rand(5, 4)
    for _ in range(4):
        model(x)
    model.v_rest.data = torch.zeros((), dtype=torch.float64)
    assert model(x)[1].v.dtype == torch.float64


@pytest.mark.parametrize("form", [geir.LIF, geir.LIFCell], ids=lambda form: form.__name__)
def test_a_direct_call_notices_that_a_parameter_was_transposed_in_place(form, uses):
    model, x = form(tau_mem=torch.linspace(0.01, 0.03, 16).view(4, 4)), 5 * torch.rand(5, 4, 4)
    x = x[0] if form is geir.LIFCell else x
    state = warm_up(model, x)
    assert uses
    before = model(x, state)
    model.tau_mem.data = model.tau_mem.data.t()  # the same numbers in memory
    after = model(x, state)
    assert_same(after, ordinary(model, x, state))
    assert not torch.equal(before[1].v, after[1].v)


class SlopeState(NamedTuple):
    v: Tensor


SLOPE = 1.0


class Slope(geir.Dynamics[SlopeState]):
    """A step that reads an attribute, an object's attribute, an item and a global variable."""

    def __init__(self):
        super().__init__()
        self._slope = 1.0
        self._nested = {"a": [1.0]}

    def rest(self):
        return SlopeState(torch.zeros(()))

    def step(self, x, state):
        v = state.v + x * self._slope * self._nested["a"][0] * SLOPE * (2.0 if self.training else 1.0)
        return v, SlopeState(v)


class SlopeCell(CellMixin, Slope): ...


@pytest.mark.parametrize("form", [Slope, SlopeCell])
@pytest.mark.parametrize("what", ["attribute", "item", "global", "training", "step", "negative zero"])
def test_a_direct_call_notices_every_change_of_what_a_step_reads(form, what, monkeypatch, uses):
    model, x = form(), torch.ones(3, 4)
    state = warm_up(model, x)
    assert uses
    if what == "negative zero":
        model._slope = 0.0
        warm_up(model, x)
        model._slope = -0.0
        zero = SlopeState(-torch.zeros_like(state.v))
        after = model(x, zero)
        assert torch.signbit(after[1].v).all()
        return
    if what == "attribute":
        model._slope = 3.0
    elif what == "item":
        model._nested["a"][0] = 3.0
    elif what == "global":
        monkeypatch.setitem(globals(), "SLOPE", 3.0)
    elif what == "training":
        model.eval()
    else:

        def step(self, x, state):
            v = state.v + 5 * x
            return v, SlopeState(v)

        monkeypatch.setattr(Slope, "step", step)
    assert_same(model(x, state), ordinary(model, x, state))
    v = state.v.clone()
    rows = x if isinstance(model, CellMixin) else x.sum(0)
    factor = {"training": 1.0, "step": 5.0}.get(what, 6.0)
    torch.testing.assert_close(model(x, state)[1].v, v + factor * rows)


def test_a_shallow_copy_does_not_use_the_calls_of_the_original(uses):
    model, x = geir.LIF(), torch.rand(5, 4)
    warm_up(model, x)
    twin = copy.copy(model)
    twin._buffers = {name: 3 * tensor for name, tensor in model._buffers.items()}
    uses.clear()
    result = twin(x)
    assert not uses
    assert_same(result, ordinary(twin, x, None))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_remember_nothing(duplicate):
    model = geir.LIF()
    warm_up(model, torch.rand(5, 4))
    assert type(model._memo.direct) is direct.PreparedCalls
    assert duplicate(model)._memo.direct is None


def test_a_saved_model_holds_no_memo():
    model = geir.LIF()
    sizes = []
    for _ in range(2):
        file = io.BytesIO()
        torch.save(model, file)
        sizes.append(len(file.getvalue()))
        warm_up(model, torch.rand(5, 4))
    assert sizes[0] == sizes[1]


def test_large_runs_notice_changed_values():
    model, xs = geir.LIF(tau_mem=torch.rand(1500) + 0.01), torch.rand(20, 3, 1500)
    state = warm_up(model, xs)
    model.tau_mem.data[1499] = 0.5
    assert_same(model(xs, state), ordinary(model, xs, state))


def test_nothing_is_prepared_while_settings_change(monkeypatch):
    prepared = []
    make = direct_preparation._make_call
    monkeypatch.setattr(direct_preparation, "_make_call", lambda *args: prepared.append(1) or make(*args))
    cell, layer, x = geir.LIFCell(), geir.LIF(), torch.rand(5, 4)
    for surrogate in (geir.surrogates.SuperSpike(), geir.surrogates.Triangle()) * 3:
        cell.surrogate = layer.surrogate = surrogate
        cell(x)
        layer(x)
    assert not prepared
    for _ in range(2):
        cell(x)
        layer(x)
    assert len(prepared) == 2
