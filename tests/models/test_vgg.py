from functools import partial

from model_helpers import images, run_with_rates, SMALL_VGG

from geir import LIFBox, models


def test_four_coarse_steps_are_enough_for_every_layer_to_spike():
    _, rates = run_with_rates(models.vgg11(**SMALL_VGG, neuron=partial(LIFBox, dt=5e-3)), images(4))
    assert min(rates) > 0.01, f"rates {rates}"
