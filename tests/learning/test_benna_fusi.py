"""Benna-Fusi synapses."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import geir
from geir.learning import BennaFusi


def rates(n, tau):
    """The published equations, as a matrix."""
    C = [2.0**k for k in range(n)]
    g = [2.0**-k / tau for k in range(n)]
    A = np.zeros((n, n))
    for k in range(n):
        if k > 0:
            A[k, k - 1] += g[k - 1] / C[k]
            A[k, k] -= g[k - 1] / C[k]
        A[k, k] -= g[k] / C[k]
        if k + 1 < n:
            A[k, k + 1] += g[k] / C[k]
    return A


def solution(n, tau, start, t):
    """At time t, by eigenvalues."""
    values, vectors = np.linalg.eig(rates(n, tau))
    return (vectors @ np.diag(np.exp(values * t)) @ np.linalg.inv(vectors) @ start).real


@pytest.mark.parametrize(("n", "tau"), [(2, 3.0), (5, 0.5), (6, 10.0)])
def test_the_chain_is_the_exact_solution_of_the_published_equations(n, tau):
    p = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    synapses = BennaFusi([p], n, tau)
    with torch.no_grad():
        p += torch.tensor([1.0, -0.5]).double()
    for _ in range(37):
        synapses.step()
    expected = solution(n, tau, np.eye(n)[0], 37)
    np.testing.assert_allclose(p.detach(), [expected[0], -0.5 * expected[0]], rtol=1e-9)
    np.testing.assert_allclose(synapses.state[p]["hidden"][:, 0], expected[1:], rtol=1e-9, atol=1e-15)


def test_a_memory_decays_with_the_square_root_of_time():
    n, tau = 8, 1.0
    p = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    synapses = BennaFusi([p], n, tau)
    with torch.no_grad():
        p += 1.0
    trace = []
    for _ in range(4096):
        synapses.step()
        trace.append(p.item())
    t = np.arange(1, 4097)
    # From some tau to below 4^(n-1) tau = 16,384.
    chosen = (t > 8) & (t < 2048)
    slope = np.polyfit(np.log(t[chosen]), np.log(np.array(trace)[chosen]), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.03)
    # A single variable that decays as fast at first would have vanished.
    assert trace[1023] > 1e3 * np.exp(-1024 / tau)
    scaled = np.array(trace)[chosen] * np.sqrt(t[chosen])
    assert scaled.max() / scaled.min() < 1.25


def test_opposite_changes_cancel_and_the_older_memory_returns():
    p = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    synapses = BennaFusi([p], 6, 5.0)
    with torch.no_grad():
        p += 1.0
    for _ in range(300):
        synapses.step()
    with torch.no_grad():
        p -= 2 * p.item()
    assert p.item() < 0
    for _ in range(300):
        synapses.step()
    assert p.item() > 0


def test_a_weight_that_has_not_changed_stays():
    p = nn.Parameter(torch.full((3,), 2.0, dtype=torch.float64))
    synapses = BennaFusi([p], 8, 10.0)
    for _ in range(100):
        synapses.step()
    # The leak at the end of the chain has a time constant of 4^7 tau.
    torch.testing.assert_close(p.detach(), torch.full((3,), 2.0).double(), rtol=1e-3, atol=0)


def test_it_follows_any_optimizer():
    A, p = rates(4, 5.0), nn.Parameter(torch.tensor([0.3, -0.2]).double())
    optimizer, synapses = torch.optim.SGD([p], lr=0.1), BennaFusi([p], 4, 5.0)
    values, vectors = np.linalg.eig(A)
    step = (vectors @ np.diag(np.exp(values)) @ np.linalg.inv(vectors)).real
    u = np.tile(p.detach().numpy(), (4, 1))
    for _ in range(20):
        optimizer.zero_grad()
        (p - 1).square().sum().backward()
        optimizer.step()
        synapses.step()
        u[0] -= 0.1 * 2 * (u[0] - 1)
        u = step @ u
    np.testing.assert_allclose(p.detach(), u[0], rtol=1e-9)


def test_it_follows_a_plastic_layer():
    torch.manual_seed(0)
    connection = nn.Linear(20, 4, bias=False)
    nn.init.uniform_(connection.weight, 0.2, 0.4)
    layer = geir.plasticity.Plastic(connection, geir.LIF(v_th=0.3), geir.plasticity.STDP())
    twin = copy.deepcopy(layer)
    synapses = BennaFusi([layer.connection.weight], variables=4, tau=2.0)
    before = layer.weight.detach().clone()
    for xs in (torch.rand(10, 40, 5, 20) < 0.2).float():
        layer(xs)
        twin(xs)
        synapses.step()
    assert (twin.weight - before).abs().max() > 1e-3
    # Changes flow into hidden variables.
    assert 0 < (layer.weight - before).abs().sum() < 0.9 * (twin.weight - before).abs().sum()


def test_parameter_groups_have_their_own_options():
    p, q = (nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in range(2))
    synapses = BennaFusi([{"params": [p], "tau": 2.0}], variables=5, tau=7.0)
    synapses.add_param_group({"params": [q], "variables": 3})
    with torch.no_grad():
        p += 1
        q += 1
    for _ in range(11):
        synapses.step()
    assert p.item() == pytest.approx(solution(5, 2.0, np.eye(5)[0], 11)[0], rel=1e-9)
    assert q.item() == pytest.approx(solution(3, 7.0, np.eye(3)[0], 11)[0], rel=1e-9)


def test_it_continues_from_a_state_dict():
    p = nn.Parameter(torch.zeros(3))
    synapses = BennaFusi([p], 5, 4.0)
    with torch.no_grad():
        p += torch.tensor([1.0, 2.0, 3.0])
    synapses.step()
    q = nn.Parameter(p.detach().clone())
    resumed = BennaFusi([q])
    resumed.load_state_dict(copy.deepcopy(synapses.state_dict()))
    for _ in range(5):
        assert synapses.step(lambda: 3.0) == 3.0
        resumed.step()
    assert torch.equal(p, q)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variables": 1}, "BennaFusi: variables must be an integer >= 2, got 1"),
        ({"variables": 2.5}, "BennaFusi: variables must be an integer >= 2, got 2.5"),
        ({"tau": 0.0}, "BennaFusi: tau must be positive and finite, got 0.0"),
    ],
)
def test_options_out_of_range_raise(options, message):
    with pytest.raises(ValueError, match=message):
        BennaFusi([nn.Parameter(torch.zeros(1))], **options)
    with pytest.raises(ValueError, match=message):
        BennaFusi([nn.Parameter(torch.zeros(1))]).add_param_group({"params": [nn.Parameter(torch.zeros(1))], **options})
