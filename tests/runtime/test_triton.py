"""Kernels printed as Triton equal the reference loop in Triton's interpreter, which needs no GPU."""

import copy
import importlib.util
import itertools

import pytest
import torch
from runtime_helpers import (
    apply_in_step,
    every_model,
    expect_caught,
    MODELS,
    OTHER_MODELS,
    plant,
    prepared,
    with_reference,
)
from torch import nn

import geir
from geir._runtime import compiler
from geir._runtime.kernels import feedback, gpu, triton_source
from geir._runtime.kernels.feedforward import layout_constants
from geir._runtime.kernels.program import Program
from geir.testing import close, learnable_copy, run, strong_input

pytest.importorskip("triton", reason="Triton is not installed")

STEPS = 7


def wide_input(neuron):
    """Several blocks of neurons, the last not full."""
    xs = strong_input(copy.deepcopy(neuron).double())[-STEPS:]
    return torch.cat([xs, 4 * xs, 16 * xs], 2)[..., :11].repeat(1, 2, 1)


@pytest.mark.parametrize(
    ("neuron", "shape"),
    [*itertools.product(MODELS, [(11,)]), *itertools.product(MODELS[:3], [(), (6, 1), (6, 11)])],
    ids=repr,
)
@pytest.mark.usefixtures("interpreted")
def test_triton_kernel_equals_reference_with_all_gradients(neuron, shape):
    model, xs = learnable_copy(copy.deepcopy(neuron).double(), shape), wide_input(neuron)
    expected = run(with_reference(model), xs)
    assert not neuron.spiking or expected["zs"].sum() > 10
    model.unroll = geir.Fused(checkpoint_every=3)
    close(run(model, xs), expected)


@pytest.mark.parametrize(
    "kind", [geir.LIFRecurrent, geir.ALIFRecurrent, geir.AdExRecurrent], ids=lambda kind: kind.__name__
)
@pytest.mark.parametrize("record", [False, True])
@pytest.mark.parametrize("every", [None, 1, 3])
@pytest.mark.usefixtures("interpreted")
def test_a_recurrent_run_in_triton_kernels_equals_the_reference_with_all_gradients(kind, record, every, monkeypatch):
    torch.manual_seed(0)
    model = learnable_copy(kind(5, 11, record_states=record).double(), (11,))
    xs = 40 * torch.rand(STEPS, 3, 5, dtype=torch.float64)
    expected = run(with_reference(model), xs)
    assert expected["zs"].sum() > 10
    calls, run_program = [], feedback.forward
    monkeypatch.setattr(feedback, "forward", lambda *args: calls.append(len(args[1].xs)) or run_program(*args))
    model.unroll = geir.Fused(checkpoint_every=every)
    close(run(model, xs), expected)
    # All steps, one after another, are one node of the graph of gradients.
    assert calls == [STEPS]


@pytest.mark.usefixtures("interpreted")
def test_two_recurrent_runs_in_triton_kernels_equal_one():
    torch.manual_seed(0)
    model, xs = geir.LIFRecurrent(5, 11).double(), 40 * torch.rand(STEPS, 3, 5, dtype=torch.float64)
    with torch.no_grad():
        zs, after = model(xs)
        first, state = model(xs[:3])
        kept = copy.deepcopy(state)
        second, last = model(xs[3:], state)
    assert zs.sum() > 10
    close(torch.cat([first, second]), zs)
    close(last, after)
    close(state, kept)  # it is not overwritten


@pytest.mark.usefixtures("interpreted")
def test_triton_kernel_of_several_receptors_equals_reference_with_all_gradients():
    model = learnable_copy(geir.CobaLIF().double(), (5,))
    xs = geir.ConductanceInput(*(torch.rand(STEPS, 8, 5, dtype=torch.float64) * size for size in (2.0, 0.5)))
    expected = run(with_reference(model), xs)
    assert expected["zs"].sum() > 10
    model.unroll = geir.Fused(checkpoint_every=3)
    close(run(model, xs), expected)


# Without HodgkinHuxley, which takes minutes.
@pytest.mark.parametrize(
    "neuron", [neuron for neuron in OTHER_MODELS if not isinstance(neuron, geir.HodgkinHuxley)], ids=repr
)
@pytest.mark.usefixtures("interpreted")
def test_triton_kernels_of_all_other_models_equal_the_reference(neuron):
    model, xs = learnable_copy(copy.deepcopy(neuron).double()), strong_input(copy.deepcopy(neuron).double())[-10:]
    close(run(model, xs), run(with_reference(model), xs))


