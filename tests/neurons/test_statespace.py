"""Linear recurrences by parallel scan, and the neurons that are made of them."""

import math

import numpy as np
import pytest
import torch

import geir
from geir.neurons import linear_scan, statespace, StateSpaceNeuron
from geir.neurons.statespace import StateSpaceState

DOUBLE, COMPLEX = torch.float64, torch.complex128
STEPS = 45


def recurrence(decay, xs, h):
    hs = []
    for t in range(len(xs)):
        h = (decay[t] if len(decay) > 1 else decay[0]) * h + xs[t]
        hs.append(h)
    return np.stack(hs)


@pytest.fixture(params=["on the CPU", "as on a GPU"])
def algorithm(request, monkeypatch):
    if request.param == "as on a GPU":
        monkeypatch.setattr(statespace, "_step_by_step", statespace._by_doubling)


@pytest.mark.usefixtures("algorithm")
@pytest.mark.parametrize("dtype", [DOUBLE, COMPLEX])
@pytest.mark.parametrize("decay_shape", [(1, 1, 4), (STEPS, 3, 4), (STEPS, 1, 1)])
@pytest.mark.parametrize("steps", [1, 2, 7, 32, STEPS])
def test_a_scan_is_the_recurrence(dtype, decay_shape, steps):
    torch.manual_seed(2)
    decay = torch.randn(decay_shape, dtype=dtype)[:steps].sgn() * torch.rand(decay_shape, dtype=DOUBLE)[:steps]
    xs, initial = torch.randn(steps, 3, 4, dtype=dtype), torch.randn(3, 4, dtype=dtype)
    expected = recurrence(decay.numpy(), xs.numpy(), initial.numpy())
    np.testing.assert_allclose(linear_scan(decay, xs, initial), expected, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(
        linear_scan(decay, xs), recurrence(decay.numpy(), xs.numpy(), 0 * initial.numpy()), rtol=1e-11, atol=1e-11
    )


def test_a_scan_with_the_decay_of_a_membrane_is_that_of_the_kernels():
    xs = torch.randn(200, 3, dtype=DOUBLE)
    neuron = geir.LIBox().double()
    beta = math.exp(-1e-3 / neuron.tau_mem.item())
    vs, _ = neuron(xs)
    torch.testing.assert_close(linear_scan(torch.tensor(beta, dtype=DOUBLE), (1 - beta) * xs), vs, rtol=1e-10, atol=0)


@pytest.mark.usefixtures("algorithm")
@pytest.mark.parametrize("decay_shape", [(), (3,), (1, 3), (6, 3), (6, 1)])
@pytest.mark.parametrize("dtype", [DOUBLE, COMPLEX])
def test_gradients_of_a_scan_are_those_of_finite_differences(decay_shape, dtype):
    torch.manual_seed(4)
    decay = (0.7 * torch.randn(decay_shape, dtype=dtype)).requires_grad_()
    xs, initial = (torch.randn(shape, dtype=dtype, requires_grad=True) for shape in ((6, 3), (3,)))
    assert torch.autograd.gradcheck(linear_scan, (decay, xs, initial))
    assert torch.autograd.gradgradcheck(linear_scan, (decay, xs, initial))


def test_a_real_decay_of_complex_input_has_a_real_gradient():
    decay = torch.tensor(0.5, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(linear_scan, (decay, torch.randn(5, 2, dtype=COMPLEX)))


def neuron_and_input(**settings):
    torch.manual_seed(0)
    neuron = StateSpaceNeuron(3, shape=(5,), **settings).double()
    with torch.no_grad():
        neuron.log_step += 2
    return neuron, 3 * torch.randn(60, 2, 5, dtype=DOUBLE)


def test_a_state_space_neuron_is_the_exact_solution_of_its_equation():
    neuron, xs = neuron_and_input(surrogate=lambda y: y)
    p = {name: value.detach().numpy() for name, value in neuron.named_parameters()}
    rate = -np.exp(p["log_decay"]) + 1j * p["frequency"]
    step = np.exp(p["log_step"])[:, None]
    c = p["output_weight"][..., 0] + 1j * p["output_weight"][..., 1]
    h, expected = np.zeros((2, 5, 3), dtype=complex), []
    for x in xs.numpy():
        # Runge-Kutta with small steps, for input that is constant.
        n, current = 200, x[..., None]
        for _ in range(n):
            k1 = rate * h + current
            k2 = rate * (h + step / n / 2 * k1) + current
            k3 = rate * (h + step / n / 2 * k2) + current
            k4 = rate * (h + step / n * k3) + current
            h = h + step / n / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        expected.append((c * h).sum(-1).real + p["input_weight"] * x - p["threshold"])
    distances, state = neuron(xs)
    np.testing.assert_allclose(distances.detach(), expected, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(state.h.detach(), h, rtol=1e-7)
    zs, _ = neuron_and_input()[0](xs)
    assert 0.1 < zs.mean() < 0.9
    assert torch.equal(zs, (distances > 0).double())


@pytest.mark.usefixtures("algorithm")
def test_it_runs_in_chunks_and_step_by_step():
    neuron, xs = neuron_and_input(surrogate=lambda y: y)
    expected, last = neuron(xs)
    for sizes in ([1, 20, 0, 39], [1] * 60):
        parts, state = [], None
        for chunk in xs.split(sizes):
            part, state = neuron(chunk, state)
            parts.append(part)
        torch.testing.assert_close(torch.cat(parts), expected, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(state.h, last.h, rtol=1e-10, atol=1e-10)


def test_its_eigenvalues_decay_and_its_steps_are_in_their_range():
    neuron = StateSpaceNeuron(4, shape=(1000,))
    step = neuron.log_step.exp()
    assert 0.001 <= step.min() < 0.002
    assert 0.05 < step.max() <= 0.1
    torch.testing.assert_close(neuron.log_decay.exp(), torch.full((1000, 4), 0.5))
    torch.testing.assert_close(neuron.frequency[7], math.pi * torch.arange(4.0))


def test_all_parameters_train_inside_a_network_of_images():
    model = geir.SequentialState(
        torch.nn.Conv2d(2, 8, 3), StateSpaceNeuron(4, shape=(8, 1, 1)), torch.nn.Flatten(), lift=True
    )
    zs, _ = model(4 * torch.rand(12, 3, 2, 6, 6))
    assert zs.shape == (12, 3, 8 * 16)
    zs.sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_its_state_is_saved_and_loaded(tmp_path):
    neuron, xs = neuron_and_input()
    _, state = neuron(xs)
    torch.save(state, tmp_path / "state.pt")
    torch.testing.assert_close(neuron(xs, torch.load(tmp_path / "state.pt"))[0], neuron(xs, state)[0])


XS = torch.rand(10, 2, 5, generator=torch.Generator().manual_seed(0))
CASES = {
    "a scan without time": (
        lambda: linear_scan(torch.tensor(0.5), torch.tensor(1.0)),
        r"linear_scan expected input of shape \(time, ...\)",
    ),
    "decays of another shape": (
        lambda: linear_scan(torch.rand(3), XS),
        r"linear_scan.decay has shape \(3,\), which does not broadcast to the input, \(10, 2, 5\)",
    ),
    "an initial value of another shape": (
        lambda: linear_scan(torch.tensor(0.5), XS, torch.zeros(5)),
        r"linear_scan expected as `initial` a tensor of the shape of one step of input, \(2, 5\), got shape \(5,\)",
    ),
    "no states": (lambda: StateSpaceNeuron(0), "StateSpaceNeuron.states must be a positive number of states, got 0"),
    "parameters of another shape": (
        lambda: StateSpaceNeuron(2, shape=(4,))(XS),
        r"StateSpaceNeuron.threshold has shape \(4,\), which does not broadcast to one step of input, \(2, 5\)",
    ),
    "a shape with a negative size": (
        lambda: StateSpaceNeuron(2, shape=(-4,)),
        r"StateSpaceNeuron.shape must be a tuple of positive integers such as \(100,\), got \(-4,\)",
    ),
    "a state of another shape": (
        lambda: StateSpaceNeuron(2)(XS, StateSpaceState(torch.zeros(2, 5))),
        r"StateSpaceState.h has shape \(2, 5\), but StateSpaceNeuron needs \(2, 5, 2\)",
    ),
    "input without time": (
        lambda: StateSpaceNeuron(2)(torch.tensor(1.0)),
        r"StateSpaceNeuron runs over time: expected input of shape \(time, ...\)",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_input_raises(case):
    call, message = CASES[case]
    with pytest.raises(ValueError, match=message):
        call()
