"""To neuromorphic hardware: conversion of trained networks, and the cost of running them."""

from .activations import QCFS as QCFS, Ternary as Ternary
from .conversion import from_ann as from_ann
from .conversion_report import (
    conversion_report as conversion_report,
    ConversionReport as ConversionReport,
    LayerError as LayerError,
)
from .converted_network import (
    Accumulator as Accumulator,
    AccumulatorState as AccumulatorState,
    ConvertedNetwork as ConvertedNetwork,
)
from .counting import (
    count as count,
    LayerCounts as LayerCounts,
    NetworkCounts as NetworkCounts,
    NeuronCounts as NeuronCounts,
)
from .energy import Energy as Energy, ENERGY_MODELS as ENERGY_MODELS, EnergyModel as EnergyModel
from .neurobench import neurobench_model as neurobench_model
