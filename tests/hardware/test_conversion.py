"""Conversion of ReLU networks, against plain loops over neurons and the networks themselves."""

import copy
import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
from seeding import seeded
from torch import nn
from torch.nn import functional

import geir
from geir.hardware import conversion_report, from_ann, QCFS


class Nested(nn.Module):
    """Blocks within blocks, functions and methods."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Sequential(nn.Conv2d(2, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True)),
            nn.AvgPool2d(2),
            nn.Sequential(nn.Conv2d(8, 12, 3, groups=4, stride=2, padding=1), nn.BatchNorm2d(12)),
        )
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(48, 5)

    def forward(self, x):
        x = functional.relu(self.features(x))
        x = functional.dropout(x, training=self.training)
        return self.head(self.dropout(x.flatten(1)))


class Residual(nn.Module):
    """A block whose input is added to its output, with one ReLU module called three times."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1)
        self.relu = nn.ReLU()
        self.a = nn.Conv2d(6, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.b = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = self.relu(self.stem(x))
        y = self.b(self.relu(self.norm(self.a(x))))
        y += x
        x = self.relu(y)
        return self.head(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


MODELS = {
    "nested": Nested,
    "residual": Residual,
    "linear": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(128, 60, bias=False), nn.BatchNorm1d(60), nn.ReLU(), nn.Linear(60, 30), nn.Linear(30, 5)
    ),
    "relu6 and a ReLU at the end": lambda: nn.Sequential(
        nn.Conv2d(2, 5, 3), nn.ReLU6(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, 7), nn.ReLU()
    ),
    "a ReLU after pooling": lambda: nn.Sequential(
        nn.Conv2d(2, 5, 3), nn.ReLU(), nn.AvgPool2d(2), nn.ReLU(), nn.Flatten(), nn.Identity(), nn.Linear(45, 7)
    ),
    "units pooled together": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(128, 60), nn.ReLU(), nn.AvgPool1d(2), nn.Linear(30, 5)
    ),
    "one dimension": lambda: nn.Sequential(
        nn.Flatten(2),
        nn.Conv1d(2, 6, 5),
        nn.BatchNorm1d(6),
        nn.ReLU(),
        nn.AvgPool1d(2),
        nn.Flatten(),
        nn.Linear(180, 4),
    ),
}


def build(name):
    """A network in float64 whose batch normalization has statistics and slopes of its own."""
    torch.manual_seed(1)
    model = MODELS[name]().double()
    if name == "one dimension":
        model = model[1:]
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, -1.0, 2.0)
            nn.init.normal_(module.bias, std=0.3)
    x = torch.randn(20, 2, 8, 8, dtype=torch.float64)
    return model.eval(), x.flatten(2) if name == "one dimension" else x


def errors(model, spiking, x, times):
    """Root mean square of the error of the output after these numbers of steps."""
    with torch.no_grad():
        sums, _ = spiking(x.expand(max(times), *x.shape))
        return [(sums[t - 1] / t - model(x)).square().mean().sqrt().item() for t in times]


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_the_output_converges_to_that_of_the_network_like_one_over_the_number_of_steps(name, per_channel):
    model, x = build(name)
    spiking = from_ann(model, x, percentile=100, per_channel=per_channel)
    times = [2**k for k in range(4, 10)]
    found = errors(model, spiking, x, times)
    slope = np.polyfit(np.log(times), np.log(found), 1)[0]
    assert -1.1 < slope < -0.9
    size = model(x).std().item()
    assert found[-1] < 0.006 * size


def simulate(model, x, thresholds, steps):
    """Run linear layers and integrate-and-fire neurons that start at half their threshold, neuron by neuron.

    Spikes carry the value of their threshold.
    """
    potentials = {index: np.full(0, 0.0) for index in thresholds}
    total, spikes = 0.0, dict.fromkeys(thresholds, 0.0)
    for _ in range(steps):
        values = x
        for index, layer in enumerate(model):
            if index in thresholds:
                theta = thresholds[index]
                if not potentials[index].size:
                    potentials[index] = np.zeros_like(values) + theta / 2
                potentials[index] = potentials[index] + values
                spike = potentials[index] > theta
                potentials[index] = potentials[index] - theta * spike
                spikes[index] = spikes[index] + spike
                values = theta * spike
            else:
                values = values @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        total = total + values
    return spikes, total


