"""Delays, sparse and masked connections, event-driven layers: each against a dense or a plainly written reference."""

import copy
import functools
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap
from torch.nn import functional

import geir
from geir._runtime import sparse
from geir.connections import (
    Delay,
    DelayCell,
    DelayedLinear,
    DelayedLinearCell,
    EventConv2d,
    EventLinear,
    GaussianInterpolation,
    LinearInterpolation,
    MaskedLinear,
    NearestStep,
    SparseLinear,
)

DOUBLE = torch.float64


def close(actual, expected, tolerance=1e-9):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def spikes(*shape, share=0.1):
    """A share of random numbers, else zero."""
    return (torch.rand(shape) < share) * torch.rand(shape, dtype=DOUBLE)


def outcome(module, x):
    """Output, and the gradients of a weighted sum of it for input and parameters."""
    x = x.clone().requires_grad_()
    module.zero_grad()
    y = module(x)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    return y, x.grad, {name: p.grad for name, p in module.named_parameters()}


@pytest.fixture
def events(monkeypatch):
    """The event-driven path, however many spikes there are; a dense product or convolution is an error."""

    def dense(*arguments, **keywords):
        raise AssertionError("dense")

    monkeypatch.setattr(sparse._gate, "MAX_DENSITY", 1.0)
    monkeypatch.setattr(sparse._gate, "MAX_DENSITY_CONV2D", 1.0)
    monkeypatch.setattr(torch.nn.functional, "linear", dense)
    monkeypatch.setattr(torch.nn.functional, "conv2d", dense)
    yield
    monkeypatch.undo()


class TestDelay:
    DELAYS = torch.tensor([0.0, 1e-3, 2.5e-3, 4e-3, 3.2e-3], dtype=DOUBLE)

    def test_shifts_every_neuron_by_its_own_time(self):
        xs = torch.rand(20, 3, 5, dtype=DOUBLE)
        ys, _ = Delay(delay=self.DELAYS)(xs)
        padded = torch.cat([torch.zeros(5, 3, 5, dtype=DOUBLE), xs])
        for n, (steps, rest) in enumerate([(0, 0.0), (1, 0.0), (2, 0.5), (4, 0.0), (3, 0.2)]):
            close(ys[:, :, n], (1 - rest) * padded[5 - steps :, :, n][:20] + rest * padded[4 - steps :, :, n][:20])

    def test_a_delay_of_whole_steps_is_exact_in_float32(self):
        xs = torch.rand(100, 1)
        for steps in range(60):
            ys, _ = Delay(delay=steps * 1e-3)(xs)
            assert torch.equal(ys[steps:], xs[: len(xs) - steps])
            assert not ys[:steps].any()

    def test_the_nearest_step_keeps_spikes_whole(self):
        xs = (torch.rand(50, 4, 5) < 0.3).float()
        ys, _ = Delay(delay=self.DELAYS.float() + 0.2e-3, max_delay=6e-3, interpolation=NearestStep())(xs)
        assert ((ys == 0) | (ys == 1)).all()
        assert torch.equal(ys[4:, :, 3], xs[:-4, :, 3])

    def test_a_narrow_gaussian_is_the_nearest_step_and_a_wide_one_sums_to_one(self):
        xs, delays = torch.rand(30, 2, 5, dtype=DOUBLE), torch.tensor([0.0, 1.3, 2.6, 4.4, 6.0], dtype=DOUBLE) * 1e-3
        nearest, _ = Delay(delay=delays, interpolation=NearestStep())(xs)
        narrow, _ = Delay(delay=delays, interpolation=GaussianInterpolation(1e-5))(xs)
        close(narrow, nearest)
        wide, _ = Delay(delay=delays, interpolation=GaussianInterpolation(2e-3))(torch.ones_like(xs))
        close(wide[10:], torch.ones(20, 2, 5, dtype=DOUBLE))

    def test_a_gaussian_has_the_weights_of_its_formula(self):
        xs = torch.zeros(9, 1, dtype=DOUBLE)
        xs[0] = 1
        ys, _ = Delay(
            delay=torch.tensor(3.3e-3, dtype=DOUBLE), max_delay=7e-3, interpolation=GaussianInterpolation(1.5e-3)
        )(xs)
        weights = torch.exp(-((torch.arange(8, dtype=DOUBLE) - 3.3) ** 2) / (2 * 1.5**2))
        close(ys[:8, 0], weights / weights.sum())
        assert ys[8] == 0

    @pytest.mark.parametrize("interpolation", [LinearInterpolation(), GaussianInterpolation(1e-3)], ids=repr)
    def test_gradients_are_those_of_finite_differences(self, interpolation):
        delay = Delay(delay=nn.Parameter(self.DELAYS + 0.3e-3), max_delay=6e-3, interpolation=interpolation).double()
        xs = torch.rand(8, 2, 5, dtype=DOUBLE, requires_grad=True)
        # In steps, for finite differences of seconds would cross them.
        steps = (1e3 * delay.delay.detach()).requires_grad_()

        def outputs(xs, steps):
            ys, state = functional_call(delay, {"delay": 1e-3 * steps}, (xs,))
            return ys, state.past

        assert torch.autograd.gradcheck(outputs, (xs, steps))

    def test_learns_a_delay(self):
        xs = torch.sin(torch.arange(300) * 0.05)[:, None]
        expected, _ = Delay(delay=7e-3)(xs)
        delay = Delay(delay=geir.learnable(2e-3), max_delay=20e-3)
        optimizer = torch.optim.Adam(delay.parameters(), lr=0.05)
        for _ in range(150):
            optimizer.zero_grad()
            functional.mse_loss(delay(xs)[0], expected).backward()
            optimizer.step()
        assert delay.delay.item() == pytest.approx(7e-3, rel=0.02)

    def test_a_delay_that_learning_took_out_of_the_buffer_is_held_at_its_end_and_comes_back(self):
        xs = torch.rand(20, 3)
        delay = Delay(delay=nn.Parameter(torch.tensor([5e-3, 1e-3, 1e-3])))
        with torch.no_grad():
            delay.delay.copy_(torch.tensor([9e-3, -2e-3, 1e-3]))
        ys, _ = delay(xs)
        close(ys[5:, 0], xs[:-5, 0])
        close(ys[:, 1], xs[:, 1])
        ys.sum().backward()
        assert (delay.delay.grad != 0).all()


