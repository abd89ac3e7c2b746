"""Images of events and edges."""

import math

import numpy
import pytest
import torch
from edge_inputs import events_at, flash, run_detector
from PIL import Image

from geir.tasks.edges.image import compose, encode_png, NO_EDGE, NO_EVENT, PALETTE


@pytest.mark.parametrize("degrees", [0, 22.5, 45, 67.5, 90, 112.5, 135, 157.5])
def test_the_hue_of_an_edge_is_twice_its_angle(degrees):
    frame = run_detector(flash(math.radians(degrees))).render()
    number = int(frame[24, 64 + 32]) - NO_EDGE
    assert number > 0, "the line is not detected"
    hue = 360 * (number // 16) / 12
    assert min(abs(hue - 2 * degrees), 360 - abs(hue - 2 * degrees)) <= 20


def test_events_are_orange_for_increases_and_blue_for_decreases():
    detector = run_detector([events_at([(5, 6)], p=1), events_at([(7, 8)], p=0)])
    frame = PALETTE[detector.render().numpy()].astype(int)
    brighter, darker, nothing = frame[6, 5], frame[8, 7], frame[0, 0]
    assert brighter[0] > brighter[2] + 50
    assert darker[2] > darker[0] + 50
    assert nothing.max() < 20


def test_another_program_decodes_the_png(tmp_path):
    frame = compose(torch.linspace(-1.5, 1.5, 48 * 64).view(48, 64), torch.rand(4, 48, 64))
    (tmp_path / "frame.png").write_bytes(encode_png(frame))
    with Image.open(tmp_path / "frame.png") as image:
        image.load()
        assert (numpy.asarray(image) == frame.numpy()).all()
        assert (numpy.asarray(image.convert("RGB")) == PALETTE[frame.numpy()]).all()
    assert frame[:, :64].min() == 0
    assert frame[:, :64].max() == 2 * NO_EVENT