@every_model
@pytest.mark.usefixtures("interpreted")
def test_recorded_states_and_their_gradients_equal_the_reference(neuron):
    model, xs = learnable_copy(copy.deepcopy(neuron).double()), strong_input(copy.deepcopy(neuron).double())[-STEPS:]
    model.record_states = True
    close(run(model, xs), run(with_reference(model), xs))


@pytest.mark.parametrize("neuron", [geir.LIFRefrac(), geir.ALIF()], ids=repr)
@pytest.mark.parametrize("every", [1, 3, STEPS, 60])
@pytest.mark.usefixtures("interpreted")
def test_gradients_do_not_depend_on_checkpoint_every(neuron, every):
    model, xs = learnable_copy(copy.deepcopy(neuron).double(), (11,)), wide_input(neuron)
    model.unroll = geir.Fused(checkpoint_every=5)
    expected = run(model, xs)
    model.unroll = geir.Fused(checkpoint_every=every)
    close(run(model, xs), expected, 0)


@pytest.mark.usefixtures("interpreted")
def test_float32_spikes_equal_the_reference():
    for model in (geir.LIF(), geir.ALIF(), geir.IAF()):
        xs = wide_input(model).float()
        assert torch.equal(model(xs)[0], with_reference(model)(xs)[0])


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8])
@pytest.mark.usefixtures("interpreted")
def test_spikes_can_have_a_small_dtype(dtype):
    xs = 2 * torch.rand(STEPS, 45)
    zs, _ = geir.LIF(unroll=geir.Fused(output_dtype=dtype))(xs)
    assert zs.dtype == dtype
    assert zs.sum() > 10
    assert torch.equal(zs.float(), geir.LIF(unroll=geir.reference)(xs)[0])


# With 64 neurons a thread has two.
@pytest.mark.parametrize("size", [45, 64])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("real", [torch.float32, torch.float64])
@pytest.mark.usefixtures("interpreted")
def test_half_precision_input_is_computed_in_full_precision(size, dtype, real):
    xs, outcomes = torch.randn(STEPS, size).to(dtype), []
    for unroll in (geir.Fused(), geir.reference):
        x = xs.clone().requires_grad_()
        zs, state = geir.LI(unroll=unroll).to(real)(x)
        (zs * torch.linspace(-1, 1, size).to(dtype)).sum().backward()
        outcomes.append((zs, state, x.grad))
    # The interpreter truncates bfloat16, where a GPU rounds.
    close(*outcomes, 2**-7 if dtype == torch.bfloat16 else 0)
    close(*(state for _, state, _ in outcomes), 0)


@pytest.mark.usefixtures("interpreted")
def test_outputs_of_uint8_are_converted_as_pytorch_does():
    xs = torch.tensor([[-1.0, -0.5, -300.0, 255.9, 256.0, 1e6, 3e9, -3e9, torch.nan]])
    zs = apply_in_step(lambda x: 1.0 * x, xs, unroll=geir.Fused(output_dtype=torch.uint8))
    assert zs.tolist() == xs.to(torch.uint8).tolist()


