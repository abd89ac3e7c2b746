"""Train a spiking convolutional network on MNIST: `python -m geir.tasks.mnist --data FILE`."""

import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

from ..containers import Lift, SequentialState
from ..neurons import LI, LIF
from .training import Data, Settings, main, parser, train

DEFAULTS = Settings(epochs=6, batch_size=32, learning_rate=3e-3, decay=0.55, steps=20, out=Path("runs/mnist"))

# Mean and standard deviation of the pixels of the training images, in [0, 1].
MEAN, DEVIATION = 0.1307, 0.3081

# The names of the four arrays, as in our own files and as in those of Keras.
NPZ_KEYS = (("train_images", "train_labels", "test_images", "test_labels"), ("x_train", "y_train", "x_test", "y_test"))
IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


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


def load(path: Path) -> Data:
    """MNIST, standardised; see `read`."""
    train_images, train_labels, test_images, test_labels = read(path)
    return Data(train=_dataset(train_images, train_labels), test=_dataset(test_images, test_labels))


def read(path: Path) -> list[np.ndarray]:
    """MNIST from an `.npz`, or from the folder of IDX files that torchvision keeps (packed with gzip or not).

    Returns:
        Images to train on, bytes of shape (number, 28, 28), and their labels; images and labels to test.

    Raises:
        FileNotFoundError: If there is nothing at `path`, or a file is missing in the folder.
        ValueError: If a file is not what it should be.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"There is no MNIST at {path}; give --data an .npz or a folder of IDX files, or --download it."
        )
    arrays = _read_folder(path) if path.is_dir() else _read_npz(path)
    for images, labels in (arrays[:2], arrays[2:]):
        _check(path, images, labels)
    return arrays


def _check(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    if images.ndim != 3 or images.shape[1:] != (28, 28) or images.dtype != np.uint8 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{path}: expected bytes of shape (number, 28, 28) and as many labels, got {images.dtype} {images.shape} and {labels.shape}."
        )
    if len(labels) == 0 or labels.min() < 0 or labels.max() > 9:
        raise ValueError(f"{path}: expected labels from 0 to 9.")


def _dataset(images: np.ndarray, labels: np.ndarray) -> TensorDataset:
    standardised = (torch.from_numpy(images)[:, None].float() / 255 - MEAN) / DEVIATION
    return TensorDataset(standardised, torch.from_numpy(labels.astype(np.int64)))


def _read_npz(path: Path) -> list[np.ndarray]:
    try:
        # Opened here, because numpy leaves a broken file open.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            for keys in NPZ_KEYS:
                if set(keys) <= set(file.files):
                    return [file[key] for key in keys]
            found = ", ".join(file.files)
    except Exception as error:
        raise ValueError(f"{path} is not a readable .npz file: {error}") from error
    raise ValueError(f"{path} has no arrays {', '.join(NPZ_KEYS[0])}, only {found}.")


def _read_folder(path: Path) -> list[np.ndarray]:
    arrays = []
    for name in IDX_FILES:
        found = next((p for p in sorted(path.rglob(f"{name}*")) if p.name in (name, f"{name}.gz")), None)
        if found is None:
            raise FileNotFoundError(f"{path} has no file {name} or {name}.gz.")
        arrays.append(_read_idx(found))
    return arrays


def _read_idx(path: Path) -> np.ndarray:
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise ValueError(f"{path} is not a readable gzip file: {error}") from error
    dimensions = content[3] if len(content) >= 4 and content[:3] == b"\0\0\x08" else 0
    shape = np.frombuffer(content, ">u4", dimensions, 4) if len(content) >= 4 + 4 * dimensions else ()
    if not dimensions or len(shape) == 0 or len(content) != 4 + 4 * dimensions + np.prod(shape, dtype=np.int64):
        raise ValueError(f"{path} is not a whole IDX file of bytes.")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape).copy()


def download(path: Path) -> None:
    """Fetch MNIST from OpenML and write it to `path`, an `.npz`."""
    from sklearn.datasets import fetch_openml

    from .training import write_atomically

    print(f"Downloading MNIST to {path} ...", file=sys.stderr)
    try:
        bunch: Any = fetch_openml("mnist_784", version=1, as_frame=False)
    except OSError as error:
        raise OSError(f"MNIST could not be downloaded ({error}); give --data a file that is there.") from error
    images, labels = bunch.data.reshape(-1, 28, 28).astype(np.uint8), bunch.target.astype(np.uint8)
    parts = dict(zip(NPZ_KEYS[0], (images[:60_000], labels[:60_000], images[60_000:], labels[60_000:]), strict=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: np.savez_compressed(file, **parts))


def run(data: Path | str, download_it: bool = False, **settings: Any) -> dict[str, Any]:
    """Train and evaluate; settings as on the command line, with underscores. Returns the figures of the run."""
    if download_it and not Path(data).exists():
        download(Path(data))
    return train("mnist", network, load(Path(data)), Settings(**{**vars(DEFAULTS), **settings}))


if __name__ == "__main__":
    description = (
        "Train a spiking convolutional network on MNIST. The last line printed is a JSON object with the result."
    )
    arguments = parser("mnist", description, DEFAULTS)
    arguments.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="PATH",
        help=".npz file, or folder of IDX files as torchvision keeps them",
    )
    arguments.add_argument(
        "--download",
        dest="download_it",
        action="store_true",
        help="fetch the data to PATH first if it is not there (needs a network)",
    )
    sys.exit(main(arguments, run, None))
