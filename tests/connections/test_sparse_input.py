"""Layers that skip silent inputs, against the layers of PyTorch that they replace."""

import copy

import pytest
import torch
from connection_cases import assert_close, DOUBLE, output_and_gradients, sparse_input
from torch import nn
from torch.nn import functional

from geir._runtime import sparse
from geir.connections import SparseInputConv2d, SparseInputLinear


@pytest.fixture
def always_sparse(monkeypatch):
    """Use the sparse path whatever the density of the input; a dense product is an error."""

    def dense(*arguments, **keywords):
        raise AssertionError("the dense product was used")

    monkeypatch.setattr(sparse._gate, "MAX_DENSITY", 1.0)
    monkeypatch.setattr(functional, "linear", dense)
    yield
    monkeypatch.undo()


class TestSparseInputLinear:
    @pytest.mark.parametrize("density", [0.0, 0.05, 1.0])
    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("shape", [(7, 150, 40), (1, 40), (3, 40)], ids=str)
    def test_it_agrees_with_linear_including_all_gradients(self, always_sparse, density, bias, shape):
        layer, reference = SparseInputLinear(40, 130, bias).double(), nn.Linear(40, 130, bias).double()
        reference.load_state_dict(layer.state_dict())
        x = sparse_input(*shape, density=density)
        actual = output_and_gradients(layer, x)
        # `functional.linear` is disabled by the fixture.
        reference.forward = lambda x: x @ reference.weight.t() + (reference.bias if bias else 0)
        assert_close(actual, output_and_gradients(reference, x))

    def test_it_replaces_linear(self):
        layer, reference = SparseInputLinear(40, 30), nn.Linear(40, 30)
        layer.load_state_dict(reference.state_dict())
        reference.load_state_dict(layer.state_dict())
        assert layer.weight.t().is_contiguous(), "the layout that makes it fast is lost"
        assert copy.deepcopy(layer).double().weight.t().is_contiguous()
        x = (torch.rand(9, 40) < 0.1).float()
        assert_close(layer(x), reference(x), 1e-6)
        assert_close(layer(x[0]), reference(x[0]), 1e-6)
        assert SparseInputLinear(3, 2, bias=False, device="meta", dtype=DOUBLE).weight.is_meta

    def test_first_and_second_derivatives_agree_with_finite_differences(self, always_sparse):
        layer, x = SparseInputLinear(5, 3).double(), sparse_input(6, 5, density=0.4).requires_grad_()
        values = (x, layer.weight, layer.bias)
        assert torch.autograd.gradcheck(sparse.linear, values)
        assert torch.autograd.gradgradcheck(sparse.linear, values)


CONVOLUTIONS = [
    {"kernel_size": 3},
    {"kernel_size": (3, 2), "stride": 2, "padding": 1},
    {"kernel_size": (2, 3), "dilation": 2, "padding": (2, 1)},
    {"kernel_size": 3, "dilation": (1, 2), "stride": (2, 3), "padding": 2},
    {"kernel_size": 3, "groups": 2, "stride": (1, 2)},
    {"kernel_size": 3, "groups": 4, "padding": "same"},
    {"kernel_size": 1, "padding": "valid", "bias": False},
    {"kernel_size": 3, "padding": 1, "padding_mode": "circular"},
    {"kernel_size": 5, "padding": 7},
]


class TestSparseInputConv2d:
    @pytest.mark.parametrize("settings", CONVOLUTIONS, ids=str)
    @pytest.mark.parametrize("density", [0.05, 1.0])
    def test_it_agrees_with_conv2d_including_all_gradients(self, monkeypatch, settings, density):
        layer, reference = SparseInputConv2d(4, 16, **settings).double(), nn.Conv2d(4, 16, **settings).double()
        reference.load_state_dict(layer.state_dict())
        x = sparse_input(5, 4, 11, 9, density=density)
        expected = output_and_gradients(reference, x)
        monkeypatch.setattr(sparse._gate, "MAX_DENSITY_CONV2D", 1.0)
        actual = output_and_gradients(layer, x)
        assert actual[0].grad_fn.name() == "_Conv2dBackward"
        assert_close(actual, expected)

    def test_wide_images_are_processed_in_chunks(self, monkeypatch):
        monkeypatch.setattr(sparse._gate, "MAX_DENSITY_CONV2D", 1.0)
        layer, x = SparseInputConv2d(1, 4, 3).double(), sparse_input(2, 1, 4, 300)
        assert_close(layer(x), functional.conv2d(x, layer.weight, layer.bias))

    @pytest.mark.parametrize(
        ("settings", "shape", "density"),
        [
            ({}, (2, 4, 9, 9), 0.5),
            ({"padding": "same", "kernel_size": 2}, (2, 4, 9, 9), 0.01),
            ({}, (4, 9, 9), 0.01),
            ({"out_channels": 2}, (2, 4, 9, 9), 0.01),
        ],
        ids=["dense input", "asymmetric padding", "no batch", "few outputs"],
    )
    @pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
    def test_it_falls_back_to_the_dense_convolution(self, settings, shape, density):
        settings = {"in_channels": 4, "out_channels": 16, "kernel_size": 3} | settings
        layer, reference = SparseInputConv2d(**settings).double(), nn.Conv2d(**settings).double()
        reference.load_state_dict(layer.state_dict())
        x = sparse_input(*shape, density=density)
        assert layer(x).grad_fn.name() != "_Conv2dBackward"
        assert torch.equal(layer(x), reference(x))

    def test_first_and_second_derivatives_agree_with_finite_differences(self, monkeypatch):
        monkeypatch.setattr(sparse._gate, "MAX_DENSITY_CONV2D", 1.0)
        x = sparse_input(2, 2, 4, 4, density=0.4).requires_grad_()
        weights = torch.randn(4, 2, 2, 2, dtype=DOUBLE, requires_grad=True)
        bias = torch.randn(4, dtype=DOUBLE, requires_grad=True)

        def convolution(*values):
            return sparse.conv2d(*values, (1, 2), (1, 0), (1, 1), 1)

        assert convolution(x, weights, bias).grad_fn.name() == "_Conv2dBackward"
        assert torch.autograd.gradcheck(convolution, (x, weights, bias))
        assert torch.autograd.gradgradcheck(convolution, (x, weights, bias))
