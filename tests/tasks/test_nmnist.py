from itertools import pairwise

import numpy as np
import pytest
import torch

from geir.events import Events, write_events
from geir.tasks import nmnist

QUICK = {"epochs": 1, "steps": 4, "batch_size": 10, "device": "cpu"}


def recording(seed, number=300, duration=310_000):
    generator = torch.Generator().manual_seed(seed)
    t = torch.randint(duration, (number,), generator=generator).sort().values
    x, y = (torch.randint(34, (number,), generator=generator) for _ in range(2))
    return Events(t, x, y, torch.randint(2, (number,), generator=generator), sensor_size=(34, 34))


def archive(folder, number=20, **changes):
    recordings = [recording(k) for k in range(number)]
    whole = Events.cat(recordings)
    columns = {name: column.numpy() for name, column in zip("txyp", whole.columns(), strict=True)}
    arrays = (
        columns
        | {"offsets": np.arange(number + 1) * 300, "labels": (np.arange(number) % 10).astype(np.uint8)}
        | changes
    )
    for split in ("train", "test"):
        np.savez(folder / f"nmnist_{split}.npz", **arrays)
    return folder


def test_nmnist_is_trained_and_drawn(tmp_path):
    result = nmnist.run(data=archive(tmp_path), out=tmp_path / "out", **QUICK)
    assert (result["train_recordings"], result["test_recordings"]) == (20, 20)
    assert (tmp_path / "out" / "nmnist.png").exists()


def test_npz_files_and_folders_give_the_same_data(tmp_path):
    expected = nmnist.load(archive(tmp_path) / "nmnist_train.npz", steps=16)
    for split in ("Train", "Test"):
        for digit in range(10):
            (tmp_path / "original" / split / str(digit)).mkdir(parents=True)
            for k in (digit, digit + 10):
                write_events(recording(k), tmp_path / "original" / split / str(digit) / f"{k:05}.npz")
    data = nmnist.load(tmp_path / "original", steps=16)
    assert len(data.train) == len(data.test) == 20
    xs, label = data.test[2]
    assert xs.shape == (16, 2, 34, 34)
    assert label == 1
    torch.testing.assert_close(xs, expected.test[1][0])


def test_only_training_recordings_are_augmented(tmp_path):
    data = nmnist.load(archive(tmp_path), steps=16)
    assert data.test[0][0].equal(data.test[0][0])
    assert not data.train[0][0].equal(data.train[0][0])
    plain = nmnist.load(tmp_path, steps=16, augment=False)
    assert plain.train[0][0].equal(plain.test[0][0])


@pytest.mark.parametrize("sizes", [[5000], [1], [7], [300], [19, 1, 150]])
def test_stream_gives_the_output_of_the_whole_recording(sizes):
    torch.manual_seed(0)
    model, events = nmnist.network(), recording(3, number=4000)
    with torch.inference_mode():
        whole, _ = model(nmnist.count_frames(events, dt=nmnist.DT, start=0)[:, None])
    cuts, k = [0], 0
    while cuts[-1] < len(events):
        cuts.append(cuts[-1] + (sizes[k % len(sizes)] if sizes != [1] or k < 30 else 4000))
        k += 1
    vs = torch.stack(list(nmnist.stream(model, (events[a:b] for a, b in pairwise(cuts)))))
    assert len(vs) == 16
    assert whole.abs().max() > 1e-3
    torch.testing.assert_close(vs, whole[:, 0], rtol=1e-4, atol=1e-5)
    assert vs.max(0).values.argmax() == whole.max(0).values.argmax()


def test_stream_yields_frames_before_the_recording_ends():
    events, seen = recording(3, number=1000), []

    def chunks():
        for k in range(0, 1000, 100):
            seen.append(k)
            yield events[k : k + 100]

    next(nmnist.stream(nmnist.network(), chunks()))
    assert len(seen) == 1


def test_missing_and_broken_files_raise(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match="There is no N-MNIST at .*; pass a folder with Train and Test, or an .npz file, to --data",
    ):
        nmnist.load(tmp_path / "missing", 16)
    with pytest.raises(FileNotFoundError, match="has neither a folder Train nor a file nmnist_train.npz"):
        nmnist.load(tmp_path, 16)
    (tmp_path / "nmnist_train.npz").write_bytes(b"PK\3\4 not really")
    with pytest.raises(ValueError, match="is not a readable .npz file with t, x, y, p, offsets, labels"):
        nmnist.load(tmp_path, 16)
    for change in ({"offsets": np.arange(21) * 200}, {"labels": np.full(20, 12)}, {"labels": np.zeros(3, int)}):
        with pytest.raises(
            ValueError, match="expected labels from 0 to 9 and one more offset than labels, rising from 0 to 6000"
        ):
            nmnist.load(archive(tmp_path, **change), 16)
    with pytest.raises(ValueError, match="--epochs must be positive, got 0"):
        nmnist.run(data=archive(tmp_path), **QUICK | {"epochs": 0})


def test_real_recordings_are_read(real_data):
    data = nmnist.load(real_data, 16)
    assert (len(data.train), len(data.test)) == (1000, 100)
    xs, _ = data.test[0]
    assert xs.sum() > 1000
