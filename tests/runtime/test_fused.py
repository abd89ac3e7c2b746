"""Kernels equal the reference loop: outputs, states and every gradient."""

import copy
import ctypes
import itertools

import pytest
import torch
from runtime_helpers import every_model, expect_caught, MODELS, plant, prepared, with_reference
from torch import nn

import geir
from geir._runtime import arguments, compiler, threads
from geir._runtime.kernels import c_source, cpu
from geir._runtime.kernels.feedforward import layout_constants
from geir._runtime.kernels.program import Program
from geir.testing import close, learnable_copy, run, strong_input

pytestmark = pytest.mark.skipif(compiler.find_compiler() is None, reason="there is no C compiler")


# All models with a value for every neuron and sample, and some with one value.
@pytest.mark.parametrize(
    ("neuron", "shape"), [*itertools.product(MODELS, [(3, 4)]), *itertools.product(MODELS[:4], [()])], ids=repr
)
def test_kernel_equals_reference_with_all_gradients(neuron, shape):
    neuron = copy.deepcopy(neuron).double()
    model, xs = learnable_copy(neuron, shape), strong_input(neuron)
    close(run(model, xs), run(with_reference(model), xs))


@every_model
def test_float32_spikes_equal_the_reference(neuron):
    neuron = copy.deepcopy(neuron).float()
    xs = strong_input(copy.deepcopy(neuron).double()).float().repeat(1, 20, 1)
    (actual, _), (expected, _) = neuron(xs), with_reference(neuron)(xs)
    if isinstance(neuron, geir.AdEx):  # its exponential is rounded differently
        assert (actual != expected).float().mean() < 1e-3
    else:
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("shape", [(4,), (3, 1)], ids=str)
def test_parameters_may_have_any_layout(shape):
    neuron = geir.LIF().double()
    model, xs = learnable_copy(neuron, shape), strong_input(neuron)
    close(run(model, xs), run(with_reference(model), xs))


@pytest.mark.parametrize("steps", [1, 15, 17, 200])
@pytest.mark.parametrize("size", [1, 255, 257, 3000])
def test_any_size_and_any_number_of_threads_equals_the_reference(steps, size):
    lif = geir.LIF(tau_mem=nn.Parameter(torch.full((size,), 8e-3, dtype=torch.float64))).double()
    xs = torch.rand(steps, 2, size, dtype=torch.float64)
    expected = run(with_reference(lif), xs)
    before = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            close(run(lif, xs), expected)
    finally:
        torch.set_num_threads(before)


def test_input_may_have_any_memory_layout():
    lif, loop = geir.LIF(), geir.LIF(unroll=geir.reference)
    xs = torch.rand(7, 30, 5).transpose(0, 1)
    close(lif(xs), loop(xs), 1e-6)
    close(lif(xs[:, :, ::2]), loop(xs[:, :, ::2]), 1e-6)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"checkpoint_every": 0}, "Fused.checkpoint_every must be a positive"),
        ({"output_dtype": torch.int64}, "Fused.output_dtype must be"),
    ],
)
def test_invalid_settings_of_fused_raise(setting, message):
    with pytest.raises(ValueError, match=message):
        geir.Fused(**setting)


def test_nan_and_infinity_survive():
    xs = torch.rand(30, 8)
    xs[5, 0], xs[5, 1] = float("nan"), float("inf")
    for model in (geir.LI, geir.AdEx):
        expected, actual = model(unroll=geir.reference)(xs), model()(xs)
        torch.testing.assert_close(actual, expected, equal_nan=True, rtol=1e-5, atol=1e-5)


@every_model
@pytest.mark.parametrize("every", [1, 3, 60])
def test_gradients_do_not_depend_on_checkpoint_every(neuron, every):
    neuron = copy.deepcopy(neuron).double()
    model = learnable_copy(neuron, (4,))
    xs = strong_input(neuron)
    model.unroll = geir.Fused(checkpoint_every=16)
    expected = run(model, xs)
    model.unroll = geir.Fused(checkpoint_every=every)
    close(run(model, xs), expected, 0)


