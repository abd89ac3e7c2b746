"""Runs as values, and the flat lists that PyTorch passes."""

import pytest
import torch
from seeding import seeded

import geir
from geir._runtime.kernels.plan import BackwardTensors, Feedback, Outcome, Plan, SavedFeedback, Tensors


def plan(recurrent, checkpoint_every=4):
    return Plan("", checkpoint_every, torch.float32, record=False, recurrent=recurrent)


@pytest.mark.parametrize("feedback", [None, Feedback("z", "weights")], ids=["feed-forward", "recurrent"])
@pytest.mark.parametrize("constants", [[], ["a", "b", "c"]], ids=len)
def test_flat_tensors_are_named_as_before(feedback, constants):
    tensors = Tensors("xs", "state", feedback, constants)
    assert Tensors.unflatten(plan(feedback is not None), tensors.flatten()) == tensors


@pytest.mark.parametrize("feedback", [None, SavedFeedback("z", "weights", "zs")], ids=["feed-forward", "recurrent"])
def test_flat_tensors_of_the_backward_pass_are_named_as_before(feedback):
    tensors = BackwardTensors("xs", "grad_zs", None, "checkpoints", feedback, ["a"])
    assert BackwardTensors.unflatten(plan(feedback is not None), tensors.flatten()) == tensors


@pytest.mark.parametrize("checkpoints", [None, "checkpoints"])
@pytest.mark.parametrize("inputs", [None, "inputs"])
def test_flat_results_are_named_as_before(checkpoints, inputs):
    outcome = Outcome("zs", "state", checkpoints, inputs)
    found = Outcome.unflatten(plan(inputs is not None, 4 if checkpoints else 0), outcome.flatten())
    assert found == outcome


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize(
    "layer", seeded(lambda: [geir.LIF(), geir.Recurrent(geir.LIF(), 4, 4)]), ids=["LIF", "Recurrent"]
)
def test_results_without_gradients_equal_those_with_gradients(mode, layer):
    xs = 3 * torch.rand(20, 2, 4)
    zs, state = layer(xs)
    with mode():
        same_zs, same_state = layer(xs)
    assert torch.equal(zs, same_zs)
    assert not same_zs.requires_grad
    torch.testing.assert_close(same_state, state, rtol=0, atol=0)
