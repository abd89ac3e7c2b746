"""Checkpoints, spikes as bits, and detached states."""

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils import _pytree as pytree

import geir
from geir._runtime import bits

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def network():
    torch.manual_seed(0)
    return geir.SequentialState(
        nn.Conv2d(1, 8, 3), geir.LIF(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(288, 10), geir.LIF(), lift=True
    )


def gradients(model, zs):
    weights = torch.linspace(0, 1, zs.numel()).view_as(zs)
    return torch.autograd.grad((zs * weights).sum(), [*model.parameters()])


def assert_equal(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def run_in_chunks(model, xs, steps):
    """The result that a checkpoint must reproduce: matrix products of another number of rows round differently."""
    outputs, state = [], None
    for chunk in xs.split(steps):
        ys, state = model(chunk, state)
        outputs.append(ys)
    if isinstance(outputs[0], list):
        return [torch.cat(parts) for parts in zip(*outputs, strict=True)], state
    return torch.cat(outputs), state


@pytest.fixture
def images():
    torch.manual_seed(1)
    return 30 * torch.rand(23, 4, 1, 14, 14)


@pytest.mark.parametrize("shape", [(1,), (7,), (8,), (1000, 99), (3, 40_000)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_bits_are_exact(dtype, shape):
    x = (torch.rand(shape) < 0.3).to(dtype)
    packed = bits.pack(x)
    assert packed is not None
    assert packed.packed.nbytes == -(-x.numel() // 8)
    assert_equal(bits.unpack(packed), x)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("other", [-0.0, -1.0, 0.5, 2.0, float("nan"), float("inf"), 6e-8])
@pytest.mark.parametrize("place", [0, 40_000, 99_999, 100_002])
def test_other_numbers_are_not_packed(dtype, other, place):
    x = torch.ones(100_003, dtype=dtype)
    x[place] = other
    assert bits.pack(x) is None


@pytest.mark.parametrize("threads", [1, 3])
def test_strides_are_kept(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for x in (torch.rand(2, 3, 50, 70), torch.rand(2, 3, 4, 50, 70)):
            x = (x < 0.3).float()
            layout = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
            for spikes in (x, x.to(memory_format=layout)):
                unpacked = bits.unpack(bits.pack(spikes))
                assert_equal(unpacked, x)
                assert unpacked.stride() == spikes.stride()
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    "x",
    [
        torch.ones(3, 1).expand(3, 4),
        torch.ones(4, 4)[:, ::2],
        torch.ones(3, dtype=torch.int64),
        torch.ones(0),
        torch._neg_view(torch.ones(3)),
        torch.ones(3, device="meta"),
        torch.ones(3).to_sparse(),
    ],
    ids=["expanded", "gaps", "integers", "empty", "negative view", "meta", "sparse"],
)
def test_other_tensors_are_not_packed(x):
    assert bits.pack(x) is None


def test_compressed_spikes_leave_gradients_as_they_are(images):
    model = network()
    expected = gradients(model, model(images)[0])
    with geir.compress_spikes():
        zs, _ = model(images)
    assert zs.any()
    assert_equal(gradients(model, zs), expected)


def test_spikes_are_freed_after_the_forward_pass():
    spikes = (torch.rand(100, 400) < 0.1).float()
    layer = nn.Linear(400, 2)
    with geir.compress_spikes():
        ys = layer(spikes)
    reference = weakref.ref(spikes.untyped_storage())
    kept = [spikes.clone()]
    del spikes
    gc.collect()
    assert reference() is None
    assert_equal(torch.autograd.grad(ys[:, 0].sum(), layer.weight)[0][0], kept[0].sum(0))


def test_inplace_operations_are_noticed():
    x, layer = torch.rand(100, 40), nn.Linear(40, 2)
    with geir.compress_spikes():
        ys = layer(x)
    x.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        ys.sum().backward()


def test_spikes_changed_in_place_do_not_change_the_gradient():
    spikes, layer = (torch.rand(100, 40) < 0.1).float(), nn.Linear(40, 2)
    expected = torch.autograd.grad(layer(spikes).sum(), layer.weight)
    with geir.compress_spikes():
        ys = layer(spikes)
    spikes.zero_()
    assert_equal(torch.autograd.grad(ys.sum(), layer.weight), expected)


def test_second_derivatives_of_compressed_spikes():
    spikes, weight = (torch.rand(100, 40) < 0.1).double(), torch.rand(40, 2, dtype=torch.float64, requires_grad=True)
    with geir.compress_spikes():
        loss = (spikes @ weight).pow(3).sum()
    (gradient,) = torch.autograd.grad(loss, weight, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), weight)
    torch.testing.assert_close(second, spikes.t() @ (6 * (spikes @ weight) * (spikes.sum(1, keepdim=True))))


@pytest.mark.parametrize("steps", [None, 1, 5, 23, 100])
def test_a_checkpoint_equals_the_same_chunks(images, steps):
    model = network()
    expected, state = run_in_chunks(model, images, steps or 23)
    for _ in range(3):
        zs, last = geir.checkpoint(model, images, steps=steps)
        assert_equal((zs, last), (expected, state))
    assert zs.any()
    assert_equal(gradients(model, zs), gradients(model, expected))


def test_random_numbers_are_the_same_in_both_passes(images):
    model = geir.SequentialState(*network(), nn.Dropout(0.5), lift=True)

    def run(call):
        torch.manual_seed(3)
        zs, _ = call()
        return zs, gradients(model, zs)

    assert_equal(run(lambda: geir.checkpoint(model, images)), run(lambda: model(images)))


def test_a_checkpoint_continues_from_a_state(images):
    model = network()
    _, state = model(images)
    assert_equal(geir.checkpoint(model, images, state, steps=4)[0], model(images, state)[0])
    leaf = images[0].clone().requires_grad_()
    neuron = geir.LIF()
    initial = geir.neurons.LIFState(v=leaf, i=leaf)
    for call in (geir.checkpoint, lambda module, xs, state: module(xs, state)):
        zs, _ = call(neuron, images, initial)
        assert torch.autograd.grad(zs.sum(), leaf)[0].any()


def test_a_checkpoint_keeps_little(images):
    def kept(call):
        sizes = []
        # These see what is saved outside of the checkpoint.
        with saved_tensors_hooks(lambda x: sizes.append(x.nbytes) or x, lambda x: x):
            call()
        return sum(sizes)

    model = network()
    assert kept(lambda: geir.checkpoint(model, images)) < 0.2 * kept(lambda: model(images))


def test_a_state_between_chunks_does_not_keep_the_spikes_of_its_chunk():
    # The state of a recurrent layer includes the last spikes.
    states = []

    class Recorded(geir.LIFRecurrent):
        def forward(self, xs, state=None):
            states.append(state)
            return super().forward(xs, state)

    torch.manual_seed(0)
    layer, xs = Recorded(14, 6), torch.rand(40, 3, 14)
    zs, last = geir.checkpoint(layer, xs, steps=10)
    assert len(states) == 4
    for state in states[1:]:
        parts = pytree.tree_leaves(state)
        assert max(part.untyped_storage().nbytes() for part in parts) <= sum(part.nbytes for part in parts)
    assert_equal((zs, last), layer(xs))


def test_checkpoints_of_other_modules(images):
    layer = geir.Lift(nn.Conv2d(1, 8, 3))
    assert_equal(geir.checkpoint(layer, images, steps=5), layer(images))
    model = geir.SequentialState(*network(), lift=True, return_hidden=True)
    outputs, _ = geir.checkpoint(model, images, steps=5)
    assert_equal(outputs, run_in_chunks(model, images, 5)[0])
    recurrent = geir.LIFRecurrent(14, 6)
    xs = images[:, :, 0, 0]
    assert_equal(geir.checkpoint(recurrent, xs, steps=5), run_in_chunks(recurrent, xs, 5))
    neuron = geir.LIF()
    assert geir.checkpoint(neuron, xs[:0], steps=5)[0].shape == (0, 4, 14)


@pytest.mark.parametrize("steps", [0, -1])
def test_a_checkpoint_refuses_chunks_without_steps(images, steps):
    with pytest.raises(ValueError, match="steps >= 1"):
        geir.checkpoint(network(), images, steps=steps)


def test_detach_keeps_the_structure(images):
    inner = geir.Refractory(geir.ALIF())
    model = geir.SequentialState(
        nn.Linear(14, 6), inner, geir.Lift(geir.SequentialState(nn.Linear(6, 6), geir.LIFCell())), lift=True
    )
    _, state = model(images[:, :, 0, 0])
    detached = geir.detach(state)
    assert_equal(detached, state)
    assert state[1].neuron.v.requires_grad
    assert state[2][1].v.requires_grad
    assert not detached[1].neuron.v.requires_grad
    assert not detached[2][1].v.requires_grad
    assert type(detached[1]) is type(state[1])
    assert detached[0] == ()
    assert detached[1].neuron.v.data_ptr() == state[1].neuron.v.data_ptr()
    assert geir.detach(None) is None
    hidden = nn.LSTM(3, 2)(torch.rand(4, 1, 3))[1]
    assert not any(part.requires_grad for part in geir.detach(hidden))
