"""Neurons with several receptors: on every path equal to the reference loop, and to solutions that are not geir's."""

import copy
import math

import pytest
import torch
from receptor_cases import CASES, Gated, GateInput, SomaInput, TwoCompartment
from seeding import seeded
from torch import nn

import geir
from geir.connections import Receptors
from geir.neurons import ReceptorInput, ReceptorLIF
from geir.testing import check_neuron, close, learnable_copy, run, strong_input

every_case = pytest.mark.parametrize(("neuron", "kind"), CASES, ids=lambda case: getattr(case, "__name__", repr(case)))


def doubled(neuron, kind):
    neuron = copy.deepcopy(neuron).double()
    return neuron, strong_input(neuron, input_type=kind)


@every_case
def test_the_kernel_equals_the_reference_with_the_gradients_of_all_receptors(neuron, kind, recwarn):
    model, xs = doubled(neuron, kind)
    model = learnable_copy(model)
    for model.record_states in (False, True):
        model.unroll = geir.reference
        expected = run(model, xs)
        assert expected["zs"].sum() > 10
        assert all((gradient != 0).any() for gradient in expected["xs.grad"])
        for checkpoint_every in (None, 7):
            model.unroll = geir.Fused(checkpoint_every=checkpoint_every)
            close(run(model, xs), expected)
    assert not recwarn, "it ran on the reference loop"


@pytest.mark.parametrize("neuron", [Gated(), TwoCompartment()], ids=repr)
def test_models_with_several_receptors_keep_the_contract(neuron):
    check_neuron(neuron)


def test_a_receptor_that_does_nothing_breaks_the_contract():
    class Deaf(Gated):
        def step(self, x, state):
            return super().step(x._replace(gate=torch.zeros_like(x.gate)), state)

    with pytest.raises(AssertionError, match="with input GateInput breaks the contract.*receptor gate"):
        check_neuron(Deaf())


def test_the_exact_solution_is_that_of_the_matrix_exponential():
    neuron = TwoCompartment(dt=3e-3, v_th=1e9).double()
    xs = SomaInput(*torch.rand(2, 20, 4, dtype=torch.float64))
    _, state = neuron(xs)
    for k in range(4):
        s = torch.zeros(2, dtype=torch.float64)
        for soma, dendrite in zip(xs.soma[:, k], xs.dendrite[:, k], strict=True):
            matrix = torch.zeros(3, 3, dtype=torch.float64)
            matrix[:2, :2] = torch.tensor([[-1.7, 0.7], [0.7, -1.7]])
            matrix[:2, 2] = torch.stack([soma + 0.1, 2 * dendrite])
            s = (torch.matrix_exp(matrix * 3e-3 / 20e-3) @ torch.cat([s, torch.ones(1, dtype=torch.float64)]))[:2]
        close(torch.stack([state.v[k], state.dendrite[k]]), s, 1e-6)


def test_excitation_and_inhibition_in_the_same_step_do_not_cancel():
    exc, inh = torch.full((200, 1), 0.2), torch.full((200, 1), 0.15)
    separate = geir.CobaLIF(record_states=True)(geir.ConductanceInput(exc, inh))[1]
    summed = geir.CobaLIF(record_states=True)(exc - inh)[1]
    for state, jumps in ((separate, (0.2, 0.15)), (summed, (0.05, 0.0))):
        g_exc = g_inh = torch.zeros(())
        for _ in range(200):
            g_exc, g_inh = (g_exc + jumps[0]) * math.exp(-1 / 5), (g_inh + jumps[1]) * math.exp(-1 / 10)
        close((state.g_exc[-1, 0], state.g_inh[-1, 0]), (g_exc, g_inh), 1e-5)


def test_one_signed_input_gives_what_its_two_signs_give():
    neuron = geir.CobaLIF()
    xs = torch.randn(50, 3, 4, generator=torch.Generator().manual_seed(0))
    assert neuron(xs)[0].sum() > 10
    close(neuron(xs), neuron(geir.ConductanceInput(exc=xs.relu(), inh=(-xs).relu())), 0.0)
    close(neuron(xs), neuron(xs), 0.0)


