"""Train a spiking convolutional network on MNIST: `python -m geir.tasks.mnist --data FILE`."""

import gzip
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

from ..containers import Lift, SequentialState
from ..neurons import LI, LIF
from .command_line import build_parser, main, MNIST_FILES, Result
from .data import Data
from .files import write_atomically
from .training import Settings, train

DEFAULTS = Settings(epochs=6, batch_size=32, learning_rate=3e-3, decay=0.55, steps=20, out=Path("runs/mnist"))

# Mean and standard deviation of the pixels of the training images, in [0, 1].
PIXEL_MEAN = 0.1307
PIXEL_STD = 0.3081


# Training images, the last ones, that validation tests on instead.
HELD_OUT = 10_000


class Arrays(NamedTuple):
    """MNIST as bytes. The names of the fields are also those of the arrays in an `.npz` file."""

    train_images: np.ndarray  # shape (number, 28, 28)
    train_labels: np.ndarray  # shape (number,)
    test_images: np.ndarray
    test_labels: np.ndarray


# Names of the arrays in the `.npz` file that Keras distributes, and of the original files, in the order of `Arrays`.
KERAS_KEYS = ("x_train", "y_train", "x_test", "y_test")
IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

# First bytes of an IDX file of unsigned bytes. The number of dimensions follows in one byte, then the size of each
# dimension as a big-endian 32-bit integer, then the data.
IDX_MAGIC = b"\0\0\x08"


def network() -> SequentialState:
    """Two spiking convolutional layers and a leaky readout."""
    return SequentialState(
        Lift(nn.Conv2d(1, 20, 5, 1)),
        LIF(),
        Lift(nn.MaxPool2d(2, 2)),
        Lift(nn.Conv2d(20, 50, 5, 1)),
        LIF(),
        Lift(nn.MaxPool2d(2, 2)),
        Lift(nn.Flatten()),
        Lift(nn.Linear(800, 10)),
        LI(),
    )


def load(path: Path, validate: bool = False) -> Data[TensorDataset]:
    """Load MNIST with standardized pixels.

    Args:
        path: See `read`.
        validate: See `read`.

    Raises:
        FileNotFoundError: If `path`, or a file in that folder, does not exist.
        ValueError: If a file does not hold MNIST.
    """
    arrays = read(path, validate)
    return Data(
        train=_standardized(arrays.train_images, arrays.train_labels),
        test=_standardized(arrays.test_images, arrays.test_labels),
    )


def _standardized(images: np.ndarray, labels: np.ndarray) -> TensorDataset:
    pixels = torch.from_numpy(images)[:, None].float() / 255
    return TensorDataset((pixels - PIXEL_MEAN) / PIXEL_STD, torch.from_numpy(labels.astype(np.int64)))


def read(path: Path, validate: bool = False) -> Arrays:
    """Read MNIST.

    Args:
        path: An `.npz` file, or a folder of IDX files as torchvision stores them, gzipped or not.
        validate: Whether the last training images, which are then left out, take the place of the test images.

    Raises:
        FileNotFoundError: If `path`, or a file in that folder, does not exist.
        ValueError: If a file does not hold MNIST, or so few training images that none is left.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"There is no MNIST at {path}; give --data an .npz file or a folder of IDX files. "
            f"To download it, run `python -m geir.tasks.mnist --data {path} --download`."
        )
    arrays = _read_folder(path) if path.is_dir() else _read_npz(path)
    _check_arrays(path, arrays.train_images, arrays.train_labels)
    _check_arrays(path, arrays.test_images, arrays.test_labels)
    return _hold_out(arrays) if validate else arrays


def _hold_out(arrays: Arrays) -> Arrays:
    images, labels = arrays.train_images, arrays.train_labels
    if len(labels) <= HELD_OUT:
        raise ValueError(f"--validate needs more than {HELD_OUT:,} training images, got {len(labels):,}.")
    return Arrays(images[:-HELD_OUT], labels[:-HELD_OUT], images[-HELD_OUT:], labels[-HELD_OUT:])


def _check_arrays(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    if images.ndim != 3 or images.shape[1:] != (28, 28) or images.dtype != np.uint8 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{path}: expected images as bytes of shape (number, 28, 28) and labels of shape (number,), "
            f"got {images.dtype} of shape {images.shape} and labels of shape {labels.shape}."
        )
    if len(labels) == 0 or labels.min() < 0 or labels.max() > 9:
        raise ValueError(f"{path}: expected labels from 0 to 9.")


def _read_npz(path: Path) -> Arrays:
    try:
        # NumPy does not close the file if it is broken, so it is opened and closed here.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            for keys in (Arrays._fields, KERAS_KEYS):
                if set(keys) <= set(file.files):
                    return Arrays(*(file[key] for key in keys))
            found = ", ".join(file.files)
    except Exception as error:
        raise ValueError(f"{path} is not a readable .npz file: {error}") from error
    raise ValueError(f"{path} must have the arrays {', '.join(Arrays._fields)}; it has only {found}.")


def _read_folder(path: Path) -> Arrays:
    return Arrays(*(_read_idx(_find_idx_file(path, name)) for name in IDX_FILES))


def _find_idx_file(folder: Path, name: str) -> Path:
    for path in sorted(folder.rglob(f"{name}*")):
        if path.name in (name, f"{name}.gz"):
            return path
    raise FileNotFoundError(f"{folder} has no file {name} or {name}.gz.")


def _read_idx(path: Path) -> np.ndarray:
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise ValueError(f"{path} is not a readable gzip file: {error}") from error
    magic_length = len(IDX_MAGIC) + 1
    dimensions = content[len(IDX_MAGIC)] if len(content) >= magic_length and content.startswith(IDX_MAGIC) else 0
    header_length = magic_length + 4 * dimensions
    if dimensions > 0 and len(content) >= header_length:
        shape = np.frombuffer(content, ">u4", dimensions, magic_length)
        if len(content) == header_length + np.prod(shape, dtype=np.int64):
            return np.frombuffer(content, np.uint8, offset=header_length).reshape(shape).copy()
    raise ValueError(f"{path} is not a complete IDX file of bytes.")


def download_mnist(path: Path) -> None:
    """Download MNIST from OpenML.

    Args:
        path: The `.npz` file to write; its folder is created if missing.

    Raises:
        OSError: If the download fails.
    """
    # Imported here because it takes long and is rarely needed.
    from sklearn.datasets import fetch_openml

    print(f"Downloading MNIST to {path} ...", file=sys.stderr)
    try:
        pixels, targets = fetch_openml("mnist_784", version=1, as_frame=False, return_X_y=True)
    except OSError as error:
        raise OSError(f"MNIST could not be downloaded ({error}); pass an existing file to --data.") from error
    images = pixels.reshape(-1, 28, 28).astype(np.uint8)
    labels = targets.astype(np.uint8)
    arrays = Arrays(images[:60_000], labels[:60_000], images[60_000:], labels[60_000:])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: np.savez_compressed(file, **arrays._asdict()))


def run(data: Path | str, download: bool = False, **settings: object) -> Result:
    """Train and evaluate; for `settings`, see `geir.tasks`.

    Args:
        data: See `read`.
        download: Whether to download the data to `data` first if it does not exist.
    """
    path = Path(data)
    if download and not path.exists():
        download_mnist(path)
    return train("mnist", network, load(path), replace(DEFAULTS, **settings))


if __name__ == "__main__":
    parser = build_parser("mnist", __doc__, DEFAULTS, data=MNIST_FILES)
    parser.add_argument("--download", action="store_true", help="download the data to PATH first if it does not exist")
    sys.exit(main(parser, run, several_processes=True))
