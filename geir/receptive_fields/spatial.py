"""Spatial receptive fields: derivatives of affine Gaussians."""

import functools
import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from .._util.precision import HALF_PRECISION, widen

Values: TypeAlias = float | Sequence[float] | Tensor
Derivatives: TypeAlias = int | Sequence[tuple[int, int]]


def spatial_receptive_field(
    scale: Values,
    angle: Values = 0.0,
    ratio: Values = 1.0,
    *,
    size: int,
    x: Values = 0.0,
    y: Values = 0.0,
    dx: int | Tensor = 0,
    dy: int | Tensor = 0,
) -> Tensor:
    r"""Receptive fields of Lindeberg's theory: scale-normalized derivatives of affine Gaussians.

    .. math::
        F(\mathbf p) = \mathrm{He}_{dx}\!\left(\tfrac{u}{\sigma_u}\right)
        \mathrm{He}_{dy}\!\left(\tfrac{v}{\sigma_v}\right)
        \frac{1}{2\pi\sigma_u\sigma_v} \exp\!\left(-\frac{u^2}{2\sigma_u^2} - \frac{v^2}{2\sigma_v^2}\right), \qquad
        \sigma_u = \text{ratio} \cdot \text{scale}, \quad \sigma_v = \text{scale},

    where :math:`u` and :math:`v` are the coordinates of :math:`\mathbf p - (x, y)` along and across
    `angle`, and :math:`\mathrm{He}_n` are the Hermite polynomials. The sum of an image weighted with
    the field is therefore :math:`\sigma_u^{dx} \sigma_v^{dy}\, \partial_u^{dx} \partial_v^{dy}` of the
    smoothed image at :math:`(x, y)`.

    The field is sampled at the centers of pixels. Its sum differs from that of the continuous field by
    less than 1e-3 for scales of at least 0.7 pixels and a `size` of at least 7 times the larger
    :math:`\sigma`.

    Reference: T. Lindeberg, *Normative theory of visual receptive fields*, 2021.

    Args:
        scale: Standard deviation across `angle`, in pixels, any shape.
        angle: Orientation in radians, from horizontal (rightwards) to vertical (downwards).
        ratio: Ratio of the standard deviation along `angle` to that across it.
        size: Height and width of the field in pixels, odd, so that the field has a center.
        x: Offset to the right, in pixels.
        y: Offset downwards, in pixels.
        dx: Order of the derivative along `angle`.
        dy: Order of the derivative across `angle`.

    Returns:
        The fields, shape (\*shape, size, size), where all arguments except `size` broadcast to `shape`.

    Raises:
        TypeError: If an argument is neither a number nor a tensor.
        ValueError: If `size` is even, a scale or ratio is not positive, or an order is not a whole number >= 0.

    >>> spatial_receptive_field(1.0, size=3)
    tensor([[0.0585, 0.0965, 0.0585],
            [0.0965, 0.1592, 0.0965],
            [0.0585, 0.0965, 0.0585]])
    """
    caller = "spatial_receptive_field"
    _check_size(caller, size)

    given = {"scale": scale, "angle": angle, "ratio": ratio, "x": x, "y": y}
    tensors = {name: _to_tensor(caller, name, value) for name, value in given.items()}
    # Coordinates of pixels are not representable in half precision.
    dtype = functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors.values()))

    def parameter(name: str) -> Tensor:
        return widen(tensors[name])[..., None, None]

    sigma = parameter("scale")
    theta = parameter("angle")
    kappa = parameter("ratio")
    x_offset = parameter("x")
    y_offset = parameter("y")
    _check_positive(caller, scale=sigma, ratio=kappa)
    u_order = _check_order("dx", dx)[..., None, None].to(sigma.device)
    v_order = _check_order("dy", dy)[..., None, None].to(sigma.device)
    pixels = torch.arange(size, dtype=sigma.dtype, device=sigma.device) - size // 2
    right = pixels - x_offset
    down = pixels[:, None] - y_offset
    u = (torch.cos(theta) * right + torch.sin(theta) * down) / (sigma * kappa)
    v = (torch.cos(theta) * down - torch.sin(theta) * right) / sigma
    fields = _hermite_gaussian(u, u_order) * _hermite_gaussian(v, v_order) / (sigma**2 * kappa)
    return fields.to(dtype) if dtype in HALF_PRECISION else fields


def _hermite_gaussian(u: Tensor, order: Tensor) -> Tensor:
    """The normal density multiplied by the Hermite polynomial of the given order."""
    previous = torch.zeros_like(u)
    hermite = torch.ones_like(u)
    selected = hermite
    for n in range(int(order.max()) if order.numel() else 0):
        # The recurrence He[n + 1] = u He[n] - n He[n - 1].
        previous, hermite = hermite, u * hermite - n * previous
        selected = torch.where(order == n + 1, hermite, selected)
    return selected * torch.exp(-(u**2) / 2) / math.sqrt(2 * math.pi)


