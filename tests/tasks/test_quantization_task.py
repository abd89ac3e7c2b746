"""Training on the integers of a chip: `geir.tasks.quantization`."""

import numpy as np
import pytest
import torch

pytest.importorskip("geir.tasks.digits", reason="needs scikit-learn")

from geir.tasks import quantization

QUICK = {"epochs": 4, "more_epochs": 1, "hidden": 40, "steps": 8}


@pytest.mark.parametrize("target", ["loihi2", "xylo-audio-3"])
def test_the_integer_model_equals_the_network_trained_on_integers(tmp_path, target):
    result = quantization.run(out=tmp_path, target=target, **QUICK | {"epochs": 8})
    assert result["test_accuracy"] > 0.85
    assert abs(result["quantized_accuracy"] - result["test_accuracy"]) < 0.05
    assert result["integer_accuracy"] == result["quantized_accuracy"]
    assert (result["different_spikes"], result["different_predictions"]) == (0, 0)
    assert result["spikes"] > 1000


def test_different_spikes_are_counted(tmp_path):
    torch.manual_seed(0)
    images = quantization.load(None).test
    models = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        models.append(quantization.network(64, 20, quantization.LOIHI2))
    counts = quantization.compare(*models, images, steps=8)
    xs = quantization.encode(images.tensors[0], 8)
    with torch.no_grad():
        zs, others = (model[:2](xs)[0] for model in models)
        predicted = [model(xs)[0].amax(0).argmax(-1) for model in models]
    assert counts["different_spikes"] == (zs != others).sum() > 0
    assert counts["spikes"] == zs.sum()
    assert counts["different_predictions"] == (predicted[0] != predicted[1]).sum() > 0


def test_a_pixel_is_its_number_of_spikes_evenly_spaced():
    zs = quantization.encode(torch.tensor([[0.0, 0.25, 0.5, 1.0]]), 8)
    assert zs[:, 0].T.tolist() == [[0] * 8, [0, 0, 0, 1] * 2, [0, 1] * 4, [1] * 8]


def test_mnist_is_read_as_pixels_between_0_and_1(tmp_path):
    images = np.full((30, 28, 28), 255, np.uint8)
    images[:, 0, 0] = 51
    labels = np.arange(30, dtype=np.uint8) % 10
    np.savez(tmp_path / "mnist.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    data = quantization.load(tmp_path / "mnist.npz")
    assert data.train.tensors[0].shape == (30, 784)
    assert data.test.tensors[0][0, :2].tolist() == pytest.approx([0.2, 1.0])
    result = quantization.run(data=tmp_path / "mnist.npz", out=tmp_path, **QUICK)
    assert result["different_spikes"] == 0


def test_training_on_integers_starts_from_the_network_in_the_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no trained network at .*loihi2.pt; run without --resume"):
        quantization.run(out=tmp_path, resume=True, **QUICK)
    first = quantization.run(out=tmp_path, **QUICK)
    again = quantization.run(out=tmp_path, resume=True, **QUICK)
    assert {**again, "seconds": 0} == {**first, "seconds": 0}
