"""Unsupervised learning of digits by STDP: `geir.tasks.stdp`."""

import numpy as np
import pytest
import torch
from matplotlib import image

from geir.tasks import figure, stdp

QUICK = {"neurons": 50, "images": 160, "label_images": 64, "duration": 0.1}


def never():
    return False


def learned(folder):
    return torch.load(folder / "weights.pt", weights_only=True)


def test_digits_are_learned_without_labels(tmp_path):
    result = stdp.run(neurons=60, duration=0.15, out=tmp_path)
    # One in ten by chance.
    assert result["test_accuracy"] > 0.6
    assert (result["train_images"], result["test_images"], result["neurons"]) == (1437, 360, 60)
    assert not result["interrupted"]
    picture = image.imread(result["figure"])
    assert picture.shape[0] > 500
    assert picture[..., :3].std() > 0.05


def test_labels_do_not_influence_learning(tmp_path, monkeypatch):
    right = stdp.run(**QUICK, out=tmp_path / "right")
    train, test = stdp.load(None)
    wrong_labels = (train.labels + torch.randint(1, 10, train.labels.shape)) % 10
    monkeypatch.setattr(stdp, "load", lambda _: (train._replace(labels=wrong_labels), test))
    wrong = stdp.run(**QUICK, out=tmp_path / "wrong")
    torch.testing.assert_close(learned(tmp_path / "right"), learned(tmp_path / "wrong"), rtol=0, atol=0)
    assert right["test_accuracy"] > wrong["test_accuracy"] + 0.2


def test_an_image_that_causes_few_spikes_is_presented_again_and_brighter():
    settings = stdp.Settings(neurons=30, batch_size=2)
    model = stdp.DiehlCook(784, 30, 1e-3, torch.Generator().manual_seed(0))
    presentations = []
    model.register_forward_hook(lambda _, inputs, zs: presentations.append((inputs[0].mean((0, 2)), zs.sum((0, 2)))))
    images = torch.zeros(3, 784)
    images[0, :400], images[1, :400], images[2, :200] = 0.002, 0.4, 0.5
    counts = stdp.present(model, images, settings, "", never, torch.Generator().manual_seed(0))
    assert counts[1].sum() >= 5
    assert counts[2].sum() >= 5
    # The first image causes too few spikes in all of its seven presentations, up to four times its brightness.
    assert len(presentations) == 7
    assert all(spikes[0] < 5 for _, spikes in presentations)
    first_brightness, last_brightness = presentations[0][0], presentations[-1][0]
    assert last_brightness[0] > 2.5 * first_brightness[0]


def test_presentation_without_learning_does_not_change_the_network():
    model = stdp.DiehlCook(64, 30, 1e-3, torch.Generator().manual_seed(0))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    counts = stdp.present(
        model, torch.rand(8, 64), stdp.Settings(neurons=30), "", never, torch.Generator().manual_seed(0)
    )
    assert counts.sum() > 20
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_mnist_is_read_from_a_file(tmp_path):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (24, 28, 28), np.uint8) * (random.random((24, 28, 28)) < 0.2).astype(np.uint8)
    labels = np.arange(24, dtype=np.uint8) % 10
    np.savez(
        tmp_path / "mnist.npz", train_images=images, train_labels=labels, test_images=images[:8], test_labels=labels[:8]
    )
    result = stdp.run(data=tmp_path / "mnist.npz", neurons=7, duration=0.05, out=tmp_path)
    assert (result["train_images"], result["test_images"]) == (24, 8)
    assert learned(tmp_path)["cells.input_weights"].shape == (7, 784)


def test_ctrl_c_saves_the_learned_weights(tmp_path, monkeypatch):
    class Stopping:
        def __enter__(self):
            answers = iter([False, False, False])
            return lambda: next(answers, True)

        def __exit__(self, *_):
            return False

    monkeypatch.setattr(stdp, "stop_on_interrupt", Stopping)
    result = stdp.run(**QUICK, out=tmp_path)
    assert result["interrupted"]
    assert "test_accuracy" not in result
    assert learned(tmp_path)["cells.neuron.v_th"].std() > 0


def test_any_number_of_fields_can_be_drawn(tmp_path):
    for number in (1, 7, 9):
        figure.draw_fields(torch.rand(number, 8, 8), tmp_path / "fields.png")
        assert image.imread(tmp_path / "fields.png")[..., :3].std() > 0.05


def test_other_invalid_settings_are_rejected_with_the_valid_range():
    with pytest.raises(ValueError, match="--images must be at most 1437, the number of training images, got 2000"):
        stdp.run(images=2000)
    with pytest.raises(ValueError, match=r"--dt must be at most 0.00196 s, got 0.005"):
        stdp.run(dt=5e-3)
    with pytest.raises(ValueError, match=r"--dt must be at most 0.0005 s, got 0.001"):
        stdp.run(duration=5e-4)
