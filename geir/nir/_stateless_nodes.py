"""The nodes of layers without neurons."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn, Tensor

from .._util.parametrized import without_parametrizations
from ..connections import Delay, SparseInputConv2d, SparseInputLinear
from ._layers import MatrixProduct, Scale, SumPool2d, Threshold
from ._models import delay_of, to_numpy
from ._shapes import output_shape, Shape
from .errors import import_nir, NIRError


def stateless_node(module: nn.Module, shape: Shape, name: str) -> Any:
    """The node of a layer without neurons.

    Raises:
        NIRError: If there is none.
    """
    module = without_parametrizations(module)
    for kinds, convert in _LAYERS.items():
        if type(module) in kinds:
            return convert(module, shape)
    training = " in training mode; call model.eval()" if isinstance(module, nn.Dropout | nn.Dropout2d) else ""
    raise NIRError(f"NIR has no {type(module).__name__}{training}", node=name or None)


def _linear(module: Any, shape: Shape) -> Any:
    nir = import_nir()
    if module.bias is None:
        return nir.Linear(weight=to_numpy(module.weight))
    return nir.Affine(weight=to_numpy(module.weight), bias=to_numpy(module.bias))


def _convolution(module: Any, shape: Shape) -> Any:
    if module.padding_mode != "zeros":
        raise NIRError(f"NIR has no padding_mode={module.padding_mode!r}")
    weight = to_numpy(module.weight)
    dims = weight.ndim - 2
    settings = {
        key: value if isinstance(value := getattr(module, key), str) else np.array(value)
        for key in ("stride", "padding", "dilation")
    }
    if dims == 1:
        settings = {key: value if isinstance(value, str) else int(value[0]) for key, value in settings.items()}
    bias = np.zeros(len(weight), weight.dtype) if module.bias is None else to_numpy(module.bias)
    kind = getattr(import_nir(), f"Conv{dims}d")
    node = kind(input_shape=None, weight=weight, bias=bias, groups=int(module.groups), **settings)
    # Set afterwards: given to the class, it would infer its types without regard to groups.
    node.input_shape = tuple(shape[1:]) if dims == 2 else shape[-1]
    node.input_type = {"input": np.array(shape)}
    node.output_type = {"output": np.array(output_shape(node, f"Conv{dims}d", shape, ""))}
    return node


def both_dimensions(value: int | tuple[int, ...]) -> np.ndarray:
    """A size in both dimensions."""
    return np.broadcast_to(np.array(value), 2).copy()


def _pool(module: Any, shape: Shape) -> Any:
    if isinstance(module, nn.AvgPool2d) and (module.ceil_mode or not module.count_include_pad):
        raise NIRError("NIR has no AvgPool2d with ceil_mode=True or count_include_pad=False")
    sums = isinstance(module, SumPool2d) or module.divisor_override == 1
    if not sums and module.divisor_override:
        raise NIRError("NIR has no AvgPool2d with divisor_override")
    sizes: Any = {key: both_dimensions(getattr(module, key)) for key in ("kernel_size", "stride", "padding")}
    return getattr(import_nir(), "SumPool2d" if sums else "AvgPool2d")(**sizes)


def _flatten(module: Any, shape: Shape) -> Any:
    start, end = (dim - 1 if dim >= 0 else dim for dim in (module.start_dim, module.end_dim))
    if module.start_dim == 0 or start < -len(shape):
        raise NIRError("Flatten must leave the batch dimension, 0, alone")
    return import_nir().Flatten(input_type={"input": np.array(shape)}, start_dim=start % len(shape), end_dim=end)


def _delay(module: Any, shape: Shape) -> Any:
    return import_nir().Delay(delay=np.broadcast_to(to_numpy(delay_of(module)), shape).copy())


def _full(value: Tensor, shape: Shape) -> np.ndarray:
    return np.broadcast_to(to_numpy(value), shape).copy()


_LAYERS: dict[tuple[type[nn.Module], ...], Callable[[Any, Shape], Any]] = {
    (nn.Linear, SparseInputLinear, MatrixProduct): _linear,
    (nn.Conv1d, nn.Conv2d, SparseInputConv2d): _convolution,
    (nn.AvgPool2d, SumPool2d): _pool,
    (nn.Flatten,): _flatten,
    (Delay,): _delay,
    (Scale,): lambda module, shape: import_nir().Scale(scale=_full(module.scale, shape)),
    (Threshold,): lambda module, shape: import_nir().Threshold(threshold=_full(module.threshold, shape)),
}
