"""Quantization-aware training of digits: as accurate as in float, and equal to the integer model."""

import math

import pytest
import torch
from torch import nn

import geir
from geir.hardware import LOIHI2, quantize, to_integer, XYLO_AUDIO_3
from geir.surrogates import MultiSpike

STEPS = 12


def encode(pixels):
    """Pixels in [0, 1] as evenly spaced spikes, shape (STEPS, ...)."""
    counts = torch.floor(torch.arange(STEPS + 1).view(-1, 1, 1) * pixels + 1e-6)
    return counts.diff(dim=0)


def tau(dash):
    """The time constant whose leak per step of 1 ms is 2^-dash, so that it is on the grid of both chips."""
    return -1e-3 / math.log(1 - 2.0**-dash)


def network(subtract):
    settings = {"reset_mechanism": geir.ResetBySubtraction(), "surrogate": MultiSpike()} if subtract else {}
    return geir.SequentialState(
        nn.Linear(64, 80),
        geir.LIF(tau_mem=tau(3), tau_syn=tau(2), v_th=0.3, **settings),
        nn.Linear(80, 10),
        geir.LI(tau_mem=tau(4), tau_syn=tau(2)),
        lift=True,
    )


def train(model, images, labels, epochs, learning_rate):
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(32):
            loss = geir.decode.max_potential_loss(model(encode(images[chosen]))[0], labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@torch.no_grad()
def predict(model, images):
    return geir.decode.max_potential(model(encode(images))[0]).argmax(-1)


@pytest.mark.parametrize(
    ("target", "subtract"),
    [pytest.param(LOIHI2, False, id="Loihi"), pytest.param(XYLO_AUDIO_3, True, id="Xylo")],
)
def test_digits_in_8_bits_are_as_accurate_as_in_float_and_equal_the_integer_model_spike_for_spike(target, subtract):
    digits = pytest.importorskip("geir.tasks.digits", reason="needs scikit-learn")
    data = digits.load()
    (images, labels), (test_images, test_labels) = data.train.tensors, data.test.tensors
    images, test_images = images.flatten(1), test_images.flatten(1)
    model = network(subtract)
    train(model, images, labels, 10, 5e-3)
    quantized = quantize(model, target)
    # both go on learning
    for candidate in (model, quantized):
        train(candidate, images, labels, 3, 1e-3)
    accuracy = (predict(model, test_images) == test_labels).float().mean()
    quantized_accuracy = (predict(quantized, test_images) == test_labels).float().mean()
    assert accuracy > 0.94
    assert quantized_accuracy >= accuracy - 0.003

    integer = to_integer(quantized, target)
    with torch.no_grad():
        xs = encode(test_images)
        # events, neurons; events, weights, neurons
        spikes, integer_spikes = quantized[:2](xs)[0], integer[:3](xs)[0]
    assert spikes.sum() > 10_000
    assert torch.equal(spikes, integer_spikes)
    assert torch.equal(predict(quantized, test_images), predict(integer, test_images))
