"""Initial weights, pretrained weights and dropout."""

import copy
import math
from functools import partial

import pytest
import torch
from model_helpers import SMALL_VGG
from torch import nn

from geir import IAF, LI, LIF, LIFBox, models


def test_the_threshold_weight_is_that_of_the_closed_form():
    # The potential after one spike of weight 1, exp(-t / 10 ms) - exp(-t / 5 ms), is largest at 7 ms if sampled every ms.
    peak = math.exp(-0.7) - math.exp(-1.4)
    for neuron, exact in (
        (LIF, 1 / peak),
        (LIFBox, 1 / (1 - math.exp(-0.1))),
        (IAF, 1.0),
        (partial(IAF, v_th=3.0), 3.0),
    ):
        assert exact <= models.threshold_weight(neuron) <= 1.023 * exact
    assert models.threshold_weight(nn.ReLU) == models.threshold_weight(LI) == 1.0


def test_initial_weights_are_in_units_of_the_threshold_weight():
    model = models.vgg11_bn(**SMALL_VGG, neuron=partial(IAF, v_th=5.0))
    unit = models.threshold_weight(partial(IAF, v_th=5.0))
    conv, norm = model.features[4], model.features[5]
    assert model.unit_weight == unit
    assert conv.weight.std().item() * math.sqrt(64 * 9) == pytest.approx(2 * unit, rel=0.02)
    assert not conv.bias.any()
    torch.testing.assert_close(norm.weight.detach(), torch.full((128,), unit / 2))
    assert model.classifier[6].weight.abs().max() <= 1 / math.sqrt(64)


def test_weights_of_an_artificial_network_are_loaded_where_they_agree():
    artificial = models.resnet18(num_classes=7, neuron=nn.ReLU, readout=nn.Identity).state_dict()
    artificial["extra"] = torch.ones(2)
    model = models.resnet18(num_classes=10)
    before = copy.deepcopy(model.state_dict())
    report = models.load_weights(model, artificial)
    assert report.mismatched == ["fc.weight", "fc.bias"]
    assert report.unexpected == ["extra"]
    assert {name.rpartition(".")[2] for name in report.missing} == {"tau_mem", "tau_syn", "v_rest", "v_th", "v_reset"}
    assert len(report.loaded) == len(artificial) - 3
    after = model.state_dict()
    for name in after:
        torch.testing.assert_close(after[name], artificial[name] if name in report.loaded else before[name])
    assert not torch.equal(after["conv1.weight"], before["conv1.weight"])


def test_dropout_drops_the_same_neurons_at_every_step():
    dropout = models.DropoutOverTime(0.3)
    xs = torch.ones(6, 50, 200)
    ys, mask = dropout(xs)
    torch.testing.assert_close(ys, ys[:1].expand_as(ys))
    assert (ys[0] == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert ys.mean().item() == pytest.approx(1.0, abs=0.02)
    torch.testing.assert_close(dropout(xs, mask)[0], ys)
    assert not torch.equal(dropout(xs)[0], ys)
    assert dropout.eval()(xs)[0] is xs


CASES = {
    "a dropout probability of 1": (
        lambda: models.DropoutOverTime(1.0),
        ValueError,
        r"DropoutOverTime.p must be in \[0, 1\), got 1.0",
    ),
    "a mask of another shape": (
        lambda: models.DropoutOverTime()(torch.ones(3, 4), torch.ones(5)),
        ValueError,
        r"a mask with the shape of one step of input, \(4,\), got \(5,\)",
    ),
    "a list of weights": (
        lambda: models.load_weights(models.ConvNet(), [1]),
        TypeError,
        "load_weights expected a state dictionary .* got list",
    ),
    "weights of another network": (
        lambda: models.load_weights(models.ConvNet(), nn.Linear(2, 3).state_dict()),
        ValueError,
        "None of the 2 weights agrees in name and shape with those of ConvNet: the model has conv1.weight, .* has weight, bias",
    ),
    "no weights": (
        lambda: models.load_weights(models.ConvNet(), {}),
        ValueError,
        "None of the 0 weights .* the state dictionary has no names",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_arguments_are_rejected(case):
    call, kind, message = CASES[case]
    with pytest.raises(kind, match=message):
        call()
