"""Public functions and modules, each with input in float32, to be run with input of any dtype."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

import geir
from geir import connections, decode, encode, measures, plasticity, receptive_fields, surrogates, synapses
from geir.neurons import parallel, statespace

STEPS = 2500


class Case(NamedTuple):
    run: Callable[..., Any]  # from the inputs to tensors, nested in tuples or dictionaries
    inputs: Callable[[], tuple[torch.Tensor, ...]]
    # Rounding errors of the result, in units in the last place: one where sums may be ordered differently.
    ulps: float = 0


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def uniform(*shape, low=0.0, high=1.0):
    return low + (high - low) * torch.rand(shape, generator=generator())


def intensities():
    return (uniform(40),)


def currents():
    return (uniform(40, high=3.0),)


def spikes():
    """Trains of 2,500 steps: one of every second step, others random; one whose first spike is late."""
    zs = (uniform(STEPS, 5) < 0.4).float()
    zs[:, 0] = torch.arange(STEPS) % 2
    zs[:1237, 1] = 0
    zs[:, 2] = 0
    return (zs,)


def two_trains():
    (zs,) = spikes()
    return zs, zs.flip(1)


def probabilities():
    return uniform(STEPS, 5), uniform(STEPS, 5).flip(0)


def potentials():
    """Potentials in millivolts, whose changes are small beside their mean."""
    return (-65 + uniform(STEPS, 6, low=-1.0),)


def scores():
    return spikes()[0][:, None].repeat(1, 3, 1), torch.tensor([1, 0, 3])


def distances():
    return (torch.cat([uniform(1000, low=-4.0, high=4.0), torch.zeros(1)]),)


def images():
    return (uniform(2, 2, 12, 12),)


def surrogate(function):
    def spikes_and_gradient(x):
        x = x.detach().requires_grad_()
        z = function(x)
        (gradient,) = torch.autograd.grad(z.sum(), x)
        return z.detach(), gradient

    return Case(spikes_and_gradient, distances)


def with_gradient(function, inputs):
    """The result and its gradients."""

    def run(*xs):
        xs = [x.detach().requires_grad_() if x.is_floating_point() else x for x in xs]
        y = function(*xs)
        return y.detach(), torch.autograd.grad(y.sum(), [x for x in xs if x.requires_grad])

    return Case(run, inputs)


def signed():
    return (uniform(40, low=-1.0),)


def with_generator(encoder, inputs=intensities):
    return Case(lambda x: encoder(x, generator=generator()), inputs)


def neuron(model, zs):
    """The neuron in float64 for input in float64."""
    return model.double() if zs.dtype == torch.float64 else model


def counted_network(zs):
    connections = [geir.Lift(nn.Linear(5, 4)).to(zs.dtype), geir.Lift(nn.Linear(4, 3)).to(zs.dtype)]
    model = geir.SequentialState(connections[0], neuron(geir.LIF(), zs), connections[1])
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(0.5)
    return model


def layer_counts(zs):
    counts = measures.count_operations(counted_network(zs), zs[:, None])
    return {name: torch.tensor(numbers) for name, numbers in counts.items()}


def layer_operations(zs):
    return measures.record_operations(counted_network(zs), zs[:, None])[1]


def recorded(zs):
    return measures.record_outputs(neuron(geir.LI(), zs), zs)[1]


def in_chunks(function):
    def run(values):
        total = None
        for chunk in values.split(1):
            total = function(chunk, total)
        return total

    return run


FUNCTIONS = {
    encode.poisson: with_generator(lambda x, **kw: encode.poisson(x, STEPS, f_max=20.0, **kw)),
    encode.poisson_step: with_generator(lambda x, **kw: encode.poisson_step(x.repeat(500), f_max=20.0, **kw)),
    encode.signed_poisson: with_generator(lambda x, **kw: encode.signed_poisson(x, STEPS, f_max=20.0, **kw), signed),
    encode.signed_poisson_step: with_generator(
        lambda x, **kw: encode.signed_poisson_step(x.repeat(500), f_max=20.0, **kw), signed
    ),
    encode.constant_current_lif: Case(lambda x: encode.constant_current_lif(x, STEPS), currents),
    encode.spike_latency: Case(encode.spike_latency, spikes),
    encode.spike_latency_lif: Case(lambda x: encode.spike_latency_lif(x, STEPS), currents),
    encode.time_to_first_spike: Case(lambda x: encode.time_to_first_spike(x, STEPS), intensities),
    encode.rank_order: Case(encode.rank_order, lambda: (uniform(2, 600),)),
    encode.phase: Case(lambda x: encode.phase(x, STEPS, period=20), intensities),
    encode.burst: Case(lambda x: encode.burst(x, STEPS, max_spikes=7), intensities),
    encode.population: Case(lambda x: encode.population(x, 300, high=0.9), intensities),
    encode.delta: Case(lambda xs: encode.delta(xs, 0.125), lambda: (uniform(STEPS, 4).cumsum(0) / 100,)),
    decode.rate: with_gradient(decode.rate, spikes),
    decode.spike_count: with_gradient(decode.spike_count, spikes),
    decode.max_potential: with_gradient(decode.max_potential, potentials),
    decode.last_potential: with_gradient(decode.last_potential, potentials),
    decode.first_spike_time: with_gradient(decode.first_spike_time, spikes),
    decode.first_spike_score: with_gradient(decode.first_spike_score, spikes),
    decode.spike_times: with_gradient(lambda zs: decode.spike_times(zs, 40, missing=10.0)[::13], spikes),
    decode.rate_loss: with_gradient(decode.rate_loss, scores),
    decode.max_potential_loss: with_gradient(decode.max_potential_loss, scores),
    decode.last_potential_loss: with_gradient(decode.last_potential_loss, scores),
    decode.first_spike_loss: with_gradient(decode.first_spike_loss, scores),
    decode.spike_count_loss: with_gradient(decode.spike_count_loss, scores),
    decode.step_loss: with_gradient(lambda zs, labels: decode.step_loss(zs, labels, weight=0.5), scores),
    decode.potential_loss: with_gradient(decode.potential_loss, scores),
    decode.spike_time_loss: with_gradient(lambda zs, labels: decode.spike_time_loss(zs, labels, 1e-3, 4e-3), scores),
    decode.vote: with_gradient(lambda zs: decode.vote(zs, 1), spikes),
    decode.accuracy: Case(lambda zs, labels: decode.accuracy(decode.rate(zs), labels), scores),
    measures.isi_distance: Case(measures.isi_distance, two_trains),
    measures.spike_distance: Case(measures.spike_distance, two_trains),
    measures.van_rossum_distance: with_gradient(lambda x, y: measures.van_rossum_distance(x, y, tau=1.0), two_trains),
    measures.victor_purpura_distance: Case(measures.victor_purpura_distance, two_trains),
    measures.causal_filter: Case(
        lambda xs, kernel: measures.causal_filter(xs, kernel),
        lambda: (spikes()[0], torch.exp(-torch.arange(700) / 300)),
        ulps=1,
    ),
    measures.exponential_filter: with_gradient(lambda xs: measures.exponential_filter(xs, tau=1.0), spikes),
    measures.logical_and: with_gradient(measures.logical_and, probabilities),
    measures.logical_or: with_gradient(measures.logical_or, probabilities),
    measures.logical_xor: with_gradient(measures.logical_xor, probabilities),
    measures.logical_not: with_gradient(measures.logical_not, intensities),
    measures.muller_c: Case(measures.muller_c, probabilities),
    measures.posedge_detector: Case(lambda xs: measures.posedge_detector(xs), lambda: probabilities()[:1]),
    measures.count_operations: Case(layer_counts, spikes),
    measures.record_operations: Case(layer_operations, spikes),
    measures.record_outputs: Case(recorded, spikes),
    measures.activity_penalty: with_gradient(lambda zs: measures.activity_penalty(zs, 2.0), spikes),
    measures.rate_penalty: with_gradient(lambda zs: measures.rate_penalty(zs, lower=300.0, upper=450.0), spikes),
    measures.silence_penalty: with_gradient(lambda zs: measures.silence_penalty(zs, 1100.0), spikes),
    measures.voltage_penalty: with_gradient(lambda vs: measures.voltage_penalty(vs, -65.2, -64.9), potentials),
    measures.spike_accumulator: Case(in_chunks(measures.spike_accumulator), spikes),
    measures.voltage_accumulator: Case(in_chunks(measures.voltage_accumulator), potentials),
    measures.coefficient_of_variation: Case(measures.coefficient_of_variation, spikes),
    measures.local_variation: Case(measures.local_variation, spikes),
    measures.interspike_intervals: Case(measures.interspike_intervals, spikes),
    measures.fano_factor: Case(lambda zs: measures.fano_factor(zs, window=1.2), spikes),
    measures.firing_rate: with_gradient(measures.firing_rate, spikes),
    measures.sparsity: Case(measures.sparsity, spikes),
    measures.synchrony: with_gradient(measures.synchrony, potentials),
    surrogates.SuperSpike: surrogate(surrogates.SuperSpike()),
    surrogates.SparseFastSigmoid: surrogate(surrogates.SparseFastSigmoid(width=3.0)),
    surrogates.Sigmoid: surrogate(surrogates.Sigmoid()),
    surrogates.ATan: surrogate(surrogates.ATan(alpha=100.0)),
    surrogates.Triangle: surrogate(surrogates.Triangle()),
    surrogates.Rectangle: surrogate(surrogates.Rectangle(width=0.9)),
    surrogates.Gaussian: surrogate(surrogates.Gaussian()),
    surrogates.MultiGaussian: surrogate(surrogates.MultiGaussian()),
    surrogates.Erfc: surrogate(surrogates.Erfc()),
    surrogates.Tanh: surrogate(surrogates.Tanh()),
    surrogates.Circle: surrogate(surrogates.Circle(alpha=100.0)),
    surrogates.PiecewiseExponential: surrogate(surrogates.PiecewiseExponential()),
    surrogates.StraightThrough: surrogate(surrogates.StraightThrough()),
    surrogates.ZeroGradient: surrogate(surrogates.ZeroGradient()),
    surrogates.Custom: surrogate(surrogates.Custom(lambda x: 1 / (1 + (10 * x) ** 2))),
    surrogates.MultiSpike: surrogate(surrogates.MultiSpike(step=0.3)),
    surrogates.TernarySpike: surrogate(surrogates.TernarySpike(step=0.3)),
    surrogates.GradedSpike: surrogate(surrogates.GradedSpike(step=0.3)),
    receptive_fields.spatial_receptive_field: Case(
        lambda *p: receptive_fields.spatial_receptive_field(*p[:3], x=p[3], y=p[4], dx=2, dy=1, size=401),
        lambda: tuple(torch.tensor([v]) for v in (9.0, 0.7, 1.3, 190.0, 3.0)),
    ),
    receptive_fields.spatial_parameters: Case(
        lambda scales, angles: receptive_fields.spatial_parameters(scales, angles, [1.0, 2.0], 2),
        lambda: (torch.tensor([1.0, 1.9, 3.3]), torch.tensor([0.0, 0.7])),
    ),
}


def pre_and_post():
    (zs,) = spikes()
    return zs[:300, None, [0, 3, 4]], zs[:300, None, 3:].flip(0)


def learned(rule):
    """The weight and the state after a rule has run, with weights of float32: others are refused."""

    def run(pres, posts):
        weight = torch.full((2, 3), 0.2)
        state = None
        for pre, post in zip(pres, posts, strict=True):
            weight, state = rule(pre, post, weight, state)
        return weight, state

    return run


FUNCTIONS |= {
    statespace.linear_scan: Case(lambda xs: statespace.linear_scan(torch.tensor(0.75), xs), spikes),
    plasticity.InhibitorySTDP: Case(learned(plasticity.InhibitorySTDP(w_max=1.0)), pre_and_post),
    plasticity.BCM: Case(learned(plasticity.BCM()), pre_and_post),
    plasticity.Oja: Case(learned(plasticity.Oja()), pre_and_post),
    plasticity.RateBased: Case(learned(plasticity.RateBased(plasticity.Oja(eta=1e-5))), pre_and_post),
    plasticity.SumOfRules: Case(
        learned(plasticity.SumOfRules(plasticity.STDP(), plasticity.SynapticScaling())), pre_and_post
    ),
    plasticity.RewardModulated: Case(learned(plasticity.RewardModulated(plasticity.STDP())), pre_and_post),
    plasticity.SynapticScaling: Case(learned(plasticity.SynapticScaling()), pre_and_post),
    plasticity.STDPSensor: Case(learned(plasticity.STDPSensor()), pre_and_post),
    plasticity.CorrelationSensor: Case(learned(plasticity.CorrelationSensor()), pre_and_post),
    plasticity.STDP: Case(
        learned(plasticity.STDP()), lambda: (spikes()[0][:, None, [0, 3, 4]], spikes()[0][:, None, 3:].flip(0))
    ),
    plasticity.TripletSTDP: Case(learned(plasticity.TripletSTDP()), pre_and_post),
    plasticity.IntrinsicPlasticity: Case(
        lambda zs: [plasticity.IntrinsicPlasticity()(z, torch.ones(5)) for z in zs[:50]], spikes
    ),
}


def correlated(kind):
    # With these weights, currents are exact in half precision, and the neurons receive the same.
    return kind(5, 3, input_weights=torch.full((3, 5), 0.5), recurrent_weights=torch.full((3, 3), -0.25))


# Modules: each runs in float32 and in half precision. A module in half precision has rounded parameters; it is compared
# with a module of the same parameters in float32.
MODULES = {
    encode.DeltaEncoder: Case(lambda: encode.DeltaEncoder(threshold=0.25), spikes),
    encode.DeltaEncoderCell: Case(lambda: encode.DeltaEncoderCell(threshold=0.25), intensities),
    measures.ExponentialFilter: Case(lambda: measures.ExponentialFilter(tau=1.0), spikes),
    measures.ExponentialFilterCell: Case(lambda: measures.ExponentialFilterCell(tau=1.0), intensities),
    plasticity.CorrelationSensors: Case(
        lambda: correlated(
            lambda *sizes, **weights: plasticity.CorrelationSensors(geir.LIFRecurrent(*sizes, **weights))
        ),
        spikes,
    ),
    plasticity.LIFCorrelation: Case(lambda: correlated(plasticity.LIFCorrelation), spikes),
    plasticity.LIFCorrelationCell: Case(lambda: correlated(plasticity.LIFCorrelationCell), lambda: (spikes()[0][7],)),
    connections.Delay: Case(lambda: connections.Delay(delay=torch.tensor([0.1, 0.257, 0.7503, 0, 1e-3])), spikes),
    connections.DelayCell: Case(lambda: connections.DelayCell(delay=0.0), intensities),
    connections.DelayedLinear: Case(
        lambda: connections.DelayedLinear(5, 2, delay=torch.linspace(0, 0.3003, 10).view(2, 5)), spikes, ulps=1
    ),
    connections.DelayedLinearCell: Case(lambda: connections.DelayedLinearCell(5, 2, delay=0.257), spikes, ulps=1),
    connections.MaskedLinear: Case(lambda: connections.MaskedLinear(5, 4, mask=torch.ones(4, 5)), spikes, ulps=1),
    connections.DelayedSparseLinear: Case(
        lambda: connections.DelayedSparseLinear(
            connections.SparseLinear(5, 4, mask=torch.ones(4, 5)), delay=torch.linspace(0, 0.3003, 20)
        ),
        spikes,
        ulps=1,
    ),
    connections.DelayedSparseLinearCell: Case(
        lambda: connections.DelayedSparseLinearCell(connections.SparseLinear(5, 4, mask=torch.ones(4, 5)), delay=0.257),
        spikes,
        ulps=1,
    ),
    connections.SparseLinear: Case(lambda: connections.SparseLinear(5, 4, mask=torch.ones(4, 5)), spikes, ulps=1),
    connections.Receptors: Case(
        lambda: connections.Receptors(geir.ConductanceInput, exc=nn.Linear(5, 4), inh=nn.Linear(5, 4)), spikes, ulps=1
    ),
    connections.SparseInputLinear: Case(lambda: connections.SparseInputLinear(5, 4), spikes, ulps=1),
    connections.SparseInputConv2d: Case(lambda: connections.SparseInputConv2d(2, 4, 3), images, ulps=1),
    receptive_fields.SpatialReceptiveField2d: Case(
        lambda: receptive_fields.SpatialReceptiveField2d(2, 9, scale=torch.tensor([1.3, 2.1]), dx=1), images, ulps=1
    ),
    receptive_fields.SampledSpatialReceptiveField2d: Case(
        lambda: receptive_fields.SampledSpatialReceptiveField2d(2, 9, scales=[1.3, 2.1], derivatives=2), images, ulps=1
    ),
    receptive_fields.ParameterizedSpatialReceptiveField2d: Case(
        lambda: receptive_fields.ParameterizedSpatialReceptiveField2d(2, 9, scales=[1.3], derivatives=2), images, ulps=1
    ),
    receptive_fields.TemporalReceptiveField: Case(
        lambda: receptive_fields.TemporalReceptiveField([0.1, 0.7]), lambda: (spikes()[0][:, None],), ulps=2
    ),
    receptive_fields.SpatioTemporalReceptiveField: Case(
        lambda: receptive_fields.SpatioTemporalReceptiveField(
            nn.Identity(), receptive_fields.TemporalReceptiveField([0.1])
        ),
        lambda: (spikes()[0][:, None],),
    ),
    synapses.AlphaSynapse: Case(lambda: synapses.AlphaSynapse(), spikes),
    synapses.ConductanceSynapse: Case(lambda: synapses.ConductanceSynapse(geir.LIFBox(), tau_exc=1.0), spikes),
    synapses.DoubleExponentialSynapse: Case(lambda: synapses.DoubleExponentialSynapse(), spikes),
    synapses.ExponentialSynapse: Case(lambda: synapses.ExponentialSynapse(), spikes),
    synapses.TsodyksMarkram: Case(lambda: synapses.TsodyksMarkram(), spikes),
    synapses.AlphaSynapseCell: Case(lambda: synapses.AlphaSynapseCell(), intensities),
    synapses.ConductanceSynapseCell: Case(lambda: synapses.ConductanceSynapseCell(geir.LIFBox()), intensities),
    synapses.DoubleExponentialSynapseCell: Case(lambda: synapses.DoubleExponentialSynapseCell(), intensities),
    synapses.ExponentialSynapseCell: Case(lambda: synapses.ExponentialSynapseCell(), intensities),
    synapses.TsodyksMarkramCell: Case(lambda: synapses.TsodyksMarkramCell(), intensities),
    parallel.ParallelSpikingNeuron: Case(lambda: parallel.ParallelSpikingNeuron(STEPS), lambda: (4 * spikes()[0],)),
    parallel.SlidingParallelSpikingNeuron: Case(
        lambda: parallel.SlidingParallelSpikingNeuron(8), lambda: (uniform(STEPS, 5),)
    ),
    statespace.StateSpaceNeuron: Case(lambda: statespace.StateSpaceNeuron(4), lambda: (uniform(STEPS, 5),)),
}
# What takes no numbers, or is a part of a row of the table.
EXEMPT = {
    encode.phase_weights: "takes numbers of steps only",
    encode.spike_trains: "takes times in float64, and returns the default dtype",
    receptive_fields.temporal_scale_distribution: "takes Python numbers only",
    plasticity.ConnectionView: "products of the rules, which are in the table",
    plasticity.Additive: "part of the rules, in the dtype of the weight",
    plasticity.Multiplicative: "part of the rules, in the dtype of the weight",
    plasticity.PowerLaw: "part of the rules, in the dtype of the weight",
    plasticity.AllToAll: "part of the rules, in the dtype of the weight",
    plasticity.NearestSpike: "part of the rules, in the dtype of the weight",
    plasticity.Plastic: "a connection in half precision is refused; see test_half_precision",
    plasticity.PlasticCell: "a connection in half precision is refused; see test_half_precision",
    plasticity.initial_traces: "zeros, in the dtype of the weight",
    plasticity.stdp_window: "delays that are not whole steps after rounding are refused",
    connections.constrain_signs: "a parametrization, in the dtype of the weight",
    connections.Groups: "takes numbers of neurons only",
    connections.Projection: "takes numbers, which become weights in the default dtype",
    connections.random_pairs: "takes numbers of neurons only",
    connections.distance_pairs: "draws at random",
    connections.GaussianInterpolation: "part of the delays",
    connections.LinearInterpolation: "part of the delays",
    connections.NearestStep: "part of the delays",
}


def flatten(result):
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, tuple | list):
        return [tensor for part in result for tensor in flatten(part)]
    return [] if result is None else [result]
