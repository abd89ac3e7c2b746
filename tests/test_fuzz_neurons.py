"""The fuzzer of kernels: a few programs of it, and errors planted into the code generator, which it must find."""

import fuzz_neurons
import pytest
import torch

from geir._runtime import compiler
from geir._runtime.kernels import batching, c_source, cpu, feedforward, prepared_run, program_cache
from geir._runtime.kernels.program import Program

pytestmark = [
    pytest.mark.skipif(compiler.find_compiler() is None, reason="there is no C compiler"),
    pytest.mark.filterwarnings("ignore"),  # random programs warn of much
]


@pytest.fixture(scope="module", autouse=True)
def compile_cheaply():
    with fuzz_neurons.cheap_compiler():
        yield


@pytest.fixture(autouse=True)
def forget_programs():
    program_cache._programs.clear()
    cpu.kernel.cache_clear()


@pytest.mark.parametrize("start", [0, 10, 20])
def test_random_programs_agree_with_the_reference(start):
    outcomes = {number: fuzz_neurons.check(fuzz_neurons.make_case(0, number)) for number in range(start, start + 10)}
    assert not {number: text for number, (state, text) in outcomes.items() if state == "failed"}
    assert sum(state == "equal" for state, _ in outcomes.values()) >= 5, outcomes


def damaged_program(damage):
    """`Program.loads` with an error."""
    return staticmethod(lambda text, loads=Program.loads: damage(loads(text)))


def swap_operators(program):
    swapped = {"maximum": "minimum", "minimum": "maximum", "sin": "cos", "ge": "gt", "floor": "ceil"}
    return program._replace(
        lines=[line._replace(operator=swapped.get(line.operator, line.operator)) for line in program.lines]
    )


def lose_argument(program):
    lines = [
        line._replace(arguments=(*line.arguments[:2], line.arguments[1])) if line.operator == "where" else line
        for line in program.lines
    ]
    return program._replace(lines=lines)


def lose_gradient_term(program):
    step = {line.name for line in program.dependencies(program.step)}
    lines = [
        line._replace(operator="mul", arguments=(line.arguments[0], 1.0))
        if line.operator == "add" and line.name not in step
        else line
        for line in program.lines
    ]
    return program._replace(lines=lines)


def keep_state(program):
    """The last part of the state stays as it was."""
    return program._replace(step=[*program.step[:-1], program.states[-1]])


def without_checkpoints(render):
    """`render_template`, with kernels that go back from the first checkpoint always."""

    def damaged(template, regions):
        return render(template, {name: text.replace("first_step / every", "0") for name, text in regions.items()})

    return damaged


def copy_as_it_lies(tensor):
    """`contiguous` that overlooks that numbers are negated."""
    return (-tensor if tensor.is_neg() else tensor).contiguous()


def remember_by_module(find):
    """`cached_program` that takes a module for unchanged, whatever has changed."""
    programs = {}

    def remembered(stepper, *rest):
        if stepper.module not in programs:
            programs[stepper.module] = find(stepper, *rest)
        return programs[stepper.module]

    return remembered


# Where the error is, its replacement, and the runs that may show it.
PLANTS = {
    "operators swapped": (cpu.Program, "loads", damaged_program(swap_operators), lambda run: True),
    "argument lost": (cpu.Program, "loads", damaged_program(lose_argument), lambda run: True),
    "gradient term lost": (cpu.Program, "loads", damaged_program(lose_gradient_term), lambda run: run.learn_input),
    "state not advanced": (cpu.Program, "loads", damaged_program(keep_state), lambda run: run.steps > 1),
    "wrong stride": (feedforward, "_repeat", lambda small, shape: 1, lambda run: len(run.shape) > 1),
    "stale program": (
        prepared_run,
        "cached_program",
        remember_by_module(prepared_run.cached_program),
        lambda run: run.transform == "direct_calls",
    ),
    "wrong checkpoint": (
        c_source,
        "render_template",
        without_checkpoints(c_source.render_template),
        lambda run: (
            run.checkpoint_every and run.steps > run.checkpoint_every and run.learn_input and run.outputs == "all"
        ),
    ),
    "batch misplaced": (
        batching,
        "_align_constant",
        lambda tensor, dim, dims: tensor,
        lambda run: "vmap" in run.transform,
    ),
    "code that does not compile": (c_source, "render_template", lambda template, regions: "#error", lambda run: True),
    "sign ignored": (feedforward, "contiguous", copy_as_it_lies, lambda run: run.input.layout == "negated"),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_an_error_planted_into_the_code_generator_is_found(plant, monkeypatch):
    owner, name, error, relevant = PLANTS[plant]
    monkeypatch.setattr(owner, name, error)
    cases = [case for case in (fuzz_neurons.make_case(0, number) for number in range(500)) if relevant(case.run)]
    assert any(fuzz_neurons.check(case)[0] == "failed" for case in cases)


def test_a_failing_program_is_made_smaller(monkeypatch):
    monkeypatch.setattr(cpu.Program, "loads", damaged_program(keep_state))
    cases = (fuzz_neurons.make_case(0, number) for number in range(50))
    case = next(case for case in cases if fuzz_neurons.check(case)[0] == "failed")
    small, what = fuzz_neurons.shrink(case, seconds=3)
    assert "differ" in what
    assert len(small.neuron.source()) < len(case.neuron.source())
    assert fuzz_neurons.check(small)[0] == "failed"


def test_rounding_is_told_from_errors():
    expected = {"zs": torch.tensor([1.0, float("nan")]), "grad xs": torch.tensor([2.0, 3.0])}
    assert not fuzz_neurons.compare(expected, expected, exact=True)
    off = {**expected, "zs": expected["zs"] * (1 + 1e-6)}
    assert not fuzz_neurons.compare(off, expected, exact=False)
    assert [d.certain for d in fuzz_neurons.compare(off, expected, exact=True)] == [True]
    assert fuzz_neurons.compare({**expected, "zs": torch.ones(2)}, expected, exact=False)[0].size == torch.inf


def test_a_gradient_of_nan_that_does_not_exist_in_pytorch_is_no_failure():
    """The step of this program is NaN at the first number and does not read its state."""
    state, text = fuzz_neurons.check(fuzz_neurons.make_case(2, 4200))
    assert state == "equal", text