def delayed(interpolation=LinearInterpolation(), **keywords):  # noqa: B008  (frozen)
    delays = geir.learnable(torch.rand(4, 3, dtype=DOUBLE) * 6e-3 + 1e-4)
    return DelayedLinear(3, 4, delay=delays, max_delay=7e-3, interpolation=interpolation, **keywords).double()


class TestDelayedLinear:
    def synapse_by_synapse(self, layer, xs):
        ys = layer.bias.expand(*xs.shape[:-1], 4).clone()
        for k in range(4):
            for j in range(3):
                single = Delay(
                    delay=layer.delay[k, j].detach(), max_delay=layer.max_delay, interpolation=layer.interpolation
                )
                ys[..., k] = ys[..., k] + layer.weight[k, j] * single(xs[..., j])[0]
        return ys

    @pytest.mark.parametrize(
        "interpolation", [LinearInterpolation(), GaussianInterpolation(2e-3), NearestStep()], ids=repr
    )
    def test_is_a_delay_and_a_weight_for_every_synapse(self, interpolation):
        layer, xs = delayed(interpolation), torch.rand(20, 2, 3, dtype=DOUBLE)
        close(layer(xs)[0], self.synapse_by_synapse(layer, xs))

    def test_without_delays_it_is_linear(self):
        layer, xs = DelayedLinear(3, 4), torch.rand(20, 2, 3)
        close(layer(xs)[0], functional.linear(xs, layer.weight, layer.bias), 1e-6)

    @pytest.mark.parametrize("interpolation", [LinearInterpolation(), GaussianInterpolation(2e-3)], ids=repr)
    def test_gradients_are_those_of_finite_differences(self, interpolation):
        layer, xs = delayed(interpolation), torch.rand(8, 2, 3, dtype=DOUBLE, requires_grad=True)
        names = [name for name, _ in layer.named_parameters()]
        assert names == ["log_delay", "weight", "bias"]

        def outputs(xs, *values):
            ys, state = functional_call(layer, dict(zip(names, values, strict=True)), (xs,))
            return ys, state.past

        assert torch.autograd.gradcheck(outputs, (xs, *layer.parameters()))

    @pytest.mark.parametrize("shape", [(), (3,), (4, 1)], ids=["one for all", "each input", "each output"])
    def test_delays_may_be_shared(self, shape):
        delays = torch.rand(shape, dtype=DOUBLE) * 5e-3
        shared, xs = DelayedLinear(3, 4, delay=delays).double(), torch.rand(20, 2, 3, dtype=DOUBLE)
        each = DelayedLinear(3, 4, delay=delays.expand(4, 3), max_delay=shared.max_delay).double()
        each.load_state_dict(shared.state_dict() | {"delay": delays.expand(4, 3)})
        close(each(xs)[0], shared(xs)[0])

    def test_has_a_bias_if_asked(self):
        assert DelayedLinear(3, 4, bias=False).bias is None
        assert set(DelayedLinear(3, 4).state_dict()) == {"delay", "weight", "bias"}


