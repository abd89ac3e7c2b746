"""Images of events and edges in 256 colors."""

import colorsys
import math
import struct
import zlib

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

# The palette has 64 colors for events, of which the middle one means no event; and for every hue,
# which encodes the angle of an edge, 16 levels of brightness from black on.
_EVENT_COLORS = 64
_HUES = 12
_LEVELS = 16
_BLACK, _BLUE, _ORANGE = (10, 12, 16), (64, 160, 255), (255, 150, 50)
NO_EVENT = _EVENT_COLORS // 2 - 1
NO_EDGE = _EVENT_COLORS


def _build_palette() -> NDArray[numpy.uint8]:
    black = numpy.array(_BLACK)
    signed = numpy.linspace(-1, 1, _EVENT_COLORS - 1)[:, None]
    events = black + abs(signed) ** 0.7 * (numpy.where(signed < 0, _BLUE, _ORANGE) - black)
    hues = numpy.array([colorsys.hsv_to_rgb(k / _HUES, 0.62, 1.0) for k in range(_HUES)])[:, None] * 255
    brightness = numpy.linspace(0, 1, _LEVELS)[:, None] ** 0.8
    edges = black + brightness * (hues - black)
    return numpy.concatenate([events, black[None], edges.reshape(-1, 3)]).round().astype(numpy.uint8)


PALETTE = _build_palette()


def compose(events: Tensor, edges: Tensor) -> Tensor:
    """Compose an image of events on the left and edges on the right.

    Args:
        events: Signed brightness changes, shape (height, width); clipped to [-1, 1].
        edges: Strength of edges at evenly spaced angles, shape (angles, height, width). Values up
            to 0 are not shown, values from 1 on are shown at full brightness.

    Returns:
        Color indices into `PALETTE`, uint8 of shape (height, 2 * width).
    """
    height, width = events.shape
    image = torch.empty(height, 2 * width, dtype=torch.uint8)
    image[:, :width] = (events * NO_EVENT).round_().clamp_(-NO_EVENT, NO_EVENT).add_(NO_EVENT)
    right = image[:, width:].fill_(NO_EDGE)
    is_edge = edges.amax(0) > 0
    strength = edges[:, is_edge].relu_()
    # An angle is periodic after half a turn, so the hue is twice the angle.
    phases = torch.arange(len(edges)) * (2 * math.pi / len(edges))
    angle = torch.atan2(torch.sin(phases) @ strength, torch.cos(phases) @ strength) / (2 * math.pi)
    hue = (angle * _HUES).round_().remainder_(_HUES)
    level = (strength.amax(0) * (_LEVELS - 1)).ceil_().clamp_(max=_LEVELS - 1)
    right[is_edge] = (NO_EDGE + hue * _LEVELS + level).to(torch.uint8)
    return image


def encode_png(image: Tensor) -> bytes:
    """Encode an image as PNG."""
    height, width = image.shape
    rows = numpy.zeros((height, width + 1), numpy.uint8)  # each row begins with its filter type, 0 for none
    rows[:, 1:] = image.numpy()

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    bit_depth, indexed_color, compression, filtering, interlacing = 8, 3, 0, 0, 0
    header = struct.pack(">IIBBBBB", width, height, bit_depth, indexed_color, compression, filtering, interlacing)
    parts = (
        chunk(b"IHDR", header),
        chunk(b"PLTE", PALETTE.tobytes()),
        chunk(b"IDAT", zlib.compress(rows.tobytes(), 1)),
        chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
