"""Triton's own compiler takes the kernels, without a GPU, and makes of them what it should."""

import copy
import re
import subprocess

import pytest
import torch
from runtime_helpers import MODELS, OTHER_MODELS, prepared

import geir
from geir._runtime.kernels import gpu, triton_source
from geir._runtime.kernels.operators import LOGIC, OPERATORS
from geir._runtime.kernels.prepared_run import prepare_run
from geir._runtime.kernels.program import Line, Program
from geir.testing import learnable_copy

triton = pytest.importorskip("triton", reason="Triton is not installed")


def compiled(function, arguments, warps=4, registers=128):
    """The code that Triton makes of a kernel for an H100; an argument is a type, or a value that is known."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    known = {name: value for name, value in arguments.items() if not isinstance(value, str)}
    signature = {name: "constexpr" if name in known else value for name, value in arguments.items()}
    aligned = {
        (k,): [["tt.divisibility", 16]]
        for k, (name, value) in enumerate(signature.items())
        if value[0] == "*" or name == "neurons"
    }
    options = {"num_warps": warps, **gpu.compile_options(registers)}
    return triton.compile(
        ASTSource(function, signature, known, aligned), target=GPUTarget("cuda", 90, 32), options=options
    ).asm


POINTER_TYPES = {
    torch.float32: "*fp32",
    torch.float64: "*fp64",
    torch.bfloat16: "*bf16",
    torch.bool: "*i1",
    torch.uint8: "*u8",
}


def argument_types(function, real, stored, output, absent=(), block=128, integer="i32"):
    """The types of a kernel's arguments; the pointers in `absent` are None."""
    dtypes = {"input_ptr": stored, "grad_input_ptr": stored, "output_ptr": output, "grad_output_ptr": output}
    types = {}
    for name in function.arg_names:
        if name == "BLOCK":
            types[name] = block
        elif not name.endswith("_ptr"):
            types[name] = integer
        else:
            types[name] = None if name in absent else POINTER_TYPES[dtypes.get(name, real)]
    return types


def module_of(neuron, stored, output, shape=()):
    neuron = learnable_copy(copy.deepcopy(neuron), shape)
    program, _, constants, _ = prepared(neuron, torch.zeros(shape))
    shared, needs_grad = [t.numel() == 1 for t in constants], [True] * len(constants)
    return gpu.load(triton_source.source(Program.loads(program), shared, needs_grad, stored, output))


@pytest.mark.parametrize("neuron", MODELS + OTHER_MODELS, ids=repr)
def test_the_real_compiler_accepts_every_model(neuron):
    module = module_of(neuron, torch.float32, torch.float32)
    for function, absent in (
        (module.forward, ["recorded_states_ptr"]),
        (module.backward, ["grad_recorded_states_ptr"]),
    ):
        code = compiled(function, argument_types(function, torch.float32, torch.float32, torch.float32, absent))
        assert "cp.async" in code["ptx"], "the input of later steps is not loaded ahead"
        assert "convert_layout" not in code["ttgir"], "values change threads"
        assert not re.search(r"(sqrt|sin|cos|lg2|tanh)\.approx|div\.(full|approx)", code["ptx"])


# Fixed parameters, or a value of each for every neuron.
@pytest.mark.parametrize(
    ("neuron", "learnable"),
    [
        *((kind(), True) for kind in (geir.LIF, geir.ALIF, geir.EIF, geir.AlphaLIF, geir.AdEx, geir.HodgkinHuxley)),
        *((kind(), False) for kind in (geir.HodgkinHuxley, geir.neurons.ReceptorLIF)),
    ],
    ids=repr,
)
def test_threads_have_the_registers_that_their_values_need(neuron, learnable, tmp_path):
    from triton.backends.nvidia.compiler import get_ptxas

    neuron = learnable_copy(neuron, (128,)) if learnable else neuron
    run = prepare_run(neuron.stepper(torch.float32), neuron.initial_state(torch.zeros(128)), neuron.input_types[0])
    program, shared = Program.loads(run.program), [t.numel() == 1 for t in run.constants]
    needs_grad = [t.requires_grad for t in run.constants]
    function = gpu.load(triton_source.source(program, shared, needs_grad, torch.float32, torch.float32)).backward
    types = argument_types(function, torch.float32, torch.float32, torch.float32, ["grad_recorded_states_ptr"])
    source = tmp_path / "kernel.ptx"
    source.write_text(compiled(function, types, registers=gpu.most_registers(program, shared, needs_grad))["ptx"])
    command = [get_ptxas(90).path, "-v", "-arch=sm_90a", source, "-o", tmp_path / "kernel"]
    log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert " 0 bytes spill stores, 0 bytes spill loads" in log


@pytest.mark.parametrize(
    ("stored", "output"),
    [(torch.float32, torch.bool), (torch.bfloat16, torch.uint8), (torch.bfloat16, torch.bfloat16)],
    ids=str,
)
@pytest.mark.parametrize(
    ("integer", "absent"),
    [("i32", ["checkpoints_ptr", "recorded_states_ptr", "grad_recorded_states_ptr"]), ("i64", [])],
)
def test_the_real_compiler_accepts_any_storage(stored, output, integer, absent):
    module = module_of(geir.LIF(), stored, output, (3,))
    for function in (module.forward, module.backward):
        given = absent[1:] if function is module.backward else absent
        code = compiled(function, argument_types(function, torch.float32, stored, output, given, 256, integer))
        assert torch.bfloat16 not in (stored, output) or function is module.forward or "cvt.rn.bf16" in code["ptx"]
        compiled(
            function, argument_types(function, torch.float32, stored, output, given, 32, integer) | {"neurons": 1}, 1
        )


@pytest.mark.parametrize("real", ["float32", "float64"])
def test_the_real_compiler_accepts_every_operator(real):
    lines, last = [], "x"
    for name in OPERATORS:
        for values in (["x", "v", "a"], [0.3, "b", "a"]):
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
    lines = [Line(name, operator, tuple(values)) for name, operator, *values in lines]
    program = Program(real, ["v"], ["a", "b"], lines, [last, 0.0], [0.5, last, "a", "grad_z"])
    dtype = getattr(torch, real)
    module = gpu.load(triton_source.source(program, [True, False], [True, True], torch.float32, torch.float32))
    for function in (module.forward, module.backward):
        code = compiled(function, argument_types(function, dtype, torch.float32, torch.float32))
        assert not re.search(r"(sqrt|sin|cos|lg2|tanh)\.approx|div\.(full|approx)", code["ptx"])


def test_the_real_compiler_counts_in_64_bits():
    module = module_of(geir.ALIF(), torch.float32, torch.float32, (3,))
    for function in (module.forward, module.backward):
        code = compiled(function, argument_types(function, torch.float32, torch.float32, torch.float32))["ttir"]
        code = re.sub(r" loc\(.*\)", "", code)
        (lane,) = re.findall(r"(%\w+) = tt\.make_range", code)
        offsets = re.findall(r"tt\.addptr %[\w#]+, (%[\w#]+) : .*, (\S+)", code)
        assert len(offsets) > 20
        assert {(name, kind) for name, kind in offsets if "i64" not in kind} == {(lane, "tensor<128xi32>")}
        assert not re.search(r"arith.(muli|shli) .* : i32", code)
