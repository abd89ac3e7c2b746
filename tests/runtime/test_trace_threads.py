"""Tracing does not touch the traced module, so that threads may use it at the same time."""

import copy
import threading

import pytest
import torch

import geir
from geir._runtime.compiler import find_compiler

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler")


@pytest.mark.parametrize(
    "make",
    [
        lambda dt: geir.LIF(dt=dt, tau_mem=geir.learnable(0.02)),
        lambda dt: geir.LIFRefrac(dt=dt),
        lambda dt: geir.LIFRecurrent(5, 5, dt=dt),
    ],
    ids=["LIF", "LIFRefrac", "LIFRecurrent"],
)
def test_threads_that_call_a_layer_for_the_first_time_at_once_agree(make):
    xs = 3 * torch.rand(20, 2, 5)
    for k in range(25):
        # Another step size is another program, which must be traced.
        layer = make(1e-3 + 1e-8 * k)
        before = copy.deepcopy(layer.state_dict())
        expected, _ = copy.deepcopy(layer)(xs) if k == 0 else (None, None)
        threads_ready = threading.Barrier(5)
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

        threads = [threading.Thread(target=call) for _ in range(4)] + [threading.Thread(target=read)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=120)
        assert not errors, errors
        shapes = {name: tensor.shape for name, tensor in before.items()}
        assert all(shape == shapes for shape in seen), "a reader saw stand-ins of the trace"
        assert layer.state_dict().keys() == before.keys()
        torch.testing.assert_close(dict(layer.state_dict()), dict(before), rtol=0, atol=0)
        for output in outputs if expected is None else [*outputs, expected]:
            torch.testing.assert_close(output, outputs[0], rtol=0, atol=0)
        assert outputs[0].sum() > 0, "the input is too weak for this test to see a spike"
