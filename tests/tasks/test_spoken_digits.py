"""Recognition of spoken digits: `geir.tasks.spoken_digits`."""

import numpy as np
import pytest
import torch

from geir.tasks import spoken_digits
from geir.tasks.spoken_digits import Augmented, BANDS, DEFAULTS, HOP, RATE

SPEAKERS = ("ann", "bob", "eve")


@pytest.fixture
def recordings():
    """Fifteen recordings of three digits by each of three speakers: two tones, one after the other."""
    random = np.random.default_rng(0)
    sounds, rows = [], []
    for speaker in range(3):
        for digit, frequencies in enumerate(((300, 1000), (1000, 2500), (2500, 300))):
            for index in range(15):
                times = np.arange(random.integers(1000, 1600)) / RATE
                pitch = (1 + 0.05 * speaker) * random.uniform(0.95, 1.05)
                tones = [np.sin(2 * np.pi * frequency * pitch * times) for frequency in frequencies]
                sounds.append((5000 * random.uniform(0.2, 2) * np.concatenate(tones)).astype(np.int16))
                rows.append((digit, speaker, index))
    labels, speakers, index = np.array(rows, np.uint8).T
    return {
        "audio": np.concatenate(sounds),
        "offsets": np.cumsum([0, *map(len, sounds)]),
        "labels": labels,
        "speakers": speakers,
        "index": index,
        "speaker_names": np.array(SPEAKERS),
    }


def write(folder, arrays):
    np.savez(folder / "digits.npz", **arrays)
    return folder / "digits.npz"


def test_digits_of_known_and_of_unseen_speakers_are_learned_and_drawn(tmp_path, recordings):
    path = write(tmp_path, recordings)
    settings = {"epochs": 10, "batch_size": 16, "learning_rate": 0.02, "steps": 50, "hidden": 64, "device": "cpu"}
    result = spoken_digits.run(data=path, out=tmp_path / "known", **settings)
    assert result["test_accuracy"] > 0.9
    assert (result["train_recordings"], result["test_recordings"]) == (90, 45)
    assert (tmp_path / "known" / "spoken_digits.png").exists()
    result = spoken_digits.run(data=path, out=tmp_path / "unseen", unseen_speaker="bob", **settings)
    assert result["test_accuracy"] > 0.9
    assert (result["train_recordings"], result["test_recordings"]) == (90, 45)
    with pytest.raises(ValueError, match="--unseen-speaker bob, but this run has --unseen-speaker eve"):
        spoken_digits.run(data=path, out=tmp_path / "unseen", unseen_speaker="eve", resume=True, **settings)


def used(path, **settings):
    """The training and test recordings, found again by their spectrograms, which all differ."""
    data = spoken_digits.load(path, 40, augment=False, **settings)
    return [{x.numpy().tobytes() for x in samples.tensors[0]} for samples in (data.train, data.test)]


def test_the_first_five_recordings_of_each_speaker_and_digit_are_for_testing(tmp_path, recordings):
    path = write(tmp_path, recordings)
    train, test = used(path)
    assert (len(train), len(test), len(train & test)) == (90, 45, 0)
    # The spectrogram of a recording does not depend on the others.
    first = recordings["index"] < 5
    begins, ends = recordings["offsets"][:-1], recordings["offsets"][1:]
    chosen = [np.arange(begin, end) for begin, end in zip(begins[first], ends[first], strict=True)]
    changed = recordings["audio"].copy()
    changed[np.concatenate(chosen)] //= 3
    changed_train, changed_test = used(write(tmp_path, recordings | {"audio": changed}))
    assert changed_train == train
    assert not changed_test & test
    validated_train, validated_test = used(write(tmp_path, recordings), validate=True)
    assert (len(validated_train), len(validated_test)) == (45, 45)
    assert validated_train | validated_test == train


