import gzip
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from matplotlib import image
from sklearn.utils import Bunch

from geir.tasks import digits, mnist, training

QUICK = {"epochs": 2, "steps": 10, "batch_size": 128, "learning_rate": 0.02, "device": "cpu"}


def folder_settings(tmp_path, **changes):
    return QUICK | {"out": tmp_path} | changes


def weights(path):
    return torch.load(path / "checkpoint.pt", weights_only=True)["model"]


def test_digits_learns_and_draws(tmp_path):
    result = digits.run(**folder_settings(tmp_path, epochs=5, steps=16, batch_size=32, learning_rate=8e-3))
    assert result["test_accuracy"] > 0.8
    assert result["epochs"] == 5
    assert result["train_images"] == 1437
    assert result["test_images"] == 360
    assert not result["interrupted"]
    picture = image.imread(result["figure"])
    assert picture.shape[0] > 500
    assert picture[..., :3].std() > 0.05


def test_held_out_images_are_not_trained_on():
    data = digits.digits()
    train = {x.numpy().tobytes() for x, _ in data.train}
    assert not any(x.numpy().tobytes() in train for x, _ in data.test)
    counts = torch.bincount(data.test.tensors[1])
    assert counts.min() >= 34


def test_the_same_seed_gives_the_same_run_and_another_another(tmp_path):
    a, b, c = (
        digits.run(**folder_settings(tmp_path / str(k), epochs=1, seed=seed)) for k, seed in enumerate((1, 1, 2))
    )
    assert a["test_accuracy"] == b["test_accuracy"]
    torch.testing.assert_close(weights(tmp_path / "0"), weights(tmp_path / "1"), rtol=0, atol=0)
    assert not torch.equal(weights(tmp_path / "0")["0.module.weight"], weights(tmp_path / "2")["0.module.weight"])


def test_a_run_interrupted_and_resumed_is_the_run(tmp_path, monkeypatch):
    expected = digits.run(**folder_settings(tmp_path / "whole"))
    stops = iter([False, False, False, True] + [True] * 9)
    with monkeypatch.context() as patch:
        patch.setattr(training, "stop_on_interrupt", lambda: _Stopping(stops))
        result = digits.run(**folder_settings(tmp_path / "parts"))
    assert result["interrupted"]
    assert result["epochs"] == 0
    assert "figure" not in result
    resumed = digits.run(**folder_settings(tmp_path / "parts", resume=True))
    assert resumed["test_accuracy"] == expected["test_accuracy"]
    assert resumed["seconds"] > result["seconds"]
    torch.testing.assert_close(weights(tmp_path / "parts"), weights(tmp_path / "whole"), rtol=0, atol=0)


class _Stopping:
    def __init__(self, answers):
        self.answers = answers

    def __enter__(self):
        return lambda: next(self.answers)

    def __exit__(self, *_):
        return False


def test_a_finished_run_can_be_trained_on(tmp_path):
    digits.run(**folder_settings(tmp_path, epochs=1))
    again = digits.run(**folder_settings(tmp_path, epochs=2, resume=True))
    whole = digits.run(**folder_settings(tmp_path / "whole"))
    assert again["epochs"] == 2
    assert again["test_accuracy"] == whole["test_accuracy"]


def command(tmp_path, *flags):
    return [
        sys.executable,
        "-m",
        "geir.tasks.digits",
        "--steps",
        "10",
        "--batch-size",
        "64",
        "--out",
        str(tmp_path),
        *flags,
    ]


