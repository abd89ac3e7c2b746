"""Spatial receptive fields: derivatives of affine Gaussians."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..core.parameters import Declared, learnable, Parameter, parameter, setting

Values = float | Sequence[float] | Tensor
Derivatives = int | Sequence[tuple[int, int]]


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
    r"""Receptive fields by Lindeberg's theory: scale-normalised derivatives of affine Gaussians.

    .. math::
        F(\mathbf p) = \mathrm{He}_{dx}\!\left(\tfrac{u}{\sigma_u}\right) \mathrm{He}_{dy}\!\left(\tfrac{v}{\sigma_v}\right)
        \frac{1}{2\pi\sigma_u\sigma_v} \exp\!\left(-\frac{u^2}{2\sigma_u^2} - \frac{v^2}{2\sigma_v^2}\right), \qquad
        \sigma_u = \text{ratio} \cdot \text{scale}, \quad \sigma_v = \text{scale}

    where :math:`u` and :math:`v` are the coordinates of :math:`\mathbf p - (x, y)` along `angle` and across it, and :math:`\mathrm{He}_n` the
    Hermite polynomials. So the sum of an image weighted with the field is
    :math:`\sigma_u^{dx} \sigma_v^{dy}\, \partial_u^{dx} \partial_v^{dy}` of the smoothed image at :math:`(x, y)`.

    The field is sampled at the centres of pixels. Its sum differs from that of the continuous one by less than 1e-3 for scales from 0.7 pixels
    on and a `size` of 7 times the larger :math:`\sigma`.

    Reference: T. Lindeberg, *Normative theory of visual receptive fields*, 2021.

    Args:
        scale: Standard deviation across `angle`, in pixels, any shape.
        angle: Orientation in radians, from the horizontal (rightwards) to the vertical (downwards).
        ratio: By how much the standard deviation along `angle` is larger.
        size: Height and width of the field in pixels, odd, so that there is a centre.
        x: Offset to the right, in pixels.
        y: Offset downwards, in pixels.
        dx: Order of the derivative along `angle`.
        dy: Order of the derivative across it.

    Returns:
        The fields, shape (\*shape, size, size), where all but `size` broadcast to `shape`.

    >>> spatial_receptive_field(1.0, size=3)
    tensor([[0.0585, 0.0965, 0.0585],
            [0.0965, 0.1592, 0.0965],
            [0.0585, 0.0965, 0.0585]])
    """
    _check_size("spatial_receptive_field", size)
    caller, named = "spatial_receptive_field", {"scale": scale, "angle": angle, "ratio": ratio, "x": x, "y": y}
    sigma, phi, kappa, right, down = (_tensor(caller, name, value)[..., None, None] for name, value in named.items())
    _check_positive(caller, scale=sigma, ratio=kappa)
    orders = [_orders(name, value)[..., None, None].to(sigma.device) for name, value in (("dx", dx), ("dy", dy))]
    pixels = torch.arange(size, dtype=sigma.dtype, device=sigma.device) - size // 2
    right, down = pixels - right, pixels[:, None] - down
    u = (torch.cos(phi) * right + torch.sin(phi) * down) / (sigma * kappa)
    v = (torch.cos(phi) * down - torch.sin(phi) * right) / sigma
    return _gaussian(u, orders[0]) * _gaussian(v, orders[1]) / (sigma**2 * kappa)


def _gaussian(u: Tensor, order: Tensor) -> Tensor:
    """The normal density times the Hermite polynomial of an order."""
    before, hermite = torch.zeros_like(u), torch.ones_like(u)
    chosen = hermite
    for n in range(int(order.max()) if order.numel() else 0):
        before, hermite = hermite, u * hermite - n * before
        chosen = torch.where(order == n + 1, hermite, chosen)
    return chosen * torch.exp(-(u**2) / 2) / math.sqrt(2 * math.pi)


def _tensor(caller: str, name: str, value: Any) -> Tensor:
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


def _check_size(caller: str, size: Any) -> None:
    if not isinstance(size, int) or size < 1 or size % 2 == 0:
        raise ValueError(
            f"{caller}: size must be an odd number of pixels, so that the field has a centre, got {size!r}."
        )


def _orders(name: str, value: Any) -> Tensor:
    orders = torch.as_tensor(value)
    if orders.is_floating_point() or orders.is_complex() or bool((orders < 0).any()):
        raise ValueError(
            f"spatial_receptive_field: {name} must be an order of derivative, 0, 1, 2, ..., got {value!r}."
        )
    return orders


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
    """The parameters of every combination, as arguments for `spatial_receptive_field` and `SpatialReceptiveField2d`.

    Args:
        scales: Standard deviations in pixels.
        angles: Orientations in radians.
        ratios: Ratios of standard deviations.
        derivatives: Pairs of orders along and across the angle, or a number n for all pairs whose orders sum to at most n.
        x: Offsets to the right, in pixels.
        y: Offsets downwards, in pixels.
        replicas: Keep fields that are equal: at ratio 1, without derivatives, those of different angles.

    Returns:
        `scale`, `angle`, `ratio`, `x`, `y`, `dx` and `dy`, each of shape (fields,); the orders of derivatives vary fastest.

    >>> spatial_parameters([1.0, 2.0], [0.0, 1.5], [1.0, 2.0])["ratio"]
    tensor([1., 2., 2., 1., 2., 2.])
    """
    caller = "spatial_parameters"
    given = {"scales": scales, "ratios": ratios, "angles": angles, "x": x, "y": y}
    axes = {name: _tensor(caller, name, value).reshape(-1) for name, value in given.items()}
    _check_positive(caller, scales=axes["scales"], ratios=axes["ratios"])
    orders = _pairs(derivatives)
    grid = torch.cartesian_prod(*(torch.arange(len(axis)) for axis in (*axes.values(), orders))).unbind(1)
    values = (axis[index.to(axis.device)] for axis, index in zip(axes.values(), grid, strict=False))
    table: dict[str, Tensor] = dict(zip(("scale", "ratio", "angle", "x", "y"), values, strict=True))
    table["dx"], table["dy"] = orders[grid[-1]].to(table["scale"].device).unbind(1)
    return table if replicas else {name: value[_distinct(table)] for name, value in table.items()}


def _distinct(table: dict[str, Tensor]) -> Tensor:
    """Indices of the fields that remain when of those without orientation only the ones at the first angle do."""
    oriented = (table["ratio"] != 1) | (table["dx"] + table["dy"] > 0)
    return (oriented | (table["angle"] == table["angle"][0])).nonzero().flatten()


def _pairs(derivatives: Any) -> Tensor:
    if isinstance(derivatives, int) and derivatives >= 0:
        derivatives = [(dx, order - dx) for order in range(derivatives + 1) for dx in range(order, -1, -1)]
    try:
        pairs = torch.tensor([(dx, dy) for dx, dy in derivatives])  # pyright: ignore[reportGeneralTypeIssues]  (a number fails here)
    except (TypeError, ValueError):
        pairs = None
    if pairs is None or not len(pairs) or pairs.is_floating_point() or bool((pairs < 0).any()):
        raise ValueError(
            f"spatial_parameters: derivatives must be a number >= 0 or pairs of orders, such as [(0, 0), (1, 0)], got {derivatives!r}."
        )
    return pairs


class _ReceptiveFields(Declared):
    """A convolution with receptive fields, computed anew from their parameters at every call.

    Abstract: a subclass declares the parameters and writes `fields`.

    Args:
        in_channels: Channels of the input.
        size: Height and width of the fields in pixels, odd.
        aggregate: Whether a field sums over the channels; else every field looks at every channel by itself.
        stride: Distance in pixels from one output to the next.
    """

    in_channels: int = setting(
        kw_only=False, accepts=int, check=lambda n: n > 0, expected="a positive number of channels"
    )
    size: int = setting(
        kw_only=False, accepts=int, check=lambda n: n > 0 and n % 2 == 1, expected="an odd number of pixels"
    )
    aggregate: bool = True
    stride: int = setting(default=1, accepts=int, check=lambda n: n > 0, expected="a positive number of pixels")

    def fields(self) -> Tensor:
        """The receptive fields, shape (fields, size, size)."""
        raise NotImplementedError(f"{type(self).__name__} does not define `fields`.")

    def forward(self, x: Tensor) -> Tensor:
        """Respond to images.

        Args:
            x: Images, shape (batch, in_channels, height, width); over time, `Lift` it.

        Returns:
            Responses of height and width divided by `stride`, with zeros around the image: shape (batch, fields, ...), and with
            `aggregate=False` (batch, in_channels * fields, ...), first all fields of the first channel.
        """
        if x.dim() not in (3, 4) or x.shape[-3] != self.in_channels:
            raise ValueError(
                f"{type(self).__name__} takes (batch, channels, height, width) with {self.in_channels} channels, got shape {tuple(x.shape)}."
            )
        fields, n = self.fields()[:, None], self.in_channels
        if self.aggregate:
            return functional.conv2d(x, fields.expand(-1, n, -1, -1), stride=self.stride, padding=self.size // 2)
        return functional.conv2d(x, fields.repeat(n, 1, 1, 1), stride=self.stride, padding=self.size // 2, groups=n)


class SpatialReceptiveField2d(_ReceptiveFields):
    """A convolution with given receptive fields, see `spatial_receptive_field`; each parameter has one value a field.

    Args:
        dx: Orders of the derivatives along the angles.
        dy: Orders of the derivatives across the angles.
        in_channels: Channels of the input.
        size: Height and width of the fields in pixels, odd.
        aggregate: Whether a field sums over the channels; else every field looks at every channel by itself.
        stride: Distance in pixels from one output to the next.

    >>> edges = SpatialReceptiveField2d(1, 9, **spatial_parameters([1.0, 2.0], [0.0, 0.8], [1.0], derivatives=[(1, 0)]))
    >>> edges(torch.zeros(8, 1, 32, 32)).shape
    torch.Size([8, 4, 32, 32])
    """

    scale: Parameter = parameter(default=1.0, unit="px", above=0.0, doc="standard deviation across the angle")
    angle: Parameter = parameter(default=0.0, unit="rad", doc="orientation, from rightwards to downwards")
    ratio: Parameter = parameter(default=1.0, above=0.0, doc="standard deviation along the angle over that across it")
    x: Parameter = parameter(default=0.0, unit="px", doc="offset to the right")
    y: Parameter = parameter(default=0.0, unit="px", doc="offset downwards")
    dx: int | Tensor = setting(default=0, accepts=(int, Tensor), expected="a whole number or a tensor of them")
    dy: int | Tensor = setting(default=0, accepts=(int, Tensor), expected="a whole number or a tensor of them")

    def fields(self) -> Tensor:
        fields = spatial_receptive_field(**self.declared_parameters(), dx=self.dx, dy=self.dy, size=self.size)
        return fields.reshape(-1, self.size, self.size)


class _ProductOfFields(_ReceptiveFields):
    scales: Parameter = parameter(default=1.0, unit="px", above=0.0, doc="standard deviations across the angle")
    angles: Parameter = parameter(default=0.0, unit="rad", doc="orientations, from rightwards to downwards")
    ratios: Parameter = parameter(
        default=1.0, above=0.0, doc="standard deviations along the angle over those across it"
    )
    x: Parameter = parameter(default=0.0, unit="px", doc="offsets to the right")
    y: Parameter = parameter(default=0.0, unit="px", doc="offsets downwards")
    derivatives: Derivatives = setting(default=0, check=lambda value: _pairs(value) is not None)

    def table(self) -> dict[str, Tensor]:
        """The parameters of every combination."""
        return spatial_parameters(**self.declared_parameters(), derivatives=self.derivatives, replicas=True)


class SampledSpatialReceptiveField2d(_ProductOfFields):
    """A convolution with a fixed bank of receptive fields: all combinations by `spatial_parameters`, those that are equal once.

    Args:
        derivatives: Pairs of orders along and across the angle, or a number n for all pairs whose orders sum to at most n.
        in_channels: Channels of the input.
        size: Height and width of the fields in pixels, odd.
        aggregate: Whether a field sums over the channels; else every field looks at every channel by itself.
        stride: Distance in pixels from one output to the next.

    >>> bank = SampledSpatialReceptiveField2d(1, 9, scales=[1.0, 2.0], angles=[0.0, 0.8], ratios=[1.0, 2.0])
    >>> len(bank.fields())
    6
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self._parameters:
            raise ValueError(
                "SampledSpatialReceptiveField2d is fixed; for parameters that are learned take ParameterizedSpatialReceptiveField2d."
            )
        # Chosen once, so that the number of fields never changes.
        self.register_buffer("chosen", _distinct(self.table()))

    def fields(self) -> Tensor:
        chosen = self.get_buffer("chosen")
        table = {name: value[chosen] for name, value in self.table().items()}
        return spatial_receptive_field(**table, size=self.size)


class ParameterizedSpatialReceptiveField2d(_ProductOfFields):
    """A convolution with receptive fields whose scales, angles, ratios and offsets are learned.

    All combinations of them, so one scale is shared by all fields that have it; scales and ratios are stored as logarithms and stay positive.
    To hold one fixed: ``module.angles.requires_grad_(False)``, ``module.log_scales.requires_grad_(False)``.

    Args:
        derivatives: Pairs of orders along and across the angle, or a number n for all pairs whose orders sum to at most n.
        in_channels: Channels of the input.
        size: Height and width of the fields in pixels, odd.
        aggregate: Whether a field sums over the channels; else every field looks at every channel by itself.
        stride: Distance in pixels from one output to the next.

    >>> bank = ParameterizedSpatialReceptiveField2d(1, 9, scales=[1.0, 2.0], angles=[0.0, 0.8], ratios=[1.0, 2.0])
    >>> [name for name, _ in bank.named_parameters()]
    ['log_scales', 'angles', 'log_ratios', 'x', 'y']
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.declarations():
            if name in self._buffers:
                setattr(self, name, learnable(getattr(self, name)))

    def fields(self) -> Tensor:
        return spatial_receptive_field(**self.table(), size=self.size)
