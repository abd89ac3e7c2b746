"""Braille letters by touch: `geir.tasks.braille`."""

import numpy as np
import pytest
import torch

from geir.tasks import braille


@pytest.fixture
def recordings():
    """Twenty recordings of each of three letters, which press the sensors at different times."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 20)
    taxels = random.integers(200, 256, (60, 76, 12))
    for k, label in enumerate(labels):
        taxels[k, 20 * label + 5 : 20 * label + 25, list(braille.SENSORS)] -= 150
    return {"taxels": taxels.astype(np.uint8), "labels": labels.astype(np.uint8)}


def write(folder, arrays):
    np.savez(folder / "braille.npz", **arrays)
    return folder / "braille.npz"


def test_letters_are_learned_and_drawn(tmp_path, recordings):
    path = write(tmp_path, recordings)
    result = braille.run(data=path, epochs=12, batch_size=16, steps=152, device="cpu", out=tmp_path)
    assert result["test_accuracy"] > 0.9
    assert (result["train_recordings"], result["test_recordings"]) == (48, 12)
    assert (tmp_path / "braille.png").exists()


def test_test_recordings_are_used_neither_for_training_nor_for_validation(tmp_path, recordings):
    path = write(tmp_path, recordings)
    whole, part = braille.load(path), braille.load(path, validate=True)
    held_out = whole.test.tensors[0].flatten(1)
    assert (len(whole.train), len(whole.test), len(part.train), len(part.test)) == (48, 12, 38, 10)
    # The mean and the variance differ, so recordings are compared by their correlation.
    for samples in (whole.train, part.train, part.test):
        together = torch.corrcoef(torch.cat([held_out, samples.tensors[0].flatten(1)]))
        assert together[: len(held_out), len(held_out) :].max() < 0.999
    seen = torch.corrcoef(torch.cat([whole.train.tensors[0].flatten(1), part.test.tensors[0].flatten(1)]))
    assert (seen[:48, 48:].amax(0) > 0.999).all()


def test_currents_are_standardized_pressures_of_four_sensors_shown_twice(tmp_path, recordings):
    data = braille.load(write(tmp_path, recordings))
    xs = data.train.tensors[0]
    assert xs.shape == (48, 152, 4)
    assert torch.equal(xs[:, ::2], xs[:, 1::2])
    torch.testing.assert_close(xs.mean((0, 1)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(xs.std((0, 1)), torch.ones(4), atol=1e-3, rtol=0)
    # A press is a positive current.
    letter = data.train.tensors[1] == 0
    assert xs[letter, 10:48].mean() > 1 > 0 > xs[letter, 60:].mean()
    assert data.encode(xs, 100).shape == (100, 48, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"taxels": np.zeros((60, 76, 6), np.uint8)}, r"expected taxels of shape .* got \(60, 76, 6\) and \(60,\)"),
        ({"labels": np.zeros(59, np.uint8)}, r"and labels of shape .* got \(60, 76, 12\) and \(59,\)"),
        ({"labels": np.full(60, 27, np.uint8)}, "expected labels from 0 to 26, got 27 to 27"),
    ],
)
def test_other_arrays_raise(tmp_path, recordings, change, message):
    with pytest.raises(ValueError, match=message):
        braille.load(write(tmp_path, recordings | change))


def test_missing_and_broken_files_raise(tmp_path):
    path = tmp_path / "braille.npz"
    with pytest.raises(FileNotFoundError, match="There is no file .*; give --data an .npz file of Braille recordings"):
        braille.load(path)
    path.write_bytes(b"PK\3\4 not really")
    with pytest.raises(ValueError, match="is not a readable .npz file"):
        braille.load(path)
    np.savez(path, a=np.zeros(3))
    with pytest.raises(ValueError, match="must have the arrays taxels, labels; it has only a"):
        braille.load(path)
