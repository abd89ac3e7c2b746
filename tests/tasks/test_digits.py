import torch
from matplotlib import image

import geir
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


def test_with_initial_weights_for_no_particular_input_both_layers_fire_at_rates_at_which_they_learn():
    # The images are currents. At twice these rates, as without regard to images and pooling, learning is slow.
    images = digits.load().train.tensors[0][:100].expand(24, -1, -1, -1, -1)
    for seed in range(3):
        torch.manual_seed(seed)
        model = geir.init_weights(digits.network())
        layers = geir.diagnose(model, images).layers
        rates = [layer.rate for layer in layers if layer.rate is not None]
        assert len(rates) == 2
        assert 20 < min(rates) < max(rates) < 80, rates
