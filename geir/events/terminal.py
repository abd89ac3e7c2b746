"""Pictures of events in a terminal that knows 24-bit colours."""

import torch
from torch import Tensor
from torch.nn import functional

_DARKER, _BRIGHTER, _NOTHING = (86, 180, 233), (230, 159, 0), (24, 24, 24)


def picture(frame: Tensor, columns: int, rows: int) -> str:
    """Counts of events (polarity, height, width) as text of so many columns and rows at most: orange where most became brighter, blue darker."""
    _, height, width = frame.shape
    # A character shows two pixels, one above the other.
    scale = min(1.0, columns / width, 2 * rows / height)
    shape = max(1, int(height * scale)), max(1, int(width * scale))
    # The largest count of a region, so that single events are seen.
    darker, brighter = functional.adaptive_max_pool2d(frame.cpu()[None], shape)[0]
    sign = torch.sign(brighter - darker).int()
    if shape[0] % 2:
        sign = functional.pad(sign, (0, 0, 0, 1))
    pixels = sign.tolist()
    return (
        "\x1b[0m\n".join(
            "".join(map(_cell, above, below)) for above, below in zip(pixels[::2], pixels[1::2], strict=True)
        )
        + "\x1b[0m\n"
    )


def _cell(above: int, below: int) -> str:
    (r, g, b), (R, G, B) = (_BRIGHTER if sign > 0 else _DARKER if sign < 0 else _NOTHING for sign in (above, below))
    return f"\x1b[38;2;{r};{g};{b};48;2;{R};{G};{B}m\u2580"
