"""Omniglot, handwritten characters, and episodes with a few of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from .files import read_arrays

# Pixels of a drawing on file, and after reduction.
FULL_SIZE, SIZE = 105, 28
# Characters of an episode.
WAYS = 5
# Share of the characters that are for testing.
TEST_SHARE = 0.25


class Drawings(NamedTuple):
    """Drawings by character, shape (characters, drawings, 28, 28), from 0, paper, to 1, ink."""

    train: Tensor
    test: Tensor


class Episodes(NamedTuple):
    """Episodes of five characters, each with one labeled drawing and others to be recognized.

    In each episode the characters have other labels, 0 to 4, and the labeled drawings come in random order.
    """

    support: Tensor  # labeled drawings, (episodes, 5, 1, 28, 28)
    labels: Tensor  # their labels, (episodes, 5)
    queries: Tensor  # drawings to be recognized, (episodes, number, 1, 28, 28)
    answers: Tensor  # their labels, (episodes, number)


def load(path: Path, validate: bool = False) -> Drawings:
    """Load the drawings; the split into characters for training and for testing is always the same.

    Args:
        path: The folder of an original archive, such as ``images_background``, with
            ``<alphabet>/<character>/<drawing>.png``, or an ``.npz`` file with the arrays ``images``, 105 x 105 pixels,
            1 where there is ink, of which the last axis may be packed to bits, and ``characters``, the number of the
            character of each image.
        validate: Whether to split the characters for training, and leave out those for testing.

    Raises:
        FileNotFoundError: If `path` does not exist, or is a folder without drawings.
        ValueError: If it does not hold drawings of Omniglot, the same number of each character, or too few.
    """
    drawings = _read_folder(path) if path.is_dir() else _read_arrays(path)
    chosen, test = train_test_split(np.arange(len(drawings)), test_size=TEST_SHARE, random_state=0)
    if validate:
        chosen, test = train_test_split(chosen, test_size=TEST_SHARE, random_state=0)
    if min(len(chosen), len(test)) < WAYS:
        raise ValueError(
            f"{path}: expected at least {WAYS} characters for training and for testing each, got {len(chosen)} and "
            f"{len(test)}."
        )
    return Drawings(drawings[chosen], drawings[test])


def with_rotations(drawings: Tensor) -> Tensor:
    """Drawings and their rotations by 90, 180 and 270 degrees, as further characters."""
    return torch.cat([drawings.rot90(k, (-2, -1)) for k in range(4)])


def draw_episodes(drawings: Tensor, count: int, queries: int, generator: torch.Generator) -> Episodes:
    """Draw episodes.

    Args:
        drawings: Drawings by character, shape (characters, drawings, 28, 28).
        count: Number of episodes.
        queries: Drawings of each character to be recognized.
        generator: Source of random numbers.
    """
    classes = torch.rand(count, len(drawings), generator=generator).argsort(1)[:, :WAYS]
    copies = torch.rand(count, WAYS, drawings.shape[1], generator=generator).argsort(2)[..., : 1 + queries]
    labels = torch.rand(count, WAYS, generator=generator).argsort(1)
    images = drawings[classes[..., None], copies].unsqueeze(3)
    return Episodes(images[:, :, 0], labels, images[:, :, 1:].flatten(1, 2), labels.repeat_interleave(queries, 1))


def _read_folder(path: Path) -> Tensor:
    folders = sorted({file.parent for file in path.glob("*/*/*.png")})
    if not folders:
        raise FileNotFoundError(
            f"There are no drawings {path}/<alphabet>/<character>/*.png; give --data the folder images_background of "
            "Omniglot, or an .npz file of it."
        )
    characters = [np.stack([_read_ink(file) for file in sorted(folder.glob("*.png"))]) for folder in folders]
    return _by_character(path, np.concatenate(characters), [len(images) for images in characters])


def _read_ink(file: Path) -> np.ndarray:
    try:
        with Image.open(file) as image:
            return np.asarray(image.convert("L")) < 128
    except OSError as error:
        raise ValueError(f"{file} is not a readable image: {error}") from error


def _read_arrays(path: Path) -> Tensor:
    images, characters = read_arrays(path, ("images", "characters"), "Omniglot")
    if characters.shape != images.shape[:1]:
        raise ValueError(
            f"{path}: expected a character for each of {len(images)} images, got shape {characters.shape}."
        )
    if images.ndim == 3 and images.shape[2] == (FULL_SIZE + 7) // 8:
        images = np.unpackbits(images.astype(np.uint8), axis=-1)[..., :FULL_SIZE]
    order = np.argsort(characters, kind="stable")
    return _by_character(path, images[order], np.unique(characters, return_counts=True)[1].tolist())


def _by_character(path: Path, images: np.ndarray, counts: Sequence[int]) -> Tensor:
    """Reduce images, sorted by character."""
    if images.shape[1:] != (FULL_SIZE, FULL_SIZE):
        raise ValueError(f"{path}: expected images of {FULL_SIZE} x {FULL_SIZE} pixels, got {images.shape[1:]}.")
    if len(set(counts)) != 1:
        raise ValueError(
            f"{path}: expected the same number of drawings of each character, got {min(counts)} to {max(counts)}."
        )
    reduced = adaptive_avg_pool2d(torch.from_numpy(images.astype(np.float32)), SIZE)
    return reduced.unflatten(0, (len(counts), counts[0]))