SETTING = {"delay": torch.tensor([0.0, 2.3e-3, 5e-3], dtype=DOUBLE), "max_delay": 8e-3}


@pytest.mark.parametrize(
    ("layer", "cell"),
    [(Delay, DelayCell), (functools.partial(DelayedLinear, 3, 4), functools.partial(DelayedLinearCell, 3, 4))],
    ids=["Delay", "DelayedLinear"],
)
class TestStreams:
    XS = torch.rand(20, 2, 3, dtype=DOUBLE)

    @pytest.mark.parametrize("parts", [(10, 10), (3, 17), (1, 1, 18), (0, 20)])
    def test_running_in_parts_is_running_once(self, layer, cell, parts):
        model = layer(**SETTING).double()
        expected, last = model(self.XS)
        outputs, state = [], None
        for xs in self.XS.split(parts):
            ys, state = model(xs, state)
            outputs.append(ys)
        close(torch.cat(outputs), expected)
        assert torch.equal(state.past, last.past)

    def test_a_cell_is_one_step(self, layer, cell):
        model, one = layer(**SETTING).double(), cell(**SETTING).double()
        one.load_state_dict(model.state_dict())
        outputs, state = [], None
        for x in self.XS:
            y, state = one(x, state)
            outputs.append(y)
        close((torch.stack(outputs), state), model(self.XS))

    def test_containers_thread_its_state(self, layer, cell):
        model = geir.SequentialState(layer(**SETTING), geir.LIF(v_th=0.01)).double()
        expected, _ = model(self.XS)
        first, state = model(self.XS[:9])
        second, _ = model(self.XS[9:], state)
        assert expected.sum() > 3
        close(torch.cat([first, second]), expected)
        close(nn.Sequential(*model)(self.XS)[0], expected)

    def test_compiles_transforms_pickles_and_leaves_no_trace(self, layer, cell):
        model = layer(**SETTING).double()
        before, expected = copy.deepcopy(model.state_dict()), model(self.XS)
        for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
            close(twin(self.XS), expected)
        close(functional_call(model, dict(model.state_dict()), (self.XS,)), expected)
        close(vmap(model, in_dims=1, out_dims=1)(self.XS), expected)
        torch.compiler.reset()
        close(torch.compile(model, fullgraph=True, backend="aot_eager")(self.XS), expected)
        close(dict(model.state_dict()), dict(before))

    def test_nothing_and_one_neuron_and_no_batch_are_fine(self, layer, cell):
        model = layer(**SETTING).double()
        ys, state = model(self.XS[:0])
        assert ys.shape[0] == 0
        assert not state.past.any()
        close(model(self.XS[:, 0])[0], model(self.XS)[0][:, 0])


class TestEventLinear:
    @pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("shape", [(7, 150, 40), (1, 40), (3, 40)], ids=str)
    def test_is_linear_with_all_gradients(self, events, share, bias, shape):
        ours, plain = EventLinear(40, 130, bias).double(), nn.Linear(40, 130, bias).double()
        plain.load_state_dict(ours.state_dict())
        x = spikes(*shape, share=share)
        actual = outcome(ours, x)
        plain.forward = lambda x: x @ plain.weight.t() + (plain.bias if bias else 0)
        close(actual, outcome(plain, x))

    def test_drops_in_for_linear(self):
        ours, plain = EventLinear(40, 30), nn.Linear(40, 30)
        ours.load_state_dict(plain.state_dict())
        plain.load_state_dict(ours.state_dict())
        assert ours.weight.t().is_contiguous(), "the layout that makes it fast is lost"
        assert copy.deepcopy(ours).double().weight.t().is_contiguous()
        x = (torch.rand(9, 40) < 0.1).float()
        close(ours(x), plain(x), 1e-6)
        close(ours(x[0]), plain(x[0]), 1e-6)

    def test_gradients_are_those_of_finite_differences_twice(self, events):
        layer, x = EventLinear(5, 3).double(), spikes(6, 5, share=0.4).requires_grad_()
        values = (x, layer.weight, layer.bias)
        assert torch.autograd.gradcheck(sparse.linear, values)
        assert torch.autograd.gradgradcheck(sparse.linear, values)


