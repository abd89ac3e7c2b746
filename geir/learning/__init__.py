"""Online learning: gradients at every step, with memory that does not depend on the number of steps."""

from ._state import OnlineLayerState as OnlineLayerState, ReadoutTraces as ReadoutTraces
from ._traces import Traces as Traces
from .fptt import FPTT as FPTT, FPTTState as FPTTState
from .online import Online as Online
from .rules import (
    Adaptive as Adaptive,
    DECOLLE as DECOLLE,
    EProp as EProp,
    Feedback as Feedback,
    FiringRate as FiringRate,
    OnlineRule as OnlineRule,
    OSTL as OSTL,
    OTTT as OTTT,
    Random as Random,
    SLTT as SLTT,
    Symmetric as Symmetric,
)
