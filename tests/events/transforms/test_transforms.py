"""Batches, modules and invalid arguments of transforms."""

import pytest
import torch
from recordings import recording, SIZE
from torch import nn

from geir.events import Events, transforms as T


def test_a_list_becomes_a_batch_padded_with_zeros():
    long, short = recording(), recording(100, 20_000, seed=1)
    frames = T.count_frames([long, short], dt=3e-3)
    alone = T.count_frames(short, dt=3e-3)
    assert frames.shape == (14, 2, 2, 7, 9)
    assert frames[:, 0].equal(T.count_frames(long, dt=3e-3))
    assert frames[: len(alone), 1].equal(alone)
    assert frames[len(alone) :, 1].count_nonzero() == 0
    assert [len(part) for part in T.crop([long, short], (4, 4))] == [
        len(T.crop(part, (4, 4))) for part in (long, short)
    ]


def test_modules_equal_functions_and_compose():
    events = recording()
    chain = nn.Sequential(T.Denoise(duration=2e-3), T.Downsample(space=2), T.CountFrames(bins=3))
    assert chain(events).equal(T.count_frames(T.downsample(T.denoise(events, 2e-3), 2), bins=3))
    assert repr(T.CountFrames(bins=3)) == "CountFrames(bins=3, dtype=torch.float32)"
    public = {name for name, value in vars(T).items() if getattr(value, "__module__", "").startswith(T.__name__)}
    functions = {name for name in public if name.islower()} - {"hot_pixels"}
    assert {"".join(part.title() for part in name.split("_")) for name in functions} == {
        name for name in public if not name.islower()
    }


UNSORTED = Events(t=[5, 3], x=[0, 0], y=[0, 0], p=[0, 0], sensor_size=SIZE)