def test_an_unseen_speaker_is_used_neither_for_training_nor_for_validation(tmp_path, recordings):
    path = write(tmp_path, recordings)
    by_speaker = {name: used(path, unseen_speaker=name)[1] for name in SPEAKERS}
    assert [len(found) for found in by_speaker.values()] == [45, 45, 45]
    assert used(path, unseen_speaker="eve")[0] == by_speaker["ann"] | by_speaker["bob"]
    assert used(path, unseen_speaker="eve", validate=True) == [by_speaker["bob"], by_speaker["ann"]]


def test_loudness_does_not_matter_and_each_band_has_the_mean_zero(tmp_path, recordings):
    louder = recordings | {"audio": recordings["audio"] * 2}
    xs, doubled = (
        spoken_digits.load(write(tmp_path, arrays), 60, augment=False).train.tensors[0]
        for arrays in (recordings, louder)
    )
    torch.testing.assert_close(xs, doubled)
    assert xs.shape == (90, 60, BANDS)
    torch.testing.assert_close(xs.sum(1), torch.zeros(90, BANDS), atol=1e-3, rtol=0)
    assert xs.abs().amax((1, 2)).min() > 1
    # Recordings of at most 3,200 samples have 41 frames, the last of which is centered at the end.
    assert not xs[:, 3200 // HOP + 1 :].any()


def test_augmentation_delays_stretches_and_shifts():
    xs = torch.zeros(1, 100, 40)
    xs[0, 30:40, 20] = 1.0
    labels = torch.tensor([7])
    unchanged, label = Augmented(xs, labels, stretch=0.0, delay=0.0, shift=0.0)[0]
    torch.testing.assert_close(unchanged, xs[0])
    assert label == 7

    def center(dimension, **amount):
        torch.manual_seed(0)
        samples = Augmented(xs, labels, **{"stretch": 0.0, "delay": 0.0, "shift": 0.0} | amount)
        weights = torch.stack([samples[0][0].sum(1 - dimension) for _ in range(200)])
        return (weights @ torch.arange(xs.shape[1 + dimension]).float()) / weights.sum(1)

    delayed = center(0, delay=8.0)
    assert 34.4 < delayed.min() < 35
    assert 42 < delayed.max() < 42.6
    shifted = center(1, shift=3.0)
    assert 17 <= shifted.min() < 17.5
    assert 22.5 < shifted.max() <= 23
    # The middle, 35 steps after the beginning, comes after 35 / speed.
    stretched = center(0, stretch=0.2)
    assert 35 / 1.2 - 0.6 < stretched.min() < 30
    assert 42 < stretched.max() < 35 / 0.8 + 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"audio": np.zeros(400_000)}, r"expected 16-bit audio of shape \(samples,\), got float64 of \(400000,\)"),
        (
            {"index": np.zeros(9, np.uint8)},
            r"speakers and index of shape .* got \(135,\), \(135,\), \(9,\) and \(136,\)",
        ),
        ({"labels": np.full(135, 10)}, "expected labels from 0 to 9, got 10 to 10"),
        ({"speakers": np.full(135, 3)}, "expected speakers from 0 to 2, got 3 to 3"),
        ({"offsets": np.zeros(136, int)}, "expected increasing offsets from 0 to"),
        ({"index": np.full(135, 7)}, "has no test recordings"),
        ({"index": np.full(135, 0)}, "has no training recordings"),
    ],
)
def test_other_arrays_raise(tmp_path, recordings, change, message):
    with pytest.raises(ValueError, match=message):
        spoken_digits.load(write(tmp_path, recordings | change), 40)


def test_a_missing_file_and_an_unknown_speaker_raise(tmp_path, recordings):
    with pytest.raises(FileNotFoundError, match="There is no file .*; give --data an .npz file of spoken digits"):
        spoken_digits.load(tmp_path / "digits.npz", 40)
    with pytest.raises(ValueError, match="--unseen-speaker must be one of ann, bob, eve, got 'tim'"):
        spoken_digits.load(write(tmp_path, recordings), 40, unseen_speaker="tim")


def test_the_defaults_fit_all_but_the_longest_recordings():
    assert DEFAULTS.steps * HOP == RATE