@every_model
def test_recorded_states_and_their_gradients_equal_the_reference(neuron):
    neuron = copy.deepcopy(neuron).double()
    model = learnable_copy(neuron)
    model.record_states = True
    xs = strong_input(neuron)
    close(run(model, xs), run(with_reference(model), xs))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8])
def test_spikes_can_have_a_small_dtype(dtype):
    xs = torch.rand(50, 3, 40) * 2
    zs, _ = geir.LIF(unroll=geir.Fused(output_dtype=dtype))(xs)
    assert zs.dtype == dtype
    assert zs.sum() > 10
    assert torch.equal(zs.float(), geir.LIF(unroll=geir.reference)(xs)[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_input_is_computed_in_full_precision(dtype):
    xs = (torch.rand(50, 3, 40) * 2).to(dtype)
    outcomes = []
    for unroll in (geir.Fused(), geir.reference):
        x = xs.clone().requires_grad_()
        zs, state = geir.LI(unroll=unroll)(x)
        zs.sum().backward()
        outcomes.append((zs, state, x.grad))
    close(*outcomes, 0)


def test_more_than_two_to_the_31_elements_are_counted_in_64_bits():
    # One part of a state, because two would lie far from each other.
    lif, xs = geir.LIFBox(), 20 * torch.rand(1, 300)
    run_of = prepared(lif, xs[0])
    program, count = Program.loads(run_of.program), len(run_of.constants)
    function = compiler.load(c_source.source(program, [True] * count, [False] * count, xs.dtype, xs.dtype)).forward
    structure = arguments.ctypes_structure(c_source.forward_arguments(program))
    initial = run_of.state.expand(1, 300).contiguous()
    results = []
    for first in (0, 2**33):  # the same memory, as the last neurons of very many
        zs, state = torch.full_like(xs, torch.nan), torch.full_like(initial, torch.nan)
        tensors = {"input": xs, "output": zs, "initial_state": initial, "final_state": state}
        values = {name: tensor.data_ptr() - 4 * first for name, tensor in tensors.items()}
        values |= {"steps": 1, "neurons": first + 300, "checkpoint_every": 1}
        filled = arguments.fill_structure(
            structure, values | layout_constants(program.constants, run_of.constants, xs.shape[1:])
        )
        job = threads.Job(arguments=ctypes.addressof(filled), block=1024, taken=first)
        function(ctypes.byref(job))
        results.append((zs, state))
    close(*results, 0)
    close(results[0][0], lif(xs)[0], 0)
    assert results[0][0].sum() > 10


# Errors planted into the generated source of a LIF with two learnable parameters: a region of the template (None: the template itself),
# a regular expression, and its replacement.
PLANTED = {
    "sign error in the table": ("backward_step", r"= \(-t", "= (+t"),
    "missing parameter gradient": ("add_constant_gradients", r"\+=", "*="),
    "recompute stops one step early": (None, r"(?s)(load_checkpoint.*?)t < end_step;", r"\1t < end_step - 1;"),
    "recompute starts from the wrong checkpoint": (
        "load_checkpoint",
        r"first_step / every",
        "(first_step < every ? 0 : first_step / every - 1)",
    ),
    "state is kept one step late": (None, r"t % every == 0", "t % every == 1"),
    "gradient of the last state is not read": ("load_gradient", r"grad_final_state \?", "grad_final_state == 0 ?"),
    "some neurons are skipped": (None, r"lane < strip_end;", "lane < strip_end - 1;"),
    "a read of uninitialized memory": ("load_checkpoint", r"memcpy\(v_block.*?\);", "(void)0;"),
    "neurons are mistaken for their neighbors": (
        "state_from_block",
        r"i_block\[lane\]",
        "i_block[lane ? lane - 1 : 0]",
    ),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_error_is_caught(monkeypatch, kind):
    model = geir.LIF(
        integrator=geir.Euler(),
        dt=1.5e-3,
        tau_mem=nn.Parameter(torch.tensor(8e-3)),
        v_th=nn.Parameter(torch.tensor(1.1)),
    ).double()
    xs = strong_input(model).repeat(1, 1, 33)[..., :129]
    expect_caught(monkeypatch, c_source, cpu.kernel, plant(*PLANTED[kind]), model, xs)
