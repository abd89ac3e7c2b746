"""Convolutions with spatial receptive fields."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

from .._util.precision import HALF_PRECISION, widen
from ..core.parameters import Declared, learnable, Parameter, parameter, setting
from .spatial import derivative_orders, Derivatives, distinct_fields, spatial_parameters, spatial_receptive_field


class _FieldConvolution(Declared, ABC):
    """A convolution with receptive fields, which are computed from their parameters on every call.

    Abstract: a subclass declares the parameters and defines `fields`.
    """

    in_channels: int = setting(
        kw_only=False, accepts=int, check=lambda n: n > 0, expected="a positive number of channels"
    )
    size: int = setting(
        kw_only=False, accepts=int, check=lambda n: n > 0 and n % 2 == 1, expected="an odd number of pixels"
    )
    aggregate: bool = True
    stride: int = setting(default=1, accepts=int, check=lambda n: n > 0, expected="a positive number of pixels")

    @abstractmethod
    def fields(self) -> Tensor:
        """The receptive fields, shape (fields, size, size), float32 if the parameters are in half precision."""

    def forward(self, x: Tensor) -> Tensor:
        """Compute the responses to images.

        Args:
            x: Images, shape (batch, in_channels, height, width). For input over time, wrap the layer in `Lift`.

        Returns:
            Responses with zero padding; height and width are divided by `stride`. Shape (batch, fields,
            ...), or with `aggregate=False` (batch, in_channels * fields, ...), where the fields of the
            first channel come first.

        Raises:
            ValueError: If the input does not have `in_channels` channels.
        """
        channels = self.in_channels
        if x.dim() not in (3, 4) or x.shape[-3] != channels:
            raise ValueError(
                f"{type(self).__name__} takes (batch, channels, height, width) with {channels} channels, "
                f"got shape {tuple(x.shape)}."
            )
        fields = self.fields()[:, None]
        if self.aggregate:
            weight, groups = fields.expand(-1, channels, -1, -1), 1
        else:
            weight, groups = fields.repeat(channels, 1, 1, 1), channels
        # In half precision, the sum of a derivative's field would not be 0.
        responses = functional.conv2d(widen(x), weight, stride=self.stride, padding=self.size // 2, groups=groups)
        return responses.to(x.dtype) if x.dtype in HALF_PRECISION else responses


def _widened(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: widen(value) for name, value in parameters.items()}


class SpatialReceptiveField2d(_FieldConvolution):
    """A convolution with the given receptive fields, see `spatial_receptive_field`; parameters have one
    value for each field.

    Args:
        dx: Orders of the derivatives along the angles.
        dy: Orders of the derivatives across the angles.
        in_channels: Number of channels of the input.
        size: Height and width of the fields in pixels, odd.
        aggregate: Whether each field sums over the channels. If not, each field is applied to each channel.
        stride: Distance in pixels between neighboring outputs.

    Raises:
        ValueError: If `size` is even or a parameter is out of range.

    >>> import torch
    >>> edges = SpatialReceptiveField2d(1, 9, **spatial_parameters([1.0, 2.0], [0.0, 0.8], [1.0], derivatives=[(1, 0)]))
    >>> edges(torch.zeros(8, 1, 32, 32)).shape
    torch.Size([8, 4, 32, 32])
    """

    scale: Parameter = parameter(default=1.0, unit="px", above=0.0, doc="standard deviation across the angle")
    angle: Parameter = parameter(default=0.0, unit="rad", doc="orientation, from rightwards to downwards")
    ratio: Parameter = parameter(default=1.0, above=0.0, doc="ratio of standard deviations along and across the angle")
    x: Parameter = parameter(default=0.0, unit="px", doc="offset to the right")
    y: Parameter = parameter(default=0.0, unit="px", doc="offset downwards")
    dx: int | Tensor = setting(default=0, accepts=(int, Tensor), expected="a whole number or a tensor of them")
    dy: int | Tensor = setting(default=0, accepts=(int, Tensor), expected="a whole number or a tensor of them")

    def fields(self) -> Tensor:
        fields = spatial_receptive_field(**_widened(self.declared_parameters()), dx=self.dx, dy=self.dy, size=self.size)
        return fields.reshape(-1, self.size, self.size)


class _FieldBank(_FieldConvolution):
    """A convolution with all combinations of the given parameters."""

    scales: Parameter = parameter(default=1.0, unit="px", above=0.0, doc="standard deviations across the angle")
    angles: Parameter = parameter(default=0.0, unit="rad", doc="orientations, from rightwards to downwards")
    ratios: Parameter = parameter(
        default=1.0, above=0.0, doc="ratios of standard deviations along and across the angle"
    )
    x: Parameter = parameter(default=0.0, unit="px", doc="offsets to the right")
    y: Parameter = parameter(default=0.0, unit="px", doc="offsets downwards")
    derivatives: Derivatives = setting(default=0, check=lambda value: derivative_orders(value) is not None)

    def table(self) -> dict[str, Tensor]:
        """The parameters of all combinations, including duplicates, see `spatial_parameters`."""
        return spatial_parameters(**_widened(self.declared_parameters()), derivatives=self.derivatives, replicas=True)


class SampledSpatialReceptiveField2d(_FieldBank):
    """A convolution with a fixed bank of receptive fields: all combinations of the parameters, without
    duplicates.

    Args:
        derivatives: Pairs of orders along and across the angle, or a number n for all pairs whose
            orders sum to at most n.
        in_channels: Number of channels of the input.
        size: Height and width of the fields in pixels, odd.
        aggregate: Whether each field sums over the channels. If not, each field is applied to each channel.
        stride: Distance in pixels between neighboring outputs.

    Raises:
        ValueError: If `size` is even, or a parameter is out of range or learnable.

    >>> bank = SampledSpatialReceptiveField2d(1, 9, scales=[1.0, 2.0], angles=[0.0, 0.8], ratios=[1.0, 2.0])
    >>> len(bank.fields())
    6
    """

    chosen: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        if self._parameters:
            raise ValueError(
                "SampledSpatialReceptiveField2d has fixed parameters; "
                "use ParameterizedSpatialReceptiveField2d to learn them."
            )
        # Chosen once, so that the number of fields never changes.
        self.register_buffer("chosen", distinct_fields(self.table()))

    def fields(self) -> Tensor:
        table = {name: value[self.chosen] for name, value in self.table().items()}
        return spatial_receptive_field(**table, size=self.size)


class ParameterizedSpatialReceptiveField2d(_FieldBank):
    """A convolution with receptive fields whose scales, angles, ratios and offsets are learned.

    The bank holds all combinations, so fields with the same scale share one parameter. Scales and
    ratios are stored as logarithms and stay positive. To keep a parameter fixed, use
    ``module.angles.requires_grad_(False)`` or ``module.log_scales.requires_grad_(False)``.

    Args:
        derivatives: Pairs of orders along and across the angle, or a number n for all pairs whose
            orders sum to at most n.
        in_channels: Number of channels of the input.
        size: Height and width of the fields in pixels, odd.
        aggregate: Whether each field sums over the channels. If not, each field is applied to each channel.
        stride: Distance in pixels between neighboring outputs.

    Raises:
        ValueError: If `size` is even or a parameter is out of range.

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
