"""Unsupervised learning of digits by STDP: `geir.tasks.stdp`."""

import json
import runpy
import sys
from math import exp

import numpy as np
import pytest
import torch
from matplotlib import image

from geir.tasks import command_line, figure, stdp

QUICK = {"neurons": 50, "images": 160, "label_images": 64, "duration": 0.1}


def never():
    return False


def network(inputs=20, neurons=3, dt=1e-3):
    return stdp.DiehlCook(inputs, neurons, dt, torch.Generator().manual_seed(0))


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


def test_runs_are_determined_by_their_seed(tmp_path):
    a, b, c = (stdp.run(**QUICK, seed=seed, out=tmp_path / str(k)) for k, seed in enumerate((1, 1, 2)))
    assert a["test_accuracy"] == b["test_accuracy"]
    torch.testing.assert_close(learned(tmp_path / "0"), learned(tmp_path / "1"), rtol=0, atol=0)
    assert not torch.equal(
        learned(tmp_path / "0")["cells.input_weights"], learned(tmp_path / "2")["cells.input_weights"]
    )


def test_labels_do_not_influence_learning(tmp_path, monkeypatch):
    right = stdp.run(**QUICK, out=tmp_path / "right")
    train, test = stdp.load(None)
    wrong_labels = (train.labels + torch.randint(1, 10, train.labels.shape)) % 10
    monkeypatch.setattr(stdp, "load", lambda _: (train._replace(labels=wrong_labels), test))
    wrong = stdp.run(**QUICK, out=tmp_path / "wrong")
    torch.testing.assert_close(learned(tmp_path / "right"), learned(tmp_path / "wrong"), rtol=0, atol=0)
    assert right["test_accuracy"] > wrong["test_accuracy"] + 0.2


def test_a_spike_adds_the_trace_of_the_input_to_the_weights():
    model = network()
    before, dt, tau = model.weights.clone(), 1e-3, 20e-3
    xs, zs = torch.zeros(30, 2, 20), torch.zeros(30, 2, 3)
    xs[4, 0, 7] = xs[10, 0, 7] = xs[25, 0, 8] = xs[3, 1, 9] = 1
    zs[12, 0, 1] = zs[20, 1, 1] = 1
    model.learn(xs, zs)
    expected = before.clone()
    expected[1, 7] += 0.01 * (exp(-8 * dt / tau) + exp(-2 * dt / tau))
    expected[1, 9] += 0.01 * exp(-17 * dt / tau)
    expected *= 2 / expected.sum(1, keepdim=True)
    assert not torch.allclose(expected[1], before[1], atol=1e-3)
    torch.testing.assert_close(model.weights, expected)
    torch.testing.assert_close(model.weights[[0, 2]], before[[0, 2]])


def test_weights_stay_between_bounds_and_keep_their_sum():
    model = network(inputs=200)
    for _ in range(30):
        model.learn(
            (torch.rand(50, 4, 200) < 0.06).float() * (torch.arange(200) < 40), (torch.rand(50, 4, 3) < 0.3).float()
        )
    assert model.weights.min() >= 0
    assert model.weights[:, :40].sum() > 0.9 * model.weights.sum()
    torch.testing.assert_close(model.weights.sum(1), torch.full((3,), 20.0))


def test_thresholds_rise_with_spikes_and_decay():
    model = network()
    rest = model.cells.v_th.clone()
    assert rest[0].item() == pytest.approx(2.5 * 1e-3 * 2)
    zs = torch.zeros(100, 2, 3)
    zs[3, 0, 0] = zs[50, 1, 0] = zs[4, 1, 2] = 1
    model.learn(torch.zeros(100, 2, 20), zs)
    torch.testing.assert_close(model.cells.v_th / rest, torch.tensor([1.1, 1.0, 1.05]))
    # 100 presentations of 0.1 s, two at a time, are 20 s.
    for _ in range(100):
        model.learn(torch.zeros(100, 2, 20), torch.zeros(100, 2, 3))
    torch.testing.assert_close(model.cells.v_th / rest, 1 + torch.tensor([0.1, 0.0, 0.05]) * exp(-20 / 1e3))


