"""Tracing does not touch the traced module, so that threads may use it at the same time."""

import copy
import threading

import pytest
import torch

import geir
from geir._runtime.compiler import find_compiler
from geir._runtime.kernels import program_cache

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler")


@pytest.mark.parametrize(
    "make",
    [
        lambda: geir.LIF(tau_mem=geir.learnable(0.02)),
        lambda: geir.LIFRefrac(),
        lambda: geir.LIFRecurrent(5, 5),
    ],
    ids=["LIF", "LIFRefrac", "LIFRecurrent"],
)
def test_threads_that_call_a_layer_for_the_first_time_at_once_agree(make):
    xs, spikes = 9 * torch.rand(20, 2, 5), 0.0
    for _ in range(42):  # with eight threads and three layers, 1,008 first calls
        program_cache._programs.clear()  # so that the layer must be traced again
        layer = make()
        before = copy.deepcopy(layer.state_dict())
        threads_ready = threading.Barrier(9)
        outputs, errors, seen = [], [], []

        def call(layer=layer, ready=threads_ready, outputs=outputs, errors=errors):
            ready.wait(timeout=60)
            try:
                outputs.append(layer(xs)[0])
            except Exception as error:
                errors.append(error)

        def read(layer=layer, ready=threads_ready, seen=seen):
            ready.wait(timeout=60)
            for _ in range(50):
                seen.append({name: tensor.shape for name, tensor in layer.state_dict().items()})

        threads = [threading.Thread(target=call) for _ in range(8)] + [threading.Thread(target=read)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=120)
        assert not errors, errors
        assert program_cache._programs, "the layer was not traced"
        shapes = {name: tensor.shape for name, tensor in before.items()}
        assert all(shape == shapes for shape in seen), "a reader saw stand-ins of the trace"
        assert layer.state_dict().keys() == before.keys()
        torch.testing.assert_close(dict(layer.state_dict()), dict(before), rtol=0, atol=0)
        outputs.append(layer(xs)[0])
        for output in outputs:
            torch.testing.assert_close(output, outputs[0], rtol=0, atol=0)
        spikes += outputs[0].sum().item()
    assert spikes, "the input is too weak for this test to see a spike"