CONVOLUTIONS = [
    {"kernel_size": 3},
    {"kernel_size": (3, 2), "stride": 2, "padding": 1},
    {"kernel_size": (2, 3), "dilation": 2, "padding": (2, 1)},
    {"kernel_size": 3, "dilation": (1, 2), "stride": (2, 3), "padding": 2},
    {"kernel_size": 3, "groups": 2, "stride": (1, 2)},
    {"kernel_size": 3, "groups": 4, "padding": "same"},
    {"kernel_size": 1, "padding": "valid", "bias": False},
    {"kernel_size": 3, "padding": 1, "padding_mode": "circular"},
    {"kernel_size": 5, "padding": 7},
]


class TestEventConv2d:
    @pytest.mark.parametrize("setting", CONVOLUTIONS, ids=str)
    @pytest.mark.parametrize("share", [0.05, 1.0])
    def test_is_a_convolution_with_all_gradients(self, monkeypatch, setting, share):
        ours, plain = EventConv2d(4, 16, **setting).double(), nn.Conv2d(4, 16, **setting).double()
        plain.load_state_dict(ours.state_dict())
        x = spikes(5, 4, 11, 9, share=share)
        expected = outcome(plain, x)
        monkeypatch.setattr(sparse._gate, "MAX_DENSITY_CONV2D", 1.0)
        actual = outcome(ours, x)
        assert actual[0].grad_fn.name() == "_Conv2dBackward"
        close(actual, expected)

    def test_wide_images_take_several_chunks(self, monkeypatch):
        monkeypatch.setattr(sparse._gate, "MAX_DENSITY_CONV2D", 1.0)
        ours, x = EventConv2d(1, 4, 3).double(), spikes(2, 1, 4, 300)
        close(ours(x), functional.conv2d(x, ours.weight, ours.bias))

    @pytest.mark.parametrize(
        ("setting", "shape", "share"),
        [
            ({}, (2, 4, 9, 9), 0.5),
            ({"padding": "same", "kernel_size": 2}, (2, 4, 9, 9), 0.01),
            ({}, (4, 9, 9), 0.01),
            ({"out_channels": 2}, (2, 4, 9, 9), 0.01),
        ],
        ids=["many spikes", "uneven padding", "no batch", "few outputs"],
    )
    @pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
    def test_falls_back_to_the_dense_convolution(self, setting, shape, share):
        setting = {"in_channels": 4, "out_channels": 16, "kernel_size": 3} | setting
        ours, plain = EventConv2d(**setting).double(), nn.Conv2d(**setting).double()
        plain.load_state_dict(ours.state_dict())
        x = spikes(*shape, share=share)
        assert ours(x).grad_fn.name() != "_Conv2dBackward"
        assert torch.equal(ours(x), plain(x))

    def test_gradients_are_those_of_finite_differences_twice(self, monkeypatch):
        monkeypatch.setattr(sparse._gate, "MAX_DENSITY_CONV2D", 1.0)
        x, weights, bias = (
            spikes(2, 2, 4, 4, share=0.4).requires_grad_(),
            torch.randn(4, 2, 2, 2, dtype=DOUBLE),
            torch.randn(4, dtype=DOUBLE),
        )
        values = (x, weights.requires_grad_(), bias.requires_grad_())

        def convolution(*values):
            return sparse.conv2d(*values, (1, 2), (1, 0), (1, 1), 1)

        assert convolution(*values).grad_fn.name() == "_Conv2dBackward"
        assert torch.autograd.gradcheck(convolution, values)
        assert torch.autograd.gradgradcheck(convolution, values)


MASK = torch.rand(30, 50, generator=torch.Generator().manual_seed(3)) < 0.2


