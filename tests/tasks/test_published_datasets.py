"""Usual networks on published data sets: `geir.tasks.published_datasets`, on generated files of the same layout."""

import json

import numpy as np
import published_data
import pytest
import torch

from geir.tasks import published_datasets
from geir.tasks.command_line import main
from geir.tasks.published_datasets import BENCHMARKS, command_line, convolutional, MovedImages, recurrent


def cifar10_records(number, seed):
    random = np.random.default_rng(seed)
    records = random.integers(0, 256, (number, 3073)).astype(np.uint8)
    records[:, 0] = random.integers(0, 10, number)
    return records


def write_cifar10(folder):
    """The folder of the binary version of CIFAR-10, with six images in each file."""
    folder.mkdir()
    for k, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
        cifar10_records(6, seed=k).tofile(folder / f"{name}.bin")
    return folder


WRITERS = {
    "shd": lambda folder: published_data.write_heidelberg(folder, "shd", ["train", "test"]),
    "ssc": lambda folder: published_data.write_heidelberg(folder, "ssc", ["train", "test"]),
    "dvs-gesture": published_data.write_dvs_gesture,
    "cifar10-dvs": published_data.write_cifar10dvs,
    "cifar10": write_cifar10,
}
# Of the generated folders.
SIZES = {"shd": (6, 6), "ssc": (6, 6), "dvs-gesture": (6, 3), "cifar10-dvs": (90, 10), "cifar10": (30, 6)}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_data_set_trains_and_is_drawn(tmp_path, name):
    folder = WRITERS[name](tmp_path / "data")
    settings = {"partial": True, "epochs": 1, "batch_size": 32, "width": 4, "steps": 2, "device": "cpu"}
    result = published_datasets.run(data=folder, dataset=name, out=tmp_path / "run", **settings)
    noun = "images" if name == "cifar10" else "recordings"
    assert (result[f"train_{noun}"], result[f"test_{noun}"]) == SIZES[name]
    assert 0 <= result["test_accuracy"] <= 1
    assert (tmp_path / "run" / "published_datasets.png").exists()


def first_test_batch(name, folder, out, **settings):
    """The input over time of the first two test samples, and their labels."""
    chosen = published_datasets.DatasetSettings(dataset=name, partial=True, width=4, out=out, **settings)
    _, data = BENCHMARKS[name].setup(folder, chosen)
    collate = data.collate or torch.utils.data.default_collate
    xs, labels = collate([data.test[0], data.test[1]])
    return data.encode(xs, chosen.steps), labels


def test_spikes_are_counted_in_steps_of_10_ms(tmp_path):
    times, units = [[0.001, 0.002, 0.0145], [0.005]], [[3, 3, 699], [0]]
    published_data.write_spike_trains(tmp_path / "shd_train.h5", times, units, [0, 1])
    published_data.write_spike_trains(tmp_path / "shd_test.h5", times, units, [7, 19])
    xs, labels = first_test_batch("shd", tmp_path, tmp_path, steps=5)
    expected = torch.zeros(5, 2, 700)
    expected[0, 0, 3] = 2
    expected[1, 0, 699] = 1
    expected[0, 1, 0] = 1
    assert torch.equal(xs, expected)
    assert labels.tolist() == [7, 19]


