"""Attention of spikes and residual blocks, step by step against the formulas of the papers."""

from functools import partial

import pytest
import torch
from model_helpers import images, random_spikes, run_with_rates
from torch import nn

from geir import IAF, IAFCell, models
from geir.models import Residual, SpikeDrivenSelfAttention, SpikingSelfAttention, TokenAttention

STEPS, BATCH, CHANNELS, HEADS, HEIGHT, WIDTH = 12, 2, 8, 2, 3, 4
NEURON = partial(IAF, v_th=0.3)


class Steps:
    """Neurons by their cells, each with its state, called by name."""

    def __init__(self):
        self.states = {}

    def __call__(self, name, x):
        z, self.states[name] = IAFCell(v_th=0.3).double()(x, self.states.get(name))
        return z

    def layer(self, name, module, x):
        conv, norm, _ = module
        return self(name, norm(conv(x)))


def by_pixels(x):
    """A tensor (batch, heads, pixels, channels of a head)."""
    return x.reshape(BATCH, HEADS, CHANNELS // HEADS, HEIGHT * WIDTH).transpose(-1, -2)


def self_attention(module, x, steps):
    q, k, v = (by_pixels(steps.layer(n, getattr(module, n), x)) for n in ("query", "key", "value"))
    scores = torch.einsum("bhic,bhjc->bhij", q, k)
    product = 0.2 * torch.einsum("bhij,bhjc->bhic", scores, v)
    z = steps("attention", product.transpose(-1, -2).reshape(x.shape))
    return steps.layer("projection", module.projection, z)


def spike_driven_attention(module, x, steps):
    q, k, v = (steps.layer(n, getattr(module, n), x) for n in ("query", "key", "value"))
    mask = steps("attention", 0.2 * torch.einsum("bchw,bchw->bc", q, k)[:, :, None, None])
    return torch.where(mask > 0, v, 0)


def token_attention(module, x, steps):
    q, k = (by_pixels(steps.layer(n, getattr(module, n), x)) for n in ("query", "key"))
    mask = steps("attention", 0.2 * q.sum(-1))
    masked = torch.einsum("bhp,bhpc->bhcp", mask, k).reshape(x.shape)
    return steps.layer("projection", module.projection, masked)


ATTENTION = {
    "SSA": (partial(SpikingSelfAttention, CHANNELS, HEADS, 0.2, NEURON, nn.BatchNorm2d), self_attention),
    "SDSA": (partial(SpikeDrivenSelfAttention, CHANNELS, 0.2, NEURON, nn.BatchNorm2d), spike_driven_attention),
    "QKTA": (partial(TokenAttention, CHANNELS, HEADS, 0.2, NEURON, nn.BatchNorm2d), token_attention),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_is_its_formula_step_by_step_and_runs_in_chunks(name):
    make, formula = ATTENTION[name]
    torch.manual_seed(0)
    module = make().double()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    xs = random_spikes(STEPS, BATCH, CHANNELS, HEIGHT, WIDTH).double()
    module(xs)
    module.eval()
    steps = Steps()
    expected = torch.stack([formula(module, x, steps) for x in xs])
    assert 0.1 < expected.mean() < 0.7
    zs, last = module(xs)
    torch.testing.assert_close(zs, expected, rtol=0, atol=0)
    first, state = module(xs[:5])
    second, state = module(xs[5:], state)
    torch.testing.assert_close(torch.cat([first, second]), expected, rtol=0, atol=0)
    torch.testing.assert_close(state, last)


def test_attention_differs_between_heads():
    xs = random_spikes(STEPS, BATCH, CHANNELS, HEIGHT, WIDTH)
    for kind in (SpikingSelfAttention, TokenAttention):
        one, two = (kind(CHANNELS, heads, 0.2, NEURON, nn.BatchNorm2d) for heads in (1, 2))
        two.load_state_dict(one.state_dict())
        assert not torch.equal(one(xs)[0], two(xs)[0])


def test_a_residual_adds_its_modules_to_its_input_or_to_its_shortcut():
    conv, shortcut = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(4, 6, 1)
    xs = random_spikes(STEPS, BATCH, 4, HEIGHT, WIDTH)
    ys, _ = Residual(conv, NEURON(), shortcut=shortcut)(xs)
    expected = NEURON()(torch.stack([conv(x) for x in xs]))[0] + torch.stack([shortcut(x) for x in xs])
    torch.testing.assert_close(ys, expected)
    torch.testing.assert_close(Residual(nn.Identity())(xs)[0], 2 * xs)


def test_blocks_with_membrane_shortcuts_pass_their_input_on_if_their_last_scale_is_zero():
    model = models.ms_resnet18(num_classes=10)
    block = model.layer1[1]
    xs = torch.randn(STEPS, BATCH, 64, HEIGHT, WIDTH)
    neuron, conv, norm, other, second, last = block.branch
    zs = other(norm(conv(neuron(xs)[0].flatten(0, 1))).unflatten(0, (STEPS, BATCH)))[0]
    expected = xs + last(second(zs.flatten(0, 1))).unflatten(0, (STEPS, BATCH))
    torch.testing.assert_close(block(xs)[0], expected)
    assert not torch.allclose(expected, xs)
    nn.init.zeros_(last.weight)
    torch.testing.assert_close(block(xs)[0], xs)


TRANSFORMERS = {
    "Spikformer": partial(models.Spikformer, 64, 1, 2, scale=1.0),
    "SpikeDrivenTransformer": partial(models.SpikeDrivenTransformer, 64, 1),
    "QKFormer": partial(models.QKFormer, 64, 4, 2, scale=1.0),
}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_images_are_reduced_by_16_or_by_the_size_of_a_patch(name):
    make = TRANSFORMERS[name]
    assert make().features(torch.rand(2, 1, 3, 64, 48))[0].shape == (2, 1, 64, 4, 3)
    if name != "QKFormer":
        assert make(patch_size=4).features(torch.rand(2, 1, 3, 32, 16))[0].shape == (2, 1, 64, 8, 4)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_activity_does_not_depend_on_the_unit_of_the_neurons(name):
    def rates(v_th):
        torch.manual_seed(0)
        # With a factor of 4 and no further variance, all sums are the same, digit by digit.
        model = TRANSFORMERS[name](neuron=partial(IAF, v_th=v_th), norm=partial(nn.BatchNorm2d, eps=1e-12))
        return run_with_rates(model, images(12))[1]

    expected = rates(1.0)
    assert min(expected) > 0.01
    assert rates(4.0) == expected


@pytest.mark.parametrize("make", [models.SpikeDrivenTransformer, models.MSResNet], ids=lambda make: make.__name__)
def test_with_membrane_shortcuts_all_weights_but_those_of_the_first_layer_and_of_shortcuts_receive_spikes(make):
    model = make(64, 1) if make is models.SpikeDrivenTransformer else make((1, 1, 1, 1))
    seen = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.AdaptiveAvgPool2d):
            module.register_forward_hook(lambda module, args, out, name=name: seen.update({name: args[0]}))
    model(torch.randn(16, 2, 3, 32, 32))
    shortcuts = [name for name in seen if "shortcut" in name]
    first, *others = [name for name in seen if name not in shortcuts]
    assert len(others) > 7
    assert all(set(seen[name].unique().tolist()) <= {0.0, 1.0} for name in others)
    assert seen[first].unique().numel() > 2
