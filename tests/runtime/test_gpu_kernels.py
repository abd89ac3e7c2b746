"""Kernels printed as Triton equal the reference loop in Triton's interpreter, and Triton's compiler takes them; neither needs a GPU."""

import copy
import importlib.util
import itertools
import re

import numpy as np
import pytest
import torch
from model_table import MODELS as ALL_MODELS
from test_kernels import expect_caught, MODELS, OPERATIONS, UState, with_reference
from torch import nn

import geir
from geir._runtime import native
from geir._runtime.kernels import cpu, gpu
from geir._runtime.kernels.fused import _program_of
from geir._runtime.kernels.operators import LOGIC, OPERATORS
from geir._runtime.kernels.program import Program
from geir.testing import close, learnable_copy, run, strong_input

triton = pytest.importorskip("triton", reason="Triton is not installed")

every_model = pytest.mark.parametrize("neuron", MODELS, ids=repr)
OTHERS = [neuron for neuron in ALL_MODELS if neuron.elementwise and type(neuron) not in map(type, MODELS)]
STEPS = 7


@pytest.fixture
def interpreted(monkeypatch):
    """What would run in C runs in Triton's interpreter."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(cpu, "kernel", gpu.kernel)
    gpu.kernel.cache_clear()
    with np.errstate(all="ignore"):
        yield
    gpu.kernel.cache_clear()


def wide_input(neuron):
    """Several blocks of neurons, the last not full."""
    xs = strong_input(copy.deepcopy(neuron).double())[-STEPS:]
    return torch.cat([xs, 2 * xs, 4 * xs], 2)[..., :11].repeat(1, 2, 1)


@pytest.mark.parametrize(
    ("neuron", "shape"), [*itertools.product(MODELS, [(), (11,)]), (MODELS[0], (6, 1)), (MODELS[0], (6, 11))], ids=repr
)
@pytest.mark.usefixtures("interpreted")
def test_kernel_is_the_reference_with_all_gradients(neuron, shape):
    model, xs = learnable_copy(copy.deepcopy(neuron).double(), shape), wide_input(neuron)
    expected = run(with_reference(model), xs)
    assert not hasattr(neuron, "surrogate") or expected["zs"].sum() > 10
    model.unroll = geir.Fused(checkpoint_every=3)
    close(run(model, xs), expected)


# Not HodgkinHuxley, which takes minutes.
@pytest.mark.parametrize(
    "neuron", [neuron for neuron in OTHERS if not isinstance(neuron, geir.HodgkinHuxley)], ids=repr
)
@pytest.mark.usefixtures("interpreted")
def test_kernels_of_all_other_models_are_the_references(neuron):
    model, xs = learnable_copy(copy.deepcopy(neuron).double()), strong_input(copy.deepcopy(neuron).double())[-10:]
    close(run(model, xs), run(with_reference(model), xs))


@every_model
@pytest.mark.usefixtures("interpreted")
def test_recorded_states_and_their_gradients_are_the_references(neuron):
    model, xs = learnable_copy(copy.deepcopy(neuron).double()), strong_input(copy.deepcopy(neuron).double())[-STEPS:]
    model.record_states = True
    close(run(model, xs), run(with_reference(model), xs))


@pytest.mark.parametrize("neuron", [geir.LIFRefrac(), geir.ALIF()], ids=repr)
@pytest.mark.parametrize("every", [1, 3, STEPS, 60])
@pytest.mark.usefixtures("interpreted")
def test_gradients_do_not_depend_on_how_often_the_state_is_kept(neuron, every):
    model, xs = learnable_copy(copy.deepcopy(neuron).double(), (11,)), wide_input(neuron)
    model.unroll = geir.Fused(checkpoint_every=5)
    expected = run(model, xs)
    model.unroll = geir.Fused(checkpoint_every=every)
    close(run(model, xs), expected, 0)


@pytest.mark.usefixtures("interpreted")
def test_float32_spikes_are_the_references():
    for model in (geir.LIF(), geir.ALIF(), geir.IAF()):
        xs = wide_input(model).float()
        assert torch.equal(model(xs)[0], with_reference(model)(xs)[0])


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8])
@pytest.mark.usefixtures("interpreted")
def test_spikes_may_be_small(dtype):
    xs = 2 * torch.rand(STEPS, 45)
    zs, _ = geir.LIF(unroll=geir.Fused(output_dtype=dtype))(xs)
    assert zs.dtype == dtype
    assert zs.sum() > 10
    assert torch.equal(zs.float(), geir.LIF(unroll=geir.reference)(xs)[0])


# With 64 neurons a thread has two of them.
@pytest.mark.parametrize("size", [45, 64])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("real", [torch.float32, torch.float64])
@pytest.mark.usefixtures("interpreted")
def test_half_precision_input_is_rounded_nowhere_else(size, dtype, real):
    xs, outcomes = torch.randn(STEPS, size).to(dtype), []
    for unroll in (geir.Fused(), geir.reference):
        x = xs.clone().requires_grad_()
        zs, state = geir.LI(unroll=unroll).to(real)(x)
        (zs * torch.linspace(-1, 1, size).to(dtype)).sum().backward()
        outcomes.append((zs, state, x.grad))
    # The interpreter cuts bfloat16 off, where a GPU rounds.
    close(*outcomes, 2**-7 if dtype == torch.bfloat16 else 0)
    close(*(state for _, state, _ in outcomes), 0)


def applying(operation):
    class Applying(geir.Dynamics[UState]):
        def rest(self):
            return UState(torch.zeros(()))

        def step(self, x, state):
            y = operation(x + 0.01 * state.v**2)
            return y, UState(0.5 * y)

    return Applying


def in_interpreter(neuron, dtype):
    program, *_ = _program_of(neuron, "step", UState(torch.zeros((), dtype=dtype)), ())
    if "libdevice." in gpu.source(Program.loads(program), [], [], dtype, dtype):
        pytest.skip("libdevice is not in the interpreter")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda f: f"{OPERATIONS.index(f)}-{f.__name__}")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.usefixtures("interpreted")
def test_every_operator_is_pytorchs(operation, dtype):
    in_interpreter(applying(operation)(), dtype)
    xs = torch.rand(4, 40, dtype=dtype) + 0.01
    expected, actual = (run(applying(operation)(unroll=unroll), xs) for unroll in (geir.reference, geir.Fused()))
    close(actual, expected, 1e-12 if dtype == torch.float64 else 1e-5)


@pytest.mark.parametrize(
    "operation",
    [torch.exp, torch.expm1, torch.tanh, torch.sigmoid, torch.log, torch.log1p, torch.sqrt, torch.rsqrt, torch.reciprocal, torch.round, torch.trunc,
     torch.floor, torch.relu, torch.sign, torch.abs, lambda x: torch.clamp(x, -1, 1), lambda x: torch.maximum(x, -x), lambda x: torch.minimum(1 / x, x)],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.usefixtures("interpreted")
def test_functions_of_extreme_numbers_are_pytorchs(operation, dtype):
    class Applying(applying(operation)):
        def step(self, x, state):
            return operation(x), state

    numbers = [
        0,
        1e-45,
        1e-40,
        1e-30,
        1e-7,
        1e-3,
        0.34,
        0.35,
        0.5,
        1,
        1.5,
        2.5,
        20,
        87,
        88.5,
        88.72,
        89,
        100,
        103,
        104,
        300,
        709,
        710,
        745,
        750,
    ]
    numbers += [
        2.0**22 + 0.5,
        2.0**23 - 0.5,
        2.0**23 + 1,
        1e10,
        2.0**51 + 0.5,
        2.0**52 + 1,
        1e30,
        3e38,
        float("inf"),
        float("nan"),
    ]
    xs = torch.tensor([sign * number for number in numbers for sign in (1, -1)], dtype=dtype)[None]
    expected, actual = (Applying(unroll=unroll)(xs)[0] for unroll in (geir.reference, geir.Fused()))
    torch.testing.assert_close(
        actual, expected, rtol=1e-14 if dtype == torch.float64 else 5e-7, atol=1e-45, equal_nan=True
    )


def compiled(function, arguments, warps=4):
    """What Triton makes of a kernel for an H100; an argument is a type, or a value that is known."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    known = {name: value for name, value in arguments.items() if not isinstance(value, str)}
    signature = {name: "constexpr" if name in known else value for name, value in arguments.items()}
    aligned = {
        (k,): [["tt.divisibility", 16]]
        for k, (name, value) in enumerate(signature.items())
        if value[0] == "*" or name in ("N",)
    }
    options = {"num_warps": warps, **gpu._OPTIONS}
    return triton.compile(
        ASTSource(function, signature, known, aligned), target=GPUTarget("cuda", 90, 32), options=options
    ).asm


