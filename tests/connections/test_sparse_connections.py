"""Masked and sparse linear layers, against a dense matrix."""

import pytest
import torch
from connection_cases import assert_close, DOUBLE, output_and_gradients, sparse_input
from torch import nn

import geir
from geir._runtime import sparse
from geir.connections import MaskedLinear, SparseLinear

MASK = torch.rand(30, 50, generator=torch.Generator().manual_seed(3)) < 0.2
both_layers = pytest.mark.parametrize("make", [MaskedLinear, SparseLinear])


@both_layers
@pytest.mark.parametrize("batch", [(7, 9), (1,), (40,), (3, 0)], ids=str)
@pytest.mark.parametrize("density", [0.1, 1.0])
def test_it_agrees_with_a_masked_matrix_including_all_gradients(make, batch, density):
    layer = make(50, 30, mask=MASK).double()
    matrix = (layer.dense() if make is SparseLinear else layer.weight).detach()
    assert torch.equal(matrix != 0, MASK)
    reference = nn.Linear(50, 30).double()
    reference.load_state_dict({"weight": matrix, "bias": layer.bias})
    x = sparse_input(*batch, 50, density=density)
    y, dx, gradients = output_and_gradients(layer, x)
    expected_y, expected_dx, dense_gradients = output_and_gradients(reference, x)
    assert_close((y, dx, gradients["bias"]), (expected_y, expected_dx, dense_gradients["bias"]))
    expected = dense_gradients["weight"] * MASK
    assert_close(gradients["weight"], expected.t()[MASK.t()] if make is SparseLinear else expected)


@both_layers
@pytest.mark.parametrize("probability", [0.0, 0.1, 1.0])
def test_connections_exist_with_the_given_probability(make, probability):
    layer = make(300, 200, connection_probability=probability)
    density = (len(layer.targets) if make is SparseLinear else layer.mask.sum().item()) / 60_000
    assert density == pytest.approx(probability, abs=0.01)
    assert layer(torch.ones(2, 300)).shape == (2, 200)


def test_sparse_weights_are_taken_from_any_layout():
    matrix = torch.randn(30, 50) * MASK
    # PyTorch warns once in a process.
    with pytest.warns(UserWarning, match="Sparse CSR"):
        csr = matrix.to_sparse_csr()
    for weights in (matrix, matrix.to_sparse(), csr, matrix.to_sparse_csc()):
        assert torch.equal(SparseLinear.from_weights(weights, torch.ones(30)).dense(), matrix)


def test_first_and_second_derivatives_of_sparse_connections_agree_with_finite_differences():
    layer = SparseLinear(5, 4, connection_probability=0.5).double()
    values = (torch.randn(3, 5, dtype=DOUBLE, requires_grad=True), layer.weight)

    def product(x, weight):
        return sparse.connect(x, weight, layer.starts, layer.targets, 4)

    assert torch.autograd.gradcheck(product, values)
    assert torch.autograd.gradgradcheck(product, values)


