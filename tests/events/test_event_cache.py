"""The cache of a dataset: every result belongs to its recording, its reader and its `prepare`."""

import functools
import multiprocessing
import os
import pickle
import sys
import time

import numpy
import pytest
import torch
from recordings import recording, SIZE
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

from geir.events import dataset, EventDataset, read_events, transforms as T, write_events
from geir.events.cache import NotCachedError, read_cached, write_cached

FRAMES = T.CountFrames(dt=3e-3)


class Recordings(Dataset):
    """Recordings and labels in the style of tonic: structured arrays, or `Events`."""

    def __init__(self, first, structured=True, size=(*SIZE, 2)):
        self.sensor_size = size
        self.first = first
        self.structured = structured

    def __len__(self):
        return 3

    def __getitem__(self, index):
        events = recording(seed=self.first + index)
        return (events.to_structured("xytp") if self.structured else events), 10 * self.first + index


class Scaled(nn.Module):
    """A module whose repr shows no setting."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, events):
        return self.factor * T.count_frames(events, bins=2)


class PlainScaled:
    """A callable object with the repr of `object`."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, events):
        return self.factor * T.count_frames(events, bins=2)


def scale(events, factor):
    return factor * T.count_frames(events, bins=2)


def files(folder, seeds):
    folder.mkdir(exist_ok=True)
    for k, seed in enumerate(seeds):
        write_events(recording(seed=seed), folder / f"{k}.npz")
    return sorted(folder.iterdir())