class TestPartialConnections:
    @pytest.mark.parametrize("make", [MaskedLinear, SparseLinear])
    @pytest.mark.parametrize("rows", [(7, 9), (1,), (40,), (3, 0)], ids=str)
    @pytest.mark.parametrize("share", [0.1, 1.0])
    def test_is_linear_with_a_masked_matrix(self, make, rows, share):
        layer = make(50, 30, mask=MASK).double()
        matrix = (layer.dense() if make is SparseLinear else layer.weight).detach()
        assert torch.equal(matrix != 0, MASK)
        plain = nn.Linear(50, 30).double()
        plain.load_state_dict({"weight": matrix, "bias": layer.bias})
        x = spikes(*rows, 50, share=share)
        (y, dx, own), (expected, expected_dx, dense) = outcome(layer, x), outcome(plain, x)
        close((y, dx, own["bias"]), (expected, expected_dx, dense["bias"]))
        wanted = dense["weight"] * MASK
        close(own["weight"], wanted.t()[MASK.t()] if make is SparseLinear else wanted)

    @pytest.mark.parametrize("make", [MaskedLinear, SparseLinear])
    @pytest.mark.parametrize("probability", [0.0, 0.1, 1.0])
    def test_connects_with_the_probability(self, make, probability):
        layer = make(300, 200, connection_probability=probability)
        count = (len(layer.targets) if make is SparseLinear else layer.mask.sum().item()) / 60_000
        assert count == pytest.approx(probability, abs=0.01)
        assert layer(torch.ones(2, 300)).shape == (2, 200)

    def test_sparse_weights_are_taken_from_any_layout(self):
        matrix = torch.randn(30, 50) * MASK
        with pytest.warns(UserWarning, match="Sparse CSR"):  # PyTorch's, once a process
            rows = matrix.to_sparse_csr()
        for weights in (matrix, matrix.to_sparse(), rows, matrix.to_sparse_csc()):
            assert torch.equal(SparseLinear.from_weights(weights, torch.ones(30)).dense(), matrix)

    def test_sparse_gradients_are_those_of_finite_differences_twice(self):
        layer = SparseLinear(5, 4, connection_probability=0.5).double()
        values = (torch.randn(3, 5, dtype=DOUBLE, requires_grad=True), layer.weight)

        def product(x, weight):
            return sparse.connect(x, weight, layer.starts, layer.targets, 4)

        assert torch.autograd.gradcheck(product, values)
        assert torch.autograd.gradgradcheck(product, values)

    @pytest.mark.parametrize("make", [MaskedLinear, SparseLinear])
    def test_connects_recurrent_neurons(self, make):
        pattern = torch.rand(6, 6) < 0.5
        arriving, recurrent = make(5, 6, connection_probability=0.9), make(6, 6, bias=False, mask=pattern)
        with torch.no_grad():
            arriving.weight.mul_(8)
        net = geir.LIFRecurrent(5, 6, input_weights=arriving, recurrent_weights=recurrent).double()
        xs = torch.rand(50, 3, 5, dtype=DOUBLE)
        actual = outcome(OutputOf(net), xs)
        matrix = recurrent.dense() if make is SparseLinear else recurrent.weight
        dense = geir.LIFRecurrent(
            6, 6, autapses=True, input_weights=nn.Identity(), recurrent_weights=matrix.detach()
        ).double()
        zs, _ = dense(arriving(xs))
        assert zs.sum() > 10
        close(actual[0], zs)
        assert all(g is not None and g.abs().sum() > 0 for g in actual[2].values())

    def test_a_masked_weight_does_not_learn(self):
        layer = MaskedLinear(50, 30, mask=MASK)
        optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
        layer(torch.rand(4, 50)).square().sum().backward()
        optimizer.step()
        assert not layer.weight[~MASK].any()


class OutputOf(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, xs):
        return self.net(xs)[0]


LAYERS = {
    "EventLinear": (lambda: EventLinear(12, 8), (20, 12)),
    "EventConv2d": (lambda: EventConv2d(2, 8, 3), (20, 2, 6, 6)),
    "MaskedLinear": (lambda: MaskedLinear(12, 8, connection_probability=0.5), (20, 12)),
    "SparseLinear": (lambda: SparseLinear(12, 8, connection_probability=0.5), (20, 12)),
}


