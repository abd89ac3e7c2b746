"""A container runs modules without `torch.nn.Module.__call__`; whatever takes part in that call still does."""

import sys

import pytest
import torch
from container_helpers import XS
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from geir import LIF, LIFCell, SequentialState
from geir._runtime.kernels import direct

CELLS, LAYERS = "cells", "layers"


def prepared_network(kind, monkeypatch):
    """A network whose neuron the container runs by a prepared call, one call of it, and a count of those runs."""
    neuron, lift = (LIFCell(v_th=0.01), False) if kind == CELLS else (LIF(v_th=0.01), True)
    model, x = SequentialState(nn.Linear(5, 6), neuron, lift=lift), XS[0] if kind == CELLS else XS[:5]
    runs = []

    def run_call(*args):
        result = run(*args)
        runs.append(result is not None)
        return result

    run = direct.run_call
    monkeypatch.setattr(direct, "run_call", run_call)
    state = None
    with torch.no_grad():
        for _ in range(4):
            _, state = model(x, state)

    def call():
        runs.clear()
        with torch.no_grad():
            return model(x, state)

    call()
    assert runs == [True]
    return model, call, runs


@pytest.fixture(params=[CELLS, LAYERS])
def network(request, monkeypatch):
    return prepared_network(request.param, monkeypatch)


def test_a_prepared_neuron_is_run_without_its_call(network, monkeypatch):
    model, call, _ = network
    expected = call()
    monkeypatch.setattr(type(model[1]), "__call__", None)  # an edit, which is noted
    with pytest.raises(TypeError):
        call()
    monkeypatch.undo()
    torch.testing.assert_close(call(), expected)


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_hooks_of_a_prepared_neuron_are_called(network, register):
    model, call, _ = network
    seen = []
    handle = getattr(model[1], register)(lambda module, *_: seen.append(module))
    call()
    handle.remove()
    call()
    assert seen == [model[1]]


@pytest.mark.parametrize("register", [register_module_forward_hook, register_module_forward_pre_hook])
def test_global_hooks_see_a_prepared_neuron(network, register):
    model, call, _ = network
    seen = []
    handle = register(lambda module, *_: seen.append(module))
    try:
        call()
    finally:
        handle.remove()
    assert model[1] in seen


def test_backward_hooks_of_a_prepared_neuron_are_called(network):
    model, _, _ = network
    seen = []
    model[1].register_full_backward_hook(lambda module, *_: seen.append(module))
    x = XS[:5] if model.lift else XS[0]
    model(x)[0].sum().backward()
    assert seen == [model[1]]


@pytest.mark.parametrize("name", ["__call__", "_call_impl"])
def test_a_patched_call_of_all_modules_sees_a_prepared_neuron(network, name, monkeypatch):
    model, call, _ = network
    seen, original = [], getattr(nn.Module, name)

    def patched(module, *args, **kwargs):
        seen.append(module)
        return original(module, *args, **kwargs)

    monkeypatch.setattr(nn.Module, name, patched)
    call()
    assert model[1] in seen


def test_a_call_of_the_instance_of_a_prepared_neuron_is_made(network):
    model, call, _ = network
    z, state = call()
    model[1]._call_impl = lambda x, before: (z + 1, before)
    torch.testing.assert_close(call()[0], z + 1)


def test_a_compiled_neuron_is_called_in_its_compiled_form(network):
    model, call, _ = network
    expected, seen = call(), []
    forward = model[1].forward

    def compiled(*args):
        seen.append(args)
        return forward(*args)

    model[1]._compiled_call_impl = compiled
    torch.testing.assert_close(call(), expected)
    assert len(seen) == 1


def test_a_forward_of_the_instance_is_called(network):
    model, call, _ = network
    z, state = call()
    model[1].forward = lambda x, before: (z + 1, before)
    torch.testing.assert_close(call()[0], z + 1)


def test_the_profiler_sees_a_prepared_neuron_by_name(network):
    model, call, _ = network
    with torch.profiler.profile(with_stack=True) as profile:
        call()
    stacks = {frame for event in profile.events() for frame in event.stack or ()}
    names = stacks | {event.name for event in profile.events()}
    assert any(f"nn.Module: {type(model[1]).__name__}" in name for name in names)


def test_a_state_of_another_kind_is_rejected_by_a_prepared_neuron(network):
    model, call, _ = network
    _, state = call()
    with pytest.raises(TypeError, match="state"):
        model(XS[:5] if model.lift else XS[0], (state[0], (1, 2)))


class Witness(nn.Module):
    """A module that notes the name of the function that called its `forward`."""

    def __init__(self):
        super().__init__()
        self.callers = []

    def forward(self, x):
        self.callers.append(sys._getframe(1).f_code.co_qualname)
        return x


@pytest.fixture
def witness():
    """A stateless module, and a call of the network that it is part of."""
    module = Witness()
    model = SequentialState(nn.Linear(5, 6), module, LIFCell())
    model(XS[0])
    module.callers.clear()
    return module, lambda: model(XS[0])


def test_a_stateless_module_is_run_without_its_call(witness):
    module, call = witness
    call()
    assert module.callers == ["SequentialState.forward"]


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_hooks_of_a_stateless_module_are_called(witness, register):
    module, call = witness
    seen = []
    getattr(module, register)(lambda module, *_: seen.append(module))
    call()
    assert seen == [module]


@pytest.mark.parametrize("register", [register_module_forward_hook, register_module_forward_pre_hook])
def test_global_hooks_see_a_stateless_module(witness, register):
    module, call = witness
    seen = []
    handle = register(lambda module, *_: seen.append(module))
    try:
        call()
    finally:
        handle.remove()
    assert module in seen


@pytest.mark.parametrize("owner", [nn.Module, Witness])
@pytest.mark.parametrize("name", ["__call__", "_call_impl"])
def test_a_patched_call_sees_a_stateless_module(witness, owner, name, monkeypatch):
    module, call = witness
    seen, original = [], getattr(owner, name)

    def patched(module, *args, **kwargs):
        seen.append(module)
        return original(module, *args, **kwargs)

    monkeypatch.setattr(owner, name, patched)
    call()
    assert module in seen
    monkeypatch.undo()
    module.callers.clear()
    call()
    assert module.callers == ["SequentialState.forward"]


@pytest.mark.parametrize("name", ["_call_impl", "_compiled_call_impl"])
def test_a_call_of_the_instance_is_made(witness, name):
    module, call = witness
    seen = []
    setattr(module, name, lambda x: seen.append(x) or x)
    call()
    assert len(seen) == 1
    assert not module.callers


def test_the_profiler_sees_a_stateless_module_by_name(witness):
    _, call = witness
    with torch.profiler.profile(with_stack=True) as profile:
        call()
    names = {frame for event in profile.events() for frame in event.stack or ()} | {e.name for e in profile.events()}
    assert any("nn.Module: Witness" in name for name in names)


def test_a_class_with_a_call_of_its_own_is_called_by_it():
    class Doubling(nn.Module):
        def forward(self, x):
            return x

        def __call__(self, x):
            return 2 * super().__call__(x)

    ys, _ = SequentialState(nn.Identity(), Doubling(), LIFCell(), return_hidden=True)(XS[0])
    torch.testing.assert_close(ys[1], 2 * XS[0])


def test_a_scripted_module_is_called():
    scripted = torch.jit.script(nn.Linear(5, 6))
    ys, _ = SequentialState(scripted, LIFCell(), return_hidden=True)(XS[0])
    torch.testing.assert_close(ys[0], scripted(XS[0]))
