"""`Leaky` and `SynapticLeaky`: the recursions of snnTorch."""

import itertools

import pytest
import torch
from torch import nn

import geir
from geir import Leaky, LeakyCell, LeakyRecurrent, learnable, ResetBySubtraction, ResetToValue, SynapticLeaky
from geir.surrogates import ATan, SuperSpike


def by_hand(xs, beta, v_th, subtract, delay, alpha=None):
    """Spikes and potentials, computed neuron by neuron with plain numbers."""
    zs, vs = torch.zeros_like(xs), torch.zeros_like(xs)
    for k in range(xs.shape[1]):
        v = i = z = 0.0
        for t in range(len(xs)):
            i = xs[t, k].item() if alpha is None else alpha * i + xs[t, k].item()
            decayed = beta * v
            if delay and z:
                decayed = decayed - v_th if subtract else 0.0
            v = decayed + i
            z = float(v > v_th)
            if not delay and z:
                v = v - v_th if subtract else 0.0
            zs[t, k], vs[t, k] = z, v
    return zs, vs


@pytest.mark.parametrize("alpha", [None, 0.7])
@pytest.mark.parametrize("delay", [True, False])
@pytest.mark.parametrize("subtract", [True, False])
def test_the_recursion_is_the_published_one(subtract, delay, alpha):
    xs = torch.rand(60, 5, dtype=torch.float64) * (0.6 if alpha is None else 0.2)
    kind = Leaky if alpha is None else SynapticLeaky
    neuron = kind(
        beta=0.85,
        v_th=0.8,
        reset_delay=delay,
        reset_mechanism=ResetBySubtraction() if subtract else ResetToValue(),
        record_states=True,
        **({} if alpha is None else {"alpha": alpha}),
    ).double()
    zs, states = neuron(xs)
    expected_zs, expected_vs = by_hand(
        xs, neuron.beta.item(), neuron.v_th.item(), subtract, delay, alpha and neuron.alpha.item()
    )
    assert zs.sum() > 10
    assert torch.equal(zs, expected_zs)
    torch.testing.assert_close(states.v, expected_vs, rtol=1e-12, atol=1e-12)


def test_a_spike_one_step_later_leaves_the_potential_above_threshold_in_the_record():
    _, late = Leaky(record_states=True)(torch.full((30, 1), 0.4))
    _, at_once = Leaky(record_states=True, reset_delay=False)(torch.full((30, 1), 0.4))
    assert late.v.max() > 1 >= at_once.v.max()


def test_the_gain_is_one_and_that_of_the_current_driven_neuron_is_one_minus_beta():
    beta = 0.9
    x = torch.tensor([[0.5]], requires_grad=True)
    Leaky(beta=beta, record_states=True)(x)[1].v.sum().backward()
    assert x.grad.item() == pytest.approx(1.0)
    y = torch.tensor([[0.5]], requires_grad=True)
    box = geir.LIFBox(tau_mem=float(-1e-3 / torch.log(torch.tensor(beta))), record_states=True)
    box(y)[1].v.sum().backward()
    assert y.grad.item() == pytest.approx(1 - beta, rel=1e-5)


def test_the_decay_is_learnable_and_stays_between_zero_and_one():
    neuron = Leaky(beta=learnable(0.9))
    assert [name for name, _ in neuron.named_parameters()] == ["logit_beta"]
    optimizer = torch.optim.SGD(neuron.parameters(), lr=1e4)
    for sign in (-1, 1, 1):
        zs, state = neuron(torch.full((20, 3), 0.3))
        optimizer.zero_grad()
        (sign * state.v.sum()).backward()
        optimizer.step()
        assert 0 <= neuron.beta.item() <= 1
    assert Leaky(beta=1.0).beta == 1
    assert Leaky(beta=0.0).beta == 0


def test_all_forms_exist_and_run():
    xs = torch.rand(20, 2, 3)
    cell, state = LeakyCell(beta=0.8), None
    zs = []
    for x in xs:
        z, state = cell(x, state)
        zs.append(z)
    assert torch.equal(torch.stack(zs), Leaky(beta=0.8)(xs)[0])
    assert LeakyRecurrent(3, 4)(xs)[0].shape == (20, 2, 4)
    assert geir.neurons.SynapticLeakyRecurrentCell(3, 4)(xs[0])[0].shape == (2, 4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Leaky(beta=1.1), ValueError, "Leaky.beta must be <= 1.0, got 1.1"),
        (lambda: Leaky(beta=-0.1), ValueError, "Leaky.beta must be >= 0.0, got -0.1"),
        (lambda: Leaky(beta=learnable(1.0)), ValueError, "Leaky.beta is learnable only < 1.0, got 1.0"),
        (lambda: Leaky(beta=learnable(0.0)), ValueError, "Leaky.beta is learnable only > 0.0, got 0.0"),
        (lambda: SynapticLeaky(alpha=2.0), ValueError, "SynapticLeaky.alpha must be <= 1.0, got 2.0"),
        (lambda: Leaky(reset_delay=1), TypeError, "Leaky.reset_delay must be True or False, got 1"),
    ],
)
def test_bad_decays_are_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


