"""The Neuromorphic Intermediate Representation (NIR): networks from and to other frameworks and hardware.

Needs the `nir` package: ``pip install 'geir[nir]'``.
"""

from .discretizations import (
    DelayedReset as DelayedReset,
    Discretization as Discretization,
    ExactSolution as ExactSolution,
    ExponentialDecay as ExponentialDecay,
    Lava as Lava,
    Norse as Norse,
    ResetAtCrossing as ResetAtCrossing,
    Rockpool as Rockpool,
    SequentialEuler as SequentialEuler,
    Sinabs as Sinabs,
    SnnTorch as SnnTorch,
    SnnTorchSubtraction as SnnTorchSubtraction,
)
from .errors import NIRError as NIRError
from .exporting import to_nir as to_nir
from .files import read as read, write as write
from .importing import from_nir as from_nir
from .network import NIRNetwork as NIRNetwork, NIRState as NIRState
from .neurons import (
    CubaLIFNode as CubaLIFNode,
    CubaLINode as CubaLINode,
    IFNode as IFNode,
    INode as INode,
    LIFNode as LIFNode,
    LINode as LINode,
    PotentialState as PotentialState,
)
