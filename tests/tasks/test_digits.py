import torch
from matplotlib import image

from geir.tasks import digits


def test_digits_are_learned_and_drawn(tmp_path):
    result = digits.run(epochs=5, steps=16, batch_size=32, learning_rate=8e-3, device="cpu", out=tmp_path)
    assert result["test_accuracy"] > 0.8
    assert result["epochs"] == 5
    assert result["train_images"] == 1437
    assert result["test_images"] == 360
    assert not result["interrupted"]
    picture = image.imread(result["figure"])
    assert picture.shape[0] > 500
    assert picture[..., :3].std() > 0.05


def test_no_test_image_is_used_for_training():
    data = digits.load()
    train = {x.numpy().tobytes() for x, _ in data.train}
    assert not any(x.numpy().tobytes() in train for x, _ in data.test)
    counts = torch.bincount(data.test.tensors[1])
    assert counts.min() >= 34
