"""Networks for images: the published architectures, alive in every layer, with any neuron, streaming."""

import copy
import io
import math
import pickle
from functools import partial

import pytest
import torch
from torch import nn

import geir
from geir import IAF, learnable, LI, LIF, LIFBox, models

HEAD = {"num_classes": 10, "hidden_size": 64, "grid": 1}
NETWORKS = {
    "vgg11": lambda **options: geir.models.vgg11(**HEAD, **options),
    "vgg11_bn": lambda **options: geir.models.vgg11_bn(**HEAD, **options),
    "resnet18": lambda **options: geir.models.resnet18(num_classes=10, **options),
    "sew_resnet18": lambda **options: geir.models.sew_resnet18(num_classes=10, **options),
    "sew_resnet50": lambda **options: geir.models.sew_resnet50(num_classes=10, **options),
    "mobilenet_v2": lambda **options: geir.models.mobilenet_v2(num_classes=10, width_mult=0.5, **options),
    "ConvNet": lambda **options: geir.models.ConvNet(3, 32, **options),
    "ConvNet4": lambda **options: geir.models.ConvNet4(3, 32, **options),
}
every_network = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)


def images(steps, size=32, batch=2):
    """Normalised images, shown as constant currents."""
    x = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))
    return x.expand(steps, *x.shape)


def rates(model, xs):
    """Output, and spikes a step of every layer of neurons."""
    seen = []
    hooks = [
        m.register_forward_hook(lambda m, args, out: seen.append(out[0].mean().item()))
        for m in model.modules()
        if isinstance(m, geir.Neuron)
    ]
    ys, _ = model(xs)
    for hook in hooks:
        hook.remove()
    return ys, seen


