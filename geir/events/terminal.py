"""Images of events in a terminal with 24-bit colors."""

import torch
from torch import Tensor
from torch.nn import functional

_DARKER = (86, 180, 233)
_BRIGHTER = (230, 159, 0)
_NO_EVENT = (24, 24, 24)


def render(frame: Tensor, columns: int, rows: int) -> str:
    """Render event counts as text: orange where brightness mostly increased, blue where it mostly decreased.

    Args:
        frame: Event counts, shape (polarity, height, width).
        columns: Maximum width in characters.
        rows: Maximum height in characters.
    """
    _, height, width = frame.shape
    # A character shows two pixels, one above the other.
    scale = min(1.0, columns / width, 2 * rows / height)
    shape = max(1, int(height * scale)), max(1, int(width * scale))
    # The maximum of each region, so that single events stay visible.
    darker, brighter = functional.adaptive_max_pool2d(frame.cpu()[None], shape)[0]
    sign = torch.sign(brighter - darker).int()
    if shape[0] % 2:
        sign = functional.pad(sign, (0, 0, 0, 1))
    pixels = sign.tolist()
    lines = ("".join(map(_cell, upper, lower)) for upper, lower in zip(pixels[::2], pixels[1::2], strict=True))
    return "\x1b[0m\n".join(lines) + "\x1b[0m\n"


def _cell(upper: int, lower: int) -> str:
    (r, g, b), (R, G, B) = _color(upper), _color(lower)
    return f"\x1b[38;2;{r};{g};{b};48;2;{R};{G};{B}m\u2580"


def _color(sign: int) -> tuple[int, int, int]:
    return _BRIGHTER if sign > 0 else _DARKER if sign < 0 else _NO_EVENT