def spatial_parameters(
    scales: Values,
    angles: Values,
    ratios: Values,
    derivatives: Derivatives = 0,
    x: Values = 0.0,
    y: Values = 0.0,
    *,
    replicas: bool = False,
) -> dict[str, Tensor]:
    """The parameters of all combinations, as arguments of `spatial_receptive_field` and
    `SpatialReceptiveField2d`.

    Args:
        scales: Standard deviations in pixels.
        angles: Orientations in radians.
        ratios: Ratios of standard deviations.
        derivatives: Pairs of orders along and across the angle, or a number n for all pairs whose
            orders sum to at most n.
        x: Offsets to the right, in pixels.
        y: Offsets downwards, in pixels.
        replicas: Whether to keep duplicate fields: those of ratio 1 and without derivatives are the
            same for all angles.

    Returns:
        `scale`, `angle`, `ratio`, `x`, `y`, `dx` and `dy`, each of shape (fields,); the orders of
        derivatives vary fastest.

    Raises:
        TypeError: If an argument is neither a number nor a tensor.
        ValueError: If a scale or ratio is not positive, or `derivatives` are not orders >= 0.

    >>> spatial_parameters([1.0, 2.0], [0.0, 1.5], [1.0, 2.0])["ratio"]
    tensor([1., 2., 2., 1., 2., 2.])
    """
    caller = "spatial_parameters"
    given = {"scales": scales, "ratios": ratios, "angles": angles, "x": x, "y": y}
    axes = {name: _to_tensor(caller, name, value).reshape(-1) for name, value in given.items()}
    _check_positive(caller, scales=axes["scales"], ratios=axes["ratios"])
    orders = derivative_orders(derivatives)
    lengths = [len(axis) for axis in (*axes.values(), orders)]
    *indices, order_index = torch.cartesian_prod(*(torch.arange(length) for length in lengths)).unbind(1)
    values = [axis[index.to(axis.device)] for axis, index in zip(axes.values(), indices, strict=True)]
    table: dict[str, Tensor] = dict(zip(("scale", "ratio", "angle", "x", "y"), values, strict=True))
    table["dx"], table["dy"] = orders[order_index].to(table["scale"].device).unbind(1)
    return table if replicas else {name: value[distinct_fields(table)] for name, value in table.items()}


def distinct_fields(table: dict[str, Tensor]) -> Tensor:
    """Indices of all fields that have an orientation, and of those without one that have the first angle."""
    oriented = (table["ratio"] != 1) | (table["dx"] + table["dy"] > 0)
    return (oriented | (table["angle"] == table["angle"][0])).nonzero().flatten()


def derivative_orders(derivatives: object) -> Tensor:
    """Pairs of orders, shape (pairs, 2), from a list of pairs or the largest sum of orders.

    Raises:
        ValueError: If it is neither.
    """
    if isinstance(derivatives, int) and derivatives >= 0:
        derivatives = [(dx, order - dx) for order in range(derivatives + 1) for dx in range(order, -1, -1)]
    try:
        pairs = derivatives if isinstance(derivatives, Iterable) else None
        orders = None if pairs is None else torch.tensor([(dx, dy) for dx, dy in pairs])
    except (TypeError, ValueError):
        orders = None
    if orders is None or not len(orders) or orders.is_floating_point() or bool((orders < 0).any()):
        raise ValueError(
            "spatial_parameters: derivatives must be a number >= 0 or pairs of orders, such as [(0, 0), (1, 0)], "
            f"got {derivatives!r}."
        )
    return orders


def _to_tensor(caller: str, name: str, value: Values) -> Tensor:
    if isinstance(value, Tensor) and value.is_floating_point():
        return value
    try:
        return torch.as_tensor(value, dtype=torch.get_default_dtype())
    except (TypeError, ValueError):
        raise TypeError(f"{caller}: {name} must be a number or a tensor, got {value!r}.") from None


def _check_positive(caller: str, **values: Tensor) -> None:
    for name, value in values.items():
        if not torch.compiler.is_compiling() and not value.is_meta and not bool((value > 0).all()):
            raise ValueError(f"{caller}: {name} must be positive, got {value[~(value > 0)].flatten()[0].item():g}.")


def _check_size(caller: str, size: int) -> None:
    if not isinstance(size, int) or size < 1 or size % 2 == 0:
        raise ValueError(
            f"{caller}: size must be an odd number of pixels, so that the field has a center, got {size!r}."
        )


def _check_order(name: str, value: int | Tensor) -> Tensor:
    orders = torch.as_tensor(value)
    if orders.is_floating_point() or orders.is_complex() or bool((orders < 0).any()):
        raise ValueError(
            f"spatial_receptive_field: {name} must be an order of derivative, 0, 1, 2, ..., got {value!r}."
        )
    return orders
