"""`Lift`: a module of one step, over time."""

import pytest
import torch
from container_helpers import XS
from torch import nn

from geir import LIFCell, Lift


def test_batch_normalization_computes_its_statistics_over_time():
    ys = Lift(nn.BatchNorm1d(5))(XS)
    torch.testing.assert_close(ys.mean((0, 1)), torch.zeros(5), atol=1e-5, rtol=0)


def test_input_without_a_batch_and_modules_that_mix_it_are_rejected():
    with pytest.raises(ValueError, match=r"Linear over time .*\(time, batch, ...\).*\(5,\)"):
        Lift(nn.Linear(5, 2))(XS[0, 0])
    with pytest.raises(ValueError, match="Flatten over time must keep the batch"):
        Lift(nn.Flatten(0))(XS)
    with pytest.raises(RuntimeError) as error:
        Lift(nn.Linear(4, 2))(XS)
    assert "time" in error.value.__notes__[0]


def test_input_without_a_step_is_rejected():
    with pytest.raises(ValueError, match=r"Lift steps LIFCell through time: .* at least one step, got \(0, 3, 5\)"):
        Lift(LIFCell())(XS[:0])


def test_a_function_is_not_a_module():
    with pytest.raises(TypeError, match="Lift expected a module, got"):
        Lift(torch.relu)
