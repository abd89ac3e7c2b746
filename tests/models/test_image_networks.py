"""All networks for images: published architectures that are active in every layer, with any neuron, and can be streamed."""

import copy
import inspect
import io
import pickle
import pkgutil
from functools import partial
from importlib import import_module

import pytest
import torch
from model_helpers import images, run_with_rates, SMALL_VGG
from torch import nn

import geir
from geir import IAF, learnable, LI, LIF, LIFBox, models

NETWORKS = {
    "vgg11": partial(models.vgg11, **SMALL_VGG),
    "vgg11_bn": partial(models.vgg11_bn, **SMALL_VGG),
    "resnet18": partial(models.resnet18, num_classes=10),
    "sew_resnet18": partial(models.sew_resnet18, num_classes=10),
    "sew_resnet50": partial(models.sew_resnet50, num_classes=10),
    "ms_resnet18": partial(models.ms_resnet18, num_classes=10),
    "mobilenet_v2": partial(models.mobilenet_v2, num_classes=10, width_mult=0.5),
    # The scale of the papers is for more pixels and channels.
    "Spikformer": partial(models.Spikformer, 64, 2, 2, scale=1.0, num_classes=10),
    "SpikeDrivenTransformer": partial(models.SpikeDrivenTransformer, 64, 2, num_classes=10),
    "QKFormer": partial(models.QKFormer, 64, 4, 2, scale=1.0, num_classes=10),
    "ConvNet": partial(models.ConvNet, 3, 32),
    "ConvNet4": partial(models.ConvNet4, 3, 32),
}
# Bounds of the spikes per step of a layer, and of the relative difference between the outputs for two images. Max
# pooling before neurons raises their input. The outputs of transformers are means over four pixels, which differ less.
BOUNDS = {"Spikformer": (0.5, 0.05), "SpikeDrivenTransformer": (0.6, 0.05), "QKFormer": (0.75, 0.05)}
every_network = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)