def arguments_of(function, real, stored, output, absent="", block=128, integer="i32"):
    """The types of a kernel's arguments; those whose names start with one of the letters `absent` are None."""
    pointers = {
        torch.float32: "*fp32",
        torch.float64: "*fp64",
        torch.bfloat16: "*bf16",
        torch.bool: "*i1",
        torch.uint8: "*u8",
    }
    types = {"X": stored, "DX": stored, "Z": output, "DZ": output}
    numbers = {
        name: integer for name in function.arg_names if name in ("T", "N", "K") or re.fullmatch(r"[MI]\d+", name)
    }
    return {
        name: block
        if name == "BLOCK"
        else numbers[name]
        if name in numbers
        else None
        if name[0] in absent
        else pointers[types.get(name, real)]
        for name in function.arg_names
    }


def module_of(neuron, stored, output, shape=()):
    neuron = learnable_copy(copy.deepcopy(neuron), shape)
    program, _, fixed = _program_of(neuron, "step", neuron.initial_state(torch.zeros(shape)), neuron.prepare())
    return gpu.load(
        gpu.source(Program.loads(program), [t.numel() == 1 for t in fixed], [True] * len(fixed), stored, output)
    )


@pytest.mark.parametrize("neuron", MODELS + OTHERS, ids=repr)
def test_the_real_compiler_takes_it(neuron):
    module = module_of(neuron, torch.float32, torch.float32)
    for function, absent in ((module.forward, "H"), (module.backward, "G")):
        code = compiled(function, arguments_of(function, torch.float32, torch.float32, torch.float32, absent))
        assert "cp.async" in code["ptx"], "the input of later steps is not loaded ahead"
        assert "convert_layout" not in code["ttgir"], "values change threads"
        assert not re.search(r"(sqrt|sin|cos|lg2|tanh)\.approx|div\.(full|approx)", code["ptx"])