@pytest.mark.parametrize("per_channel", [False, True])
def test_the_spikes_are_those_of_a_plain_simulation(per_channel):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 3)).double()
    x = torch.randn(200, 6, dtype=torch.float64)
    nn.init.uniform_(model[2].bias, 0.1, 0.5)
    spiking = from_ann(model, x, percentile=90, per_channel=per_channel)
    thresholds, values = {}, x
    for index, layer in enumerate(model):
        values = layer(values)
        if isinstance(layer, nn.ReLU):
            columns = values.detach().numpy().T if per_channel else [values.detach().numpy()]
            thresholds[index] = np.array([np.percentile(c[c > 0], 90, method="inverted_cdf") for c in columns])
    expected, total = simulate(model, x.numpy(), thresholds, 25)
    spiking.return_hidden = True
    outputs, _ = spiking(x.expand(25, *x.shape))
    for index in thresholds:
        assert set(outputs[index].unique().tolist()) == {0.0, 1.0}
        assert np.array_equal(outputs[index].detach().sum(0).numpy(), expected[index])
    np.testing.assert_allclose(outputs[-1][-1].detach().numpy(), total, rtol=1e-9, atol=1e-9)


def test_a_smaller_percentile_clips_the_largest_outputs():
    model, x = build("linear")
    # The share of clipped outputs is that of the percentile.
    report = conversion_report(model, from_ann(model, x, percentile=90), x, 8)
    assert [layer.clipped for layer in report.layers] == pytest.approx([0.1], abs=1e-3)
    full = conversion_report(model, from_ann(model, x, percentile=100), x, 8)
    assert full.layers[0].clipped == 0
    assert full.layers[0].threshold > report.layers[0].threshold


def test_the_report_is_the_error_of_each_layer_and_of_the_output():
    model, x = build("nested")
    spiking = from_ann(model, x, per_channel=True)
    report = conversion_report(model, spiking, x, 16)
    first = model.features[0](x)
    zs, _ = spiking[:2](x.expand(16, *x.shape))
    theta = 2 * spiking[1].v_th
    assert [layer.name for layer in report.layers] == ["features_0_2", "relu"]
    layer = report.layers[0]
    assert layer.rate == pytest.approx(zs.mean().item())
    assert layer.error == pytest.approx(((zs.mean(0) * theta - first).norm() / first.norm()).item())
    sums, _ = spiking(x.expand(16, *x.shape))
    y = model(x)
    assert report.output == pytest.approx(((sums[-1] / 16 - y).norm() / y.norm()).item())
    assert report.agreement == pytest.approx((sums[-1].argmax(1) == y.argmax(1)).double().mean().item())
    text = str(report)
    assert "features_0_2" in text
    assert f"{layer.error:.2%}" in text
    residual, x = build("residual")
    rows = conversion_report(residual, from_ann(residual, x), x, 64).layers
    assert [row.name for row in rows] == ["relu", "relu_1", "relu_2"]
    assert max(row.error for row in rows) < 0.1


def test_a_report_on_another_network_is_refused():
    model, x = build("nested")
    other, _ = build("linear")
    with pytest.raises(ValueError, match="with the neurons features_0_2, relu; got 3"):
        conversion_report(model, from_ann(other, x), x, 8)


def test_the_model_and_the_data_are_not_changed():
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True))
    model.append(nn.Flatten())
    model.append(nn.Linear(108, 2))
    model.train()
    x = torch.randn(10, 2, 8, 8)
    before, data = copy.deepcopy(model.state_dict()), x.clone()
    model[0].inplace = False
    from_ann(model, x)
    assert model.training
    assert model[3].inplace
    assert torch.equal(x, data)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))


def test_a_chain_becomes_a_sequence_with_the_names_of_the_modules():
    model, x = build("nested")
    spiking = from_ann(model, x)
    assert isinstance(spiking, geir.SequentialState)
    assert list(dict(spiking.named_children())) == [
        "features_0_0",
        "features_0_2",
        "features_1",
        "features_2_0",
        "relu",
        "flatten",
        "head",
        "output",
    ]
    assert isinstance(spiking.relu, geir.IAF)


def test_a_layer_called_output_is_kept_beside_the_sum():
    torch.manual_seed(0)
    model = nn.Sequential(OrderedDict(hidden=nn.Linear(4, 9), relu=nn.ReLU(), output=nn.Linear(9, 3))).double()
    spiking = from_ann(model, X.double(), percentile=100)
    assert list(dict(spiking.named_children())) == ["hidden", "relu", "output", "output_1"]
    found = errors(model, spiking, X.double(), [16, 256])
    assert found[1] < 0.1 * found[0]