SOURCES = {
    "events": lambda folder, first: [recording(seed=first + k) for k in range(3)],
    "files": lambda folder, first: files(folder / f"data{first}", range(first, first + 3)),
    "a dataset of arrays": lambda folder, first: Recordings(first),
    "a dataset of events": lambda folder, first: Recordings(first, structured=False),
    "a part of a dataset": lambda folder, first: Subset(Recordings(0, structured=False), range(first // 100, 3)),
    "arrays of a dataset with another sensor": lambda folder, first: Recordings(
        0, size=(*SIZE, 2) if first else (20, 20, 2)
    ),
}


@pytest.mark.parametrize("name", SOURCES)
def test_two_datasets_with_one_cache_do_not_mix(tmp_path, name):
    for first in (0, 100, 0):
        source = SOURCES[name](tmp_path, first)
        labels = None if isinstance(source, Dataset) else [0, 1, 2]  # equal for both, as in training and test sets
        data = EventDataset(source, labels, prepare=FRAMES, cache=tmp_path / "cache")
        plain = EventDataset(source, labels)
        for _ in range(2):
            for k in range(len(data)):
                frames, label = data[k]
                events, expected = plain[k]
                assert label == expected
                assert frames.equal(T.count_frames(events, dt=3e-3))


def test_equal_recordings_share_a_result_and_keep_their_labels(tmp_path):
    data = EventDataset([recording(), recording()], [3, 4], prepare=FRAMES, cache=tmp_path)
    assert [label for _, label in (data[0], data[1])] == [3, 4]
    assert len(list(tmp_path.iterdir())) == 1
    data.labels[0] = 7
    assert data[0][1] == 7


@pytest.mark.parametrize("make", [Scaled, PlainScaled, lambda factor: functools.partial(scale, factor=factor)])
def test_a_changed_setting_of_prepare_is_noticed(tmp_path, make):
    expected = T.count_frames(recording(), bins=2)
    for factor in (1, 2, 1, 3):
        data = EventDataset([recording()], prepare=make(factor), cache=tmp_path)
        assert data[0][0].equal(factor * expected)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_setting_that_is_changed_after_construction_is_noticed(tmp_path):
    prepare = nn.Sequential(Scaled(1))
    data = EventDataset([recording()], prepare=prepare, cache=tmp_path)
    first = data[0][0]
    prepare[0].factor = 5
    assert data[0][0].equal(5 * first)


def test_changed_code_of_prepare_is_noticed(tmp_path):
    for factor in (1, 2):
        namespace = {"count_frames": T.count_frames}
        exec(f"def prepare(events):\n    return {factor} * count_frames(events, bins=2)", namespace)
        data = EventDataset([recording()], prepare=namespace["prepare"], cache=tmp_path)
        assert data[0][0].equal(factor * T.count_frames(recording(), bins=2))


def test_settings_of_the_reader_are_noticed(tmp_path):
    columns = {name: column.numpy().astype("i8") for name, column in zip("txyp", recording().columns(), strict=True)}
    columns["x"][5] = 100
    numpy.savez(tmp_path / "a.npz", **columns)
    expected = {}
    for errors, size, count in (
        ("skip", SIZE, 499),
        ("truncate", SIZE, 5),
        ("skip", (10, 7), 499),
        ("skip", SIZE, 499),
    ):
        data = EventDataset(
            [tmp_path / "a.npz"], prepare=FRAMES, cache=tmp_path / "cache", errors=errors, sensor_size=size
        )
        if (errors, size) not in expected:
            with pytest.warns(RuntimeWarning, match="left out|were read"):
                expected[errors, size] = data[0][0]
        frames = data[0][0]
        assert frames.shape[-2:] == (size[1], size[0])
        assert frames.sum() == count


def test_a_file_that_is_replaced_is_read_again_even_if_its_size_and_time_are_the_same(tmp_path):
    for seed in (0, 1):
        write_events(recording(seed=seed), tmp_path / "a.npz", compressed=False)
        os.utime(tmp_path / "a.npz", ns=(10**18, 10**18))
        data = EventDataset([tmp_path / "a.npz"], prepare=FRAMES, cache=tmp_path / "cache")
        assert data[0][0].equal(T.count_frames(recording(seed=seed), dt=3e-3))
        time.sleep(0.02)  # longer than the resolution of the times of files


def read_folder(path):
    return read_events(path / "a.npz")


def test_a_recording_that_is_a_folder_is_read_again_if_a_file_in_it_changes(tmp_path):
    (tmp_path / "clip").mkdir()
    for seed in (0, 1):
        write_events(recording(seed=seed), tmp_path / "clip" / "a.npz")
        data = EventDataset([tmp_path / "clip"], prepare=FRAMES, cache=tmp_path / "cache", read=read_folder)
        assert data[0][0].equal(T.count_frames(recording(seed=seed), dt=3e-3))


def several(events):
    frames = T.count_frames(events, bins=2)
    return {
        "events": events[10:20],
        "pair": (frames, [1, 2.5, None, True, "text", b"bytes", 1j]),
        (1, "key"): T.sparse_frames(events, bins=2),
        "array": numpy.arange(6.0).reshape(2, 3)[:, ::2],
        "structured": events[:3].to_structured(),
        "scalar": numpy.float32(2),
        "none": numpy.zeros((0, 3)),
    }


def test_events_and_containers_can_be_read_back(tmp_path):
    events = recording()
    data = EventDataset([events], prepare=several, cache=tmp_path)
    expected = several(events)
    for _ in range(2):
        result = data[0][0]
        assert list(result) == list(expected)
        assert result["events"].equal(expected["events"])
        assert isinstance(result["pair"], tuple)
        assert result["pair"][0].equal(expected["pair"][0])
        assert result["pair"][1] == expected["pair"][1]
        assert result[1, "key"].to_dense().equal(expected[1, "key"].to_dense())
        assert result[1, "key"].is_coalesced() == expected[1, "key"].is_coalesced()
        assert result["array"].tolist() == expected["array"].tolist()
        assert result["structured"].dtype == expected["structured"].dtype
        assert result["structured"].tolist() == expected["structured"].tolist()
        assert type(result["scalar"]) is numpy.float32
        assert result["none"].shape == (0, 3)


def test_a_slice_of_events_takes_no_more_room_than_its_events(tmp_path):
    data = EventDataset([recording(100_000)], prepare=first_events, cache=tmp_path)
    assert len(data[0][0]) == 10
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 10_000


def first_events(events):
    return events[:10]


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_damaged_files_are_made_again_and_run_no_code(tmp_path):
    data = EventDataset([recording()], prepare=FRAMES, cache=tmp_path / "cache")
    expected = data[0][0]
    (file,) = (tmp_path / "cache").iterdir()
    whole = file.read_bytes()
    flipped = bytearray(whole)
    # A number of the frames: without a checksum, it would be wrong and nobody would notice.
    position = whole.index(numpy.ones(1, "f4").tobytes(), 400)
    flipped[position] ^= 1
    torch.save((torch.ones(2), 0), tmp_path / "other.pt")
    evil = pickle.dumps(Evil(str(tmp_path / "evil")))
    contents = [flipped, b"", evil, (tmp_path / "other.pt").read_bytes(), whole + b"\0"]
    for content in [*contents, *(whole[:size] for size in range(0, len(whole), 501))]:
        file.write_bytes(content)
        assert data[0][0].equal(expected)
        assert file.read_bytes() == whole
    assert not (tmp_path / "evil").exists()
    with pytest.raises(NotCachedError):
        read_cached(tmp_path / "nothing")


def access_many_times(folder, seed, rounds):
    data = EventDataset([recording(seed=k) for k in range(4)], prepare=FRAMES, cache=folder)
    expected = [T.count_frames(recording(seed=k), dt=3e-3) for k in range(4)]
    random = numpy.random.default_rng(seed)
    for _ in range(rounds):
        k = int(random.integers(4))
        assert data[k][0].equal(expected[k])
        if random.random() < 0.3:
            # The drafts of the others, too.
            for file in folder.iterdir():
                file.unlink(missing_ok=True)


def test_processes_that_write_the_same_files_at_once_do_not_disturb_each_other(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=access_many_times, args=(tmp_path, seed, 100)) for seed in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert all(file.name.endswith(".pt") and not file.name.startswith(".") for file in tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_of_a_loader_find_what_the_main_process_has_cached(tmp_path):
    data = EventDataset([recording(seed=k) for k in range(4)], prepare=Scaled(2), cache=tmp_path)
    expected = [data[k][0] for k in range(4)]
    files_before = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    loader = DataLoader(data, batch_size=None, num_workers=1, multiprocessing_context="spawn")
    for (frames, _), right in zip(loader, expected, strict=True):
        assert frames.equal(right)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == files_before


LIMITS = [1, 2]


def with_a_global(events):
    return LIMITS


def with_a_closure(limits):
    def prepare(events):
        return limits

    return prepare


class Unknown:
    pass


def return_an_object(events):
    return Unknown()


REFUSED = {
    "a lambda": (lambda events: events, "`prepare` change: the object is a lambda"),
    "a closure over a list": (with_a_closure([1]), "the variable limits of with_a_closure.<locals>.prepare is an obj"),
    "a global list": (
        with_a_global,
        "the global variable LIMITS of with_a_global is .*builtins.list, which can change",
    ),
    "a generator": (T.DropEvents(0.5, generator=torch.Generator()), r"the object\.generator is .* content is unknown"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_prepare_that_cannot_be_followed_needs_a_key(tmp_path, name):
    prepare, message = REFUSED[name]
    with pytest.raises(ValueError, match=f"EventDataset cannot determine when .*{message}.*pass cache_key="):
        EventDataset([recording()], prepare=prepare, cache=tmp_path)
    EventDataset([recording()], prepare=prepare)
    EventDataset([recording()], prepare=prepare, cache=tmp_path, cache_key="1")


def test_a_reader_that_cannot_be_followed_needs_a_key(tmp_path):
    with pytest.raises(ValueError, match="when the results of `read` change: the object is a lambda"):
        EventDataset([recording()], prepare=FRAMES, cache=tmp_path, read=lambda path: path)


def test_a_key_replaces_the_settings_but_not_the_recording(tmp_path):
    results = []
    for key, seed, factor in (("1", 0, 1), ("1", 0, 2), ("2", 0, 2), ("1", 1, 3)):
        data = EventDataset(
            [recording(seed=seed)], prepare=lambda events, f=factor: scale(events, f), cache=tmp_path, cache_key=key
        )
        results.append(data[0][0])
    one, other = (T.count_frames(recording(seed=seed), bins=2) for seed in (0, 1))
    assert results[0].equal(one)
    assert results[1].equal(one)
    assert results[2].equal(2 * one)
    assert results[3].equal(3 * other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cache": None}, "cache_key must be a text and needs a `cache`, got '1' and cache=None"),
        ({"cache_key": 1}, "cache_key must be a text and needs a `cache`, got 1"),
        ({"cache_key": ""}, None),
    ],
)
def test_invalid_keys_are_rejected(tmp_path, arguments, message):
    settings = {"prepare": FRAMES, "cache": tmp_path, "cache_key": "1"} | arguments
    if message is None:
        EventDataset([recording()], **settings)
    else:
        with pytest.raises(ValueError, match=message):
            EventDataset([recording()], **settings)


def test_results_and_recordings_of_unknown_types_are_refused(tmp_path):
    data = EventDataset([recording()], prepare=return_an_object, cache=tmp_path)
    with pytest.raises(
        TypeError, match=r"lists and dicts of these, but `prepare` returned .*test_event_cache\.Unknown"
    ):
        data[0]
    with pytest.raises(TypeError, match=r"`prepare` returned an object of the type test_event_cache\.OwnTensor"):
        write_cached(tmp_path / "a.pt", torch.ones(2).as_subclass(OwnTensor))
    data = EventDataset([iter("a")], prepare=return_an_object, cache=tmp_path)
    with pytest.raises(TypeError, match="EventDataset cannot cache results for this recording: the object is an obj"):
        data[0]
    assert not list(tmp_path.iterdir())


class OwnTensor(torch.Tensor):
    pass


def test_cached_results_do_not_require_gradients(tmp_path):
    data = EventDataset([recording()], prepare=Weighted(), cache=tmp_path)
    first, second = data[0][0], data[0][0]
    assert not first.requires_grad
    assert not second.requires_grad
    assert first.equal(second)


class Weighted(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(3.0))

    def forward(self, events):
        return self.weight * T.count_frames(events, bins=2)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_cache_is_filled_at_once(tmp_path, workers):
    data = EventDataset(
        [recording(seed=k) for k in range(5)], prepare=FRAMES, cache=tmp_path, transform=lambda frames: 1 / 0
    )
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    data.fill_cache(workers)
    assert torch.rand(3).equal(expected), "random numbers depend on whether the cache was filled"
    assert len(list(tmp_path.iterdir())) == 5
    data.transform = None
    assert data[4][0].equal(T.count_frames(recording(seed=4), dt=3e-3))
    assert len(list(tmp_path.iterdir())) == 5


def test_filling_the_cache_needs_a_cache_and_tqdm(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"EventDataset.fill_cache needs a dataset with a `cache` and a `prepare`"):
        EventDataset([recording()], prepare=FRAMES).fill_cache()
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r"shows its progress with tqdm; install it: pip install 'geir\[events\]'"):
        EventDataset([recording()], prepare=FRAMES, cache=tmp_path).fill_cache()


def test_another_version_of_geir_pytorch_or_numpy_is_noticed(tmp_path, monkeypatch):
    data = EventDataset([recording()], prepare=FRAMES, cache=tmp_path)
    data[0]
    assert len(list(tmp_path.iterdir())) == 1
    changes = [(dataset, "geir_digest", lambda: "other"), (torch, "__version__", "9.9"), (numpy, "__version__", "9.9")]
    for count, (module, name, value) in enumerate(changes, start=2):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value)
            data[0]
        assert len(list(tmp_path.iterdir())) == count
    data[0]
    assert len(list(tmp_path.iterdir())) == 4