# More elements than 2^31, and more neurons.
@pytest.mark.parametrize("first", [2**30, 2**31])
@pytest.mark.usefixtures("interpreted")
def test_more_than_two_to_the_31_elements_are_counted_in_64_bits(tmp_path, first):
    size, steps, dtype = 100, 4, torch.float32
    run_of = prepared(geir.LIF(), torch.zeros(size))
    program, constants = Program.loads(run_of.program), [t.detach() for t in run_of.constants]
    parts, learned = len(run_of.state), len(constants)
    text = triton_source.source(program, [True] * learned, [True] * learned, dtype, torch.uint8)
    # The first program takes the neurons from `first` on.
    late = text
    for old in ("tl.cast(tl.program_id(0)", "range(tl.program_id(0)"):
        assert old in text
        late = late.replace(old, f"{old} + {first // 32}")
    files = iter(range(1000))

    def sparse(rows, neurons, kind=dtype):
        # Memory in a sparse file: only what is written to takes space.
        path = str(tmp_path / str(next(files)))
        return torch.from_file(path, shared=True, size=rows * neurons, dtype=kind).view(rows, neurons)

    results = []
    for code, start in ((text, 0), (late, first)):
        module = gpu.load(code)
        neurons = start + size
        xs, zs, dxs, dzs = (sparse(steps, neurons, kind) for kind in (dtype, torch.uint8, dtype, torch.uint8))
        xs[:, start:], dzs[:, start:] = torch.linspace(0, 3, size) ** 2, 1
        state, after, grad_after, grad_state = (sparse(parts, neurons) for _ in range(4))
        checkpoints, recorded, grad_recorded = (sparse(parts * steps, neurons) for _ in range(3))
        grad_constants = sparse(learned, neurons)
        for part in grad_after, grad_recorded:
            part[:, start:] = torch.linspace(-1, 1, size)
        workspace = torch.full((2 * parts * 32,), torch.nan)
        values = {
            "input": xs,
            "output": zs,
            "initial_state": state,
            "final_state": after,
            "checkpoints": checkpoints,
            "recorded_states": recorded,
            "grad_output": dzs,
            "grad_input": dxs,
            "grad_final_state": grad_after,
            "grad_initial_state": grad_state,
            "grad_recorded_states": grad_recorded,
            "grad_constants": grad_constants,
            "workspace": workspace,
            "steps": steps,
            "neurons": neurons,
            "checkpoint_every": 1,
            **layout_constants(program.constants, constants, torch.Size([size])),
        }
        for function, declared, programs in (
            (module.forward, triton_source.forward_arguments(program), 4),
            (module.backward, triton_source.backward_arguments(program), 2),
        ):
            gpu.launch(function, programs, [values[argument.name] for argument in declared], 32, 1)
        assert workspace.isfinite().all(), "each of the two programs has a workspace"
        found = (zs, dxs, after, checkpoints, recorded, grad_state, grad_constants)
        results.append([t[:, start:].clone() for t in found])
    assert results[0][0].sum() > 10
    close(*results, 0)


# Errors planted into the generated source of a LIF with two learnable parameters: a region of the template (None: the template itself),
# a regular expression, and its replacement.
PLANTED = {
    "missing parameter gradient": ("add_constant_gradients", r"\+= ", "= "),
    "recompute stops one step early": (None, r"end_step - 1, num", "end_step - 2, num"),
    "recompute starts from the wrong checkpoint": ("load_checkpoint", r"chunk \*", "tl.maximum(chunk - 1, 0) *"),
    "state is kept one step late": (None, r"checkpoint_step = tl.cast\(0,", "checkpoint_step = tl.cast(1,"),
    "gradient of the last state is not read": ("load_gradient", r"mask=valid", "mask=start + lane < 0"),
    "some neurons are skipped": (None, r"valid = start \+ lane < size", "valid = start + lane < size - 1"),
    "neurons are mistaken for their neighbors": (None, r"input_ptr \+ row \+ lane", "input_ptr + row + (lane ^ 1)"),
}


@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.usefixtures("interpreted")
def test_a_planted_error_is_caught(monkeypatch, kind):
    model = geir.LIF(
        integrator=geir.Euler(), tau_mem=nn.Parameter(torch.tensor(8e-3)), v_th=nn.Parameter(torch.tensor(1.1))
    ).double()
    model.unroll = geir.Fused(checkpoint_every=3)
    expect_caught(monkeypatch, triton_source, gpu.kernel, plant(*PLANTED[kind]), model, wide_input(model))


@pytest.mark.usefixtures("interpreted")
def test_without_triton_the_warning_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.warns(RuntimeWarning, match="LIF runs on the reference loop: there is no Triton; `pip install triton`"):
        actual = geir.LIF(dt=1.35e-3)(torch.full((5, 3), 9.0))
    close(actual, geir.LIF(dt=1.35e-3, unroll=geir.reference)(torch.full((5, 3), 9.0)))


@pytest.mark.usefixtures("interpreted")
def test_a_kernel_that_triton_rejects_runs_on_the_reference_loop_with_a_warning(monkeypatch):
    genuine = gpu.source
    monkeypatch.setattr(gpu, "source", lambda *arguments: genuine(*arguments).replace("x = tl.load", "x = tl.nothing"))
    with pytest.warns(RuntimeWarning, match=r"LIF runs on the reference loop: Triton failed on .*triton_\w+\.py: "):
        geir.LIF(dt=1.45e-3)(torch.full((5, 3), 9.0))


def test_a_damaged_source_is_repaired(monkeypatch, tmp_path):
    monkeypatch.setattr(compiler, "cache_folder", lambda: tmp_path)
    assert gpu.load("number = 7\n").number == 7
    (path,) = tmp_path.iterdir()
    path.write_text("numb")
    assert gpu.load("number = 7\n").number == 7
    assert [*tmp_path.glob("*.py")] == [path]
