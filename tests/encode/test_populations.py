import math

import numpy as np
import pytest
import torch

from geir import encode


def test_the_population_code_peaks_at_the_preferred_value():
    code = encode.PopulationEncoder(5, low=-1, high=1)(torch.tensor([[-1.0, 0.0], [0.5, 0.25]]))
    assert code.shape == (2, 2, 5)
    assert code.argmax(-1)[:, 0].tolist() == [0, 3]
    assert code[0, 0, 0] == 1
    assert code[1, 1, 2] == pytest.approx(math.exp(-0.125))


def test_rank_order_agrees_with_sorting_and_keeps_the_order_of_equal_values():
    x = torch.rand(3, 4, 10)
    zs = encode.RankOrderEncoder()(x)
    assert zs.shape == (10, 3, 4, 10)
    neuron_at_step = zs.argmax(-1)
    np.testing.assert_array_equal(neuron_at_step.movedim(0, -1), np.argsort(-x.numpy(), axis=-1))
    assert (zs.sum(0) == 1).all()
    assert (zs.sum(-1) == 1).all()
    assert torch.equal(encode.rank_order(x, 4), zs[:4])
    assert encode.rank_order(torch.tensor([2.0, 5.0, 5.0, 2.0])).argmax(-1).tolist() == [1, 2, 0, 3]


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_a_population_refuses_integers(dtype):
    """The preferred values would be integers as well."""
    with pytest.raises(TypeError, match=f"encode.population expected floating-point values, got {dtype}"):
        encode.population(torch.ones(2, dtype=dtype), 3)
