"""Receptive fields of Lindeberg's theory, in space, in time and in both."""

from .spatial import (
    ParameterizedSpatialReceptiveField2d as ParameterizedSpatialReceptiveField2d,
    SampledSpatialReceptiveField2d as SampledSpatialReceptiveField2d,
    spatial_parameters as spatial_parameters,
    spatial_receptive_field as spatial_receptive_field,
    SpatialReceptiveField2d as SpatialReceptiveField2d,
)
from .temporal import (
    SpatioTemporalReceptiveField as SpatioTemporalReceptiveField,
    temporal_scale_distribution as temporal_scale_distribution,
    TemporalReceptiveField as TemporalReceptiveField,
)