@pytest.mark.parametrize("name", ["nested", "residual"])
def test_a_run_in_parts_equals_the_whole_run(name):
    model, x = build(name)
    spiking = from_ann(model, x)
    xs = x.expand(12, *x.shape)
    whole, _ = spiking(xs)
    first, state = spiking(xs[:5])
    second, _ = spiking(xs[5:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-12, atol=1e-12)


def test_calibration_data_may_be_batches_with_labels():
    model, x = build("linear")
    labels = torch.zeros(len(x))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, labels), batch_size=7)
    expected = from_ann(model, x, percentile=95)
    for data in (loader, list(x.split(9)), ((part, None) for part in x.split(11))):
        converted = from_ann(model, data, percentile=95)
        torch.testing.assert_close(converted.state_dict(), expected.state_dict(), rtol=1e-12, atol=0)


def test_a_channel_that_is_silent_on_the_data_gets_the_threshold_of_the_layer():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    with torch.no_grad():
        model[0].bias.copy_(torch.tensor([1.0, 2.0, -100.0]))
        model[0].weight.zero_()
    spiking = from_ann(model, torch.zeros(4, 2), percentile=100, per_channel=True)
    assert (2 * spiking[1].v_th).tolist() == [1.0, 2.0, 2.0]


class Branching(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.relu = nn.ReLU()
        self.function = function

    def forward(self, x):
        return self.function(self, self.relu(self.linear(x)))


X = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(20, 2, 8, 8, generator=torch.Generator().manual_seed(0))


def chain(*modules):
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), *modules)


@pytest.mark.parametrize(
    ("model", "message"),
    seeded(
        lambda: [
            (
                chain(nn.MaxPool1d(2)),
                r"from_ann cannot convert 2 \(MaxPool1d\): .* use average pooling and train again",
            ),
            (chain(nn.Sequential(nn.Sigmoid())), r"cannot convert 2_0 \(Sigmoid\): .* use torch.nn.ReLU or .*QCFS"),
            (chain(nn.LeakyReLU()), r"cannot convert 2 \(LeakyReLU\): rates of spikes follow a ReLU only"),
            (chain(nn.Softmax(1)), r"cannot convert 2 \(Softmax\): remove it from the model and apply it to the"),
            (chain(nn.LayerNorm(4)), r"cannot convert 2 \(LayerNorm\): .* use batch normalization"),
            (
                chain(nn.BatchNorm1d(4)),
                r"2 \(BatchNorm1d\) does not directly follow a Linear or Conv layer that it alone reads; move it",
            ),
            (
                nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.ReLU()),
                r"cannot fold 1 \(BatchNorm1d\), which has no running statistics; build it with track_running_stats=True",
            ),
            (chain(geir.LIF()), r"cannot convert 2 \(LIF\): it has a state already; convert a network without time"),
            (chain(nn.Flatten(0)), r"cannot convert 2 \(Flatten\(start_dim=0, end_dim=-1\)\): flatten all dimensions"),
            (chain(nn.Bilinear(4, 4, 4)), "cannot"),
            (chain(nn.Upsample(2)), r"cannot convert 2 \(Upsample\); it supports Linear, Conv1d to Conv3d"),
            (chain(nn.ConstantPad1d(2, 1.0)), r"cannot convert 2 \(ConstantPad1d\); it supports Linear"),
            (
                Branching(lambda model, x: x * 2),
                "cannot convert mul in the forward of the model; it supports modules, and",
            ),
            (Branching(lambda model, x: x + 1), "cannot convert add in the forward of the model"),
            (Branching(lambda model, x: torch.add(x, x, alpha=2)), "cannot convert add in the forward"),
            (Branching(lambda model, x: x.view(-1, 4)), "cannot convert view in the forward"),
            (Branching(lambda model, x: torch.cat([x, x], 1)), "cannot convert cat in the forward"),
            (
                Branching(lambda model, x: x if x.sum() > 0 else -x),
                "from_ann cannot read the layers of Branching: .* Write",
            ),
            (Branching(lambda model, x: (x, x)), "supports networks with one output, got tuple"),
            (nn.Bilinear(4, 4, 4), "cannot"),
            (torch.relu, "from_ann expected a module, got builtin_function_or_method"),
        ]
    ),
)
def test_what_cannot_be_converted_is_refused_with_its_name_and_a_cure(model, message):
    with pytest.raises(TypeError, match=message):
        from_ann(model, X)


def test_batch_normalization_is_not_folded_into_a_layer_that_others_read():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)
            self.norm = nn.BatchNorm1d(4)
            self.relu = nn.ReLU()

        def forward(self, x):
            y = self.linear(x)
            return self.relu(self.norm(y) + y)

    with pytest.raises(
        TypeError, match=r"norm \(BatchNorm1d\) does not directly follow a .* layer that it alone reads"
    ):
        from_ann(Shared(), X)


def relu_in_place(model, x):
    y = model.linear(x)
    return y + nn.functional.relu(y, inplace=True)


def add_in_place(model, x):
    y = x
    y += model.linear(x)
    return y + x