def test_events_of_a_gesture_are_counted_in_steps_of_75_ms_and_blocks_of_two_by_two_pixels(tmp_path):
    folder = published_data.write_dvs_gesture(tmp_path / "data")
    xs, labels = first_test_batch("dvs-gesture", folder, tmp_path, steps=2)
    expected = torch.zeros(2, 2, 2, 64, 64)
    gestures = published_data.GESTURES
    for t, x, y, p in published_data.random_rows(seed=len("user24_led")):
        for sample, (_, start, stop) in enumerate(gestures[:2]):
            step = (t - start) // 75_000
            if start <= t < stop and step < 2:
                expected[step, sample, p, y // 2, x // 2] += 1
    assert expected.sum() > 100
    assert torch.equal(xs, expected)
    assert labels.tolist() == [gesture - 1 for gesture, *_ in gestures[:2]]


def test_images_of_cifar10_are_standardized_by_the_training_images(tmp_path):
    folder = write_cifar10(tmp_path / "data")
    xs, labels = first_test_batch("cifar10", folder, tmp_path, steps=3)
    train = np.concatenate([cifar10_records(6, seed=k) for k in range(5)])[:, 1:].reshape(30, 3, 32, 32) / 255
    test = cifar10_records(6, seed=5)
    images = test[:2, 1:].reshape(2, 3, 32, 32) / 255
    expected = (images - train.mean((0, 2, 3))[:, None, None]) / train.std((0, 2, 3), ddof=1)[:, None, None]
    assert xs.shape == (3, 2, 3, 32, 32)
    for x in xs:
        np.testing.assert_allclose(x, expected, atol=1e-4)
    assert labels.tolist() == test[:2, 0].tolist()


def test_moved_images_are_parts_of_the_padded_image_and_its_mirror_image():
    image = torch.arange(1.0, 1025).view(1, 1, 32, 32)
    padded = torch.zeros(1, 40, 40)
    padded[:, 4:36, 4:36] = image[0]
    possible = {
        moved.numpy().tobytes()
        for top in range(9)
        for left in range(9)
        for part in [padded[:, top : top + 32, left : left + 32]]
        for moved in (part.contiguous(), part.flip(-1).contiguous())
    }
    torch.manual_seed(0)
    images = MovedImages(image, torch.tensor([3]))
    drawn = {images[0][0].contiguous().numpy().tobytes() for _ in range(2000)}
    assert drawn == possible
    assert images[0][1] == 3


def test_networks_spike_at_first():
    torch.manual_seed(0)
    frames = {
        "recurrent": (recurrent(64, 20), (torch.rand(50, 8, 700) < 0.1).float()),
        "camera": (
            convolutional((16, 16), 1, (2, 16, 16), 10, 75e-3),
            torch.poisson(torch.full((10, 8, 2, 16, 16), 0.3)),
        ),
        "image": (
            convolutional((16, 32), 2, (3, 16, 16), 10, 10e-3),
            torch.randn(8, 3, 16, 16).expand(6, 8, 3, 16, 16),
        ),
    }
    for name, (network, xs) in frames.items():
        network.return_hidden = True
        outputs, _ = network(xs)
        rates = [
            zs.mean().item() for module, zs in zip(network, outputs, strict=True) if getattr(module, "spiking", False)
        ]
        assert all(0.01 < rate < 0.5 for rate in rates), (name, rates)


def test_missing_and_invalid_files_raise(tmp_path):
    for name in BENCHMARKS:
        with pytest.raises(FileNotFoundError, match="unpack .* (pass|give) .*the folder with its content"):
            published_datasets.run(data=tmp_path / "none", dataset=name, out=tmp_path)
    folder = published_data.write_cifar10dvs(tmp_path / "dvs")
    with pytest.raises(ValueError, match="10,000"):
        published_datasets.run(data=folder, dataset="cifar10-dvs", out=tmp_path)
    folder = write_cifar10(tmp_path / "images")
    path = folder / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"data_batch_3.bin must hold images of 3,073 bytes, but has 18,437 bytes"):
        published_datasets.run(data=folder, dataset="cifar10", out=tmp_path)
    np.full(3073, 10, np.uint8).tofile(path)
    with pytest.raises(ValueError, match=r"data_batch_3.bin: expected labels from 0 to 9, got 10"):
        published_datasets.run(data=folder, dataset="cifar10", out=tmp_path)


def test_the_command_line_has_the_defaults_of_the_data_set_and_names_it(tmp_path, capsys):
    flags = ["--dataset", "cifar10", "--data", str(write_cifar10(tmp_path / "cifar10")), "--out", str(tmp_path)]
    parser = command_line(flags)
    assert (parser.get_default("steps"), parser.get_default("width")) == (6, 64)
    assert main(parser, published_datasets.run, [*flags, "--epochs=1", "--width=2", "--device=cpu"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    command = "python -m geir.tasks.published_datasets --epochs 1 --dataset cifar10 --width 2 --data cifar10"
    assert result["command"] == command
    flags[1] = "mnist"
    assert main(command_line(flags), published_datasets.run, flags) == 1
    expected = "error: --dataset must be one of shd, ssc, dvs-gesture, cifar10-dvs, cifar10, got 'mnist'."
    assert capsys.readouterr().err.strip() == expected


def test_an_abbreviated_data_set_is_refused_because_its_defaults_would_not_be_found(capsys):
    with pytest.raises(SystemExit):
        command_line(["--dat", "ssc"]).parse_args(["--dat", "ssc", "--data", "x"])
    assert "unrecognized arguments: --dat ssc" in capsys.readouterr().err
