"""The order of a program's lines: the same arithmetic with fewer values alive at once."""

import copy

import pytest
import torch
from runtime_helpers import MODELS, OTHER_MODELS

import geir
from geir._runtime.kernels.order import most_alive, order_lines
from geir._runtime.kernels.prepared_run import prepare_run
from geir._runtime.kernels.program import Line, Program


def sum_of_products(terms):
    """(x + 0.0) v + (x + 1.0) v + ..., with all sums before the first product."""
    sums = [Line(f"s{k}", "add", ("x", float(k))) for k in range(terms)]
    products = [Line(f"p{k}", "mul", (f"s{k}", "v")) for k in range(terms)]
    total = [Line(f"t{k}", "add", ("p0" if k == 1 else f"t{k - 1}", f"p{k}")) for k in range(1, terms)]
    lines = [*sums, *products, *total]
    return Program("float32", ["v"], ["a"], lines, [lines[-1].name, "v"], ["grad_z", 0.0, 0.5])


def test_the_terms_of_a_sum_are_computed_one_after_another():
    program = sum_of_products(6)
    ordered = order_lines(program, program.step)
    names = "s0 p0 s1 p1 t1 s2 p2 t2 s3 p3 t3 s4 p4 t4 s5 p5 t5"
    assert [line.name for line in ordered.lines] == names.split()
    # Before: six sums and v. After: x, v, the total and one term.
    assert most_alive(program, program.step) == 7
    assert most_alive(ordered, program.step) == 4


def test_values_that_do_not_change_over_time_are_not_counted():
    lines = [Line("b", "exp", ("a",)), Line("c", "mul", ("a", "b")), Line("y", "mul", ("x", "c"))]
    program = Program("float32", ["v"], ["a"], lines, ["y", "v"], [])
    assert most_alive(program, ["y"]) == 1
    assert most_alive(program, ["y", "v", 0.5]) == 2


def test_the_traced_order_stays_if_it_is_better():
    # Depth first, the first result keeps x and v for the second.
    lines = [Line("t", "add", ("x", "v")), Line("r1", "mul", ("t", "t"))]
    lines += [Line("a", "abs", ("x",)), Line("r0", "neg", ("a",))]
    program = Program("float32", ["v"], ["c"], lines, ["r0", "r1"], [])
    assert order_lines(program, program.step).lines == lines
    assert most_alive(program, program.step) == 2


def longest_overlap(lines, results, constants):
    """The most values alive at once, from the first and the last line where each is."""
    steady, first, last = set(constants), {}, {}
    for line in lines:
        if {name for name in line.arguments if isinstance(name, str)} <= steady:
            steady.add(line.name)
    changing = [line for line in lines if line.name not in steady]
    for k, line in enumerate(changing):
        first[line.name] = k
        for name in line.arguments:
            if isinstance(name, str) and name not in steady:
                first.setdefault(name, -1)
                last[name] = k
    for name in results:
        if isinstance(name, str) and name not in steady:
            first.setdefault(name, -1)
            last[name] = len(changing)
    # Between line k - 1 and line k.
    return max(sum(first[name] < k <= last[name] for name in last) for k in range(len(changing) + 1))


@pytest.mark.parametrize("neuron", MODELS + OTHER_MODELS, ids=repr)
def test_every_program_keeps_its_lines_each_after_those_that_it_reads(neuron):
    model = copy.deepcopy(neuron)
    x = torch.zeros(4, dtype=model.state_dtype(torch.zeros(4)))
    program = Program.loads(prepare_run(model.stepper(x.dtype), model.initial_state(x), model.input_types[0]).program)
    for results in program.step, program.backward:
        needed, ordered = program.dependencies(results), order_lines(program, results)
        assert sorted(ordered.lines) == sorted(needed)
        known = {*program.inputs, *program.states, *program.constants, "grad_z"}
        known |= {f"grad_{name}" for name in program.states}
        for line in ordered.lines:
            assert {name for name in line.arguments if isinstance(name, str)} <= known
            known.add(line.name)
        assert most_alive(ordered, results) == longest_overlap(ordered.lines, results, program.constants)
        assert most_alive(ordered, results) <= longest_overlap(needed, results, program.constants)


def test_a_step_of_many_parts_keeps_far_fewer_values():
    neuron = geir.HodgkinHuxley()
    program = Program.loads(prepare_run(neuron.stepper(torch.float32), neuron.initial_state(torch.zeros(4))).program)
    gradients = program.gradients([False] * len(program.constants))
    ordered = order_lines(program, gradients)
    assert longest_overlap(ordered.lines, gradients, program.constants) < 0.6 * longest_overlap(
        program.dependencies(gradients), gradients, program.constants
    )
