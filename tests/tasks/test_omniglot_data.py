"""Omniglot and its episodes: `geir.tasks.omniglot_data`."""

import numpy as np
import pytest
import torch
from PIL import Image

from geir.tasks.omniglot_data import draw_episodes, load, with_rotations


def characters(number=24, drawings=3):
    """Ink in a square, at a row that tells the character and a column that tells the drawing."""
    images = np.zeros((number, drawings, 105, 105), np.uint8)
    for k in range(number):
        for n in range(drawings):
            images[k, n, 4 * k : 4 * k + 8, 15 * n : 15 * n + 15] = 1
    return images


def write(path, drawings, **changes):
    arrays = {
        "images": np.packbits(drawings.reshape(-1, 105, 105), axis=-1),
        "characters": np.repeat(np.arange(len(drawings)), drawings.shape[1]),
    }
    np.savez(path, **arrays | changes)
    return path


def test_drawings_are_reduced_by_averaging_and_characters_are_split(tmp_path):
    images = characters()
    drawings = load(write(tmp_path / "omniglot.npz", images))
    assert drawings.train.shape == (18, 3, 28, 28)
    assert drawings.test.shape == (6, 3, 28, 28)
    found = torch.cat([*drawings]).numpy()
    # A pixel is the mean of all that it covers in part.
    edges = [(k * 105 // 28, -(-(k + 1) * 105 // 28)) for k in range(28)]
    expected = np.array([[[[im[a:b, c:d].mean() for c, d in edges] for a, b in edges] for im in ims] for ims in images])
    distances = np.abs(found[:, None] - expected).max((2, 3, 4))
    np.testing.assert_allclose(distances.min(1), 0, atol=1e-6)
    assert sorted(distances.argmin(1)) == list(range(24))


def test_the_test_characters_are_used_neither_for_training_nor_for_validation(tmp_path):
    path = write(tmp_path / "omniglot.npz", characters())
    whole, again, part = load(path), load(path), load(path, validate=True)
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))
    assert (len(part.train), len(part.test)) == (13, 5)
    known = {drawing.numpy().tobytes() for drawing in whole.train}
    assert {drawing.numpy().tobytes() for drawing in torch.cat([*part])} == known
    assert known.isdisjoint(drawing.numpy().tobytes() for drawing in whole.test)


@pytest.mark.parametrize("packed", [True, False])
def test_folders_and_arrays_hold_the_same(tmp_path, packed):
    images = characters(20)
    for k, drawings in enumerate(images):
        folder = tmp_path / "images_background" / f"alphabet{k // 10}" / f"character{k % 10:02}"
        folder.mkdir(parents=True)
        for n, drawing in enumerate(drawings):
            # Ink is black.
            Image.fromarray(drawing == 0).save(folder / f"{k:04}_{n:02}.png")
    # Arrays need not be sorted.
    order = np.random.default_rng(0).permutation(60)
    unpacked = images.reshape(-1, 105, 105)[order]
    path = tmp_path / "omniglot.npz"
    shown = np.packbits(unpacked, axis=-1) if packed else unpacked
    write(path, images, images=shown, characters=np.repeat(np.arange(20), 3)[order])
    from_folder, from_arrays = load(tmp_path / "images_background"), load(path)
    for a, b in zip(from_folder, from_arrays, strict=True):
        # The drawings of a character are in another order.
        assert torch.equal(a.sum(1), b.sum(1))
        assert a.any()


def test_rotated_drawings_are_other_characters():
    drawings = torch.rand(2, 3, 28, 28)
    rotated = with_rotations(drawings)
    assert rotated.shape == (8, 3, 28, 28)
    for k in range(4):
        np.testing.assert_array_equal(rotated[2 * k + 1, 2], np.rot90(drawings[1, 2], k))


def test_queries_are_other_drawings_of_the_labeled_characters():
    # The value of a pixel tells character and drawing.
    drawings = (torch.arange(9)[:, None] + torch.arange(6) / 10).expand(28, 28, 9, 6).permute(2, 3, 0, 1)
    episodes = draw_episodes(drawings, 400, 3, torch.Generator().manual_seed(0))
    assert episodes.support.shape == (400, 5, 1, 28, 28)
    assert episodes.queries.shape == (400, 15, 1, 28, 28)
    first, others = episodes.support[:, :, 0, 0, 0], episodes.queries[:, :, 0, 0, 0]
    orders = set()
    for k in range(400):
        assert sorted(episodes.labels[k].tolist()) == [0, 1, 2, 3, 4]
        assert len(set(first[k].floor().tolist())) == 5
        by_label = dict(zip(episodes.labels[k].tolist(), first[k].tolist(), strict=True))
        for label, value in zip(episodes.answers[k].tolist(), others[k].tolist(), strict=True):
            assert int(value) == int(by_label[label])
            assert value != by_label[label]
        assert len(set(others[k].tolist())) == 15
        orders.add(tuple(episodes.labels[k].tolist()))
    # All 9 characters and 6 drawings occur, and most of the 120 orders of labels.
    assert len(set(first.flatten().tolist())) == 54
    assert len(orders) > 100


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.zeros((72, 28, 28), np.uint8)}, r"expected images of 105 x 105 pixels, got \(28, 28\)"),
        ({"characters": np.zeros(71, int)}, r"expected a character for each of 72 images, got shape \(71,\)"),
        ({"characters": np.repeat([0, 1], [40, 32])}, "the same number of drawings of each character, got 32 to 40"),
        ({"characters": np.repeat(np.arange(6), 12)}, "at least 5 characters .*, got 4 and 2"),
    ],
)
def test_other_arrays_raise(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        load(write(tmp_path / "omniglot.npz", characters(), **changes))


def test_missing_and_broken_data_raise(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file .*; give --data an .npz file of Omniglot"):
        load(tmp_path / "omniglot.npz")
    with pytest.raises(FileNotFoundError, match="There are no drawings .*; give --data the folder images_background"):
        load(tmp_path)
    (tmp_path / "alphabet" / "character").mkdir(parents=True)
    (tmp_path / "alphabet" / "character" / "1.png").write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"1\.png is not a readable image"):
        load(tmp_path)
    np.savez(tmp_path / "omniglot.npz", images=np.zeros(3))
    with pytest.raises(ValueError, match="must have the arrays images, characters; it has only images"):
        load(tmp_path / "omniglot.npz")
