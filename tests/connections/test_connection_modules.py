"""Properties that sparse, masked and sparse-input layers share with all modules of PyTorch."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from connection_cases import assert_close, output_and_gradients, sparse_input
from torch import nn
from torch.func import functional_call, vmap

from geir._runtime import sparse
from geir.connections import MaskedLinear, SparseInputConv2d, SparseInputLinear, SparseLinear

LAYERS = {
    "SparseInputLinear": (lambda: SparseInputLinear(12, 8), (20, 12)),
    "SparseInputConv2d": (lambda: SparseInputConv2d(2, 8, 3), (20, 2, 6, 6)),
    "MaskedLinear": (lambda: MaskedLinear(12, 8, connection_probability=0.5), (20, 12)),
    "SparseLinear": (lambda: SparseLinear(12, 8, connection_probability=0.5), (20, 12)),
}


def layer_and_input(name):
    make, shape = LAYERS[name]
    return make().double(), sparse_input(*shape, density=0.04)


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", LAYERS)
class TestModules:
    def test_it_can_be_pickled_copied_saved_and_loaded(self, name):
        layer, x = layer_and_input(name)
        expected = layer(x)
        loaded, _ = layer_and_input(name)
        if name == "SparseLinear":
            # The connections of another instance differ.
            loaded = copy.deepcopy(layer)
            nn.init.zeros_(loaded.weight)
        loaded.load_state_dict(layer.state_dict())
        for twin in (loaded, pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
            assert_close(twin(x), expected)

    def test_it_can_be_transformed_and_compiled(self, name):
        layer, x = layer_and_input(name)
        expected, parameters = layer(x), {k: v.detach() for k, v in layer.named_parameters()}
        assert_close(functional_call(layer, parameters, (x,)), expected)
        assert_close(vmap(layer)(x), expected)
        stacked = {k: torch.stack([v, 2 * v]) for k, v in parameters.items()}
        assert_close(vmap(lambda p: functional_call(layer, p, (x,)))(stacked)[0], expected)
        gradient = torch.func.grad(lambda p: functional_call(layer, p, (x,)).square().sum())(parameters)
        expected.square().sum().backward()
        assert_close(gradient, {k: p.grad for k, p in layer.named_parameters()})
        torch.compiler.reset()
        assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), expected)

    def test_it_supports_low_precision_and_autocast(self, name):
        layer, x = layer_and_input(name)
        half = copy.deepcopy(layer).bfloat16()
        assert half(x.bfloat16()).dtype == torch.bfloat16
        with torch.autocast("cpu", torch.bfloat16):
            assert copy.deepcopy(layer).float()(x.float()).dtype == torch.bfloat16

    def test_it_works_without_a_compiler(self, name, monkeypatch):
        layer, x = layer_and_input(name)
        expected = output_and_gradients(layer, x)
        monkeypatch.setattr(sparse._gate.Source, "available", lambda *_: False)
        assert_close(output_and_gradients(layer, x), expected)

    def test_concurrent_calls_give_the_results_of_sequential_ones(self, name, two_threads):
        layer, x = layer_and_input(name)
        inputs = [x * k for k in range(1, 9)]
        expected = [layer(i) for i in inputs]
        with ThreadPoolExecutor(4) as pool:
            for _ in range(5):
                assert_close(list(pool.map(layer, inputs)), expected)

    def test_it_accepts_input_of_any_strides(self, name):
        layer, x = layer_and_input(name)
        strided = x.flip(0).transpose(0, 1).contiguous().transpose(0, 1)
        assert_close(layer(strided), layer(x.flip(0).contiguous()))


@pytest.mark.parametrize(
    ("make", "shape", "density"),
    [
        (lambda: SparseInputLinear(300, 200), (64, 300), 0.05),
        (lambda: SparseInputConv2d(8, 16, 3, padding=1), (16, 8, 20, 20), 0.02),
        (lambda: SparseLinear(300, 200, connection_probability=0.3), (128, 300), 0.2),
    ],
    ids=["SparseInputLinear", "SparseInputConv2d", "SparseLinear"],
)
def test_kernels_split_over_threads_agree_with_one_thread(make, shape, density, two_threads):
    """The sizes are large enough for each kernel to be split."""
    layer, x = make().double(), sparse_input(*shape, density=density)
    torch.set_num_threads(1)
    expected = output_and_gradients(layer, x)
    torch.set_num_threads(2)
    assert_close(output_and_gradients(layer, x), expected)
