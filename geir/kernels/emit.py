"""Print a traced graph as lines of C: what is the same for all neurons, what each neuron needs once, and what every step does."""

from typing import Any, NamedTuple

import torch
from torch.fx import Graph, Node

aten = torch.ops.aten


class NotFusableError(Exception):
    """A step has something that has no line in the table, or is not elementwise; it says what."""


class Code(NamedTuple):
    """Lines of C by how often they run, and where the results are."""

    scalars: list[str]  # once a call: they depend on parameters that all neurons share
    neurons: list[str]  # once a neuron n of a block: they depend on parameters of its own, and fill arrays
    steps: list[str]
    results: list[str]


# Comparisons and logic give int, everything else real.
_LOGIC = {
    aten.gt: "({0} > {1})",
    aten.ge: "({0} >= {1})",
    aten.lt: "({0} < {1})",
    aten.le: "({0} <= {1})",
    aten.eq: "({0} == {1})",
    aten.ne: "({0} != {1})",
    aten.logical_and: "({0} && {1})",
    aten.logical_or: "({0} || {1})",
    aten.logical_not: "(!{0})",
    aten.bitwise_and: "({0} & {1})",
    aten.bitwise_or: "({0} | {1})",
    aten.bitwise_not: "(!{0})",
    aten.isnan: "({0} != {0})",
}
_ARITHMETIC = {
    aten.mul: "({0} * {1})",
    aten.div: "({0} / {1})",
    aten.neg: "(-{0})",
    aten.reciprocal: "(1 / {0})",
    aten.abs: "abs_({0})",
    aten.sgn: "(real)(({0} > 0) - ({0} < 0))",
    aten.sign: "(real)(({0} > 0) - ({0} < 0))",
    aten.relu: "({0} > 0 ? {0} : 0 * {0})",
    aten.threshold_backward: "({1} > {2} ? {0} : 0)",
    aten.maximum: "({0} > {1} ? {0} : {1})",
    aten.minimum: "({0} < {1} ? {0} : {1})",
    aten.where: "({0} ? {1} : {2})",
    aten.exp: "exp_({0})",
    aten.expm1: "expm1_({0})",
    aten.log: "log_({0})",
    aten.log1p: "log1p_({0})",
    aten.sqrt: "sqrt_({0})",
    aten.rsqrt: "(1 / sqrt_({0}))",
    aten.tanh: "tanh_({0})",
    aten.sigmoid: "(1 / (1 + exp_(-{0})))",
    aten.tanh_backward: "({0} * (1 - {1} * {1}))",
    aten.sigmoid_backward: "({0} * (1 - {1}) * {1})",
    aten.erf: "erf_({0})",
    aten.sin: "sin_({0})",
    aten.cos: "cos_({0})",
    aten.floor: "floor_({0})",
    aten.round: "rint_({0})",
}
_SAME = {aten.detach, aten.detach_copy, aten.alias, aten.clone}


def emit(graph: Graph, names: list[str], shared: set[str], own: set[str]) -> Code:
    """Print a graph.

    Args:
        graph: Elementwise, in the order of its inputs.
        names: The C names of the inputs.
        shared: Those that are one number for all neurons.
        own: Those that each neuron has its own of, for all steps: elements of arrays, such as `p3[n]`.
    """
    printer = _Printer(shared, own)
    given = iter(names)
    for node in graph.nodes:
        if node.op == "placeholder":
            printer.names[node] = next(given)
        elif node.op == "output":
            results = node.args[0]
            return printer.code([printer.value(result) for result in results])  # pyright: ignore[reportOptionalIterable, reportGeneralTypeIssues]
        else:
            printer.add(node)
    raise NotFusableError("its graph has no output")


