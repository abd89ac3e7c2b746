"""Compiled eligibility traces equal those computed in PyTorch."""

import pytest
import torch
from torch.testing import assert_close

from geir._runtime import eligibility
from geir._runtime.eligibility import advance, gradient, Parts


def arguments(parts, batch, neurons, inputs, dtype):
    """Random numbers, half of the derivatives zero; derivatives of shared parts are the same for all neurons."""
    torch.manual_seed(0)
    count = len(parts.own) + len(parts.shared)

    def draw(*shape):
        return torch.randn(*shape, dtype=dtype)

    J, b = draw(count, count, batch, neurons), draw(count, batch, neurons)
    J[torch.rand(J.shape) < 0.5] = 0
    J[parts.shared] = J[parts.shared][..., :1, :1]
    b[parts.shared] = b[parts.shared][..., :1, :1]
    for k in parts.shared:
        J[k, parts.own] = 0
    traces = draw(len(parts.own), batch, neurons, inputs)
    state = traces, draw(len(parts.shared), batch, inputs), draw(batch, inputs)
    return state, (J, b), (draw(count, batch, neurons), draw(batch, neurons))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "sizes",
    [(1, 1, 1), (3, 5, 7), (2, 3, 1300), (1, 40, 513), (70, 2, 33)],
    ids=lambda sizes: "x".join(map(str, sizes)),
)
@pytest.mark.parametrize("parts", [Parts([0], []), Parts([0, 2], [1]), Parts([1], [0, 2]), Parts([], [0, 1])], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_compiled_functions_equal_loops_over_samples_and_neurons(dtype, parts, sizes, threads):
    (traces, shared, x), (J, b), (h, d) = arguments(parts, *sizes, dtype)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        after, shared_after = advance(parts, traces, shared, x, J, b)
        total = gradient(parts, traces, shared, x, h, d)
    finally:
        torch.set_num_threads(before)
    assert eligibility._library(dtype) is not None
    # All parts as they are for each neuron, in float64.
    batch, neurons, inputs = sizes
    full = torch.empty(len(b), batch, neurons, inputs, dtype=torch.float64)
    full[parts.own] = traces.double()
    full[parts.shared] = shared.double()[:, :, None]
    expected, expected_total = torch.empty_like(full), torch.zeros(neurons, inputs, dtype=torch.float64)
    for s in range(batch):
        for n in range(neurons):
            expected[:, s, n] = J[:, :, s, n].double() @ full[:, s, n] + b[:, s, n, None].double() * x[s].double()
            expected_total[n] += h[:, s, n].double() @ full[:, s, n] + d[s, n].double() * x[s].double()
    tolerance = {"rtol": 1e-5, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    assert_close(after.double(), expected[parts.own], **tolerance)
    assert_close(shared_after.double(), expected[parts.shared][:, :, 0], **tolerance)
    assert_close(total.double(), expected_total, **tolerance)


def test_many_parts_fill_the_list_of_terms_more_than_once():
    parts = Parts(list(range(150)), [])
    (traces, shared, x), (J, b), (h, d) = arguments(parts, 1, 2, 5, torch.float64)
    after, _ = advance(parts, traces, shared, x, J, b)
    assert_close(after, torch.einsum("klbn,lbni->kbni", J, traces) + b[..., None] * x[:, None])
    total = gradient(parts, traces, shared, x, h, d)
    assert_close(total, torch.einsum("kbn,kbni->ni", h, traces) + torch.einsum("bn,bi->ni", d, x))
