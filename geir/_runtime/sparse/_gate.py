"""When sparse products are used, and how their C code is loaded."""

import ctypes
import functools
from importlib.resources import files

import torch
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack

from .. import compiler, threads
from ..arguments import Argument, c_struct, ctypes_structure, PLAIN_TENSORS
from ..template import render_template

# Shares of nonzero inputs below which reading only the weights of these is faster than a dense matrix product,
# or a dense convolution.
MAX_DENSITY = 0.25
MAX_DENSITY_CONV2D = 0.1
# Below this number of multiplications one thread is faster than several.
SMALL = 1 << 20
# The density is estimated from this many rows.
_SAMPLED_ROWS = 32


class Source:
    """A C source of this package, compiled for each dtype.

    Args:
        file: Name of the file.
        arguments: The arguments of its functions, declared as the struct that ``{{arguments}}`` in the file
            stands for. **constants: Other regions of the file.
    """

    def __init__(self, file: str, arguments: list[Argument], **constants: int):
        self.file = file
        self.arguments = arguments
        self.structure = ctypes_structure(arguments)
        self.constants = constants
        self.library = functools.cache(self._load)

    def _load(self, dtype: torch.dtype) -> ctypes.CDLL | None:
        """The compiled source; None without a compiler."""
        regions = {name: str(value) for name, value in self.constants.items()}
        regions |= {"double": str(int(dtype == torch.float64)), "arguments": c_struct("arguments", self.arguments)}
        template = files("geir._runtime.sparse").joinpath(self.file).read_text()
        try:
            return compiler.load(render_template(template, regions))
        except compiler.NoCompilerError:
            return None

    def available(self, tensor: Tensor) -> bool:
        """Whether the compiled functions take tensors like this one."""
        supported = tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64)
        return supported and self.library(tensor.dtype) is not None

    def function(self, name: str, dtype: torch.dtype) -> threads.Function:
        """A compiled function."""
        library = self.library(dtype)
        assert library is not None
        return getattr(library, name)


def count_threads(multiplications: int) -> int:
    """Number of threads for a product."""
    return 1 if multiplications < SMALL else torch.get_num_threads()


def is_sparse(x: Tensor, max_density: float) -> bool:
    """Whether the density of some rows, or columns if these are consecutive in memory, of a CPU tensor is at most
    `max_density`."""
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
        return False
    rows = x.t() if x.dim() == 2 and x.stride(0) < x.stride(1) else x  # consecutive in memory
    some = rows[:: max(1, len(rows) // _SAMPLED_ROWS)]
    return some.count_nonzero().item() <= max_density * some.numel()


def is_concrete(x: Tensor, weights: Tensor) -> bool:
    """Whether these are numbers in memory that C can read and autograd functions can differentiate.

    They are not while being compiled, under function transforms or dispatch modes (fake tensors have no data), of a
    subclass such as a distributed tensor,
    under autocast, and in forward-mode differentiation.
    """
    if torch.compiler.is_compiling() or peek_interpreter_stack() is not None:
        return False
    if torch._C._len_torch_dispatch_stack() > 0 or type(x) is not Tensor or type(weights) not in PLAIN_TENSORS:
        return False
    if torch.is_autocast_enabled("cpu") or torch.autograd.forward_ad._current_level >= 0:
        return False
    return x.numel() > 0 and x.dtype == weights.dtype and x.device == weights.device