def test_a_neuron_fires_above_the_threshold_rate_and_silences_the_others():
    model = network(inputs=784, neurons=20)
    for rate, fires in ((2.2, False), (2.8, True)):
        # Constant input, the mean of spike trains at this rate.
        zs = model(torch.full((1500, 1, 784), rate * 1e-3))
        assert bool(zs.any()) == fires
    model.cells.v_th[4] *= 0.9
    zs = model(torch.full((300, 1, 784), 20e-3))[:, 0]
    assert zs[:, 4].sum() > 5
    assert zs.sum() == zs[:, 4].sum()


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
    model = network(inputs=64, neurons=30)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    counts = stdp.present(
        model, torch.rand(8, 64), stdp.Settings(neurons=30), "", never, torch.Generator().manual_seed(0)
    )
    assert counts.sum() > 20
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_classes_are_assigned_and_predicted_by_mean_responses():
    labels = torch.tensor([0, 0, 0, 1, 2])
    counts = torch.tensor([[2.0, 0, 1, 0], [2, 0, 1, 0], [2, 0, 1, 0], [3, 0, 0, 0], [0, 0, 0, 9]])
    # The first neuron has most spikes in total for class 0, but most per image for class 1; the second is silent.
    assert stdp.assign_classes(counts, labels).tolist() == [1, -1, 0, 2]
    # Two neurons of class 1 have 5 spikes in total, one neuron of class 0 has 3; the last has no class.
    answers = stdp.classify(torch.tensor([[4.0, 1, 3, 7]]), torch.tensor([1, 1, 0, -1]))
    assert answers.tolist() == [0]


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


@pytest.mark.parametrize("name", ["neurons", "passes", "label_images", "batch_size", "duration", "dt"])
def test_settings_that_are_not_positive_are_rejected(name):
    with pytest.raises(ValueError, match=f"--{name.replace('_', '-')} must be positive, got 0"):
        stdp.run(**{name: 0})


def test_other_invalid_settings_are_rejected_with_the_valid_range(tmp_path, capsys):
    with pytest.raises(ValueError, match="--images must be a number of images, or 0 for all, got -1"):
        stdp.run(images=-1)
    with pytest.raises(ValueError, match="--images must be at most 1437, the number of training images, got 2000"):
        stdp.run(images=2000)
    with pytest.raises(ValueError, match=r"--dt must be at most 0.00196 s, got 0.005"):
        stdp.run(dt=5e-3)
    with pytest.raises(ValueError, match=r"--dt must be at most 0.0005 s, got 0.001"):
        stdp.run(duration=5e-4)
    with pytest.raises(FileNotFoundError, match="There is no MNIST at .*missing.npz; give --data an .npz"):
        stdp.run(data=tmp_path / "missing.npz")
    arguments = command_line.build_parser("stdp", "", stdp.DEFAULTS)
    assert command_line.main(arguments, stdp.run, ["--neurons", "0"]) == 1
    assert capsys.readouterr().err == "error: --neurons must be positive, got 0.\n"


def test_the_command_line_prints_its_result_last(tmp_path, monkeypatch, capsys):
    flags = [f for key, value in QUICK.items() for f in (f"--{key.replace('_', '-')}", str(value))]
    monkeypatch.setattr(sys, "argv", ["stdp", *flags, "--out", str(tmp_path)])
    # As `python -m geir.tasks.stdp` does, without the seconds that another process needs to import PyTorch.
    monkeypatch.delitem(sys.modules, "geir.tasks.stdp")
    with pytest.raises(SystemExit) as exit_:
        runpy.run_module("geir.tasks.stdp", run_name="__main__")
    assert exit_.value.code == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["train_images"] == 160
