"""Models without numbers: built on the meta device or in `FakeTensorMode`, and filled later."""

import pytest
import torch
from model_table import learnable_recipe, MODELS
from torch._subclasses import FakeTensorMode

import geir
from geir._util.state import leaves

MODES = {"meta device": lambda: torch.device("meta"), "FakeTensorMode": FakeTensorMode}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_a_learnable_model_is_built_without_numbers(model, mode):
    build = learnable_recipe(model)
    expected = build().state_dict()
    with MODES[mode]():
        empty = build()
        assert repr(empty).startswith(type(model).__name__)
    assert {k: (t.shape, t.dtype) for k, t in empty.state_dict().items()} == {
        k: (t.shape, t.dtype) for k, t in expected.items()
    }


@pytest.mark.parametrize("assign", [False, True], ids=["to_empty", "assign"])
@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_a_model_built_on_the_meta_device_is_filled_from_a_state_dictionary(model, assign):
    build = learnable_recipe(model)
    source, xs = build(), 5 * torch.rand(20, 3, 4)
    with torch.device("meta"):
        filled = build()
    if not assign:
        filled.to_empty(device="cpu")
    filled.load_state_dict(source.state_dict(), assign=assign)
    source.unroll = filled.unroll = geir.reference
    zs, state = source(xs)
    actual_zs, actual = filled(xs)
    torch.testing.assert_close(actual_zs, zs, rtol=0, atol=0)
    for (name, part), (_, expected) in zip(leaves(actual), leaves(state), strict=True):
        torch.testing.assert_close(part, expected, rtol=0, atol=0, msg=name)
    assert {name for name, _ in filled.named_parameters()} == {name for name, _ in source.named_parameters()}


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_a_run_in_fake_tensor_mode_gives_the_shapes(model):
    build = learnable_recipe(model)
    with FakeTensorMode():
        model = build()
        model.unroll = geir.reference
        xs = torch.rand(5, 2, 4)
        zs, state = model(xs)
        zs.sum().backward()
    assert zs.shape == xs.shape
    assert all(part.shape == (2, 4) for _, part in leaves(state))