class OutputOf(nn.Module):
    """A recurrent layer without its state."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, xs):
        return self.layer(xs)[0]


@both_layers
def test_it_connects_recurrent_neurons(make):
    mask = torch.rand(6, 6) < 0.5
    input_weights, recurrent_weights = make(5, 6, connection_probability=0.9), make(6, 6, bias=False, mask=mask)
    with torch.no_grad():
        input_weights.weight.mul_(8)
    layer = geir.LIFRecurrent(5, 6, input_weights=input_weights, recurrent_weights=recurrent_weights).double()
    xs = torch.rand(50, 3, 5, dtype=DOUBLE)
    actual_zs, _, gradients = output_and_gradients(OutputOf(layer), xs)
    matrix = recurrent_weights.dense() if make is SparseLinear else recurrent_weights.weight
    reference = geir.LIFRecurrent(
        6, 6, autapses=True, input_weights=nn.Identity(), recurrent_weights=matrix.detach()
    ).double()
    zs, _ = reference(input_weights(xs))
    assert zs.sum() > 10
    assert_close(actual_zs, zs)
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients.values())


def test_masked_weights_stay_zero_in_training():
    layer = MaskedLinear(50, 30, mask=MASK)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    layer(torch.rand(4, 50)).square().sum().backward()
    optimizer.step()
    assert not layer.weight[~MASK].any()


def test_a_masked_layer_is_a_linear_layer():
    assert isinstance(MaskedLinear(5, 4, connection_probability=0.5), nn.Linear)


def test_a_layer_keeps_the_synapses_that_it_is_made_of():
    weights, targets = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2, 0, 2]).int()
    layer = SparseLinear.from_synapses(weights, torch.tensor([0, 2, 2, 3]), targets, 4)
    assert layer.dense().tolist() == [[2, 0, 0], [0, 0, 0], [1, 0, 3], [0, 0, 0]]
    assert layer.weight.data_ptr() == weights.data_ptr()


INVALID = {
    "a probability above one": (
        lambda: SparseLinear(3, 4, connection_probability=1.5),
        ValueError,
        r"SparseLinear.connection_probability must be in \[0, 1\], got 1.5",
    ),
    "a negative probability": (
        lambda: MaskedLinear(3, 4, connection_probability=-0.1),
        ValueError,
        r"MaskedLinear.connection_probability must be in \[0, 1\], got -0.1",
    ),
    "a mask of another shape": (
        lambda: MaskedLinear(3, 4, mask=torch.ones(3, 4)),
        ValueError,
        r"MaskedLinear.mask must be a tensor of shape \(4, 3\), one entry per connection, got shape \(3, 4\)",
    ),
    "a list as mask": (
        lambda: SparseLinear(3, 4, mask=[1]),
        ValueError,
        r"SparseLinear.mask must be a tensor .* got list",
    ),
    "neither mask nor probability": (
        lambda: SparseLinear(3, 4),
        TypeError,
        "SparseLinear takes either a mask or a connection_probability",
    ),
    "both mask and probability": (
        lambda: MaskedLinear(3, 4, mask=torch.ones(4, 3), connection_probability=0.1),
        TypeError,
        "MaskedLinear takes either a mask or a connection_probability",
    ),
    "weights that are not a matrix": (
        lambda: SparseLinear.from_weights(torch.ones(3)),
        ValueError,
        r"SparseLinear.from_weights takes a matrix \(out_features, in_features\), got shape \(3,\)",
    ),
    "synapses with 64-bit targets": (
        lambda: SparseLinear.from_synapses(torch.ones(2), torch.tensor([0, 2]), torch.tensor([0, 1]), 3),
        ValueError,
        r"for each a 32-bit target, got \(2,\) and \(2,\), torch.int64",
    ),
    "synapses whose number is another": (
        lambda: SparseLinear.from_synapses(torch.ones(2), torch.tensor([0, 3]), torch.tensor([0, 1]).int(), 3),
        ValueError,
        r"first connection of each input, in order, and their number, 2, got \[0, 3\]",
    ),
    "synapses out of order": (
        lambda: SparseLinear.from_synapses(torch.ones(2), torch.tensor([0, 5, 2]), torch.tensor([0, 1]).int(), 3),
        ValueError,
        r"in order, and their number, 2, got \[0, 5, 2\]",
    ),
    "synapses to an output that does not exist": (
        lambda: SparseLinear.from_synapses(torch.ones(2), torch.tensor([0, 2]), torch.tensor([0, 3]).int(), 3),
        ValueError,
        "takes targets from 0 to 2, got 0 to 3",
    ),
    "another number of inputs": (
        lambda: SparseLinear(5, 4, connection_probability=0.5)(torch.rand(10, 4, 3)),
        ValueError,
        r"SparseLinear takes 5 inputs in the last dimension, got shape \(10, 4, 3\)",
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_connections_and_input_are_rejected(case):
    call, error, message = INVALID[case]
    with pytest.raises(error, match=message):
        call()
