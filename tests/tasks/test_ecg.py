"""Segmentation of electrocardiograms: `geir.tasks.ecg`."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from geir.tasks import ecg

UNKNOWN = ecg.UNKNOWN


@pytest.fixture
def records():
    """Thirty-two records of 60 steps: after an event of each channel, the label of the steps is the channel's number."""
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 32), ("test", 8)):
        labels = np.repeat(random.permuted(np.tile(np.arange(4), (count, 1)), axis=1), 15, axis=1)
        events = np.zeros((count, 60, 4), np.int8)
        for step in range(4):
            for record, channel in enumerate(labels[:, 15 * step]):
                events[record, 15 * step : 15 * step + 15, channel] = random.random(15) < 0.7
        arrays |= {f"{split}_x": events, f"{split}_y": labels.astype(np.uint8)}
        arrays[f"{split}_mask"] = random.random((count, 60)) < 0.8
    return arrays


def write(folder, arrays):
    np.savez(folder / "ecg.npz", **arrays)
    return folder / "ecg.npz"


def test_the_part_of_the_beat_is_learned_and_drawn(tmp_path, records):
    path = write(tmp_path, records)
    result = ecg.run(data=path, epochs=15, batch_size=8, hidden=24, device="cpu", out=tmp_path)
    assert result["test_accuracy"] > 0.7
    assert (result["train_records"], result["test_records"]) == (32, 8)
    assert (tmp_path / "ecg.png").exists()


def test_the_accuracy_is_the_share_of_the_steps_that_count(tmp_path, records):
    path = write(tmp_path, records)
    result = ecg.run(data=path, epochs=1, batch_size=8, hidden=8, device="cpu", out=tmp_path)
    model = ecg.network(8)
    model.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    with torch.inference_mode():
        vs, _ = model(torch.tensor(records["test_x"], dtype=torch.float32).transpose(0, 1))
    answers = vs.argmax(-1).T.numpy()
    counted = records["test_mask"]
    assert result["test_accuracy"] == pytest.approx((answers == records["test_y"])[counted].mean(), abs=1e-9)


def test_the_loss_averages_over_the_steps_of_a_record_and_then_over_records():
    vs = torch.randn(10, 3, ecg.CLASSES, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[1] * 10, [2] * 4 + [UNKNOWN] * 6, [UNKNOWN] * 10])
    means = [functional.cross_entropy(vs[:, 0], labels[0]), functional.cross_entropy(vs[:4, 1], labels[1, :4])]
    torch.testing.assert_close(ecg.step_loss(vs, labels), sum(means) / 3)
    # Fewer steps than labels.
    torch.testing.assert_close(ecg.step_loss(vs[:4, 1:2], labels[1:2]), means[1])


def test_steps_without_a_label_are_no_answers():
    vs = functional.one_hot(torch.tensor([[0, 1], [0, 1], [0, 2]]), ecg.CLASSES).double()
    labels = torch.tensor([[0, 0, UNKNOWN, 3], [1, 1, 1, 3]])
    right, answers = ecg.count_answers(vs, labels)
    assert (right.tolist(), answers.tolist()) == ([2, 2], [2, 3])


def test_test_records_are_used_neither_for_training_nor_for_validation(tmp_path, records):
    path = write(tmp_path, records)
    whole, part = ecg.load(path), ecg.load(path, validate=True)
    assert (len(whole.train), len(whole.test), len(part.train), len(part.test)) == (32, 8, 25, 7)
    rows = {row.numpy().tobytes() for row in whole.train.tensors[0]}
    parts = [row.numpy().tobytes() for samples in (part.train, part.test) for row in samples.tensors[0]]
    assert len(set(parts)) == 32
    assert set(parts) == rows
    np.testing.assert_array_equal(whole.test.tensors[0].numpy(), records["test_x"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"train_x": np.zeros((32, 60, 3), np.int8)},
            r"expected inputs of shape \(records, steps, 4\) .* got \(32, 60, 3\)",
        ),
        ({"test_mask": np.ones((8, 59), bool)}, r"got \(8, 60, 4\), \(8, 60\) and \(8, 59\)"),
        ({"train_y": np.full((32, 60), 6, np.uint8)}, "expected labels from 0 to 5, got 6 to 6"),
        ({"test_mask": np.zeros((8, 60), bool)}, "the mask is set for none of 480 steps"),
        (
            {f"test_{part}": np.zeros((0, 60, *shape), bool) for part, shape in (("x", (4,)), ("y", ()), ("mask", ()))},
            "the mask is set for none of 0 steps",
        ),
    ],
)
def test_other_arrays_raise(tmp_path, records, change, message):
    with pytest.raises(ValueError, match=message):
        ecg.load(write(tmp_path, records | change))