@pytest.mark.parametrize("name", LAYERS)
class TestManners:
    def make(self, name):
        layer, shape = LAYERS[name]
        return layer().double(), spikes(*shape, share=0.04)

    def test_pickles_copies_saves_and_loads(self, name):
        layer, x = self.make(name)
        expected = layer(x)
        other = self.make(name)[0]
        if name == "SparseLinear":
            other = copy.deepcopy(layer)
            nn.init.zeros_(other.weight)
        other.load_state_dict(layer.state_dict())
        for twin in (other, pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
            close(twin(x), expected)

    def test_transforms_and_compiles(self, name):
        layer, x = self.make(name)
        expected, parameters = layer(x), {k: v.detach() for k, v in layer.named_parameters()}
        close(functional_call(layer, parameters, (x,)), expected)
        close(vmap(layer)(x), expected)
        each = vmap(lambda p: functional_call(layer, p, (x,)))(
            {k: torch.stack([v, 2 * v]) for k, v in parameters.items()}
        )
        close(each[0], expected)
        gradient = torch.func.grad(lambda p: functional_call(layer, p, (x,)).square().sum())(parameters)
        expected.square().sum().backward()
        close(gradient, {k: p.grad for k, p in layer.named_parameters()})
        torch.compiler.reset()
        close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), expected)

    def test_other_dtypes_and_autocast_are_pytorchs(self, name):
        layer, x = self.make(name)
        half = copy.deepcopy(layer).bfloat16()
        assert half(x.bfloat16()).dtype == torch.bfloat16
        with torch.autocast("cpu", torch.bfloat16):
            assert copy.deepcopy(layer).float()(x.float()).dtype == torch.bfloat16

    def test_works_without_a_compiler(self, name, monkeypatch):
        layer, x = self.make(name)
        expected = outcome(layer, x)
        monkeypatch.setattr(sparse._gate.Source, "available", lambda *_: False)
        close(outcome(layer, x), expected)

    def test_several_threads_at_once_get_what_one_does(self, name):
        torch.set_num_threads(2)
        try:
            layer, x = self.make(name)
            inputs = [x * k for k in range(1, 9)]
            expected = [layer(i) for i in inputs]
            with ThreadPoolExecutor(4) as pool:
                for _ in range(5):
                    close(list(pool.map(layer, inputs)), expected)
        finally:
            torch.set_num_threads(1)

    def test_takes_input_of_any_strides(self, name):
        layer, x = self.make(name)
        close(layer(x.flip(0).transpose(0, 1).contiguous().transpose(0, 1)), layer(x.flip(0).contiguous()))


def test_several_threads_of_the_kernels_agree_with_one():
    """Large enough that each of the kernels is split."""
    torch.manual_seed(1)
    cases = [
        (EventLinear(300, 200).double(), spikes(64, 300, share=0.05)),
        (EventConv2d(8, 16, 3, padding=1).double(), spikes(16, 8, 20, 20, share=0.02)),
        (SparseLinear(300, 200, connection_probability=0.3).double(), spikes(128, 300, share=0.2)),
    ]
    try:
        for layer, x in cases:
            torch.set_num_threads(1)
            expected = outcome(layer, x)
            torch.set_num_threads(2)
            close(outcome(layer, x), expected)
    finally:
        torch.set_num_threads(1)