# snnTorch, from the same weights.


def peer_network(snntorch, widths, beta, surrogate):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linears = nn.ModuleList([nn.Linear(a, b) for a, b in itertools.pairwise(widths)])
            self.neurons = nn.ModuleList([snntorch.Leaky(beta=beta, spike_grad=surrogate) for _ in widths[1:]])

        def forward(self, xs):
            states = [neuron.init_leaky() for neuron in self.neurons]
            zs, vs = [], []
            for x in xs:
                for k, (linear, neuron) in enumerate(zip(self.linears, self.neurons, strict=True)):
                    x, states[k] = neuron(linear(x.to(linear.weight.dtype)), states[k])
                zs.append(x)
                vs.append(states[-1])
            return torch.stack(zs), torch.stack(vs)

    return Net()


def same_network(peer, widths, beta, surrogate):
    modules = [m for _ in widths[1:] for m in (nn.Linear(1, 1), Leaky(beta=beta, surrogate=surrogate))]
    modules[-1].record_states = True
    model = geir.SequentialState(*modules, lift=True)
    for k, linear in enumerate(peer.linears):
        model[2 * k] = nn.Linear(linear.in_features, linear.out_features)
        model[2 * k].load_state_dict(linear.state_dict())
    return model


def test_the_network_of_snntorch_tutorial_5_has_the_loss_curve_of_snntorch(real_data):
    snntorch = pytest.importorskip("snntorch", reason="the oracle of this test is snnTorch")
    import numpy as np

    data = np.load(real_data / "mnist.npz")
    images = torch.tensor(data["train_images"][: 50 * 32], dtype=torch.float32).flatten(1) / 255
    labels = torch.tensor(data["train_labels"][: 50 * 32].astype("int64"))
    widths, beta, steps = (784, 1000, 10), 0.95, 25
    # Tutorial 5 uses snnTorch's default surrogate, an arc tangent of slope 2.
    peer = peer_network(snntorch, widths, beta, None)
    # In float32 a potential within rounding of the threshold decides about a spike, and after some steps of training
    # one of the neurons is.
    model = same_network(peer, widths, beta, ATan(2.0)).double()
    peer.double()
    images = images.double()
    losses = {}
    for name, net in (("snntorch", peer), ("geir", model)):
        optimizer = torch.optim.Adam(net.parameters(), lr=5e-4, betas=(0.9, 0.999))
        losses[name] = []
        for x, target in zip(images.split(32), labels.split(32), strict=True):
            _, states = net(x.expand(steps, *x.shape))
            vs = states if name == "snntorch" else states[-1].v
            loss = sum(nn.functional.cross_entropy(v, target) for v in vs)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[name].append(loss.item())
    torch.testing.assert_close(torch.tensor(losses["geir"]), torch.tensor(losses["snntorch"]), rtol=1e-6, atol=0)
    assert losses["geir"][-1] < 0.5 * losses["geir"][0], "the network learned"


def test_population_coding_in_one_step_learns_as_in_snntorch(real_data):
    snntorch = pytest.importorskip("snntorch", reason="the oracle of this test is snnTorch")
    import numpy as np
    from snntorch import functional as peer_functional, surrogate as peer_surrogate

    data = np.load(real_data / "mnist.npz")
    images = torch.tensor(data["train_images"][: 150 * 64], dtype=torch.float32).flatten(1) / 255
    labels = torch.tensor(data["train_labels"][: 150 * 64].astype("int64"))
    widths, beta = (784, 128, 200), 0.9
    peer = peer_network(snntorch, widths, beta, peer_surrogate.fast_sigmoid(slope=25))
    model = same_network(peer, widths, beta, SuperSpike(25.0))
    peer_loss = peer_functional.mse_count_loss(
        correct_rate=1.0, incorrect_rate=0.0, population_code=True, num_classes=10
    )
    losses, accuracy = {}, {}
    for name, net in (("snntorch", peer), ("geir", model)):
        optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
        losses[name] = []
        for x, target in zip(images.split(64), labels.split(64), strict=True):
            zs = net(x[None])[0]
            loss = peer_loss(zs, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[name].append(loss.item())
        test_images = torch.tensor(data["test_images"][:1000], dtype=torch.float32).flatten(1) / 255
        with torch.no_grad():
            zs = net(test_images[None])[0]
        votes = zs.sum(0).unflatten(1, (10, 20)).sum(2)
        correct = votes.argmax(1) == torch.tensor(data["test_labels"][:1000].astype("int64"))
        accuracy[name] = correct.float().mean().item()
    assert accuracy["geir"] > 0.65, accuracy
    assert accuracy["geir"] == pytest.approx(accuracy["snntorch"], abs=0.03), accuracy
