"""Neuromorphic hardware: limits of the chips, quantization-aware training, integer models."""

from .loihi import (
    LoihiLIF as LoihiLIF,
    LoihiLIFCell as LoihiLIFCell,
    LoihiLIFRecurrent as LoihiLIFRecurrent,
    LoihiState as LoihiState,
)
from .xylo import (
    XyloLIF as XyloLIF,
    XyloLIFCell as XyloLIFCell,
    XyloLIFRecurrent as XyloLIFRecurrent,
    XyloState as XyloState,
)
