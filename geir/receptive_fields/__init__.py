"""Receptive fields of Lindeberg's theory: spatial, temporal and spatio-temporal."""

from .spatial import spatial_parameters as spatial_parameters, spatial_receptive_field as spatial_receptive_field
from .spatial_layers import (
    ParameterizedSpatialReceptiveField2d as ParameterizedSpatialReceptiveField2d,
    SampledSpatialReceptiveField2d as SampledSpatialReceptiveField2d,
    SpatialReceptiveField2d as SpatialReceptiveField2d,
)
from .temporal import (
    SpatioTemporalReceptiveField as SpatioTemporalReceptiveField,
    temporal_scale_distribution as temporal_scale_distribution,
    TemporalReceptiveField as TemporalReceptiveField,
)
