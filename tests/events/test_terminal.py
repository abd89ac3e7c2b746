"""Images of events in a terminal."""

import re

import torch

from geir.events.terminal import render


def test_an_image_fits_the_terminal_and_shows_single_events():
    frame = torch.zeros(2, 48, 64)
    frame[1, 0, 0], frame[0, 47, 63] = 1, 3
    text = render(frame, columns=32, rows=100)
    lines = text.splitlines()
    assert len(lines) == 12
    assert all(re.sub(r"\x1b\[[\d;]*m", "", line) == "\u2580" * 32 for line in lines)
    assert lines[0].startswith("\x1b[38;2;230;159;0;48;2;24;24;24m")
    assert lines[-1].endswith("\x1b[38;2;24;24;24;48;2;86;180;233m\u2580\x1b[0m")
    assert text.count("230;159;0") == text.count("86;180;233") == 1
