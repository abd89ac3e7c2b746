"""Convolutions with spatial receptive fields."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from scipy import ndimage

from geir import learnable, Lift
from geir.receptive_fields import (
    ParameterizedSpatialReceptiveField2d,
    SampledSpatialReceptiveField2d,
    spatial_parameters,
    spatial_receptive_field,
    SpatialReceptiveField2d,
)

TABLE = spatial_parameters([1.0, 2.0], [0.0, 0.7], [1.0, 2.0], derivatives=1)
PRODUCT = {"scales": [1.0, 2.0], "angles": [0.0, 0.7], "ratios": [1.0, 2.0], "derivatives": 1}


def test_a_layer_is_a_correlation_with_its_fields():
    image = torch.rand(2, 3, 20, 24)
    ys = SpatialReceptiveField2d(3, 9, **TABLE)(image)
    fields = spatial_receptive_field(**TABLE, size=9)
    assert ys.shape == (2, len(fields), 20, 24)
    for k in (0, 3, len(fields) - 1):
        expected = sum(ndimage.correlate(image[1, c].numpy(), fields[k].numpy(), mode="constant") for c in range(3))
        np.testing.assert_allclose(ys[1, k], expected, atol=1e-5)
    torch.testing.assert_close(SampledSpatialReceptiveField2d(3, 9, **PRODUCT)(image), ys)
    torch.testing.assert_close(SpatialReceptiveField2d(3, 9, stride=2, **TABLE)(image), ys[..., ::2, ::2])


def test_without_aggregation_each_field_is_applied_to_each_channel():
    image = torch.rand(2, 3, 20, 24)
    each = SpatialReceptiveField2d(3, 9, aggregate=False, **TABLE)(image)
    summed = SpatialReceptiveField2d(3, 9, **TABLE)(image)
    assert each.shape == (2, 3 * summed.shape[1], 20, 24)
    torch.testing.assert_close(each.unflatten(1, (3, -1)).sum(1), summed)
    torch.testing.assert_close(each[:, : summed.shape[1]], SpatialReceptiveField2d(1, 9, **TABLE)(image[:, :1]))


def test_fields_are_computed_from_the_current_parameters():
    layer = SpatialReceptiveField2d(1, 9, scale=learnable(torch.tensor([1.0, 2.0])), dx=1)
    before = layer.fields()
    with torch.no_grad():
        layer.log_scale.add_(math.log(1.5))
    torch.testing.assert_close(layer.fields(), spatial_receptive_field(torch.tensor([1.5, 3.0]), size=9, dx=1))
    assert not torch.allclose(layer.fields(), before)
    layer.scale = [0.5, 0.7]
    torch.testing.assert_close(layer.fields(), spatial_receptive_field([0.5, 0.7], size=9, dx=1))


def test_scale_angle_and_ratio_are_learned_from_responses():
    image = torch.randn(4, 1, 20, 20)
    target = SpatialReceptiveField2d(1, 15, scale=1.5, angle=0.8, ratio=1.6, x=0.5, dx=1)(image).detach()
    layer = ParameterizedSpatialReceptiveField2d(1, 15, scales=1.0, angles=0.4, ratios=1.2, derivatives=[(1, 0)])
    assert set(dict(layer.named_parameters())) == {"log_scales", "angles", "log_ratios", "x", "y"}
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.03)
    for _ in range(120):
        optimizer.zero_grad()
        loss = (layer(image) - target).pow(2).mean() / target.pow(2).mean()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())
        optimizer.step()
    assert loss < 1e-3
    learned = {name: value.item() for name, value in layer.declared_parameters().items()}
    assert learned == pytest.approx({"scales": 1.5, "angles": 0.8, "ratios": 1.6, "x": 0.5, "y": 0.0}, abs=0.03)


def test_fields_with_the_same_scale_share_its_parameter():
    layer = ParameterizedSpatialReceptiveField2d(1, 9, **PRODUCT)
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {
        "log_scales": (2,),
        "angles": (2,),
        "log_ratios": (2,),
        "x": (),
        "y": (),
    }
    assert len(layer.fields()) == 2 * 2 * 2 * 3
    layer(torch.rand(1, 1, 12, 12)).pow(2).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in layer.parameters())


@pytest.mark.parametrize(
    "layer",
    [
        SpatialReceptiveField2d(2, 7, **TABLE),
        SampledSpatialReceptiveField2d(2, 7, **PRODUCT),
        ParameterizedSpatialReceptiveField2d(2, 7, **PRODUCT),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_can_be_saved_loaded_copied_and_lifted(layer):
    image = torch.rand(2, 2, 10, 10)
    expected = layer(image)
    loaded = copy.deepcopy(layer)
    for tensor in (*loaded.parameters(), *loaded.buffers()):
        if tensor.is_floating_point():
            tensor.data.mul_(1.1)
    assert not torch.allclose(loaded(image), expected)
    loaded.load_state_dict(layer.state_dict())
    for twin in (loaded, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(twin(image), expected)
    torch.testing.assert_close(copy.deepcopy(layer).double()(image.double()).float(), expected)
    assert Lift(layer)(image.expand(5, *image.shape)).shape == (5, *expected.shape)


INVALID = {
    "an even size": (
        lambda: SpatialReceptiveField2d(1, 4),
        ValueError,
        "SpatialReceptiveField2d.size must be an odd number of pixels, got 4",
    ),
    "a scale of zero": (
        lambda: SpatialReceptiveField2d(1, 5, scale=0.0),
        ValueError,
        "SpatialReceptiveField2d.scale must be > 0.0 px, got 0.0",
    ),
    "a negative number of derivatives": (
        lambda: SampledSpatialReceptiveField2d(1, 5, derivatives=-1),
        ValueError,
        "derivatives must be a number >= 0 or pairs of orders",
    ),
    "a misspelled parameter": (
        lambda: SampledSpatialReceptiveField2d(1, 5, scale=1.0),
        TypeError,
        "SampledSpatialReceptiveField2d has no parameter 'scale'. Did you mean 'scales'",
    ),
    "a fixed bank with learnable parameters": (
        lambda: SampledSpatialReceptiveField2d(1, 5, scales=learnable(1.0)),
        ValueError,
        "use ParameterizedSpatialReceptiveField2d",
    ),
    "another number of channels": (
        lambda: SpatialReceptiveField2d(2, 5)(torch.ones(1, 3, 8, 8)),
        ValueError,
        r"SpatialReceptiveField2d takes \(batch, channels, height, width\) with 2 channels, got shape \(1, 3, 8, 8\)",
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_layers_and_images_are_rejected(case):
    call, error, message = INVALID[case]
    with pytest.raises(error, match=message):
        call()
