"""Encoders: from values to spike trains and currents.

Every encoder is a function and a module. The module has the function's name in CamelCase followed by ``Encoder``, and
takes the function's settings in its constructor: ``geir.encode.phase(x, steps=40)`` is the same as
``geir.encode.PhaseEncoder(steps=40)(x)``. An encoder that returns one step at a time has a name that ends in ``_step``;
its module ends in ``EncoderCell``. Random encoders take a `torch.Generator`, for reproducible spikes. Spikes have the
dtype of the intensities; those in half precision are encoded in float32 and give the same spikes.

`spike_trains` makes spike trains of spikes that are given already, by their times and neurons.

===========================  ===================================================================================
`poisson`                    random spikes whose rate is proportional to the intensity
`signed_poisson`             the same for intensities in [-1, 1]; spikes carry the sign
`constant_current_lif`       spikes of LIF neurons driven by a constant current
`spike_latency_lif`          the first of those spikes
`spike_latency`              the first spike of any spike train
`time_to_first_spike`        one spike, linearly earlier for a larger intensity
`rank_order`                 one spike, in the order of the values
`phase`                      the binary digits of the intensity, repeated every period
`burst`                      a burst with more spikes and shorter intervals for a larger intensity
`population`                 activities of neurons with Gaussian tuning curves
`delta`                      spikes where a signal changes
===========================  ===================================================================================
"""

from .changes import (
    delta as delta,
    DeltaEncoder as DeltaEncoder,
    DeltaEncoderCell as DeltaEncoderCell,
    DeltaState as DeltaState,
)
from .populations import (
    population as population,
    PopulationEncoder as PopulationEncoder,
    rank_order as rank_order,
    RankOrderEncoder as RankOrderEncoder,
)
from .rates import (
    poisson as poisson,
    poisson_step as poisson_step,
    PoissonEncoder as PoissonEncoder,
    PoissonEncoderCell as PoissonEncoderCell,
    PoissonEncoderStep as PoissonEncoderStep,
    signed_poisson as signed_poisson,
    signed_poisson_step as signed_poisson_step,
    SignedPoissonEncoder as SignedPoissonEncoder,
    SignedPoissonEncoderCell as SignedPoissonEncoderCell,
)
from .spike_lists import spike_trains as spike_trains
from .timing import (
    burst as burst,
    BurstEncoder as BurstEncoder,
    constant_current_lif as constant_current_lif,
    ConstantCurrentLIFEncoder as ConstantCurrentLIFEncoder,
    phase as phase,
    phase_weights as phase_weights,
    PhaseEncoder as PhaseEncoder,
    spike_latency as spike_latency,
    spike_latency_lif as spike_latency_lif,
    SpikeLatencyEncoder as SpikeLatencyEncoder,
    SpikeLatencyLIFEncoder as SpikeLatencyLIFEncoder,
    time_to_first_spike as time_to_first_spike,
    TimeToFirstSpikeEncoder as TimeToFirstSpikeEncoder,
)
