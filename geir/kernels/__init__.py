"""What runs a step over time: kernels derived from it, and the loop that defines them."""

from .fused import Fused as Fused
from .fused import fused as fused
from .fused import source_of as source_of
from .reference import reference as reference
