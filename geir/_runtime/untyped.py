"""Names for values that PyTorch does not type."""

from typing import Any

# The context of an autograd function, which takes any attribute.
Context = Any
# Arguments and results of the methods of an autograd function.
Untyped = Any