def test_ctrl_c_saves_says_how_to_resume_and_exits_as_such(tmp_path):
    lines: list[str] = []
    with subprocess.Popen(
        command(tmp_path, "--epochs", "500"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        reader = threading.Thread(target=lambda: lines.extend(iter(process.stderr.readline, "")))
        reader.start()
        deadline = time.monotonic() + 120
        while not any("test accuracy" in line for line in lines) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out = process.stdout.read()
        assert process.wait(timeout=60) == 130
        reader.join()
    assert "--resume" in lines[-1]
    result = json.loads(out.strip().splitlines()[-1])
    assert result["interrupted"]
    epochs = result["epochs"] + 1
    resumed = subprocess.run(
        command(tmp_path, "--epochs", str(epochs), "--resume"), capture_output=True, text=True, check=True
    )
    assert json.loads(resumed.stdout.strip().splitlines()[-1])["epochs"] == epochs


def test_help_explains_every_flag():
    text = subprocess.run(
        [sys.executable, "-m", "geir.tasks.digits", "--help"], capture_output=True, text=True, check=True
    ).stdout
    flags = re.findall(r"^  (--[a-z-]+)( [A-Z_]+)?\s+(\S.*)?", text, re.M)
    assert {flag for flag, *_ in flags} >= {
        "--epochs",
        "--batch-size",
        "--learning-rate",
        "--steps",
        "--seed",
        "--out",
        "--resume",
        "--device",
    }
    assert "default: 25" in text


def test_a_checkpoint_of_something_else_is_refused(tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match="no checkpoint .* to resume from; start without --resume"):
        digits.run(**folder_settings(tmp_path, resume=True))
    digits.run(**folder_settings(tmp_path, epochs=1))
    with pytest.raises(ValueError, match="was made with --steps 10, not 11; give --steps 10 or another --out"):
        digits.run(**folder_settings(tmp_path, steps=11, resume=True))
    path = tmp_path / "checkpoint.pt"
    parts = torch.load(path, weights_only=True)
    torch.save(parts | {"task": "mnist"}, path)
    with pytest.raises(ValueError, match="a checkpoint of the task 'mnist', not of 'digits'"):
        digits.run(**folder_settings(tmp_path, resume=True))
    torch.save(parts | {"model": {k: v for k, v in parts["model"].items() if k != "7.module.bias"}}, path)
    with pytest.raises(ValueError, match=r"(?s)a checkpoint of another network: .*7.module.bias"):
        digits.run(**folder_settings(tmp_path, resume=True))
    for broken in (b"", b"no checkpoint at all", path.read_bytes()[:2000]):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="is not a readable checkpoint .* delete it and start without --resume"):
            digits.run(**folder_settings(tmp_path, resume=True))
    arguments = training.parser("digits", "", digits.DEFAULTS)
    assert training.main(arguments, digits.run, ["--out", str(tmp_path), "--resume"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize("name", ["epochs", "batch_size", "steps", "learning_rate"])
def test_settings_out_of_range_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=f"--{name.replace('_', '-')} must be positive, got 0"):
        digits.run(**folder_settings(tmp_path, **{name: 0}))


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    training.write_atomically(path, lambda file: file.write(b"old"))

    def die(file):
        file.write(b"half of the new")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.write_atomically(path, die)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.fixture
def images():
    random = np.random.default_rng(0)
    return {
        "train_images": random.integers(0, 256, (40, 28, 28), np.uint8),
        "train_labels": random.integers(0, 10, 40).astype(np.uint8),
        "test_images": random.integers(0, 256, (20, 28, 28), np.uint8),
        "test_labels": random.integers(0, 10, 20).astype(np.uint8),
    }


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def write_folder(folder, images, packed=False):
    (folder / "MNIST" / "raw").mkdir(parents=True)
    for name, array in zip(mnist.IDX_FILES, images.values(), strict=True):
        content = gzip.compress(idx(array)) if packed else idx(array)
        (folder / "MNIST" / "raw" / (name + ".gz" * packed)).write_bytes(content)
    return folder


def test_mnist_reads_every_layout(tmp_path, images):
    np.savez(tmp_path / "ours.npz", **images)
    np.savez(tmp_path / "keras.npz", **dict(zip(mnist.NPZ_KEYS[1], images.values(), strict=True)))
    paths = [
        tmp_path / "ours.npz",
        tmp_path / "keras.npz",
        write_folder(tmp_path / "a", images),
        write_folder(tmp_path / "b", images, packed=True),
    ]
    for path in paths:
        data = mnist.load(path)
        pixels = (data.train.tensors[0][:, 0] * mnist.DEVIATION + mnist.MEAN) * 255
        np.testing.assert_allclose(pixels, images["train_images"], atol=1e-3)
        np.testing.assert_array_equal(data.test.tensors[1], images["test_labels"])


def test_mnist_trains(tmp_path, images):
    np.savez(tmp_path / "mnist.npz", **images)
    result = mnist.run(data=tmp_path / "mnist.npz", **folder_settings(tmp_path, epochs=1, steps=4, batch_size=20))
    assert result["train_images"] == 40
    assert result["test_images"] == 20
    assert (tmp_path / "mnist.png").exists()


def test_mnist_refuses_missing_and_broken_files(tmp_path, images):
    with pytest.raises(FileNotFoundError, match="There is no MNIST at .*; give --data an .npz or a folder"):
        mnist.load(tmp_path / "missing.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK\3\4 not really")
    with pytest.raises(ValueError, match="is not a readable .npz file"):
        mnist.load(tmp_path / "broken.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3), b=np.zeros(3))
    with pytest.raises(ValueError, match="has no arrays train_images, .* only a, b"):
        mnist.load(tmp_path / "other.npz")
    for change in (
        {"train_images": np.zeros((40, 8, 8), np.uint8)},
        {"train_labels": np.zeros(3, np.uint8)},
        {"test_images": np.zeros((20, 28, 28))},
    ):
        np.savez(tmp_path / "shape.npz", **images | change)
        with pytest.raises(ValueError, match=r"expected bytes of shape \(number, 28, 28\)"):
            mnist.load(tmp_path / "shape.npz")
    np.savez(tmp_path / "labels.npz", **images | {"train_labels": np.full(40, 12, np.uint8)})
    with pytest.raises(ValueError, match="expected labels from 0 to 9"):
        mnist.load(tmp_path / "labels.npz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"has no file train-images-idx3-ubyte or train-images-idx3-ubyte.gz"):
        mnist.load(tmp_path / "empty")
    file = write_folder(tmp_path / "cut", images) / "MNIST" / "raw" / mnist.IDX_FILES[2]
    whole = file.read_bytes()
    for content in (whole[:-1], whole[:6], b"", b"\0\0\x0d" + whole[3:]):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="t10k-images-idx3-ubyte is not a whole IDX file of bytes"):
            mnist.load(tmp_path / "cut")
    packed = write_folder(tmp_path / "packed", images, packed=True) / "MNIST" / "raw" / f"{mnist.IDX_FILES[0]}.gz"
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(ValueError, match="is not a readable gzip file"):
        mnist.load(tmp_path / "packed")


def test_mnist_is_downloaded_on_request(tmp_path, images, monkeypatch):
    """Where there is no network, OpenML's answer is played: 70,000 images in one array, labels as strings."""
    path = tmp_path / "new" / "mnist.npz"

    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("sklearn.datasets.fetch_openml", refuse)
    with pytest.raises(OSError, match=r"could not be downloaded \(no network\); give --data a file"):
        mnist.run(data=path, download_it=True)
    assert not path.exists()
    pixels = np.zeros((70_000, 784))
    pixels[:40], pixels[60_000:60_020] = images["train_images"].reshape(40, -1), images["test_images"].reshape(20, -1)
    labels = np.array(["7"] * 60_000 + ["3"] * 10_000, dtype=object)
    monkeypatch.setattr("sklearn.datasets.fetch_openml", lambda *_, **__: Bunch(data=pixels, target=labels))
    mnist.download(path)
    data = mnist.load(path)
    assert (len(data.train), len(data.test)) == (60_000, 10_000)
    assert data.test.tensors[1].unique().item() == 3
    np.testing.assert_allclose(
        (data.test.tensors[0][:20, 0] * mnist.DEVIATION + mnist.MEAN) * 255, images["test_images"], atol=1e-3
    )


def test_mnist_is_the_network_of_the_slides():
    model = mnist.network()
    vs, _ = model(torch.rand(3, 2, 1, 28, 28))
    assert vs.shape == (3, 2, 10)
    assert sum(p.numel() for p in model.parameters()) == 520 + 25_050 + 8_010


def test_real_mnist_is_read(real_data):
    data = mnist.load(real_data / "mnist.npz")
    assert (len(data.train), len(data.test)) == (60_000, 10_000)
    assert data.train.tensors[0].mean().item() == pytest.approx(0, abs=1e-3)
    assert data.train.tensors[0].std().item() == pytest.approx(1, abs=1e-3)
