from functools import partial

from model_helpers import SMALL_VGG, images, run_with_rates

from geir import LIFBox, models


def test_four_coarse_steps_are_enough_for_every_layer_to_spike():
    _, rates = run_with_rates(models.vgg11(**SMALL_VGG, neuron=partial(LIFBox, dt=5e-3)), images(4))
    assert min(rates) > 0.01, f"rates {rates}"
