"""Large results of lifted modules are computed in chunks of time, with the results of all steps at once."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import geir
from geir import LIF, Lift, SequentialState
from geir.containers import time_chunks

STEPS, BATCH = 7, 3


@pytest.fixture(autouse=True)
def chunks_of_two_steps(monkeypatch):
    monkeypatch.setattr(time_chunks, "_MIN_BYTES", 1)
    # The convolution's result: 4 channels of 6 x 6 for each sample, in float64.
    monkeypatch.setattr(time_chunks, "_CHUNK_BYTES", 2 * BATCH * 4 * 36 * 8)


@pytest.fixture
def sizes(monkeypatch):
    """The batch sizes with which convolutions are called, except on the sample that tells the sizes of results."""
    called = []
    forward = nn.Conv2d.forward
    monkeypatch.setattr(nn.Conv2d, "forward", lambda self, x: called.extend({len(x)} - {1}) or forward(self, x))
    return called


CHUNKS = [2 * BATCH, 2 * BATCH, 2 * BATCH, BATCH]
AT_ONCE = [STEPS * BATCH]


def make_images(requires_grad=False):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(STEPS, BATCH, 2, 8, 8, generator=generator, dtype=torch.float64)
    return images.requires_grad_(requires_grad)


def convolution():
    torch.manual_seed(0)
    return nn.Conv2d(2, 4, 3).double()


def make_features():
    layers = convolution(), nn.BatchNorm2d(4).double().eval(), nn.ReLU(inplace=True), nn.MaxPool2d(2)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(36, 5).double())


FORMS = {
    "one Lift": Lift,
    "Lifts": lambda module: SequentialState(*map(Lift, module)),
    "lift=True": lambda module: SequentialState(*module, lift=True),
    "lift=True, nested": lambda module: SequentialState(module[:4], module[4:], lift=True),
    "after a neuron": lambda module: SequentialState(geir.LI().double(), *module, lift=True),
}


def run(model, xs):
    ys = model(xs)
    return ys[0] if isinstance(ys, tuple) else ys


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_output_and_gradients_are_those_of_all_steps_at_once(form, requires_grad, sizes, monkeypatch):
    outcomes = []
    for min_bytes, expected in ((1, CHUNKS), (1 << 30, AT_ONCE)):
        monkeypatch.setattr(time_chunks, "_MIN_BYTES", min_bytes)
        xs, module = make_images(requires_grad), make_features()
        with torch.random.fork_rng():
            model = FORMS[form](module)
        sizes.clear()
        ys = run(model, xs)
        assert sizes == expected
        assert ys.shape == (STEPS, BATCH, 5)
        ys.square().sum().backward()
        outcomes.append([ys, *(p.grad for p in module.parameters()), *([xs.grad] if requires_grad else [])])
    torch.testing.assert_close(*outcomes, rtol=1e-12, atol=1e-12)


def test_every_module_keeps_its_state_and_is_called_in_turn(sizes):
    def network():
        return SequentialState(
            convolution(), nn.MaxPool2d(2), LIF(), nn.Flatten(), nn.Linear(36, 3), geir.LI(), lift=True
        ).double()

    torch.manual_seed(1)
    chunked = network()
    hidden = SequentialState(*chunked, lift=True, return_hidden=True)
    xs = 100 * make_images()
    ys, state = chunked(xs)
    assert sizes == CHUNKS
    all_ys, expected = hidden(xs)
    assert sizes == CHUNKS + AT_ONCE  # each output is asked for
    torch.testing.assert_close(ys, all_ys[-1])
    assert [type(part) for part in state] == [type(part) for part in expected]
    torch.testing.assert_close(state[-1].v, expected[-1].v)
    torch.testing.assert_close(chunked(xs, state)[0], hidden(xs, expected)[0][-1])


class Ours(nn.Conv2d):
    """It may do anything."""


def with_hook(module):
    module.register_forward_hook(lambda *_: None)
    return module


AT_ONCE_CASES = {
    "batch statistics": lambda: [convolution(), nn.BatchNorm2d(4).double(), nn.MaxPool2d(2)],
    "a result that does not shrink": lambda: [convolution(), nn.ReLU()],
    "a hook": lambda: [with_hook(convolution()), nn.MaxPool2d(2)],
    "a subclass": lambda: [Ours(2, 4, 3).double(), nn.MaxPool2d(2)],
    "random numbers": lambda: [convolution(), nn.Dropout2d(), nn.MaxPool2d(2)],
}


@pytest.mark.parametrize("case", AT_ONCE_CASES)
def test_all_steps_at_once(case, sizes):
    model = SequentialState(*AT_ONCE_CASES[case](), lift=True)
    ys, _ = model(make_images())
    assert sizes == AT_ONCE
    assert len(ys) == STEPS


@pytest.mark.parametrize("form", ["one Lift", "lift=True"])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_a_first_module_that_writes_into_its_input_writes_into_all_steps(form, requires_grad):
    xs = make_images(requires_grad) - 0.5
    expected = xs.relu()
    first = nn.Identity(), nn.ReLU(inplace=True)
    run(FORMS[form](nn.Sequential(*first, convolution(), nn.MaxPool2d(2))), xs).sum().backward()
    assert xs.equal(expected)


@Lift.register_samplewise
class AddsOne(nn.Module):
    def forward(self, x):
        return x.add_(1)


def test_the_sample_that_tells_the_sizes_is_a_copy(sizes):
    xs = make_images()
    expected = xs + 1
    Lift(nn.Sequential(AddsOne(), convolution(), nn.MaxPool2d(2)))(xs)
    assert sizes == CHUNKS
    assert xs.equal(expected)


def test_large_weights_make_large_chunks(sizes):
    # Their gradients are summed over the chunks.
    torch.manual_seed(0)
    model = SequentialState(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2), lift=True)
    model(make_images().float())
    assert sizes != AT_ONCE
    sizes.clear()
    model = SequentialState(nn.Conv2d(2, 400, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3600, 1000), lift=True)
    model(make_images().float())
    assert sizes == AT_ONCE


def test_transforms_and_compilation_see_all_steps():
    model = SequentialState(convolution(), nn.MaxPool2d(2), lift=True)
    xs = make_images()
    expected = nn.functional.max_pool2d(model[0](xs.flatten(0, 1)), 2).unflatten(0, (STEPS, BATCH))
    batched = torch.func.vmap(lambda x: model(x)[0])(torch.stack([xs, xs]))
    torch.testing.assert_close(batched[1], expected)
    _, tangent = torch.func.jvp(lambda x: model(x)[0], (xs,), (torch.ones_like(xs),))
    assert tangent.shape == expected.shape
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(xs)[0], expected)


class Convolved(TorchDispatchMode):
    """Counts the samples that are convolved."""

    def __init__(self):
        super().__init__()
        self.samples = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default:
            self.samples += len(args[0])
        return func(*args, **(kwargs or {}))


def test_a_mode_that_counts_operations_counts_every_sample_once():
    model, xs = SequentialState(convolution(), nn.MaxPool2d(2), lift=True), make_images()
    with Convolved() as convolved:
        model(xs)
    assert convolved.samples == STEPS * BATCH


def test_gradients_arrive_under_autocast(sizes, monkeypatch):
    monkeypatch.setattr(time_chunks, "_CHUNK_BYTES", 2 * BATCH * 4 * 36 * 2)
    model = SequentialState(convolution().float(), nn.MaxPool2d(2), lift=True)
    with torch.autocast("cpu", torch.bfloat16):
        ys, _ = model(make_images().float())
    ys.sum().backward()
    assert sizes == CHUNKS
    assert model[0].weight.grad.abs().sum() > 0


def test_memory_savers_change_no_bit():
    model = SequentialState(convolution(), nn.MaxPool2d(2), LIF(), lift=True).double()
    outcomes = []
    xs = (10 * make_images()).round()

    def compressed():
        with geir.compress_spikes():
            return model(xs)[0]

    for forward in (lambda: model(xs)[0], compressed, lambda: geir.checkpoint(model, xs)[0]):
        model.zero_grad()
        ys = forward()
        ys.square().sum().backward()
        outcomes.append([ys, model[0].weight.grad])
    for other in outcomes[1:]:
        assert all(map(torch.equal, outcomes[0], other))


def test_errors_are_those_of_all_steps_at_once():
    model = SequentialState(convolution(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(35, 5).double(), lift=True)
    with pytest.raises(RuntimeError, match="cannot be multiplied") as raised:
        model(make_images())
    assert any("(time, batch, ...)" in note for note in raised.value.__notes__)