def settle(model):
    """To evaluation, with the statistics of a run of training."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model(images(20))
    return model.eval()


@every_network
def test_at_the_start_every_layer_spikes_and_every_parameter_gets_a_gradient(make):
    model = make()
    ys, seen = rates(model, images(32))
    assert len(seen) == sum(isinstance(m, geir.Neuron) for m in model.modules())
    assert 0.02 < min(seen) < max(seen) < 0.5, f"rates {seen}"
    assert ys.shape == (32, 2, 10)
    # Two images are told apart.
    assert (ys[-1, 0] - ys[-1, 1]).norm() > 0.2 * ys[-1].norm()
    geir.decode.max_potential_loss(ys, torch.tensor([1, 2])).backward()
    silent = [
        name
        for name, p in model.named_parameters()
        if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()
    ]
    assert silent == []


@pytest.mark.parametrize(
    "neuron",
    [LIFBox, IAF, partial(LIF, dt=5e-3), geir.ALIF, partial(geir.LIFRefrac, period=1e-3), geir.AdEx],
    ids=["LIFBox", "IAF", "coarse LIF", "ALIF", "LIFRefrac", "AdEx"],
)
def test_the_initial_weights_fit_any_neuron(neuron):
    _, seen = rates(geir.models.vgg11_bn(**HEAD, neuron=neuron), images(24))
    assert 0.01 < min(seen) < max(seen) < 0.5, f"rates {seen}"


def test_four_coarse_steps_are_enough_for_vgg11():
    _, seen = rates(geir.models.vgg11(**HEAD, neuron=partial(LIFBox, dt=5e-3)), images(4))
    assert min(seen) > 0.01, f"rates {seen}"


@every_network
def test_a_stream_in_parts_is_one_run(make):
    model = settle(make()).double()
    xs = images(12).double()
    with torch.no_grad():
        expected, last = model(xs)
        first, middle = model(xs[:5])
        second, _ = model(xs[5:6], middle)
        third, end = model(xs[6:], _)
    assert expected.std() > 1e-3
    torch.testing.assert_close(torch.cat([first, second, third]), expected)
    torch.testing.assert_close(end, last)


# As torchvision's documentation lists them.
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


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_number_of_weights_is_the_published_one(name):
    with torch.device("meta"):
        model = getattr(geir, name)()
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]


# Some of the weights of torchvision's checkpoints, with their shapes.
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
def test_weights_have_the_names_that_torchvision_gives_them(name):
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in getattr(geir, name)().state_dict().items()}
    assert WEIGHTS[name].items() <= shapes.items()


@pytest.mark.parametrize("name", ["vgg11_bn", "resnet18", "resnet50", "mobilenet_v2"])
def test_with_relu_it_is_the_network_of_torchvision(name):
    torchvision = pytest.importorskip("torchvision")
    relu = nn.ReLU6 if name == "mobilenet_v2" else nn.ReLU
    theirs = getattr(torchvision.models, name)(weights=None)
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    # Statistics of real activity, else the output of a deep network is all but zero.
    theirs(images(1, batch=8)[0])
    theirs.eval()
    ours = getattr(geir, name)(neuron=relu, readout=nn.Identity).eval()
    report = geir.models.load_weights(ours, theirs.state_dict())
    assert report == (list(theirs.state_dict()), [], [], [])
    with torch.no_grad():
        expected = torch.stack([theirs(x) for x in images(1)])
        assert expected.std() > 1e-3
        torch.testing.assert_close(ours(images(1))[0], expected, rtol=1e-4, atol=1e-4 * expected.std().item())


def test_weights_of_an_artificial_network_load_where_they_agree():
    artificial = geir.models.resnet18(num_classes=7, neuron=nn.ReLU, readout=nn.Identity).state_dict() | {
        "extra": torch.ones(2)
    }
    model = geir.models.resnet18(num_classes=10)
    before = copy.deepcopy(model.state_dict())
    report = geir.models.load_weights(model, artificial)
    assert report.other_shape == ["fc.weight", "fc.bias"]
    assert report.unexpected == ["extra"]
    assert {name.rpartition(".")[2] for name in report.missing} == {"tau_mem", "tau_syn", "v_rest", "v_th", "v_reset"}
    assert len(report.loaded) == len(artificial) - 3
    now = model.state_dict()
    for name in now:
        torch.testing.assert_close(now[name], artificial[name] if name in report.loaded else before[name])
    assert not torch.equal(now["conv1.weight"], before["conv1.weight"])


def test_every_layer_has_neurons_of_its_own():
    model = geir.models.vgg11(**HEAD, neuron=partial(LIF, tau_mem=learnable(8e-3)))
    assert sum(name.endswith("log_tau_mem") for name, _ in model.named_parameters()) == 10
    ys, _ = model(images(20))
    ys.sum().backward()
    gradients = [p.grad for name, p in model.named_parameters() if name.endswith("log_tau_mem")]
    assert all(g is not None and g != 0 for g in gradients)


@pytest.mark.parametrize("make", [NETWORKS["ConvNet"], NETWORKS["sew_resnet18"]], ids=["ConvNet", "sew_resnet18"])
def test_it_pickles_copies_saves_and_loads(make):
    model = settle(make())
    expected = model(images(6))
    buffer, other = io.BytesIO(), settle(make())
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), other):
        torch.testing.assert_close(twin(images(6)), expected)


def test_convnet_has_the_layers_of_the_tutorials():
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


def test_normalisation_takes_its_statistics_over_time_too():
    model, seen = geir.models.resnet18(), []
    model.bn1.register_forward_hook(lambda module, args, out: seen.append(out))
    model(torch.randn(6, 2, 3, 32, 32) * torch.arange(1.0, 7).view(6, 1, 1, 1, 1))
    (ys,) = seen
    scale = model.bn1.weight
    torch.testing.assert_close(ys.mean((0, 2, 3)), torch.zeros(64), atol=1e-5, rtol=0)
    torch.testing.assert_close(ys.std((0, 2, 3), correction=0), scale.detach(), rtol=1e-3, atol=0)
    assert ys[:2].std() < 0.5 * ys[-2:].std()


def spikes(*shape):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.4).float()


def test_joins_of_spikes_are_their_truth_tables():
    branch, shortcut = torch.tensor([0.0, 0, 1, 1]), torch.tensor([0.0, 1, 0, 1])
    assert geir.models.sew_add(branch, shortcut).tolist() == [0, 1, 1, 2]
    assert geir.models.sew_and(branch, shortcut).tolist() == [0, 0, 0, 1]
    assert geir.models.sew_iand(branch, shortcut).tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("join", [geir.models.sew_add, geir.models.sew_iand])
def test_a_silent_branch_passes_spikes_on_unchanged(join):
    block = geir.models.ResidualBlock(4, 4, 1, False, join, LIF, nn.BatchNorm2d)
    zs = spikes(10, 2, 4, 6, 6)
    nn.init.constant_(block.bn1.weight, 2.0)
    nn.init.constant_(block.bn2.weight, 2.0)
    assert not torch.equal(block(zs)[0], zs)
    nn.init.zeros_(block.bn2.weight)
    torch.testing.assert_close(block(zs)[0], zs)


@pytest.mark.parametrize("bottleneck", [False, True])
@pytest.mark.parametrize("join", [None, geir.models.sew_add, geir.models.sew_and])
def test_a_residual_block_is_its_definition_step_by_step(join, bottleneck):
    block = geir.models.ResidualBlock(4, 4, 2, bottleneck, join, partial(LIF, v_th=0.01), nn.BatchNorm2d).eval()
    xs = 10 * spikes(15, 2, 4, 6, 6)
    count = 3 if bottleneck else 2
    cells = [geir.LIFCell(v_th=0.01) for _ in range(count + 1)]
    states, expected = [None] * (count + 1), []
    for x in xs:
        y = x
        for k in range(count):
            y = getattr(block, f"bn{k + 1}")(getattr(block, f"conv{k + 1}")(y))
            if k < count - 1:
                y, states[k] = cells[k](y, states[k])
        s = block.downsample[1](block.downsample[0](x))
        if join is None:
            z, states[-1] = cells[-1](y + s, states[-1])
        else:
            y, states[-2] = cells[-2](y, states[-2])
            s, states[-1] = cells[-1](s, states[-1])
            z = join(y, s)
        expected.append(z)
    expected = torch.stack(expected)
    assert expected.sum() > 10
    torch.testing.assert_close(block(xs)[0], expected)


def test_the_threshold_weight_is_that_of_the_closed_form():
    # The potential after one spike of weight 1: (exp(-t / 10 ms) - exp(-t / 5 ms)), at whole milliseconds largest at 7 ms.
    peak = math.exp(-0.7) - math.exp(-1.4)
    for neuron, exact in (
        (LIF, 1 / peak),
        (LIFBox, 1 / (1 - math.exp(-0.1))),
        (IAF, 1.0),
        (partial(IAF, v_th=3.0), 3.0),
    ):
        assert exact <= geir.models.threshold_weight(neuron) <= 1.023 * exact
    assert geir.models.threshold_weight(nn.ReLU) == geir.models.threshold_weight(LI) == 1.0


def test_initial_weights_are_in_units_of_the_threshold_weight():
    model = geir.models.vgg11_bn(**HEAD, neuron=partial(IAF, v_th=5.0))
    unit = geir.models.threshold_weight(partial(IAF, v_th=5.0))
    conv, norm = model.features[4], model.features[5]
    assert conv.weight.std().item() * math.sqrt(64 * 9) == pytest.approx(2 * unit, rel=0.02)
    assert not conv.bias.any()
    torch.testing.assert_close(norm.weight.detach(), torch.full((128,), unit / 2))
    assert model.classifier[6].weight.abs().max() <= 1 / math.sqrt(64)


def test_dropout_silences_the_same_neurons_at_every_step():
    dropout = geir.models.DropoutOverTime(0.3)
    xs = torch.ones(6, 50, 200)
    ys, mask = dropout(xs)
    torch.testing.assert_close(ys, ys[:1].expand_as(ys))
    assert (ys[0] == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert ys.mean().item() == pytest.approx(1.0, abs=0.02)
    torch.testing.assert_close(dropout(xs, mask)[0], ys)
    assert not torch.equal(dropout(xs)[0], ys)
    assert dropout.eval()(xs)[0] is xs


def never():
    return LIF(v_th=1e9)


CASES = {
    "no time": (
        lambda: geir.models.ConvNet()(torch.ones(2, 1, 28, 28)),
        ValueError,
        r"ConvNet takes \(time, batch, channels, .* got shape \(2, 1, 28, 28\);",
    ),
    "other channels": (
        lambda: geir.models.resnet18()(torch.ones(3, 2, 1, 32, 32)),
        ValueError,
        r"ResNet takes .* with 3 channels, got shape \(3, 2, 1, 32, 32\)",
    ),
    "small images": (
        lambda: geir.models.vgg11(**HEAD)(images(2, 16)),
        ValueError,
        r"VGG takes .* height and width at least 32, got .*16, 16\)",
    ),
    "not a tensor": (lambda: geir.models.ConvNet()([1.0]), ValueError, "ConvNet takes .* got list"),
    "a neuron instead of what makes one": (
        lambda: geir.models.vgg11(neuron=LIF()),
        TypeError,
        r"VGG takes as neuron what makes a new one, such as LIF or partial\(LIF, tau_mem=20e-3\), got LIF\(",
    ),
    "a name instead of a neuron": (
        lambda: geir.models.resnet18(neuron="LIF"),
        TypeError,
        "ResNet takes as neuron what makes a new one, .* got 'LIF'",
    ),
    "a readout that is made": (
        lambda: geir.models.ConvNet(readout=LI()),
        TypeError,
        "ConvNet takes as readout what makes a new one",
    ),
    "no classes": (
        lambda: geir.models.mobilenet_v2(num_classes=0),
        ValueError,
        "MobileNetV2.num_classes must be a positive whole number, got 0",
    ),
    "no channels": (
        lambda: geir.models.sew_resnet18(in_channels=0),
        ValueError,
        "SEWResNet.in_channels must be a positive whole number, got 0",
    ),
    "other stages": (
        lambda: geir.models.VGG((1, 1)),
        ValueError,
        r"VGG takes the number of convolutions in each of 5 stages, .* got \(1, 1\)",
    ),
    "other blocks": (
        lambda: geir.models.ResNet((1, 1, 0, 1)),
        ValueError,
        r"ResNet takes the number of blocks in each of 4 stages, .* got \(1, 1, 0, 1\)",
    ),
    "a join that is a name": (
        lambda: geir.models.sew_resnet18(join="ADD"),
        TypeError,
        "SEWResNet.join must be a function of branch and shortcut, .* 'ADD'",
    ),
    "no width": (
        lambda: geir.models.mobilenet_v2(width_mult=0),
        ValueError,
        "MobileNetV2.width_mult must be positive, got 0",
    ),
    "features too small": (
        lambda: geir.models.ConvNet(feature_size=12),
        ValueError,
        "ConvNet.feature_size must be at least 16, got 12",
    ),
    "a neuron that never spikes": (
        lambda: geir.models.ConvNet(neuron=never),
        ValueError,
        "LIF spikes at no weight of one input spike up to 16",
    ),
    "dropout of everything": (
        lambda: geir.models.DropoutOverTime(1.0),
        ValueError,
        r"DropoutOverTime.p must be in \[0, 1\), got 1.0",
    ),
    "a mask of another shape": (
        lambda: geir.models.DropoutOverTime()(torch.ones(3, 4), torch.ones(5)),
        ValueError,
        r"a mask of shape \(5,\), but one step has \(4,\)",
    ),
    "weights that are none": (
        lambda: geir.models.load_weights(geir.models.ConvNet(), [1]),
        TypeError,
        "load_weights takes a state dictionary, .* got list",
    ),
    "weights of something else": (
        lambda: geir.models.load_weights(geir.models.ConvNet(), nn.Linear(2, 3).state_dict()),
        ValueError,
        "None of the 2 weights agrees in name and shape with ConvNet: it has conv1.weight, .* the dictionary weight, bias",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_input_is_refused(case):
    call, kind, message = CASES[case]
    with pytest.raises(kind, match=message):
        call()


def test_all_models_are_exported():
    assert set(models.__all__) <= set(vars(geir))