XS = torch.rand(10, 4, 3)
BAD = {
    "a delay longer than the buffer": (
        lambda: Delay(delay=6e-3, max_delay=5e-3),
        ValueError,
        "Delay.delay must be <= max_delay = 0.005 s, the length of the buffer, got 0.006",
    ),
    "a learnable delay longer than the buffer": (
        lambda: DelayedLinear(3, 4, delay=geir.learnable(torch.full((4, 3), 9e-3)), max_delay=5e-3),
        ValueError,
        "DelayedLinear.delay must be <= max_delay = 0.005 s",
    ),
    "a delay set longer than the buffer": (
        lambda: setattr(Delay(delay=1e-3), "delay", 2e-3),
        ValueError,
        "must be <= max_delay = 0.001 s",
    ),
    "a loaded delay longer than the buffer": (
        lambda: Delay(delay=1e-3).load_state_dict({"delay": torch.tensor(2e-3)}),
        ValueError,
        "must be <= max_delay = 0.001 s",
    ),
    "a negative delay": (lambda: Delay(delay=-1e-3), ValueError, r"Delay.delay must be >= 0.0 s, got -0.001"),
    "a negative buffer": (
        lambda: Delay(max_delay=-1e-3),
        ValueError,
        "Delay.max_delay must be a number of seconds, not negative, got -0.001",
    ),
    "no step size": (lambda: Delay(dt=0.0), ValueError, "Delay.dt must be a positive number of seconds, got 0.0"),
    "a string for an interpolation": (
        lambda: Delay(interpolation="dcls"),
        TypeError,
        "Delay.interpolation must be of type Interpolation",
    ),
    "no width": (
        lambda: GaussianInterpolation(0.0),
        ValueError,
        "GaussianInterpolation.sigma must be a positive number of seconds, got 0.0",
    ),
    "delays of other neurons": (
        lambda: Delay(delay=torch.ones(7) * 1e-3)(XS),
        ValueError,
        r"Delay.delay has shape \(7,\), which does not broadcast to one step of input, \(4, 3\)",
    ),
    "delays of other weights": (
        lambda: DelayedLinear(3, 4, delay=torch.ones(4) * 1e-3),
        ValueError,
        r"DelayedLinear.delay has shape \(4,\), which does not broadcast to that of the weights, \(4, 3\)",
    ),
    "no inputs": (
        lambda: DelayedLinear(0, 4),
        ValueError,
        "DelayedLinear.in_features must be a positive number of inputs, got 0",
    ),
    "no time": (lambda: Delay()(torch.tensor(1.0)), ValueError, r"Delay runs over time: it takes \(time, ...\)"),
    "integers": (
        lambda: Delay()(torch.ones(3, 4, dtype=torch.int64)),
        TypeError,
        "Delay takes a floating-point tensor, got torch.int64",
    ),
    "not a tensor": (lambda: DelayCell()([1.0]), TypeError, "DelayCell takes a floating-point tensor, got list"),
    "another number of inputs to delays": (
        lambda: DelayedLinear(5, 4)(XS),
        ValueError,
        r"DelayedLinear takes 5 inputs in the last dimension, got one step of shape \(4, 3\)",
    ),
    "a past of another shape": (
        lambda: Delay(delay=2e-3)(XS[:, :2], Delay(delay=2e-3)(XS)[1]),
        ValueError,
        r"DelayState.past must be of shape \(2, 2, 3\) and torch.float32, as one step of input, got \(2, 4, 3\), torch.float32",
    ),
    "a state of another model": (
        lambda: Delay(delay=2e-3)(XS, geir.LIF()(XS)[1]),
        TypeError,
        "Delay continues from a DelayState, got LIFState",
    ),
    "a probability above one": (
        lambda: SparseLinear(3, 4, connection_probability=1.5),
        ValueError,
        r"SparseLinear.connection_probability must be in \[0, 1\], got 1.5",
    ),
    "a negative probability": (
        lambda: MaskedLinear(3, 4, connection_probability=-0.1),
        ValueError,
        r"MaskedLinear.connection_probability must be in \[0, 1\], got -0.1",
    ),
    "a mask of another shape": (
        lambda: MaskedLinear(3, 4, mask=torch.ones(3, 4)),
        ValueError,
        r"MaskedLinear.mask must be a tensor of shape \(4, 3\), one entry a connection, got shape \(3, 4\)",
    ),
    "a mask that is not a tensor": (
        lambda: SparseLinear(3, 4, mask=[1]),
        ValueError,
        r"SparseLinear.mask must be a tensor .* got list",
    ),
    "neither mask nor probability": (
        lambda: SparseLinear(3, 4),
        TypeError,
        "SparseLinear takes either a mask or a connection_probability",
    ),
    "both mask and probability": (
        lambda: MaskedLinear(3, 4, mask=torch.ones(4, 3), connection_probability=0.1),
        TypeError,
        "MaskedLinear takes either a mask or a connection_probability",
    ),
    "weights that are no matrix": (
        lambda: SparseLinear.from_weights(torch.ones(3)),
        ValueError,
        r"SparseLinear.from_weights takes a matrix \(out_features, in_features\), got shape \(3,\)",
    ),
    "another number of inputs": (
        lambda: SparseLinear(5, 4, connection_probability=0.5)(XS),
        ValueError,
        r"SparseLinear takes 5 inputs in the last dimension, got shape \(10, 4, 3\)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_input_is_refused(case):
    call, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        call()
