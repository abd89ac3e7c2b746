"""Neuromorphic hardware: limits of the chips, quantization-aware training, integer models."""

from .checker import check as check
from .integer import to_integer as to_integer
from .loihi import (
    LoihiLIF as LoihiLIF,
    LoihiLIFCell as LoihiLIFCell,
    LoihiLIFRecurrent as LoihiLIFRecurrent,
    LoihiLIFRecurrentCell as LoihiLIFRecurrentCell,
    LoihiState as LoihiState,
)
from .mismatch import mismatch as mismatch
from .quantization import quantize as quantize, QuantizedLayer as QuantizedLayer
from .report import Finding as Finding, LayerSize as LayerSize, Report as Report
from .targets import (
    BRAINSCALES2 as BRAINSCALES2,
    Limit as Limit,
    LOIHI2 as LOIHI2,
    SPECK as SPECK,
    SPINNAKER2 as SPINNAKER2,
    Target as Target,
    TARGETS as TARGETS,
    TRUENORTH as TRUENORTH,
    XYLO_AUDIO_2 as XYLO_AUDIO_2,
    XYLO_AUDIO_3 as XYLO_AUDIO_3,
    XYLO_IMU as XYLO_IMU,
)
from .xylo import (
    XyloLIF as XyloLIF,
    XyloLIFCell as XyloLIFCell,
    XyloLIFRecurrent as XyloLIFRecurrent,
    XyloLIFRecurrentCell as XyloLIFRecurrentCell,
    XyloState as XyloState,
)
