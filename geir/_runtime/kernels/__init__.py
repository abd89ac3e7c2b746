"""What runs a step over time: kernels derived from it, and the loop that defines them."""

from .fused import Fused as Fused, fused as fused, source_of as source_of
from .reference import reference as reference