def hooked():
    model = chain(nn.Linear(4, 2))
    model[2].register_forward_hook(lambda module, inputs, output: 2 * output)
    return model


@pytest.mark.parametrize("model", seeded(lambda: [Branching(relu_in_place), Branching(add_in_place), hooked()]))
def test_a_model_that_does_more_than_its_layers_is_refused(model):
    with pytest.raises(ValueError, match="whose output differs from the model's, by .* Remove hooks, and operations"):
        from_ann(model, X)


def test_a_model_in_training_mode_is_converted_as_in_evaluation_mode():
    class Switching(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = chain(nn.Linear(4, 2))

        def forward(self, x):
            return self.layers(x).sigmoid() if self.training else self.layers(x)

    model = Switching().train()
    spiking = from_ann(model, X)
    assert model.training
    sums, _ = spiking(X.expand(256, *X.shape))
    torch.testing.assert_close(sums[-1] / 256, model.eval()(X), rtol=0.05, atol=0.05)


class Doubled(nn.Linear):
    """Not linear in the way of its base class."""

    def forward(self, input):
        return super().forward(input) * 2


class Shifted(QCFS):
    def forward(self, x):
        return super().forward(x + 1)


def test_a_subclass_with_its_own_forward_is_not_taken_for_its_base():
    with pytest.raises(TypeError, match=r"cannot convert 1 \(Shifted\); it supports Linear"):
        from_ann(nn.Sequential(nn.Linear(4, 4), Shifted(4)), X)
    with pytest.raises(TypeError, match="cannot convert the use of 0.weight in the forward of the model; use it in"):
        from_ann(nn.Sequential(Doubled(4, 4), nn.ReLU()), X)


@pytest.mark.parametrize(
    ("model", "data", "message"),
    seeded(
        lambda: [
            (chain(), [], "from_ann needs calibration_data to choose thresholds, got none; pass a few hundred inputs"),
            (chain(), X[:0], "from_ann needs calibration_data to choose thresholds, got none"),
            (chain(), torch.full_like(X, math.nan), "calibration_data contains NaN or infinity; remove these samples"),
            (nn.Sequential(nn.Linear(4, 2)), X, "found no activation in the model, so nothing would spike; it needs"),
        ]
    ),
)
def test_bad_data_is_refused(model, data, message):
    with pytest.raises(ValueError, match=message):
        from_ann(model, data)


class Keywords(nn.Module):
    """Modules called by keyword, pooling functions, and an argument with a default."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)
        self.head = nn.Linear(4, 3)

    def forward(self, x, unused=None):
        x = functional.avg_pool2d(torch.relu(self.conv(input=x)), 2)
        return self.head(input=torch.flatten(functional.adaptive_avg_pool2d(x, (1, 1)), start_dim=1))


def test_functions_and_keywords_are_read():
    torch.manual_seed(0)
    model = Keywords().double()
    found = errors(model, from_ann(model, IMAGES.double(), percentile=100), IMAGES.double(), [16, 256])
    assert found[1] < 0.1 * found[0]


def test_a_second_input_is_refused():
    class Two(nn.Module):
        def forward(self, x, other):
            return x + other

    with pytest.raises(TypeError, match="supports networks with one input, but other is another"):
        from_ann(Two(), X)


def test_integer_data_is_refused():
    with pytest.raises(TypeError, match="expected floating-point calibration_data, got torch.uint8"):
        from_ann(chain(), torch.zeros(3, 4, dtype=torch.uint8))


def test_weights_that_are_not_finite_are_found_by_name():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    with torch.no_grad():
        model[2].weight[0, 0] = math.nan
    with pytest.raises(ValueError, match=r"the output of 2 \(Linear\) contains NaN or infinity .* check its weights"):
        from_ann(model, X)


def test_a_silent_layer_is_found_by_name():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    with torch.no_grad():
        model[0].bias.fill_(-100)
    with pytest.raises(ValueError, match=r"1 \(ReLU\) is silent on all of the calibration data, .* pass data"):
        from_ann(model, X)


@pytest.mark.parametrize("percentile", [0, -1, 100.5, math.nan])
def test_a_percentile_out_of_range_is_refused(percentile):
    with pytest.raises(ValueError, match=r"percentile must be in \(0, 100\], got"):
        from_ann(chain(), X, percentile=percentile)


def test_qcfs_thresholds_do_not_depend_on_the_data():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), QCFS(4, threshold=0.7), nn.Flatten(), nn.Linear(144, 2))
    spiking = from_ann(model, IMAGES, percentile=50, per_channel=True)
    assert (2 * spiking[1].v_th).item() == pytest.approx(0.7)
