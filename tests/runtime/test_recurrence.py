"""Recurrent models: the output feeds back inside the kernel or through a module."""

import pytest
import torch
from runtime_helpers import with_reference
from seeding import seeded
from torch import nn

import geir
from geir._runtime import sparse
from geir.testing import close, run


class TestRecurrent:
    @pytest.mark.parametrize("model", [geir.LIF, geir.ALIF, geir.AdEx, geir.LIFRefrac], ids=lambda m: m.__name__)
    @pytest.mark.parametrize("record", [False, True])
    def test_is_the_reference_with_all_gradients(self, model, record):
        torch.manual_seed(0)
        net = geir.Recurrent(
            model(tau_mem=nn.Parameter(torch.full((6,), 9e-3))) if model is geir.LIF else model(),
            5,
            6,
            record_states=record,
        ).double()
        with torch.no_grad():
            net.input_weights.mul_(8)
        xs = torch.rand(50, 3, 5, dtype=torch.float64)
        actual, expected = run(net, xs), run(with_reference(net), xs)
        assert expected["zs"].sum() > 10
        close(actual, expected)

    @pytest.mark.parametrize(
        ("gain", "least", "most"),
        [(1.0, 0.005, sparse._gate.MAX_DENSITY), (30.0, sparse._gate.MAX_DENSITY, 1.0)],
        ids=["few", "many"],
    )
    @pytest.mark.parametrize("size", [40, 1500])  # one thread and several; more neurons than a block holds
    def test_few_spikes_and_many_give_the_references(self, gain, least, most, size):
        torch.manual_seed(0)
        net = geir.LIFRecurrent(5, size, v_th=torch.linspace(0.9, 1.1, size)).double()
        xs = gain * torch.rand(20, 3, 5, dtype=torch.float64) * (torch.arange(5) < 2)
        actual = run(net, xs)
        assert least < actual["zs"].mean() < most
        close(actual, run(with_reference(net), xs))

    def test_per_sample_gradients_and_ensembles(self):
        torch.manual_seed(0)
        net = geir.LIFRecurrent(5, 6).double()
        with torch.no_grad():
            net.input_weights.mul_(8)
        xs, parameters = torch.rand(30, 3, 5, dtype=torch.float64), dict(net.named_parameters())

        def loss(values, x):
            return (torch.func.functional_call(net, values, (x,))[0] * torch.linspace(-1, 1, 6)).sum()

        each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 1))(parameters, xs)
        stacked = {name: torch.stack([p.detach(), 1.1 * p.detach()]) for name, p in parameters.items()}
        both = torch.func.vmap(loss, in_dims=(0, None))(stacked, xs)
        net.unroll = geir.reference
        for name, gradients in each.items():
            close(gradients, torch.stack([torch.func.grad(loss)(parameters, xs[:, k])[name] for k in range(3)]))
        close(both, torch.stack([loss({name: p[k] for name, p in stacked.items()}, xs) for k in range(2)]))

    @pytest.mark.parametrize(
        "connection",
        seeded(
            lambda: [
                nn.Linear(6, 6),
                nn.Linear(6, 6, bias=False),
                nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 6)),
                nn.Identity(),
            ]
        ),
        ids=["Linear", "without bias", "Sequential", "Identity"],
    )
    def test_any_module_may_feed_back(self, connection):
        torch.manual_seed(0)
        net = geir.LIFRecurrent(5, 6, recurrent_weights=connection).double()
        with torch.no_grad():
            net.input_weights.mul_(8)
        xs = torch.rand(50, 3, 5, dtype=torch.float64)
        close(run(net, xs), run(with_reference(net), xs))


def test_gradients_through_a_recurrent_module_can_be_computed_twice():
    torch.manual_seed(0)
    net = geir.LIFRecurrent(5, 6, recurrent_weights=nn.Sequential(nn.Linear(6, 6), nn.Tanh())).double()
    xs = 8 * torch.rand(20, 3, 5, dtype=torch.float64)
    loss = net(xs)[0].sum()
    parameters = list(net.parameters())
    close(torch.autograd.grad(loss, parameters, retain_graph=True), torch.autograd.grad(loss, parameters))
