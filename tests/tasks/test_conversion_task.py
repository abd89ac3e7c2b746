"""Training and conversion on MNIST: `geir.tasks.conversion`."""

import numpy as np
import pytest

from geir.tasks import conversion

QUICK = {"epochs": 5, "batch_size": 10, "steps": 24, "calibration": 40}


@pytest.fixture
def data(tmp_path):
    """Images with a bright square, whose place is the label."""
    random = np.random.default_rng(0)

    def draw(number):
        labels = random.integers(0, 10, number)
        images = random.integers(0, 40, (number, 28, 28), np.uint8)
        for image, label in zip(images, labels, strict=True):
            row, column = divmod(int(label), 4)
            image[3 + 8 * row : 9 + 8 * row, 1 + 7 * column : 6 + 7 * column] = 250
        return images, labels.astype(np.uint8)

    (train_images, train_labels), (test_images, test_labels) = draw(300), draw(60)
    path = tmp_path / "mnist.npz"
    np.savez(
        path,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
    )
    return path


@pytest.mark.parametrize("levels", [0, 8])
def test_the_converted_network_recognizes_what_the_trained_one_does(tmp_path, data, levels):
    result = conversion.run(data=data, out=tmp_path, levels=levels, **QUICK)
    assert result["test_accuracy"] > 0.9
    assert abs(result["spiking_accuracy_24"] - result["test_accuracy"]) < 0.05
    accuracies = [name for name in result if name.startswith("spiking_accuracy")]
    assert accuracies == [f"spiking_accuracy_{t}" for t in (1, 2, 4, 8, 16, 24)]
    assert result["weights"].endswith("qcfs.pt" if levels else "relu.pt")


def test_a_trained_network_is_converted_again_with_other_settings(tmp_path, data):
    first = conversion.run(data=data, out=tmp_path, **QUICK)
    again = conversion.run(data=data, out=tmp_path, resume=True, per_channel=True, **QUICK | {"steps": 4})
    assert again["test_accuracy"] == first["test_accuracy"]
    assert [name for name in again if name.startswith("spiking")] == [f"spiking_accuracy_{t}" for t in (1, 2, 4)]


def test_a_missing_network_is_named(tmp_path, data):
    with pytest.raises(FileNotFoundError, match=r"no trained network at .*relu.pt; run without --resume first"):
        conversion.run(data=data, out=tmp_path / "none", resume=True)