class _Printer:
    def __init__(self, shared: set[str], own: set[str]):
        # 0: shared by all neurons, 1: a neuron's own, 2: changes with time.
        self.levels: dict[str, int] = dict.fromkeys(shared, 0) | dict.fromkeys(own, 1)
        self.names: dict[Node, str] = {}
        self.known: dict[str, str] = {}
        self.lines: tuple[list[tuple[str, str]], ...] = ([], [], [])
        self.logic: set[str] = set()
        self.literals = {"((real)0.0)", "((real)1.0)"}

    def value(self, argument: Any) -> str:
        if isinstance(argument, Node):
            return self.names[argument]
        if isinstance(argument, bool):
            return str(int(argument))
        if isinstance(argument, int | float):
            text = repr(float(argument)).replace("inf", "INFINITY").replace("nan", "NAN")
            self.literals.add(literal := f"((real){text})")
            return literal
        raise NotFusableError(f"no kernel for the constant {argument!r}")

    def add(self, node: Node) -> None:
        if node.op != "call_function":
            raise NotFusableError(f"its step makes a tensor ({node.target})")
        operator = getattr(node.target, "overloadpacket", node.target)
        expression, logic = self.expression(node, operator)
        if expression in self.levels or expression in self.known.values() or expression in self.literals:
            self.names[node] = expression
            return
        if expression not in self.known:
            level = max([self.levels.get(self.names[a], 2) for a in node.all_input_nodes if self.names[a] not in self.literals], default=0)
            name = f"t{len(self.known)}[n]" if level == 1 else f"t{len(self.known)}"
            self.known[expression] = name
            self.levels[name] = level
            self.lines[level].append((name, expression))
            if logic:
                self.logic.add(name)
        self.names[node] = self.known[expression]

    def expression(self, node: Node, operator: Any) -> tuple[str, bool]:
        values = [self.value(a) for a in node.args if not isinstance(a, torch.dtype)]
        if operator in _SAME:
            return values[0], False
        if operator in _LOGIC:
            return _LOGIC[operator].format(*values), True
        if operator is aten._to_copy:
            return (f"((real){values[0]})" if values[0] in self.logic else values[0]), False
        if operator is aten.zeros_like:
            return "((real)0.0)", False
        if operator is aten.ones_like:
            return "((real)1.0)", False
        if operator in (aten.add, aten.sub):
            alpha = node.kwargs.get("alpha", 1)
            second = values[1] if alpha == 1 else f"({self.value(alpha)} * {values[1]})"
            return f"({values[0]} {'+' if operator is aten.add else '-'} {second})", False
        if operator is aten.masked_fill:
            return f"({values[1]} ? {values[2]} : {values[0]})", False
        if operator is aten.rsub:
            return f"({values[1]} - {values[0]})", False
        if operator is aten.pow and node.args[1] in (2, 3, -1, -2, 0.5, 1):
            x = values[0]
            powers = {1: x, 2: f"({x} * {x})", 3: f"({x} * {x} * {x})", -1: f"(1 / {x})", -2: f"(1 / ({x} * {x}))", 0.5: f"sqrt_({x})"}
            return powers[node.args[1]], False  # pyright: ignore[reportArgumentType]
        if operator is aten.pow:
            return f"pow_({values[0]}, {values[1]})", False
        if operator in (aten.clamp, aten.clamp_min, aten.clamp_max):
            low, high = (*values[1:], None)[:2] if operator is not aten.clamp_max else (None, values[1])
            bounded = f"({values[0]} < {low} ? {low} : {values[0]})" if low else values[0]
            return (f"({bounded} > {high} ? {high} : {bounded})" if high else bounded), False
        if operator in _ARITHMETIC and "rounding_mode" not in node.kwargs:
            return _ARITHMETIC[operator].format(*values), False
        raise NotFusableError(f"no kernel for the operation {node.target}")

    def code(self, results: list[str]) -> Code:
        def declare(name: str) -> str:
            return f"const {'int' if name in self.logic else 'real'} {name}"

        scalars, own, steps = self.lines
        return Code(
            [f"{declare(name)} = {text};" for name, text in scalars],
            [f"{'int' if name in self.logic else 'real'} {name.replace('[n]', '[BLOCK]')}; EACH {name} = {text};" for name, text in own],
            [f"{declare(name)} = {text};" for name, text in steps],
            results,
        )
