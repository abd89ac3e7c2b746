"""The Python slides of the talk on Norse, with only the import changed."""

import pytest
import torch
from torch.nn import Conv2d, Flatten, Linear, MaxPool2d, Sequential

from geir import AdexCell, IAFCell, LI, LICell, LIF, LIFCell, LIFRefracCell, Lift, SequentialState

IMAGES = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("Cell", [LIFCell, AdexCell, IAFCell])
def test_convolutional_network_of_cells(Cell):
    model = SequentialState(
        Conv2d(1, 20, 5, 1),
        Cell(),
        MaxPool2d(2, 2),
        Conv2d(20, 50, 5, 1),
        Cell(),
        MaxPool2d(2, 2),
        Flatten(),
        Linear(800, 10),
        LICell(),
    )
    state, outputs = None, []
    for _ in range(16):
        y, state = model(20 * IMAGES, state)
        outputs.append(y)
    assert outputs[-1].shape == (2, 10)
    assert state[1].v.shape == (2, 20, 24, 24)
    assert outputs[-1].std() > 0
    torch.stack(outputs).amax(0).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model[0].weight.grad.abs().sum() > 0


def test_convolutional_network_over_time_in_a_plain_sequential():
    model = Sequential(
        Lift(Conv2d(1, 20, 5, 1)),
        LIF(),
        Lift(MaxPool2d(2, 2)),
        Lift(Conv2d(20, 50, 5, 1)),
        LIF(),
        Lift(MaxPool2d(2, 2)),
        Lift(Flatten()),
        Lift(Linear(800, 10)),
        LI(),
    )
    output, state = model(20 * IMAGES.expand(16, *IMAGES.shape))
    assert output.shape == (16, 2, 10)
    assert state.v.shape == (2, 10)
    assert output.std() > 0


def test_edge_detector():
    model = SequentialState(LIFRefracCell(), Conv2d(1, 1, 5))
    state = None
    for _ in range(10):
        edges, state = model(5 * torch.rand(1, 1, 32, 48), state)
    assert edges.shape == (1, 1, 28, 44)
    assert state[0].wait.max() > 0
