"""Forward propagation through time."""

import copy

import pytest
import torch
from torch import nn

import geir
from geir.learning import FPTT, Online, SLTT

CURVATURE, ALPHA = torch.tensor([1.0, 3.0, 0.5]).double(), 0.7


def quadratic(w, center):
    return (0.5 * CURVATURE * (w - center) ** 2).sum()


def parameter():
    return nn.Parameter(torch.tensor([2.0, -1.0, 0.5]).double())


class Newton(torch.optim.Optimizer):
    """Finds the minimum of a quadratic with the penalty in one step."""

    def __init__(self, parameters):
        super().__init__(parameters, {})

    def step(self):
        for p in self.param_groups[0]["params"]:
            p.sub_(p.grad / (CURVATURE + ALPHA))


def test_on_a_fixed_quadratic_weights_and_their_average_reach_the_minimum():
    w, center = parameter(), torch.tensor([1.0, 2.0, 3.0]).double()
    optimizer = FPTT(torch.optim.SGD([w], lr=0.1), alpha=ALPHA)
    for _ in range(2000):
        optimizer.zero_grad()
        quadratic(w, center).backward()
        optimizer.step()
    average, dual = optimizer.state[w]
    torch.testing.assert_close(w.detach(), center, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(average, center, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(dual, torch.zeros(3).double(), rtol=1e-9, atol=1e-9)


def test_with_exact_steps_the_dual_is_the_gradient_and_the_average_is_that_of_the_paper():
    w, average = parameter(), parameter().detach()
    optimizer = FPTT(Newton([w]), alpha=ALPHA)
    for center in torch.randn(20, 3).double():
        optimizer.zero_grad()
        quadratic(w, center).backward()
        optimizer.step()
        gradient = CURVATURE * (w.detach() - center)
        torch.testing.assert_close(optimizer.state[w].dual, gradient)
        average = (average + w.detach()) / 2 - gradient / (2 * ALPHA)
        torch.testing.assert_close(optimizer.state[w].average, average)


def test_without_dual_term_it_is_a_step_toward_the_average_and_grad_stays_that_of_the_loss():
    w = parameter()
    optimizer = FPTT(torch.optim.SGD([w], lr=0.1), alpha=ALPHA, beta=0.25, rho=1.0)
    x, average, dual = w.detach().clone(), w.detach().clone(), torch.zeros(3).double()
    for center in torch.randn(5, 3).double():
        optimizer.zero_grad()
        quadratic(w, center).backward()
        optimizer.step()
        torch.testing.assert_close(w.grad, CURVATURE * (x - center))
        x = x - 0.1 * (CURVATURE * (x - center) + ALPHA * (x - average))
        dual = dual - ALPHA * (x - average)
        average = 0.75 * average + 0.25 * x - 0.25 / ALPHA * dual
        torch.testing.assert_close(w.detach(), x)
    torch.testing.assert_close(optimizer.state[w].average, average)


@pytest.mark.parametrize("inner", [torch.optim.SGD, torch.optim.Adam], ids=lambda kind: kind.__name__)
def test_the_first_step_is_that_of_the_inner_optimizer(inner):
    w, other, unused = parameter(), parameter(), parameter()
    optimizer, plain = FPTT(inner([w, unused], lr=0.1)), inner([other], lr=0.1)
    for p in (w, other):
        quadratic(p, torch.zeros(3).double()).backward()
    optimizer.step()
    plain.step()
    assert torch.equal(w, other)
    assert torch.equal(unused, parameter())


def test_it_trains_a_network_whose_state_is_detached_at_every_step():
    xs = (torch.rand(40, 4, 6) < 0.4).float()
    model = geir.SequentialState(nn.Linear(6, 20), geir.LIF(v_th=0.2), nn.Linear(20, 2), geir.LI())
    learner, losses = Online(model, SLTT()), []
    optimizer = FPTT(torch.optim.Adam(model.parameters(), lr=1e-3))
    target = torch.tensor([0.5, -0.5]).expand(4, 2)
    for _ in range(4):
        state, losses = None, [*losses, 0.0]
        for x in xs:
            y, state = learner(x, state)
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(y, target)
            loss.backward()
            optimizer.step()
            losses[-1] += loss.item()
    assert losses[-1] < 0.7 * losses[0]


def test_a_state_dictionary_continues_the_run():
    w, twin = parameter(), parameter()
    centers = torch.randn(10, 3).double()

    def run(p, optimizer, centers):
        for center in centers:
            optimizer.zero_grad()
            quadratic(p, center).backward()
            optimizer.step()

    first = FPTT(torch.optim.Adam([w], lr=0.1))
    run(w, first, centers[:5])
    saved, twin.data = copy.deepcopy(first.state_dict()), w.detach().clone()
    run(w, first, centers[5:])
    second = FPTT(torch.optim.Adam([twin], lr=0.1))
    second.load_state_dict(saved)
    run(twin, second, centers[5:])
    assert torch.equal(w, twin)
    assert torch.equal(first.state[w].dual, second.state[twin].dual)
    with pytest.raises(ValueError, match="same number and shapes"):
        second.load_state_dict(torch.optim.Adam([twin]).state_dict())


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"alpha": 0.0}, "alpha must be positive"), ({"beta": -1.0}, "beta must be positive"),
     ({"beta": 1.5}, "beta must be at most 1, got 1.5"), ({"rho": 2.0}, "rho must be at least 0 and at most 1, got 2.0")],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        FPTT(torch.optim.SGD([parameter()], lr=0.1), **settings)


def test_something_else_than_an_optimizer_is_refused():
    with pytest.raises(TypeError, match=r"torch.optim.Adam\(model.parameters\(\)\), got \[\]"):
        FPTT([])
