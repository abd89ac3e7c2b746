"""Input that is the same at every step is processed once, with the results of the computation at every step."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.modules import module as everywhere

import geir
from geir import LIF, Lift, SequentialState

STEPS, BATCH = 6, 3
IMAGES = torch.rand(BATCH, 2, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
CONSTANT = IMAGES.expand(STEPS, *IMAGES.shape)


def make_features():
    torch.manual_seed(0)
    layers = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4).eval(), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(36, 5)).double()


def count_samples(monkeypatch):
    """The batch sizes with which convolutions are called; a hook would itself change how they are called."""
    sizes = []
    forward = nn.Conv2d.forward
    monkeypatch.setattr(nn.Conv2d, "forward", lambda self, x: sizes.append(len(x)) or forward(self, x))
    return sizes


def at_every_step(module, xs):
    return torch.stack([module(x.clone()) for x in xs])


def containers(module):
    return {
        "one Lift": Lift(module),
        "Lifts": SequentialState(*map(Lift, module)),
        "lift=True": SequentialState(*module, lift=True),
    }


@pytest.mark.parametrize("form", ["one Lift", "Lifts", "lift=True"])
def test_a_constant_input_is_convolved_once_with_the_same_output_and_gradients(form, monkeypatch):
    module, other = make_features(), make_features()
    weights = torch.rand(STEPS, BATCH, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = at_every_step(other, CONSTANT)
    (expected * weights).sum().backward()
    sizes = count_samples(monkeypatch)
    before = IMAGES.clone()
    ys = containers(module)[form](CONSTANT)
    ys = ys[0] if isinstance(ys, tuple) else ys
    (ys * weights).sum().backward()
    assert sizes == [BATCH]
    assert torch.equal(IMAGES, before)
    torch.testing.assert_close(ys, expected, rtol=1e-12, atol=1e-13)
    for parameter, right in zip(module.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, right.grad, rtol=1e-12, atol=1e-12)


def test_the_output_can_be_written_one_step_at_a_time():
    conv = make_features()[0]
    ys = Lift(conv)(CONSTANT)
    expected = at_every_step(conv, CONSTANT).detach()
    ys, expected = ys.detach(), expected.clone()
    ys[2] += 1
    expected[2] += 1
    torch.testing.assert_close(ys, expected)


def test_hidden_outputs_are_those_at_every_step():
    layers = make_features()
    outputs, _ = SequentialState(*map(Lift, layers[:2]), return_hidden=True)(CONSTANT)
    torch.testing.assert_close(outputs[0], at_every_step(layers[0], CONSTANT))
    torch.testing.assert_close(outputs[1], at_every_step(layers[:2], CONSTANT))


def test_an_inplace_activation_does_not_write_into_a_constant_input():
    x = torch.tensor([[-1.0, 2.0]])
    assert Lift(nn.ReLU(inplace=True))(x.expand(3, 1, 2)).tolist() == [[[0.0, 2.0]]] * 3
    assert x.tolist() == [[-1.0, 2.0]]


def test_dropout_draws_a_mask_at_every_step():
    torch.manual_seed(0)
    ys = Lift(nn.Sequential(nn.Flatten(), nn.Dropout(0.5)))(CONSTANT)
    assert not torch.equal(ys[0], ys[1])


def test_batch_normalization_in_training_sees_all_copies():
    module, other = nn.BatchNorm2d(2).double(), nn.BatchNorm2d(2).double()
    Lift(module)(CONSTANT)
    other(CONSTANT.flatten(0, 1))
    assert torch.equal(module.running_var, other.running_var)


def test_a_subclass_a_hook_and_a_replaced_forward_see_every_step():
    class Noise(nn.Linear):
        def forward(self, input):
            return super().forward(input) + torch.rand(len(input), 1)

    noisy = nn.Linear(4, 2)
    noisy.forward = lambda x: nn.functional.linear(x, noisy.weight) + torch.rand(len(x), 1)
    hooked = nn.Linear(4, 2)
    hooked.register_forward_hook(lambda module, args, output: output + torch.rand(len(output), 1))
    xs = torch.rand(BATCH, 4).expand(STEPS, BATCH, 4)
    for module in (Noise(4, 2), noisy, hooked):
        for form in (Lift(module), SequentialState(Lift(module)), SequentialState(module, lift=True)):
            ys = form(xs)
            ys = ys[0] if isinstance(ys, tuple) else ys
            assert not torch.equal(ys[0], ys[1])


@pytest.mark.parametrize(
    "register",
    [
        everywhere.register_module_forward_hook,
        everywhere.register_module_forward_pre_hook,
        everywhere.register_module_full_backward_hook,
        everywhere.register_module_full_backward_pre_hook,
    ],
)
def test_hooks_of_all_modules_see_every_step(register, monkeypatch):
    sizes = count_samples(monkeypatch)
    with register(lambda *arguments: None):
        Lift(nn.Conv2d(2, 4, 3).double())(CONSTANT)
    assert sizes == [STEPS * BATCH]


def test_hooks_of_a_lift_are_called():
    calls = []
    lift = Lift(nn.Flatten())
    lift.register_forward_hook(lambda module, args, output: calls.append(tuple(output.shape)))
    SequentialState(lift, LIF().double())(CONSTANT)
    assert calls == [(STEPS, BATCH, 128)]


def test_the_gradient_of_the_input_differs_from_step_to_step():
    module = nn.Linear(4, 2)
    xs = torch.rand(BATCH, 4).expand(STEPS, BATCH, 4).requires_grad_()
    weights = torch.arange(1.0, STEPS + 1)
    (Lift(module)(xs) * weights[:, None, None]).sum().backward()
    expected = weights[:, None, None] * module.weight.sum(0).expand(STEPS, BATCH, 4)
    torch.testing.assert_close(xs.grad, expected.detach())


def test_the_tangent_of_an_expanded_input_is_propagated():
    module = nn.Linear(4, 2, bias=False)
    x, tangent = torch.rand(BATCH, 4), torch.rand(BATCH, 4)
    _, ys = torch.func.jvp(lambda x: Lift(module)(x.expand(STEPS, BATCH, 4)), (x,), (tangent,))
    torch.testing.assert_close(ys, module(tangent).expand(STEPS, BATCH, 2))


def test_an_input_without_a_batch_is_not_mistaken_for_one():
    # Folded over time, a (time, batch, height, width) input has time * batch channels.
    with pytest.raises(ValueError, match="Without a batch"):
        Lift(nn.Conv2d(BATCH, BATCH, 3))(torch.rand(BATCH, 8, 8).expand(STEPS, BATCH, 8, 8))
    with pytest.raises(RuntimeError, match="normalized_shape"):
        Lift(nn.LayerNorm([BATCH, 4]))(torch.rand(BATCH, 4).expand(STEPS, BATCH, 4))


def test_an_error_names_the_shape_over_time():
    with pytest.raises(RuntimeError) as error:
        Lift(nn.Linear(5, 2))(torch.rand(BATCH, 4).expand(STEPS, BATCH, 4))
    assert f"({STEPS}, {BATCH}, 4)" in error.value.__notes__[0]


def test_a_class_of_your_own_can_be_registered():
    calls = []

    class Square(nn.Module):
        def forward(self, x):
            calls.append(len(x))
            return x * x

    Lift(Square())(CONSTANT)
    geir.Lift.register_samplewise(Square)
    torch.testing.assert_close(Lift(Square())(CONSTANT), CONSTANT**2)
    assert calls == [STEPS * BATCH, BATCH]
    with pytest.raises(TypeError, match="register_samplewise expected a class of modules"):
        Lift.register_samplewise(Square())


def test_a_network_on_a_constant_input_equals_that_on_copies():
    model = SequentialState(Lift(make_features()), LIF().double(), Lift(nn.Linear(5, 3, bias=False).double()))
    other = copy.deepcopy(model)
    xs = (200 * IMAGES).expand_as(CONSTANT)
    ys, _ = model(xs)
    expected, _ = other(xs.clone(memory_format=torch.contiguous_format))
    assert expected.any()  # the neurons spike
    torch.testing.assert_close(ys, expected, rtol=1e-12, atol=1e-12)