def test_receptor_lif_follows_its_equations():
    """Against the classical Runge-Kutta method, written out, with steps a quarter as long."""
    dt, substeps, size = 0.1e-3, 4, 400
    xs = torch.zeros(3, size, dtype=torch.float64)
    xs[0, 250], xs[1, 20], xs[2, 330] = 2.0, 2.0, 0.5  # AMPA, NMDA, GABA
    _, state = ReceptorLIF(dt=dt, v_th=1e9, record_states=True, integrator=geir.RungeKutta4()).double()(
        ReceptorInput(*xs)
    )

    def slopes(v, ampa, nmda, rise, gaba):
        block = 1 + math.exp(-0.062 * v) / 3.57
        dv = (-70 - v - (ampa + nmda / block) * v + gaba * (-70 - v)) / 20e-3
        return dv, -ampa / 2e-3, -nmda / 100e-3 + 500 * rise, -rise / 2e-3, -gaba / 10e-3

    def moved(s, k, h):
        return [part + h * slope for part, slope in zip(s, k, strict=True)]

    s, h, potentials = [-70.0, 0.0, 0.0, 0.0, 0.0], dt / substeps, []
    for ampa, nmda, gaba in xs.T.tolist():
        s = [s[0], s[1] + ampa, s[2], s[3] + nmda, s[4] + gaba]
        for _ in range(substeps):
            k1 = slopes(*s)
            k2 = slopes(*moved(s, k1, h / 2))
            k3 = slopes(*moved(s, k2, h / 2))
            k4 = slopes(*moved(s, k3, h))
            s = moved(s, [(a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(k1, k2, k3, k4, strict=True)], h)
        potentials.append(s[0])
    # Each receptor moves the potential.
    assert potentials[249] > -67
    assert max(potentials[250:330]) > potentials[249] + 2
    assert potentials[-1] < potentials[329] - 0.5
    close(state.v, torch.tensor(potentials, dtype=torch.float64), 1e-5)


def test_cells_containers_and_recurrence_take_receptors():
    torch.manual_seed(0)
    spikes = (torch.rand(40, 2, 5) < 0.5).float()

    def receptors(inputs):
        connections = Receptors(geir.ConductanceInput, exc=nn.Linear(inputs, 4), inh=nn.Linear(inputs, 4))
        for parameter in connections.parameters():
            nn.init.uniform_(parameter, 0, 0.3)
        return connections

    first, second = receptors(5), receptors(4)
    neuron = geir.neurons.CobaLIFRecurrent(5, 4, input_weights=first, recurrent_weights=second)
    zs, _ = neuron(spikes)
    assert zs.sum() > 10

    cell, state, z, outputs = geir.CobaLIFCell(), None, torch.zeros(2, 4), []
    for x in spikes:
        inputs = geir.ConductanceInput(first.exc(x) + second.exc(z), first.inh(x) + second.inh(z))
        z, state = cell(inputs, state)
        outputs.append(z)
    close(zs, torch.stack(outputs), 1e-5)
    close(
        zs,
        geir.neurons.CobaLIFRecurrent(5, 4, input_weights=first, recurrent_weights=second, unroll=geir.reference)(
            spikes
        )[0],
        1e-5,
    )

    expected = geir.CobaLIF()(geir.ConductanceInput(first.exc(spikes), first.inh(spikes)))[0]
    for model in (
        geir.SequentialState(first, geir.CobaLIF(), lift=True),
        geir.SequentialState(geir.Lift(first), geir.CobaLIF()),
        geir.Lift(geir.SequentialState(first, geir.CobaLIFCell())),
        geir.SequentialState(geir.Lift(first), geir.Lift(geir.CobaLIFCell())),
    ):
        close(model(spikes)[0], expected, 1e-5)


def test_wrappers_around_recurrent_neurons_take_the_input_of_its_weights():
    recurrent = geir.Recurrent(Gated(), 3, 2, input_weights=receptors(), recurrent_weights=receptors(2))
    neuron = geir.Refractory(recurrent, unroll=geir.reference)
    assert neuron(torch.rand(10, 1, 3))[0].shape == (10, 1, 2)
    message = r"Recurrent has several receptors, so its weights .* Receptors\(GateInput, current=..., gate=...\)"
    with pytest.raises(TypeError, match=message):
        geir.Recurrent(Gated(), 3, 2)
    neuron = geir.Recurrent(Gated(), 3, 2, input_weights=nn.Linear(3, 2), recurrent_weights=receptors(2))
    with pytest.raises(TypeError, match="Recurrent has several receptors: expected GateInput, got a tensor"):
        neuron(torch.rand(10, 1, 3))


def test_one_model_may_alternate_between_its_types_of_input():
    neuron, xs = geir.CobaLIF(), torch.rand(30, 2, 3)
    both = geir.ConductanceInput(xs, xs / 2)
    expected = [geir.CobaLIF(unroll=geir.reference)(x) for x in (xs, both)]
    for _ in range(3):
        close([neuron(xs), neuron(both)], expected, 1e-6)


def test_compiled_and_exported_models_take_receptors():
    neuron, xs = Gated(), GateInput(3 * torch.rand(10, 2, 3), torch.rand(10, 2, 3))
    exported = torch.export.export(neuron, (xs,)).module()
    close(exported(xs), neuron(xs), 0.0)
    assert neuron(xs)[0].sum() > 5


WRONG = [
    (Gated(), torch.zeros(5, 2), TypeError, r"several receptors: expected GateInput, got a tensor; pass GateInput\("),
    (
        geir.LIF(),
        GateInput(torch.zeros(5), torch.zeros(5)),
        TypeError,
        "has one receptor: expected a tensor, got GateI",
    ),
    (geir.LIF(), geir.neurons.LIFState(torch.zeros(5), torch.zeros(5)), TypeError, "expected a tensor, got LIFState"),
    (geir.CobaLIF(), GateInput(torch.zeros(5), torch.zeros(5)), TypeError, "Tensor or ConductanceInput, got GateInput"),
    (Gated(), GateInput(torch.zeros(5, 2), torch.zeros(5, 3)), ValueError, r"gate has shape \(5, 3\).*zeros_like"),
    (Gated(), GateInput(torch.zeros(5, 2), None), TypeError, "expected a tensor as GateInput.gate, got NoneType"),
    (Gated(), GateInput(torch.zeros(5), torch.zeros(5).int()), TypeError, r"int32; convert it with .float\(\)"),
    (Gated(), GateInput(torch.zeros(5), torch.zeros(5).double()), TypeError, r"float64, but GateInput.current is"),
    (
        seeded(
            lambda: geir.Recurrent(
                Gated(),
                2,
                3,
                input_weights=Receptors(GateInput, current=nn.Linear(2, 3), gate=nn.Linear(2, 4)),
                recurrent_weights=nn.Identity(),
            )
        ),
        torch.zeros(5, 1, 2),
        ValueError,
        r"GateInput.gate has shape \(5, 1, 4\), but GateInput.current has \(5, 1, 3\)",
    ),
    (
        seeded(
            lambda: geir.neurons.CobaLIFRecurrent(
                2, 3, input_weights=Receptors(geir.ConductanceInput, exc=nn.Linear(2, 3), inh=nn.Linear(2, 3))
            )
        ),
        torch.zeros(5, 1, 2),
        TypeError,
        "recurrent connection, Tensor: both must reach the same receptors; make",
    ),
]


@pytest.mark.parametrize(("neuron", "xs", "error", "message"), WRONG, ids=[case[3][:30] for case in WRONG])
def test_wrong_input_is_refused_with_its_cure(neuron, xs, error, message):
    with pytest.raises(error, match=message):
        neuron(xs)


def receptors(inputs=3):
    return Receptors(GateInput, current=nn.Linear(inputs, 2), gate=nn.Linear(inputs, 2))


ONE_INPUT = {
    "explore": (
        lambda: geir.plot.explore(Gated()),
        "explore takes models whose input is one tensor, but that of Gated",
    ),
    "f_i_curve": (lambda: geir.plot.f_i_curve(Gated()), "Gated has several receptors"),
    "init_weights": (
        lambda: geir.init_weights(geir.SequentialState(nn.Linear(3, 2), Gated(), lift=True)),
        "init_weights takes models whose input is one tensor, but that of Gated is GateInput",
    ),
    "Online": (
        lambda: geir.learning.Online(
            geir.SequentialState(nn.Linear(3, 2), Gated(), nn.Linear(2, 2), geir.LI(), lift=True),
            geir.learning.EProp(),
        ),
        "several receptors, whose inputs have no traces; use backpropagation",
    ),
    "SpikeTimeLayer": (
        lambda: geir.learning.SpikeTimeLayer(3, 2, neuron=TwoCompartment()),
        "input is one tensor, but that of TwoCompartment is SomaInput",
    ),
    "Plastic": (
        lambda: geir.plasticity.Plastic(nn.Linear(3, 2), Gated(), geir.plasticity.Oja())(torch.rand(4, 1, 3)),
        "Gated has several receptors",
    ),
    "to_nir": (lambda: geir.nir.to_nir(geir.SequentialState(receptors(), Gated(), lift=True), (3,)), "Receptors"),
    "Delay": (lambda: geir.connections.Delay()(GateInput(*torch.rand(2, 5, 3))), "Delay has one receptor"),
}


@pytest.mark.parametrize(("use", "message"), ONE_INPUT.values(), ids=ONE_INPUT)
def test_what_takes_one_input_refuses_several_receptors(use, message):
    with pytest.raises((TypeError, ValueError), match=message):
        use()
