"""`RecurrentSequential`: feedback from the last module to the first."""

import pytest
import torch
from container_helpers import run_steps, XS
from torch import nn

from geir import LICell, LIFCell, Lift, RecurrentSequential


def test_the_last_output_is_added_to_the_next_input():
    linear, cell = nn.Linear(5, 5), LIFCell()
    model = RecurrentSequential(linear, cell)
    ys, state = run_steps(model, XS)
    z, cell_state = torch.zeros(3, 5), None
    for x, y in zip(XS, ys, strict=True):
        z, cell_state = cell(linear(x + z), cell_state)
        torch.testing.assert_close(y, z)
    torch.testing.assert_close(state.cache, z)
    torch.testing.assert_close(Lift(model)(XS)[0], ys)
    assert model(XS[0], state)[0].shape == (3, 5)


def test_the_outputs_of_the_selected_modules_are_returned():
    model = RecurrentSequential(nn.Linear(5, 5), LIFCell(), LICell(), output_modules=[1, 2])
    (zs, vs), state = model(XS[0])
    (again, _), _ = model(XS[1], state)
    assert zs.shape == vs.shape == again.shape == (3, 5)
    torch.testing.assert_close(state.cache, vs)
    assert model(XS[0])[0][0].shape == (3, 5)


def test_feedback_of_another_shape_and_unknown_modules_are_rejected():
    model = RecurrentSequential(nn.Linear(5, 4), LIFCell())
    _, state = model(XS[0])
    with pytest.raises(ValueError, match=r"feeds back an output of shape \(3, 4\), but its input has shape \(3, 5\)"):
        model(XS[1], state)
    with pytest.raises(ValueError, match="has 2 modules, but output_modules contains the index 5"):
        RecurrentSequential(nn.Linear(5, 5), LIFCell(), output_modules=5)
