"""Mistakes about the time axis are recognized, and right networks are left alone."""

import pytest
import torch
from container_helpers import XS
from seeding import seeded
from torch import nn

import geir
from geir import LI, LIF, LIFCell, Lift, RecurrentSequential, SequentialState


class LastStep(nn.Module):
    def forward(self, xs):
        return xs[-1]


class Residual(geir.Network):
    def __init__(self, *modules):
        super().__init__()
        self.layers = nn.ModuleList(modules)

    def forward_over_time(self, xs, run):
        return xs + run(xs, *self.layers)


# Warnings are errors in tests.
@pytest.mark.parametrize(
    "make",
    [
        lambda: SequentialState(
            Lift(nn.Linear(5, 6)), LIF(), nn.Flatten(2), nn.Softmax(-1), nn.LayerNorm(6), nn.ReLU()
        ),
        lambda: SequentialState(Lift(nn.Linear(5, 6)), LIF(), nn.Dropout(), nn.Linear(6, 2), LI()),
        lambda: SequentialState(Lift(nn.Linear(5, 6)), LIF(), LastStep(), nn.Softmax(1), nn.BatchNorm1d(6)),
        lambda: SequentialState(nn.Flatten(), nn.Linear(5, 6), nn.BatchNorm1d(6), LIF(), nn.Softmax(1), lift=True),
        lambda: Lift(SequentialState(nn.Flatten(), nn.Linear(5, 6), nn.BatchNorm1d(6), LIFCell(), nn.Softmax(1))),
        lambda: SequentialState(
            Lift(RecurrentSequential(nn.Linear(5, 5), LIFCell())), Lift(LIFCell()), Lift(nn.GRUCell(5, 3))
        ),
        lambda: SequentialState(nn.LSTM(5, 4), Lift(nn.Linear(4, 2)), LIF(), Residual(nn.Linear(2, 2), LIF())),
        lambda: Lift(SequentialState(nn.Sequential(nn.Flatten(), nn.Linear(5, 5)), LIFCell())),
    ],
)
def test_right_networks_are_left_alone(make):
    model = make()
    result = model(XS)
    output = result[0] if isinstance(result, tuple) else result
    assert output.isfinite().all()


def test_unbatched_images_over_time_are_a_warning_but_run():
    model = SequentialState(nn.Flatten(), nn.Linear(12, 3), LIF())
    with pytest.warns(UserWarning, match="Flatten takes the batch for features"):
        zs, _ = model(torch.rand(20, 1, 3, 4))
    assert zs.shape == (20, 3)


def test_modules_that_are_added_later_are_checked_too():
    model = SequentialState(Lift(nn.Linear(5, 6)), LIF())
    with pytest.raises(ValueError, match=r"LIFCell \(module 2\), which processes one step"):
        model.append(LIFCell())
    model = SequentialState(Lift(nn.Linear(5, 6)), LIF())
    with pytest.raises(ValueError, match=r"MaxPool1d \(module 1\) beside Lift \(module 0\)"):
        model.insert(1, nn.MaxPool1d(2))


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.__setitem__(1, LIFCell()),
        lambda model: model.extend([LIFCell()]),
        lambda model: model.add_module("later", LIFCell()),
        lambda model: setattr(model, "1", LIFCell()),
    ],
    ids=["item", "extend", "add_module", "attribute"],
)
def test_modules_that_are_replaced_are_checked_before_the_next_run(change):
    model = SequentialState(Lift(nn.Linear(5, 6)), LIF())

    def change_and_run():
        change(model)
        model(XS)

    with pytest.raises(ValueError, match="LIFCell .*, which processes one step"):
        change_and_run()


def test_a_warning_ends_with_its_reason():
    model = SequentialState(nn.Flatten(), nn.Linear(12, 3), LIF())
    model.lift = True
    model(torch.rand(20, 1, 3, 4))
    model = SequentialState(nn.Linear(12, 3), nn.Softmax(1), LIF())
    del model[1]
    model(torch.rand(20, 1, 12))


def test_a_network_over_time_refuses_cells():
    with pytest.raises(ValueError, match=r"Residual runs over time, but LIFCell processes one step; use LIF, or Lift"):
        Residual(LIFCell())(XS)


@pytest.mark.parametrize(
    "module", seeded(lambda: [nn.RNN(5, 2), geir.models.ConvNet(28), Residual(), geir.Recurrent(LIF(), 5, 5)])
)
def test_a_module_over_time_cannot_be_lifted(module):
    with pytest.raises(TypeError, match=rf"got {type(module).__name__}, which runs over time itself"):
        Lift(module)


@pytest.mark.parametrize("lift", [Lift, lambda module: SequentialState(module, LIF(), lift=True)], ids=["Lift", "lift"])
def test_modules_with_state_and_attention_over_samples_are_refused_inside_a_lifted_module(lift):
    for inner in (nn.LSTM(5, 2), LIF(), LIFCell()):
        with pytest.raises(TypeError, match=rf"{type(inner).__name__} \(module 1\.0\), whose state it would drop"):
            lift(nn.Sequential(nn.Linear(5, 5), nn.Sequential(inner)))
    for make in (nn.TransformerEncoderLayer, nn.MultiheadAttention):
        with pytest.raises(TypeError, match=rf"would mix the samples. Use {make.__name__}\(..., batch_first=True\)"):
            lift(nn.Sequential(nn.Linear(8, 8), make(8, 2)))
    lifted = lift(nn.Sequential(nn.TransformerEncoderLayer(8, 2, batch_first=True))).eval()
    xs = torch.rand(4, 3, 6, 8)
    together, alone = (ys if isinstance(ys, torch.Tensor) else ys[0] for ys in (lifted(xs), lifted(xs[:, :1])))
    torch.testing.assert_close(together[:, :1], alone)
    with pytest.raises(ValueError, match="with 4 dimensions, got shape .*Without a batch"):
        lifted(xs[:, 0])


def test_lifting_a_lifted_layer_folds_another_axis():
    xs = torch.rand(4, 3, 2, 5)
    linear = nn.Linear(5, 6)
    torch.testing.assert_close(Lift(Lift(linear))(xs), linear(xs))
    with pytest.raises(TypeError, match="got Lift, which runs over time itself"):
        Lift(Lift(LIFCell()))
