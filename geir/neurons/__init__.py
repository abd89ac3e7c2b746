"""The neuron models, one file each; none imports another."""

from .adex import (
    AdEx as AdEx,
    Adex as Adex,
    AdExCell as AdExCell,
    AdexCell as AdexCell,
    AdExRecurrent as AdExRecurrent,
    AdexRecurrent as AdexRecurrent,
    AdExRecurrentCell as AdExRecurrentCell,
    AdexRecurrentCell as AdexRecurrentCell,
    AdExRefrac as AdExRefrac,
    AdexRefrac as AdexRefrac,
    AdExRefracCell as AdExRefracCell,
    AdexRefracCell as AdexRefracCell,
    AdExRefracRecurrent as AdExRefracRecurrent,
    AdexRefracRecurrent as AdexRefracRecurrent,
    AdExRefracRecurrentCell as AdExRefracRecurrentCell,
    AdexRefracRecurrentCell as AdexRefracRecurrentCell,
    AdExState as AdExState,
)
from .alif import (
    ALIF as ALIF,
    ALIFCell as ALIFCell,
    ALIFRecurrent as ALIFRecurrent,
    ALIFRecurrentCell as ALIFRecurrentCell,
    ALIFState as ALIFState,
    LSNN as LSNN,
    LSNNCell as LSNNCell,
    LSNNRecurrent as LSNNRecurrent,
    LSNNRecurrentCell as LSNNRecurrentCell,
)
from .alphalif import (
    AlphaLIF as AlphaLIF,
    AlphaLIFCell as AlphaLIFCell,
    AlphaLIFRecurrent as AlphaLIFRecurrent,
    AlphaLIFRecurrentCell as AlphaLIFRecurrentCell,
    AlphaLIFState as AlphaLIFState,
)
from .cobalif import (
    CobaLIF as CobaLIF,
    CobaLIFCell as CobaLIFCell,
    CobaLIFRecurrent as CobaLIFRecurrent,
    CobaLIFRecurrentCell as CobaLIFRecurrentCell,
    CobaLIFState as CobaLIFState,
)
from .cubalif import (
    CubaLIF as CubaLIF,
    CubaLIFCell as CubaLIFCell,
    CubaLIFRecurrent as CubaLIFRecurrent,
    CubaLIFRecurrentCell as CubaLIFRecurrentCell,
    CubaLIFState as CubaLIFState,
)
from .eif import (
    EIF as EIF,
    EIFCell as EIFCell,
    EIFRecurrent as EIFRecurrent,
    EIFRecurrentCell as EIFRecurrentCell,
    EIFState as EIFState,
)
from .firing_patterns import (
    firing_pattern as firing_pattern,
    FIRING_PATTERNS as FIRING_PATTERNS,
    FiringPattern as FiringPattern,
)
from .gatedlif import (
    GatedLIF as GatedLIF,
    GatedLIFCell as GatedLIFCell,
    GatedLIFRecurrent as GatedLIFRecurrent,
    GatedLIFRecurrentCell as GatedLIFRecurrentCell,
    GatedLIFState as GatedLIFState,
)
from .hodgkinhuxley import (
    HodgkinHuxley as HodgkinHuxley,
    HodgkinHuxleyCell as HodgkinHuxleyCell,
    HodgkinHuxleyRecurrent as HodgkinHuxleyRecurrent,
    HodgkinHuxleyRecurrentCell as HodgkinHuxleyRecurrentCell,
    HodgkinHuxleyState as HodgkinHuxleyState,
)
from .iaf import (
    IAF as IAF,
    IAFCell as IAFCell,
    IAFRecurrent as IAFRecurrent,
    IAFRecurrentCell as IAFRecurrentCell,
    IAFState as IAFState,
)
from .izhikevich import (
    Izhikevich as Izhikevich,
    IzhikevichCell as IzhikevichCell,
    IzhikevichRecurrent as IzhikevichRecurrent,
    IzhikevichRecurrentCell as IzhikevichRecurrentCell,
    IzhikevichState as IzhikevichState,
)
from .klif import (
    KLIF as KLIF,
    KLIFCell as KLIFCell,
    KLIFRecurrent as KLIFRecurrent,
    KLIFRecurrentCell as KLIFRecurrentCell,
    KLIFState as KLIFState,
)
from .leaky import (
    Leaky as Leaky,
    LeakyCell as LeakyCell,
    LeakyRecurrent as LeakyRecurrent,
    LeakyRecurrentCell as LeakyRecurrentCell,
    LeakyState as LeakyState,
    SynapticLeaky as SynapticLeaky,
    SynapticLeakyCell as SynapticLeakyCell,
    SynapticLeakyRecurrent as SynapticLeakyRecurrent,
    SynapticLeakyRecurrentCell as SynapticLeakyRecurrentCell,
    SynapticLeakyState as SynapticLeakyState,
)
from .li import LI as LI, LICell as LICell, LIState as LIState
from .libox import LIBox as LIBox, LIBoxCell as LIBoxCell, LIBoxState as LIBoxState
from .lif import (
    LIF as LIF,
    LIFCell as LIFCell,
    LIFMC as LIFMC,
    LIFMCCell as LIFMCCell,
    LIFMCRecurrent as LIFMCRecurrent,
    LIFMCRecurrentCell as LIFMCRecurrentCell,
    LIFMCRefrac as LIFMCRefrac,
    LIFMCRefracCell as LIFMCRefracCell,
    LIFMCRefracRecurrent as LIFMCRefracRecurrent,
    LIFMCRefracRecurrentCell as LIFMCRefracRecurrentCell,
    LIFRecurrent as LIFRecurrent,
    LIFRecurrentCell as LIFRecurrentCell,
    LIFRefrac as LIFRefrac,
    LIFRefracCell as LIFRefracCell,
    LIFRefracRecurrent as LIFRefracRecurrent,
    LIFRefracRecurrentCell as LIFRefracRecurrentCell,
    LIFState as LIFState,
)
from .lifbox import (
    LIFBox as LIFBox,
    LIFBoxCell as LIFBoxCell,
    LIFBoxRecurrent as LIFBoxRecurrent,
    LIFBoxRecurrentCell as LIFBoxRecurrentCell,
    LIFBoxState as LIFBoxState,
)
from .lifex import (
    LIFEx as LIFEx,
    LIFExCell as LIFExCell,
    LIFExRecurrent as LIFExRecurrent,
    LIFExRecurrentCell as LIFExRecurrentCell,
    LIFExState as LIFExState,
)
from .parallel import (
    ParallelSpikingNeuron as ParallelSpikingNeuron,
    SlidingParallelSpikingNeuron as SlidingParallelSpikingNeuron,
    SlidingState as SlidingState,
)
from .parametriclif import (
    ParametricLIF as ParametricLIF,
    ParametricLIFCell as ParametricLIFCell,
    ParametricLIFRecurrent as ParametricLIFRecurrent,
    ParametricLIFRecurrentCell as ParametricLIFRecurrentCell,
    ParametricLIFState as ParametricLIFState,
)
from .qif import (
    QIF as QIF,
    QIFCell as QIFCell,
    QIFRecurrent as QIFRecurrent,
    QIFRecurrentCell as QIFRecurrentCell,
    QIFState as QIFState,
)
from .receptorlif import (
    ReceptorInput as ReceptorInput,
    ReceptorLIF as ReceptorLIF,
    ReceptorLIFCell as ReceptorLIFCell,
    ReceptorLIFRecurrent as ReceptorLIFRecurrent,
    ReceptorLIFRecurrentCell as ReceptorLIFRecurrentCell,
    ReceptorLIFState as ReceptorLIFState,
)
from .resonateandfire import (
    ResonateAndFire as ResonateAndFire,
    ResonateAndFireCell as ResonateAndFireCell,
    ResonateAndFireRecurrent as ResonateAndFireRecurrent,
    ResonateAndFireRecurrentCell as ResonateAndFireRecurrentCell,
    ResonateAndFireState as ResonateAndFireState,
)
from .statespace import (
    linear_scan as linear_scan,
    StateSpaceNeuron as StateSpaceNeuron,
    StateSpaceState as StateSpaceState,
)