def evaluated(model, steps):
    """The model in evaluation mode, with the batch statistics of one run in training mode."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model(images(steps))
    return model.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_before_training_every_layer_spikes_and_every_parameter_gets_a_gradient(name):
    model = NETWORKS[name]()
    highest_rate, difference = BOUNDS.get(name, (0.5, 0.2))
    ys, rates = run_with_rates(model, images(24))
    assert len(rates) == sum(isinstance(module, geir.Dynamics) and module.spiking for module in model.modules())
    assert 0.02 < min(rates) < max(rates) < highest_rate, f"rates {rates}"
    assert ys.shape == (24, 2, 10)
    # The outputs for the two images differ.
    assert (ys[-1, 0] - ys[-1, 1]).norm() > difference * ys[-1].norm()
    geir.decode.max_potential_loss(ys, torch.tensor([1, 2])).backward()
    without_gradient = [
        name
        for name, p in model.named_parameters()
        if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()
    ]
    assert without_gradient == []


@pytest.mark.parametrize(
    "neuron",
    [LIFBox, IAF, partial(LIF, dt=5e-3), geir.ALIF, partial(geir.LIFRefrac, period=1e-3), geir.AdEx],
    ids=["LIFBox", "IAF", "coarse LIF", "ALIF", "LIFRefrac", "AdEx"],
)
def test_the_initial_weights_suit_any_neuron(neuron):
    _, rates = run_with_rates(models.vgg11_bn(**SMALL_VGG, neuron=neuron), images(24, batch=1))
    assert 0.01 < min(rates) < max(rates) < 0.5, f"rates {rates}"


@every_network
def test_runs_in_a_row_equal_one_run(make):
    model = evaluated(make(neuron=partial(LIF, dt=5e-3)), steps=8).double()
    xs = images(6).double()
    with torch.no_grad():
        expected, last = model(xs)
        first, state = model(xs[:3])
        second, state = model(xs[3:4], state)
        third, state = model(xs[4:], state)
    assert expected.std() > 1e-3
    torch.testing.assert_close(torch.cat([first, second, third]), expected)
    torch.testing.assert_close(state, last)


# From torchvision's documentation.
PARAMETERS = {
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13": 133_047_848,
    "vgg13_bn": 133_053_736,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "mobilenet_v2": 3_504_872,
}


# In millions. The published numbers of transformers seem to be rounded down in part: 8 blocks of 512 channels of the
# authors' code have 29,689,384 parameters. W. Fang et al. 2021 and Y. Hu et al. 2021 (of 104 layers, as cited in M. Yao et al. 2023); Z. Zhou et al.
# 2023, tables 1 and 2; M. Yao et al. 2023, table 1; C. Zhou et al. 2024, table 1.
PUBLISHED = {
    "sew_resnet18": 11.69,
    "sew_resnet34": 21.79,
    "sew_resnet50": 25.56,
    "sew_resnet101": 44.55,
    "sew_resnet152": 60.19,
    "ms_resnet18": 11.69,
    "ms_resnet34": 21.80,
    "ms_resnet104": 77.28,
    "spikformer_4_384": 9.32,
    "spikformer_8_384": 16.81,
    "spikformer_8_512": 29.68,
    "spikformer_8_768": 66.34,
    "spike_driven_transformer_8_384": 16.81,
    "spike_driven_transformer_8_512": 29.68,
    "spike_driven_transformer_8_768": 66.34,
    "qkformer_10_384": 16.47,
    "qkformer_10_512": 29.08,
    "qkformer_10_768": 64.96,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_number_of_parameters_is_that_of_the_paper_to_its_last_digit(name):
    with torch.device("meta"):
        model = getattr(models, name)()
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(PUBLISHED[name], abs=0.01)


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_number_of_parameters_is_the_published_one(name):
    with torch.device("meta"):
        model = getattr(models, name)()
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]


# Some of the weights in torchvision's checkpoints, with their shapes.
WEIGHTS = {
    "vgg11": {
        "features.0.weight": (64, 3, 3, 3),
        "features.18.bias": (512,),
        "classifier.0.weight": (4096, 25088),
        "classifier.6.bias": (1000,),
    },
    "vgg16_bn": {
        "features.40.weight": (512, 512, 3, 3),
        "features.41.running_mean": (512,),
        "classifier.3.weight": (4096, 4096),
    },
    "resnet18": {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_var": (64,),
        "layer1.0.conv1.weight": (64, 64, 3, 3),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "layer4.1.bn2.bias": (512,),
        "fc.weight": (1000, 512),
    },
    "resnet50": {
        "layer1.0.conv3.weight": (256, 64, 1, 1),
        "layer1.0.downsample.1.bias": (256,),
        "layer3.5.conv2.weight": (256, 256, 3, 3),
    },
    "sew_resnet18": {"layer1.0.conv1.weight": (64, 64, 3, 3), "layer2.0.downsample.1.weight": (128,)},
    "mobilenet_v2": {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.1.conv.0.0.weight": (32, 1, 3, 3),
        "features.1.conv.1.weight": (16, 32, 1, 1),
        "features.17.conv.3.running_var": (320,),
        "features.18.1.weight": (1280,),
        "classifier.1.weight": (1000, 1280),
    },
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_have_the_names_and_shapes_of_torchvision(name):
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in getattr(models, name)().state_dict().items()}
    assert WEIGHTS[name].items() <= shapes.items()


@pytest.mark.parametrize("name", ["vgg11_bn", "resnet18", "resnet50", "mobilenet_v2"])
def test_with_relu_it_computes_the_same_as_torchvision(name):
    torchvision = pytest.importorskip("torchvision")
    relu = nn.ReLU6 if name == "mobilenet_v2" else nn.ReLU
    theirs = getattr(torchvision.models, name)(weights=None)
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    # Without the statistics of real activity, the output of a deep network is almost zero.
    theirs(images(1, batch=8)[0])
    theirs.eval()
    ours = getattr(models, name)(neuron=relu, readout=nn.Identity).eval()
    report = models.load_weights(ours, theirs.state_dict())
    assert report == (list(theirs.state_dict()), [], [], [])
    with torch.no_grad():
        expected = torch.stack([theirs(x) for x in images(1)])
        assert expected.std() > 1e-3
        torch.testing.assert_close(ours(images(1))[0], expected, rtol=1e-4, atol=1e-4 * expected.std().item())


def test_every_layer_has_its_own_neurons():
    model = models.vgg11(**SMALL_VGG, neuron=partial(LIF, tau_mem=learnable(8e-3)))
    assert sum(name.endswith("log_tau_mem") for name, _ in model.named_parameters()) == 10
    ys, _ = model(images(20))
    ys.sum().backward()
    gradients = [p.grad for name, p in model.named_parameters() if name.endswith("log_tau_mem")]
    assert all(g is not None and g != 0 for g in gradients)


@pytest.mark.parametrize("make", [NETWORKS["ConvNet"], NETWORKS["sew_resnet18"]], ids=["ConvNet", "sew_resnet18"])
def test_copies_pickles_and_loaded_checkpoints_compute_the_same(make):
    model, other = (evaluated(make(neuron=partial(LIF, dt=5e-3)), steps=6) for _ in range(2))
    expected = model(images(4))
    checkpoint = io.BytesIO()
    torch.save(model.state_dict(), checkpoint)
    checkpoint.seek(0)
    other.load_state_dict(torch.load(checkpoint, weights_only=True))
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), other):
        torch.testing.assert_close(twin(images(4)), expected)


def test_reset_parameters_draws_new_weights_of_the_same_scale():
    model = NETWORKS["ConvNet"]()
    before = copy.deepcopy(model.state_dict())
    model.reset_parameters()
    after = model.state_dict()
    assert not torch.equal(after["fc1.weight"], before["fc1.weight"])
    torch.testing.assert_close(after["fc1.weight"].std(), before["fc1.weight"].std(), rtol=0.02, atol=0)


def test_every_public_model_is_exported():
    public = {
        name
        for module in pkgutil.iter_modules(models.__path__)
        for name, value in vars(import_module(f"geir.models.{module.name}")).items()
        if inspect.isfunction(value) or (inspect.isclass(value) and issubclass(value, nn.Module))
        if value.__module__ == f"geir.models.{module.name}" and not name.startswith("_")
    }
    assert len(public) > 30
    assert public - set(vars(models)) == {"GatedLayer", "ImageNetwork", "conv_norm", "check_depths"}


def make_silent_neuron():
    return LIF(v_th=1e9)


CASES = {
    "channels that cannot be divided by 8": (
        lambda: models.Spikformer(60, 2, 2),
        ValueError,
        "Spikformer.channels must be a positive multiple of 8, got 60",
    ),
    "heads that do not divide the channels": (
        lambda: models.Spikformer(64, 2, 5),
        ValueError,
        "SpikingSelfAttention.heads must divide the number of channels, 64, got 5",
    ),
    "heads that do not divide the channels of a stage": (
        lambda: models.QKFormer(72, 4, 4),
        ValueError,
        "TokenAttention.heads must divide the number of channels, 18, got 4",
    ),
    "too few blocks": (lambda: models.QKFormer(64, 3, 2), ValueError, "QKFormer: depth must be an integer >= 4, got 3"),
    "patches of another size": (
        lambda: models.spike_driven_transformer_8_384(patch_size=32),
        ValueError,
        "SpikeDrivenTransformer.patch_size must be 1, 2, 4, 8 or 16, got 32",
    ),
    "stages of a membrane-shortcut network": (
        lambda: models.MSResNet((1, 1)),
        ValueError,
        r"MSResNet.depths must be the number of blocks in each of 4 stages, .* got \(1, 1\)",
    ),
    "no time": (
        lambda: models.ConvNet()(torch.ones(2, 1, 28, 28)),
        ValueError,
        r"ConvNet expected input of shape \(time, batch, channels, .* got shape \(2, 1, 28, 28\)\. To show",
    ),
    "other channels": (
        lambda: models.resnet18()(torch.ones(3, 2, 1, 32, 32)),
        ValueError,
        r"ResNet expected .* with 3 channels, got shape \(3, 2, 1, 32, 32\)",
    ),
    "small images": (
        lambda: models.vgg11(**SMALL_VGG)(images(2, 16)),
        ValueError,
        r"VGG expected .* height and width of at least 32, got .*16, 16\)",
    ),
    "not a tensor": (lambda: models.ConvNet()([1.0]), ValueError, "ConvNet expected .* got list"),
    "a neuron instead of a factory": (
        lambda: models.vgg11(neuron=LIF()),
        TypeError,
        r"VGG.neuron must be a class or a function that returns a new module, such as LIF or .*, got LIF\(",
    ),
    "a name instead of a factory": (
        lambda: models.resnet18(neuron="LIF"),
        TypeError,
        "ResNet.neuron must be a class or a function .* got 'LIF'",
    ),
    "a readout instead of a factory": (
        lambda: models.ConvNet(readout=LI()),
        TypeError,
        "ConvNet.readout must be a class or a function",
    ),
    "no classes": (
        lambda: models.mobilenet_v2(num_classes=0),
        ValueError,
        "MobileNetV2.num_classes must be a positive integer, got 0",
    ),
    "no channels": (
        lambda: models.sew_resnet18(in_channels=0),
        ValueError,
        "SEWResNet.in_channels must be a positive integer, got 0",
    ),
    "too few stages": (
        lambda: models.VGG((1, 1)),
        ValueError,
        r"VGG.depths must be the number of convolutions in each of 5 stages, .* got \(1, 1\)",
    ),
    "an empty stage": (
        lambda: models.ResNet((1, 1, 0, 1)),
        ValueError,
        r"ResNet.depths must be the number of blocks in each of 4 stages, .* got \(1, 1, 0, 1\)",
    ),
    "the name of a join": (
        lambda: models.sew_resnet18(join="ADD"),
        TypeError,
        "SEWResNet.join must be a function of branch and shortcut, .* 'ADD'",
    ),
    "no width": (
        lambda: models.mobilenet_v2(width_mult=0),
        ValueError,
        "MobileNetV2.width_mult must be positive, got 0",
    ),
    "too few features": (
        lambda: models.ConvNet(feature_size=12),
        ValueError,
        "ConvNet.feature_size must be at least 16, got 12",
    ),
    "a neuron that never spikes": (
        lambda: models.ConvNet(neuron=make_silent_neuron),
        ValueError,
        "LIF does not spike after one input spike of any weight up to 16",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_arguments_and_input_are_rejected(case):
    call, kind, message = CASES[case]
    with pytest.raises(kind, match=message):
        call()
