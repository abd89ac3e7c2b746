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