@pytest.mark.parametrize(
    ("stored", "output"),
    [(torch.float32, torch.bool), (torch.bfloat16, torch.uint8), (torch.bfloat16, torch.bfloat16)],
    ids=str,
)
@pytest.mark.parametrize(("integer", "absent"), [("i32", "CGH"), ("i64", "")])
def test_the_real_compiler_takes_any_storage(stored, output, integer, absent):
    module = module_of(geir.LIF(), stored, output, (3,))
    for function in (module.forward, module.backward):
        given = absent.replace("C", "") if function is module.backward else absent
        code = compiled(function, arguments_of(function, torch.float32, stored, output, given, 256, integer))
        assert torch.bfloat16 not in (stored, output) or function is module.forward or "cvt.rn.bf16" in code["ptx"]
        compiled(function, arguments_of(function, torch.float32, stored, output, given, 32, integer) | {"N": 1}, 1)


@pytest.mark.parametrize("real", ["float32", "float64"])
def test_the_real_compiler_takes_every_operator(real):
    lines, last = [], "x"
    for name in OPERATORS:
        for values in (["x", "s0", "p0"], [0.3, "p1", "p0"]):
            masks = [(f"m{len(lines)}_{k}", "gt", value, 0.1) for k, value in enumerate(values)]
            takes_masks = {"and": 2, "or": 2, "xor": 2, "not": 1, "where": 1, "real": 1}.get(name, 0)
            given = [masks[k][0] if k < takes_masks else value for k, value in enumerate(values)][
                : len(set(re.findall(r"{\d}", OPERATORS[name][1])))
            ]
            lines += [*masks[:takes_masks], (f"y{len(lines)}", name, *given)]
            if name in LOGIC:
                lines.append((f"z{len(lines)}", "real", lines[-1][0]))
            lines.append((f"a{len(lines)}", "add", last, lines[-1][0]))
            last = lines[-1][0]
    program = Program(real, 1, 2, lines, [last, 0.0], [0.5, last, "p0", "dz"])
    dtype = getattr(torch, real)
    module = gpu.load(gpu.source(program, [True, False], [True, True], torch.float32, torch.float32))
    for function in (module.forward, module.backward):
        code = compiled(function, arguments_of(function, dtype, torch.float32, torch.float32))
        assert not re.search(r"(sqrt|sin|cos|lg2|tanh)\.approx|div\.(full|approx)", code["ptx"])


def test_the_real_compiler_counts_in_64_bits():
    module = module_of(geir.ALIF(), torch.float32, torch.float32, (3,))
    for function in (module.forward, module.backward):
        code = compiled(function, arguments_of(function, torch.float32, torch.float32, torch.float32))["ttir"]
        code = re.sub(r" loc\(.*\)", "", code)
        (lane,) = re.findall(r"(%\w+) = tt\.make_range", code)
        offsets = re.findall(r"tt\.addptr %[\w#]+, (%[\w#]+) : .*, (\S+)", code)
        assert len(offsets) > 20
        assert {(name, kind) for name, kind in offsets if "i64" not in kind} == {(lane, "tensor<128xi32>")}
        assert not re.search(r"arith.(muli|shli) .* : i32", code)


