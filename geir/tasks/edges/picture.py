"""Pictures of events and edges in 256 colours."""

import colorsys
import math
import struct
import zlib

import numpy
import torch
from torch import Tensor

# 64 colours for events, the middle one for none; then for every hue, which is the angle of an edge, its brightnesses from black on.
_LEVELS, _HUES, _BRIGHTNESSES = 64, 12, 16
_BLACK, _BLUE, _ORANGE = (10, 12, 16), (64, 160, 255), (255, 150, 50)


def _palette() -> numpy.ndarray:
    black = numpy.array(_BLACK)
    signed = numpy.linspace(-1, 1, _LEVELS - 1)[:, None]
    events = black + abs(signed) ** 0.7 * (numpy.where(signed < 0, _BLUE, _ORANGE) - black)
    hues = numpy.array([colorsys.hsv_to_rgb(k / _HUES, 0.62, 1.0) for k in range(_HUES)])[:, None] * 255
    brightness = numpy.linspace(0, 1, _BRIGHTNESSES)[:, None] ** 0.8
    edges = black + brightness * (hues - black)
    return numpy.concatenate([events, black[None], edges.reshape(-1, 3)]).round().astype(numpy.uint8)


PALETTE = _palette()
NO_EVENT, NO_EDGE = _LEVELS // 2 - 1, _LEVELS


def indexed(events: Tensor, edges: Tensor) -> Tensor:
    """Events on the left and edges on the right, as numbers of colours.

    Args:
        events: From -1, darker, to 1, brighter, shape (height, width); more is shown as these.
        edges: How much of an edge there is at angles that divide half a turn evenly, up to 1, shape (angles, height, width).
    """
    height, width = events.shape
    picture = torch.empty(height, 2 * width, dtype=torch.uint8)
    picture[:, :width] = (events * NO_EVENT).round_().clamp_(-NO_EVENT, NO_EVENT).add_(NO_EVENT)
    right = picture[:, width:].fill_(NO_EDGE)
    there = edges.amax(0) > 0
    found = edges[:, there].relu_()
    # Angles are the same after half a turn, hence twice the angle.
    phases = torch.arange(len(edges)) * (2 * math.pi / len(edges))
    turned = torch.atan2(torch.sin(phases) @ found, torch.cos(phases) @ found) / (2 * math.pi)
    hue = (turned * _HUES).round_().remainder_(_HUES)
    level = (found.amax(0) * (_BRIGHTNESSES - 1)).ceil_().clamp_(max=_BRIGHTNESSES - 1)
    right[there] = (NO_EDGE + hue * _BRIGHTNESSES + level).to(torch.uint8)
    return picture


def png(picture: Tensor) -> bytes:
    """A picture as a PNG file."""
    height, width = picture.shape
    rows = numpy.zeros((height, width + 1), numpy.uint8)  # each row begins with its filter, none
    rows[:, 1:] = picture.numpy()

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = (
        chunk(b"IHDR", header),
        chunk(b"PLTE", PALETTE.tobytes()),
        chunk(b"IDAT", zlib.compress(rows.tobytes(), 1)),
        chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
