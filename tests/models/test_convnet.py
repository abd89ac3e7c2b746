import torch

import geir


def test_it_has_the_layers_of_the_tutorials():
    shapes = {name: tuple(p.shape) for name, p in geir.models.ConvNet().named_parameters() if "weight" in name}
    assert shapes == {
        "conv1.weight": (20, 1, 5, 5),
        "conv2.weight": (50, 20, 5, 5),
        "fc1.weight": (500, 800),
        "out.weight": (10, 500),
    }
    assert geir.models.ConvNet4().fc1.weight.shape == (1024, 1024)
    ys, state = geir.models.ConvNet()(torch.randn(5, 2, 1, 28, 28))
    assert ys.shape == (5, 2, 10)
    assert isinstance(state[-1], geir.neurons.LIState)