INVALID = {
    "no frames": (
        lambda: T.count_frames(recording()),
        ValueError,
        r"count_frames needs exactly one of dt=..., bins=... and count=..., got none\.",
    ),
    "frames in two ways": (
        lambda: T.binary_frames(recording(), dt=1e-3, bins=3),
        ValueError,
        "binary_frames needs exactly one of .* got dt and bins",
    ),
    "a frame that is too short": (
        lambda: T.count_frames(recording(), dt=1e-7),
        ValueError,
        "count_frames: dt must be at least a microsecond, in seconds, got 1e-07",
    ),
    "zero bins": (
        lambda: T.sparse_frames(recording(), bins=0),
        ValueError,
        "sparse_frames: bins must be a positive integer, got 0",
    ),
    "frames of a negative number of events": (
        lambda: T.count_frames(recording(), count=-1),
        ValueError,
        "count_frames: count must be a positive integer, got -1",
    ),
    "stop before start": (
        lambda: T.count_frames(recording(), bins=1, start=5, stop=4),
        ValueError,
        "stop must not lie before start, got 5 and 4",
    ),
    "unsorted events": (
        lambda: T.count_frames(UNSORTED, bins=1),
        ValueError,
        r"count_frames expected events in the order of time; call events.sorted\(\) first",
    ),
    "unsorted events in a voxel grid": (
        lambda: T.voxel_grid(UNSORTED, 1),
        ValueError,
        "voxel_grid expected events in the order of time",
    ),
    "unsorted events in denoise": (
        lambda: T.denoise(UNSORTED),
        ValueError,
        "denoise expected events in the order of time",
    ),
    "unsorted events in the refractory filter": (
        lambda: T.refractory_filter(UNSORTED, 1.0),
        ValueError,
        "refractory_filter expected events in the order",
    ),
    "an unsupported dtype": (
        lambda: T.count_frames(recording(), bins=1, dtype=torch.float64),
        TypeError,
        "count_frames: dtype must be one of .*, got torch.float64",
    ),
    "an unsupported dtype of binary frames": (
        lambda: T.binary_frames(recording(), bins=1, dtype=torch.bool),
        TypeError,
        "binary_frames: dtype must be one of",
    ),
    "an unknown argument": (
        lambda: T.count_frames(recording(), bins=1, end=3),
        TypeError,
        "count_frames has no argument 'end'",
    ),
    "sparse frames of something else": (
        lambda: T.sparse_frames([torch.zeros(3)], bins=1),
        TypeError,
        r"sparse_frames expected Events or a list of Events, all of one sensor size, got \['Tensor'\]",
    ),
    "a tensor": (
        lambda: T.count_frames(torch.zeros(3), bins=1),
        TypeError,
        "count_frames expected Events or a list of Events, got Tensor",
    ),
    "an empty list": (
        lambda: T.crop([], (1, 1)),
        TypeError,
        "crop expected Events or a list of Events, got an empty list",
    ),
    "sparse frames of two sensors": (
        lambda: T.sparse_frames([recording(), Events.empty((1, 1))], bins=1),
        TypeError,
        r"sparse_frames expected Events or a list of Events, all of one sensor size, got \[\(9, 7\), \(1, 1\)\]",
    ),
    "a voxel grid of zero bins": (
        lambda: T.voxel_grid(recording(), 0),
        ValueError,
        "voxel_grid: bins must be a positive integer, got 0",
    ),
    "a time constant of zero": (
        lambda: T.time_surface(recording(), 0.0, bins=1),
        ValueError,
        "time_surface: tau must be at least a microsecond, in seconds, got 0.0",
    ),
    "a negative duration": (
        lambda: T.denoise(recording(), -1.0),
        ValueError,
        "denoise: duration must be at least a microsecond",
    ),
    "a period of zero": (
        lambda: T.refractory_filter(recording(), 0),
        ValueError,
        "refractory_filter: period must be at least a microsecond",
    ),
    "a rate of zero": (
        lambda: T.hot_pixels(recording(), 0),
        ValueError,
        "hot_pixels: max_rate must be positive and finite, in events per second, got 0",
    ),
    "a mask of another shape": (
        lambda: T.drop_pixels(recording(), torch.ones(9, 7)),
        ValueError,
        r"drop_pixels: pixels must be a bool tensor of shape \(7, 9\), got torch.float32 of shape \(9, 7\)",
    ),
    "a crop outside of the sensor": (
        lambda: T.crop(recording(), (5, 5), (5, 0)),
        ValueError,
        r"crop: the rectangle of 5x5 pixels at \(5, 0\) does not lie within the sensor of 9x7",
    ),
    "a random crop larger than the sensor": (
        lambda: T.random_crop(recording(), (20, 5)),
        ValueError,
        "crop: the rectangle of 20x5 pixels at",
    ),
    "a crop of zero duration": (
        lambda: T.crop_time(recording(), 0.0),
        ValueError,
        "crop_time: duration must be at least a microsecond",
    ),
    "a probability above 1": (
        lambda: T.random_flip(recording(), y=1.5),
        ValueError,
        r"random_flip: y must lie in \[0, 1\], got 1.5",
    ),
    "a scale of zero": (
        lambda: T.affine(recording(), scale=0.0),
        ValueError,
        "affine: scale must be positive and finite, got 0.0",
    ),
    "blocks of half a pixel": (
        lambda: T.downsample(recording(), space=0.5),
        ValueError,
        "downsample: space must be a positive integer, in pixels, got 0.5",
    ),
    "a resolution of zero": (
        lambda: T.downsample(recording(), time=0.0),
        ValueError,
        "downsample: time must be at least a microsecond",
    ),
    "a fraction above 1": (
        lambda: T.drop_events(recording(), 2.0),
        ValueError,
        r"drop_events: fraction must lie in \[0, 1\], got 2.0",
    ),
    "a negative deviation": (
        lambda: T.jitter(recording(), space=-1.0),
        ValueError,
        "jitter: space and time must not be negative, got -1.0 pixels",
    ),
    "a negative rate": (
        lambda: T.uniform_noise(recording(), -1.0),
        ValueError,
        "uniform_noise: rate must not be negative",
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_arguments_raise(case):
    make, error, message = INVALID[case]
    with pytest.raises(error, match=message):
        make()
