import gzip

import numpy as np
import pytest
import torch

from geir.tasks import mnist


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


def test_every_layout_of_the_files_is_read(tmp_path, images):
    np.savez(tmp_path / "ours.npz", **images)
    np.savez(tmp_path / "keras.npz", **dict(zip(mnist.KERAS_KEYS, images.values(), strict=True)))
    paths = [
        tmp_path / "ours.npz",
        tmp_path / "keras.npz",
        write_folder(tmp_path / "a", images),
        write_folder(tmp_path / "b", images, packed=True),
    ]
    for path in paths:
        data = mnist.load(path)
        pixels = (data.train.tensors[0][:, 0] * mnist.PIXEL_STD + mnist.PIXEL_MEAN) * 255
        np.testing.assert_allclose(pixels, images["train_images"], atol=1e-3)
        np.testing.assert_array_equal(data.test.tensors[1], images["test_labels"])


def test_mnist_is_trained_and_drawn(tmp_path, images):
    np.savez(tmp_path / "mnist.npz", **images)
    result = mnist.run(data=tmp_path / "mnist.npz", epochs=1, steps=4, batch_size=20, device="cpu", out=tmp_path)
    assert result["train_images"] == 40
    assert result["test_images"] == 20
    assert (tmp_path / "mnist.png").exists()


def test_missing_file_raises(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match="There is no MNIST at .*; give --data an .npz file or a folder of IDX files.* --download",
    ):
        mnist.load(tmp_path / "missing.npz")


def test_broken_npz_file_raises(tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"PK\3\4 not really")
    with pytest.raises(ValueError, match="is not a readable .npz file"):
        mnist.load(tmp_path / "broken.npz")


def test_npz_file_without_the_arrays_raises(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.zeros(3), b=np.zeros(3))
    with pytest.raises(ValueError, match="must have the arrays train_images, .* it has only a, b"):
        mnist.load(tmp_path / "other.npz")


@pytest.mark.parametrize(
    "change",
    [
        {"train_images": np.zeros((40, 8, 8), np.uint8)},
        {"train_labels": np.zeros(3, np.uint8)},
        {"test_images": np.zeros((20, 28, 28))},
    ],
    ids=["size", "number of labels", "dtype"],
)
def test_arrays_of_another_shape_or_dtype_raise(tmp_path, images, change):
    np.savez(tmp_path / "shape.npz", **images | change)
    with pytest.raises(ValueError, match=r"expected images as bytes of shape \(number, 28, 28\)"):
        mnist.load(tmp_path / "shape.npz")


def test_labels_out_of_range_raise(tmp_path, images):
    np.savez(tmp_path / "labels.npz", **images | {"train_labels": np.full(40, 12, np.uint8)})
    with pytest.raises(ValueError, match="expected labels from 0 to 9"):
        mnist.load(tmp_path / "labels.npz")


def test_folder_without_the_files_raises(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no file train-images-idx3-ubyte or train-images-idx3-ubyte.gz"):
        mnist.load(tmp_path)


def test_truncated_idx_file_raises(tmp_path, images):
    file = write_folder(tmp_path, images) / "MNIST" / "raw" / mnist.IDX_FILES[2]
    whole = file.read_bytes()
    for content in (whole[:-1], whole[:6], b"", b"\0\0\x0d" + whole[3:]):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="t10k-images-idx3-ubyte is not a complete IDX file of bytes"):
            mnist.load(tmp_path)


def test_truncated_gzip_file_raises(tmp_path, images):
    packed = write_folder(tmp_path, images, packed=True) / "MNIST" / "raw" / f"{mnist.IDX_FILES[0]}.gz"
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(ValueError, match="is not a readable gzip file"):
        mnist.load(tmp_path)


def test_mnist_is_downloaded_on_request(tmp_path, images, monkeypatch):
    """OpenML is replaced by a function that returns what it does: 70,000 images in one array, labels as strings."""
    path = tmp_path / "new" / "mnist.npz"

    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("sklearn.datasets.fetch_openml", refuse)
    with pytest.raises(OSError, match=r"could not be downloaded \(no network\); pass an existing file to --data"):
        mnist.run(data=path, download=True)
    assert not path.exists()
    pixels = np.zeros((70_000, 784))
    pixels[:40], pixels[60_000:60_020] = images["train_images"].reshape(40, -1), images["test_images"].reshape(20, -1)
    labels = np.array(["7"] * 60_000 + ["3"] * 10_000, dtype=object)
    monkeypatch.setattr("sklearn.datasets.fetch_openml", lambda *_, **__: (pixels, labels))
    mnist.download_mnist(path)
    data = mnist.load(path)
    assert (len(data.train), len(data.test)) == (60_000, 10_000)
    assert data.test.tensors[1].unique().item() == 3
    np.testing.assert_allclose(
        (data.test.tensors[0][:20, 0] * mnist.PIXEL_STD + mnist.PIXEL_MEAN) * 255, images["test_images"], atol=1e-3
    )


def test_network_is_that_of_the_norse_slides():
    model = mnist.network()
    vs, _ = model(torch.rand(3, 2, 1, 28, 28))
    assert vs.shape == (3, 2, 10)
    assert sum(p.numel() for p in model.parameters()) == 520 + 25_050 + 8_010


def test_real_mnist_is_read(real_data):
    data = mnist.load(real_data / "mnist.npz")
    assert (len(data.train), len(data.test)) == (60_000, 10_000)
    assert data.train.tensors[0].mean().item() == pytest.approx(0, abs=1e-3)
    assert data.train.tensors[0].std().item() == pytest.approx(1, abs=1e-3)
