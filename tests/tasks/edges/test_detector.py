"""The edge detector: the network, the receptive fields, and rendering."""

import itertools
import math

import numpy
import pytest
import torch
from edge_inputs import events_at, flash, run_detector, SIZE
from torch import nn

from geir import LIBoxCell, LIFRefracCell, SequentialState
from geir.events import FileInput
from geir.tasks.edges import Detector, network, Scene
from geir.tasks.edges.detector import ANGLES, convolve, line_fields, RESPONSE_MIN
from geir.tasks.edges.image import NO_EDGE, NO_EVENT


@pytest.mark.parametrize("k", range(ANGLES))
def test_a_line_evokes_the_largest_response_in_the_field_of_its_angle(k):
    responses = run_detector(flash(math.pi * k / ANGLES)).responses()[:, 24, 32]
    assert responses.argmax() == k
    assert responses[k] > 2 * responses[(k + ANGLES // 2) % ANGLES].clamp(min=RESPONSE_MIN)


def test_a_line_of_fresh_spikes_evokes_one():
    fields = line_fields()
    assert fields[0, 0, 4].sum() == pytest.approx(1)
    assert fields[2, 0, :, 4].sum() == pytest.approx(1)
    torch.testing.assert_close(fields.sum((1, 2, 3)), torch.zeros(ANGLES), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (16, 9), (33, 40)])
def test_convolve_equals_conv2d(shape):
    image, fields = torch.rand(shape), torch.rand(3, 1, 9, 9)
    torch.testing.assert_close(
        convolve(image, fields[:, 0]), nn.functional.conv2d(image[None, None], fields, padding=4)[0]
    )


def test_a_stuck_pixel_is_not_an_edge():
    stuck = events_at([(20, 20)])
    detector = Detector(SIZE)
    largest = 0.0
    for _ in range(40):
        detector.feed([stuck] * 5)
        largest = max(largest, float(detector.responses().max()))
    assert 0.5 * RESPONSE_MIN < largest < RESPONSE_MIN, "the pixel evokes a response, but not an edge"
    assert (detector.render()[:, 64:] == NO_EDGE).all()


def test_above_a_threshold_of_a_quarter_a_spike_takes_two_events():
    for threshold, spikes in ((0.24, True), (0.26, False)):
        xs = torch.zeros(30, 1, 1, 1, 1)
        xs[0] = 1.0
        zs, _ = network(threshold)[0](xs)
        assert bool(zs.any()) == spikes
    detector = Detector(SIZE, threshold=0.3)
    detector.feed(flash(0))
    assert detector.responses().abs().max() == 0
    detector.feed(flash(0))
    assert detector.responses().max() > RESPONSE_MIN


def test_the_network_over_time_equals_cells_step_by_step():
    layers = network()
    cells = SequentialState(LIFRefracCell(), LIBoxCell(), nn.Conv2d(1, 4, 9, padding=4, bias=False))
    for cell, layer in zip(cells, (*layers[:2], layers[2].module), strict=True):
        cell.load_state_dict(layer.state_dict())
    xs = (torch.rand(60, 1, 1, 20, 30) < 0.05).float()
    expected, state = [], None
    for x in xs:
        y, state = cells(x, state)
        expected.append(y)
    ys, _ = layers(xs)
    assert ys.abs().max() > RESPONSE_MIN
    torch.testing.assert_close(ys, torch.stack(expected).detach(), rtol=1e-5, atol=1e-5)


def test_results_do_not_depend_on_the_number_of_steps_per_call():
    with FileInput(Scene(SIZE), speed=None, capacity=1 << 12) as stream:
        steps = list(itertools.islice(stream.slices(), 120))
    at_once, singly = Detector(SIZE), Detector(SIZE)
    for k in range(0, 120, 8):
        at_once.feed(steps[k : k + 8])
    for step in steps:
        singly.feed([step])
    assert at_once.responses().max() > RESPONSE_MIN
    torch.testing.assert_close(singly.responses(), at_once.responses(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(singly._event_trace, at_once._event_trace, rtol=1e-4, atol=1e-5)


def test_the_detector_equals_its_network():
    with FileInput(Scene(SIZE), speed=None, capacity=1 << 12) as stream:
        steps = list(itertools.islice(stream.slices(), 50))
    xs = torch.zeros(50, 1, 1, 48, 64)
    for k, step in enumerate(steps):
        for x, y in zip(step.x.tolist(), step.y.tolist(), strict=True):
            xs[k, 0, 0, y, x] += 1
    ys, _ = network()(xs)
    assert xs.max() >= 1
    torch.testing.assert_close(run_detector(steps).responses(), ys[-1, 0], rtol=1e-4, atol=1e-5)


def test_an_image_rendered_later_shows_the_state_when_it_was_due():
    with FileInput(Scene(SIZE), speed=None, capacity=1 << 12) as stream:
        steps = list(itertools.islice(stream.slices(), 40))
    at_once = [pending.render() for pending in Detector(SIZE).images(steps, lambda: 20)]
    later = list(Detector(SIZE).images(steps, lambda: 20))
    assert not at_once[0].equal(at_once[1])
    assert all(image.equal(pending.render()) for image, pending in zip(at_once, later, strict=True))


def test_an_invalid_threshold_raises():
    with pytest.raises(ValueError, match=r"Detector.threshold must be a positive number, got -1"):
        Detector(SIZE).threshold = -1


def test_setting_the_same_threshold_does_not_invalidate_cached_coefficients():
    detector = Detector(SIZE)
    version = detector._v_th._version
    for threshold, changes in ((detector.threshold, 0), (0.3, 1), (0.3, 1)):
        detector.threshold = threshold
        assert detector._v_th._version - version == changes
    assert float(detector._v_th) == pytest.approx(0.3)


def test_in_a_real_recording_the_person_is_detected_and_the_noise_is_not(real_data):
    with FileInput(real_data / "events" / "person_320x240.aedat4", speed=None) as stream:
        detector = Detector(stream.sensor_size)
        pending = list(detector.images(stream.slices(), lambda: 100))
    assert sum(image.events for image in pending) == 111_954
    image = pending[2].render()
    events, edges = image[:, :320] != NO_EVENT, image[:, 320:] != NO_EDGE
    # The person is right of the center. Left of it, above the shoulder, there is only noise.
    noise = numpy.s_[:150, :140]
    assert events[noise].sum() > 100
    assert edges[noise].sum() <= 0.005 * edges.sum()
    # The left outline of the head: almost every row has an edge.
    assert edges[30:120, 150:190].any(1).float().mean() > 0.95
    assert 2_000 < edges.sum() < 15_000
