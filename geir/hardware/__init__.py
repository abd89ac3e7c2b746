"""Neuromorphic hardware: limits of the chips, quantization-aware training, integer models, conversion, cost."""

from .activations import QCFS as QCFS, Ternary as Ternary
from .checker import check as check
from .conversion import from_ann as from_ann
from .conversion_report import (
    conversion_report as conversion_report,
    ConversionReport as ConversionReport,
    ConvertedLayer as ConvertedLayer,
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
    record_energy as record_energy,
)
from .energy import Energy as Energy, ENERGY_MODELS as ENERGY_MODELS, EnergyModel as EnergyModel
from .integer import to_integer as to_integer
from .loihi import (
    LoihiLIF as LoihiLIF,
    LoihiLIFCell as LoihiLIFCell,
    LoihiLIFRecurrent as LoihiLIFRecurrent,
    LoihiLIFRecurrentCell as LoihiLIFRecurrentCell,
    LoihiState as LoihiState,
)
from .mismatch import mismatch as mismatch
from .neurobench import neurobench_model as neurobench_model
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
