"""Learning rules for connections, one in each file, and `Plastic`, which applies them while a network runs."""

from .bcm import BCM as BCM, BCMState as BCMState
from .combine import (
    RateBased as RateBased,
    RateBasedState as RateBasedState,
    SumOfRules as SumOfRules,
    SumOfRulesState as SumOfRulesState,
)
from .connection_view import ConnectionView as ConnectionView
from .correlation import (
    CorrelationSensors as CorrelationSensors,
    LIFCorrelation as LIFCorrelation,
    LIFCorrelationCell as LIFCorrelationCell,
    LIFCorrelationState as LIFCorrelationState,
)
from .dependence import (
    Additive as Additive,
    Multiplicative as Multiplicative,
    PowerLaw as PowerLaw,
    WeightDependence as WeightDependence,
)
from .inhibitory import InhibitorySTDP as InhibitorySTDP
from .intrinsic import IntrinsicPlasticity as IntrinsicPlasticity
from .oja import Oja as Oja, OjaState as OjaState
from .pairing import (
    AllToAll as AllToAll,
    initial_traces as initial_traces,
    NearestSpike as NearestSpike,
    Pairing as Pairing,
    PairRule as PairRule,
    PairState as PairState,
    Traces as Traces,
)
from .plastic import Plastic as Plastic, PlasticCell as PlasticCell, PlasticState as PlasticState
from .reward import RewardModulated as RewardModulated, RewardModulatedState as RewardModulatedState
from .rule import Rule as Rule, RuleWrapper as RuleWrapper
from .scaling import SynapticScaling as SynapticScaling, SynapticScalingState as SynapticScalingState
from .sensors import (
    CorrelationSensor as CorrelationSensor,
    CorrelationState as CorrelationState,
    STDPSensor as STDPSensor,
)
from .stdp import STDP as STDP
from .triplet import TripletSTDP as TripletSTDP, TripletSTDPState as TripletSTDPState
from .window import stdp_window as stdp_window