# More elements than 2^31, and more neurons.
@pytest.mark.parametrize("first", [2**30, 2**31])
@pytest.mark.usefixtures("interpreted")
def test_more_than_two_to_the_31_elements_are_counted_in_64_bits(tmp_path, first):
    size, steps, dtype = 100, 4, torch.float32
    lif = geir.LIF()
    program, begin, fixed = _program_of(lif, "step", lif.initial_state(torch.zeros(size)), lif.prepare())
    parts, learned, fixed = len(begin), len(fixed), [t.detach() for t in fixed]
    text = gpu.source(Program.loads(program), [True] * learned, [True] * learned, dtype, torch.uint8)
    # The first program takes the neurons from 2^31 on.
    late = text
    for old in ("tl.cast(tl.program_id(0)", "range(tl.program_id(0)"):
        assert old in text
        late = late.replace(old, f"{old} + {first // 32}")
    files = iter(range(1000))

    def sparse(rows, neurons, kind=dtype):
        # A file of which only what is written to exists.
        return torch.from_file(str(tmp_path / str(next(files))), shared=True, size=rows * neurons, dtype=kind).view(
            rows, neurons
        )

    results = []
    for code, start in ((text, 0), (late, first)):
        module = gpu.load(code)
        neurons = start + size
        xs, zs, dxs, dzs = (sparse(steps, neurons, kind) for kind in (dtype, torch.uint8, dtype, torch.uint8))
        xs[:, start:], dzs[:, start:] = torch.linspace(0, 3, size) ** 2, 1
        state, after, last, dstart = (sparse(parts, neurons) for _ in range(4))
        kept, recorded, given = (sparse(parts * steps, neurons) for _ in range(3))
        of_fixed = sparse(learned, neurons)
        for part in last, given:
            part[:, start:] = torch.linspace(-1, 1, size)
        numbers = [steps, neurons, 1, *[1, 1] * learned]
        gpu._launch(module.forward, 4, [xs, zs, state, after, kept, recorded, *fixed, *numbers], 32, 1)
        room = torch.full((2 * parts * 32,), torch.nan)
        gpu._launch(
            module.backward, 2, [xs, dzs, dxs, last, dstart, kept, given, of_fixed, *fixed, *numbers, room], 32, 1
        )
        assert room.isfinite().all(), "each of the two programs has its own room"
        results.append([t[:, start:].clone() for t in (zs, dxs, after, kept, recorded, dstart, of_fixed)])
    assert results[0][0].sum() > 10
    close(*results, 0)


# What is planted into the generated source of a LIF with two learnable parameters, and in place of what.
PLANTED = {
    "missing parameter gradient": ("l1 += ", "l1 = "),
    "recompute stops one step early": ("until - 1, num", "until - 2, num"),
    "recompute starts from the wrong checkpoint": ("C + (last * STATES", "C + (tl.maximum(last - 1, 0) * STATES"),
    "state is kept one step late": ("due = tl.cast(0,", "due = tl.cast(1,"),
    "gradient of the last state is not read": (
        "d0 = tl.load(D + 0 * size + start + lane, mask=valid",
        "d0 = tl.load(D + 0 * size + start + lane, mask=start + lane < 0",
    ),
    "some neurons are left out": ("valid = start + lane < size", "valid = start + lane < size - 1"),
    "neurons are taken for their neighbours": ("X + at + lane", "X + at + (lane ^ 1)"),
}


@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.usefixtures("interpreted")
def test_a_planted_error_is_caught(monkeypatch, kind):
    model = geir.LIF(
        integrator=geir.Euler(), tau_mem=nn.Parameter(torch.tensor(8e-3)), v_th=nn.Parameter(torch.tensor(1.1))
    ).double()
    model.unroll = geir.Fused(checkpoint_every=3)
    expect_caught(monkeypatch, gpu, *PLANTED[kind], model, wide_input(model))


@pytest.mark.usefixtures("interpreted")
def test_without_triton_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.warns(RuntimeWarning, match="LIF runs on the reference loop: there is no Triton; `pip install triton`"):
        actual = geir.LIF(dt=1.35e-3)(torch.full((5, 3), 9.0))
    close(actual, geir.LIF(dt=1.35e-3, unroll=geir.reference)(torch.full((5, 3), 9.0)))


@pytest.mark.usefixtures("interpreted")
def test_what_triton_refuses_runs_on_the_reference_loop_and_says_why(monkeypatch):
    genuine = gpu.source
    monkeypatch.setattr(gpu, "source", lambda *arguments: genuine(*arguments).replace("x = tl.load", "x = tl.nothing"))
    with pytest.warns(RuntimeWarning, match=r"LIF runs on the reference loop: Triton failed on .*triton_\w+\.py: "):
        geir.LIF(dt=1.45e-3)(torch.full((5, 3), 9.0))


def test_a_damaged_source_is_repaired(monkeypatch, tmp_path):
    monkeypatch.setattr(native, "cache_folder", lambda: tmp_path)
    assert gpu.load("number = 7\n").number == 7
    (path,) = tmp_path.iterdir()
    path.write_text("numb")
    assert gpu.load("number = 7\n").number == 7
    assert [*tmp_path.glob("*.py")] == [path]
