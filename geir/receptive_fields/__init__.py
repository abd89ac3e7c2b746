"""Receptive fields of Lindeberg's theory, in space, in time and in both."""

from .spatial import (
    ParameterizedSpatialReceptiveField2d,
    SampledSpatialReceptiveField2d,
    SpatialReceptiveField2d,
    spatial_parameters,
    spatial_receptive_field,
)
from .temporal import SpatioTemporalReceptiveField, TemporalReceptiveField, temporal_scale_distribution

__all__ = [
    "ParameterizedSpatialReceptiveField2d",
    "SampledSpatialReceptiveField2d",
    "SpatialReceptiveField2d",
    "SpatioTemporalReceptiveField",
    "TemporalReceptiveField",
    "spatial_parameters",
    "spatial_receptive_field",
    "temporal_scale_distribution",
]
