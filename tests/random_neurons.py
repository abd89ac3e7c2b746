"""Random neurons as Python source, for the fuzzer of kernels, `fuzz_neurons.py`."""

import dataclasses
import random
import re
from collections.abc import Iterator
from typing import NamedTuple

# Expressions from tensors to a tensor. Placeholders: {r} a real tensor, {p} one that is positive, {b} one between -3
# and 3, {f} a new one in the shape of the input, {a} a real tensor or a number, {m} a mask, {i} a tensor of integers,
# {n} a number, {u} a positive number.
REAL = """
torch.abs({r})
torch.sign({r})
torch.exp({b})
torch.exp2({b})
torch.expm1({b})
torch.log({p})
torch.log2({p})
torch.log1p({p})
torch.sqrt({p})
torch.rsqrt({p})
torch.tanh({r})
torch.sigmoid({r})
torch.sin({r})
torch.cos({r})
torch.atan({r})
torch.erf({r})
torch.erfc({r})
torch.relu({r})
torch.neg({r})
-{r}
+{r}
torch.reciprocal({p})
torch.square({r})
torch.floor({r})
torch.ceil({r})
torch.round({r})
torch.trunc({r})
torch.frac({r})
torch.nan_to_num({r})
torch.nan_to_num({r}, nan=0.5, posinf=2.0, neginf=-2.0)
F.softplus({r})
F.softplus({r}, beta=2, threshold=1)
F.silu({r})
F.mish({r})
F.gelu({r})
F.gelu({r}, approximate="tanh")
F.elu({r})
F.elu({r}, alpha=0.3)
F.selu({r})
F.celu({r}, alpha=0.7)
F.leaky_relu({r})
F.leaky_relu({r}, negative_slope=0.3)
F.relu6({r})
F.hardtanh({r})
F.hardtanh({r}, min_val=-0.3, max_val=0.6)
F.hardswish({r})
F.softsign({r})
F.logsigmoid({r})
F.tanhshrink({r})
F.threshold({r}, 0.1, -0.2)
{r}**2
{r}**3
{r}**4
{r}**0
{r}**1
{p}**-1
{p}**-2
{p}**0.5
{p}**-0.5
{p}**1.7
{p}**-1.5
{p}**{b}
{u}**{b}
torch.pow({p}, {n})
{r} + {a}
{a} + {r}
{r} + {r}
{r} - {a}
{a} - {r}
{r} - {r}
{r} * {a}
{a} * {r}
{r} * {r}
{r} / {p}
{r} / {u}
{n} / {p}
{r} / ({n} - 4.5)
torch.add({r}, {r}, alpha={n})
torch.add({r}, {n}, alpha={n})
torch.sub({r}, {r}, alpha={n})
torch.sub({r}, {n}, alpha={n})
torch.rsub({r}, {r})
torch.rsub({r}, {n})
torch.rsub({r}, {r}, alpha={n})
torch.rsub({r}, {n}, alpha={n})
torch.multiply({r}, {a})
torch.subtract({r}, {a})
torch.true_divide({r}, {p})
torch.div({r}, {p}, rounding_mode="trunc")
torch.div({r}, {p}, rounding_mode="floor")
torch.div({r}, {u}, rounding_mode="trunc")
torch.div({r}, {u}, rounding_mode="floor")
torch.maximum({r}, {r})
torch.minimum({r}, {r})
torch.xlogy({r}, {p})
torch.clamp({r}, -0.4, 0.7)
torch.clamp({r}, min={n})
torch.clamp({r}, max={n})
torch.clamp({r}, {r}, {r})
torch.clamp({r}, min={r})
torch.clamp({r}, max={r})
torch.clamp({r}, {n}, 0.5)
torch.clip({r}, -1, 1)
torch.clamp_min({r}, {n})
torch.clamp_max({r}, {n})
torch.clamp_min({r}, {r})
torch.clamp_max({r}, {r})
torch.lerp({r}, {r}, 0.3)
torch.lerp({r}, {r}, {n})
torch.addcmul({r}, {r}, {r})
torch.addcmul({r}, {r}, {r}, value={n})
torch.where({m}, {r}, {r})
torch.where({m}, {r}, {n})
torch.where({m}, {n}, {r})
{r}.masked_fill({m}, {n})
{r}.masked_fill({m}, float("inf")).clamp(max=2)
torch.where({m}, {r}, float("nan")).nan_to_num()
{r} * {m}
{m} * {r}
{r} + {m}
{m}.to(x.dtype)
{m}.type_as(x)
{m}.int() * {r}
{i}.to(x.dtype)
{i} * {r}
{r} - {i}
{r}.to(x.dtype)
{r}.bool().to(x.dtype)
{r}.detach()
{r}.detach() + {r} - {r}.detach()
{r}.clone()
{r}.contiguous()
{f}.view_as(x)
{f}.unsqueeze(-1).squeeze(-1)
{f}.expand_as(x)
{r} + torch.zeros_like({r})
{r} * torch.ones_like({r})
{r} + torch.full_like({r}, 2.5)
{r} * torch.full_like({i}, 2.5)
{r} * torch.tensor(1.5)
{r} * x.new_tensor(0.7)
{r} + x.new_zeros(())
{r} + torch.zeros((), dtype=x.dtype)
{r} * x.new_full((), {n})
{r} * torch.ones(())
{r} + torch.full((), 0.25)
{f}.mul_({n}).add_({r})
{r}.clone().clamp_(-0.5, 0.5)
{f}.masked_fill_({m}, {n})
{r}.clone().zero_() + {r}
{r}.clone().fill_({n}) * {r}
torch.zeros_like(x).copy_({r})
{f}.addcmul_({r}, {r}, value={n})
{f}.sub_({r}, alpha={n})
{f}.tanh_()
({r} if self.flag else {r})
sum([{r}, {r}, {n}])
functools.reduce(torch.maximum, [{r}, {r}, {r}])
self.helper({r})
self.surrogate({r})
surrogates.SuperSpike(alpha=3.0)({r})
surrogates.Sigmoid(alpha=2.0)({r})
surrogates.ATan()({r})
surrogates.Triangle()({r})
surrogates.Rectangle()({r})
surrogates.Gaussian()({r})
surrogates.MultiGaussian()({r})
surrogates.Erfc()({r})
surrogates.Tanh()({r})
surrogates.Circle()({r})
surrogates.PiecewiseExponential()({r})
surrogates.StraightThrough()({r})
surrogates.SparseFastSigmoid()({r})
"""
MASK = """
{r} > {a}
{r} >= {a}
{r} < {a}
{r} <= {a}
{r} == {a}
{r} != {a}
{n} > {r}
{n} <= {r}
torch.gt({r}, {r})
torch.eq({r}, {n})
torch.isnan({r})
torch.isfinite({r})
torch.isinf({r})
torch.logical_and({m}, {m})
torch.logical_or({m}, {r})
torch.logical_xor({m}, {m})
torch.logical_not({r})
torch.logical_not({m})
{m} & {m}
{m} | {m}
{m} ^ {m}
~{m}
{m} * {m}
{m} + {m}
{m} == {m}
{m} != {m}
{r}.bool()
{r}.to(torch.bool)
{i} > {n}
{i} == {i}
{i}.bool()
torch.ones_like(x, dtype=torch.bool) & {m}
"""
INTEGER = """
{m}.int()
{m}.to(torch.uint8).long()
{m}.long()
{m} + {i}
{i} + {i}
{i} - 2
{i} * {i}
-{i}
torch.abs({i})
torch.where({m}, {i}, {i})
torch.maximum({i}, {i})
{i}.clamp(-2, 2)
{i} // 2
torch.full_like({i}, 2)
"""
# Those that kernels do not know: the step runs on the reference loop.
UNKNOWN_REAL = """
torch.round({r}, decimals=1)
{r}.to(torch.int32).to(x.dtype)
torch.sgn({r})
torch.log10({p})
torch.tan(0.3 * {b})
torch.asinh({r})
torch.sinh({b})
torch.cosh({b})
F.softshrink({r}, lambd=0.2)
F.hardshrink({r}, lambd=0.2)
{r} // {u}
torch.remainder({r}, {u})
{r} % {p}
torch.fmod({r}, {u})
torch.fmod({r}, {p})
torch.fmax({r}, {r})
torch.fmin({r}, {r})
torch.atan2({r}, {p})
torch.hypot({r}, {p})
torch.copysign({r}, {a})
torch.heaviside({r}, {r})
torch.logaddexp({r}, {r})
torch.dist({r}, {r}) * 0
torch.lerp({r}, {r}, {r})
torch.addcdiv({r}, {r}, {p})
torch.addcdiv({r}, {r}, {p}, value={n})
{m}.float() * {r}
{i}.float() * {r}
({i} / 3).to(x.dtype)
"""
UNKNOWN_MASK = """
{m}.masked_fill({m}, False)
torch.signbit({r})
torch.where({m}, {m}, {m})
"""
UNKNOWN_INTEGER = """
({b} * 200).to(torch.int32).to(torch.uint8).to(torch.int32)
torch.floor({b}).long()
(3 * {b}).int()
(3 * {b}).to(torch.int64)
{i} % 3
"""
# How the next state follows from a real tensor {r} and the state before, {s}.
NEXT_STATE = """
0.9 * {s} + 0.1 * torch.tanh({r})
torch.tanh({r})
{s} + 0.3 * torch.clamp({r}, -1, 1)
0.5 * ({s} + {r})
{r}
{r}.detach()
({s} + x) * (1 - torch.sigmoid({r}))
torch.where({m}, {s}, torch.clamp({r}, -2, 2))
{s} * 0.8 + x
x
{s}
torch.zeros_like(x)
"""
OUTPUT = """
self.surrogate({r})
self.surrogate({r} - 0.3)
{r}
({r} > 0.1).to(x.dtype)
torch.tanh({r})
"""
REST = ("torch.zeros(())", "torch.tensor(0.5)", "torch.full((), -0.25)", "0 * self.p0 + 0.125", "self.p0")
PREPARED = ("torch.exp(-self.p0)", "self.p0 * 2", "1 / (1 + self.p1**2)", "self.k0 + 0.5", "self.p0 > self.p1")
SURROGATES = ("SuperSpike(alpha=5.0)", "Triangle()", "Sigmoid()", "ZeroGradient()", "Circle()")
NUMBERS = (
    "-2",
    "-1",
    "-0.5",
    "0.0",
    "0.1",
    "0.3",
    "0.5",
    "1",
    "1.0",
    "2",
    "3",
    "1e-3",
    "self.k0",
    "self.k0",
    "self.n0",
    "2 * self.k0",
    "1 + self.k0",
)
POSITIVE_NUMBERS = ("0.1", "0.25", "0.5", "1", "1.5", "2", "3")
KINDS = {"r": REAL, "m": MASK, "i": INTEGER}
UNKNOWN = {"r": UNKNOWN_REAL, "m": UNKNOWN_MASK, "i": UNKNOWN_INTEGER}
# What stands for a value of a kind when a program is made smaller.
SMALLEST = {"r": "x", "m": "(x > 0)", "i": "(x > 0).long()"}

TEMPLATE = """class State(NamedTuple):
{fields}


class Fuzzed(geir.Neuron[State]):
    p0: geir.Parameter = geir.parameter(default=0.7, above=0.0)
    p1: geir.Parameter = geir.parameter(default=-0.4)
    k0: float = {k0}
    n0: int = {n0}
    flag: bool = {flag}

    def __post_init__(self):
        super().__post_init__()
        self.register_buffer("c0", torch.tensor(0.6))
        self.register_buffer("m0", torch.tensor(True))
        self.register_buffer("i0", torch.tensor(2))

    def rest(self):
        return State({rests})

    def prepare(self):
        return ({prepared})

    def helper(self, v):
        for _ in range(self.n0):
            v = 0.5 * v + self.k0
        return v

    def step(self, x, state{arguments}):
{lines}
"""


class Line(NamedTuple):
    """An assignment in a step."""

    name: str
    kind: str
    text: str


@dataclasses.dataclass(frozen=True)
class RandomNeuron:
    """A neuron as expressions of Python."""

    k0: float
    n0: int
    flag: bool
    surrogate: str
    rests: tuple[str, ...]
    prepared: tuple[str, ...]
    lines: tuple[Line, ...]
    z: str
    after: tuple[str, ...]

    @property
    def states(self) -> list[str]:
        return [f"s{k}" for k in range(len(self.rests))]

    def source(self) -> str:
        """The definition of the class `Fuzzed` and its state."""
        lines = [f"{line.name} = {line.text}" for line in self.lines]
        results = ", ".join(f"{name}={text}" for name, text in zip(self.states, self.after, strict=True))
        lines.append(f"return {self.z}, State({results})")
        return TEMPLATE.format(
            fields="\n".join(f"    {name}: Tensor" for name in self.states),
            k0=self.k0,
            n0=self.n0,
            flag=self.flag,
            rests=", ".join(f"{name}={text}" for name, text in zip(self.states, self.rests, strict=True)),
            prepared="".join(f"{text}, " for text in self.prepared).strip(),
            arguments="".join(f", w{k}" for k in range(len(self.prepared))),
            lines="\n".join(f"        {line}" for line in lines),
        )

    def smaller(self) -> Iterator["RandomNeuron"]:
        """Neurons that are a little smaller."""
        for k, line in reversed([*enumerate(self.lines)]):
            inputs = [
                other.name for other in self.lines[:k] if other.kind == line.kind and _uses(line.text, other.name)
            ]
            for value in (*inputs, SMALLEST[line.kind]):
                yield self._without(k, value)
        yield dataclasses.replace(self, z="torch.zeros_like(x)")
        for k, name in enumerate(self.states):
            for text in ("torch.zeros_like(x)", f"state.{name}"):
                if self.after[k] != text:
                    yield dataclasses.replace(self, after=(*self.after[:k], text, *self.after[k + 1 :]))
            if self.rests[k] != REST[0]:
                yield dataclasses.replace(self, rests=(*self.rests[:k], REST[0], *self.rests[k + 1 :]))
        # The last state, if it is not read.
        last = f"state.{self.states[-1]}"
        if len(self.rests) > 1 and not any(
            last in text for text in (self.z, *self.after, *(line.text for line in self.lines))
        ):
            yield dataclasses.replace(self, rests=self.rests[:-1], after=self.after[:-1])
        if self.prepared and not any(_uses(line.text, f"w{len(self.prepared) - 1}") for line in self.lines):
            yield dataclasses.replace(self, prepared=self.prepared[:-1])

    def _without(self, k: int, value: str) -> "RandomNeuron":
        """The neuron without a line, whose name is replaced by a value."""
        name = re.compile(rf"\b{self.lines[k].name}\b")
        replace = lambda text: name.sub(value, text)
        lines = [line._replace(text=replace(line.text)) for line in (*self.lines[:k], *self.lines[k + 1 :])]
        return dataclasses.replace(self, lines=tuple(lines), z=replace(self.z), after=tuple(map(replace, self.after)))


def _uses(text: str, name: str) -> bool:
    return re.search(rf"\b{name}\b", text) is not None


class Generator:
    """Makes random neurons.

    Args:
        rng: Source of randomness.
    """

    def __init__(self, rng: random.Random):
        self.rng = rng
        self.known = {kind: table.strip().splitlines() for kind, table in KINDS.items()}
        self.unknown = {kind: table.strip().splitlines() for kind, table in UNKNOWN.items()}
        self.values: dict[str, list[str]] = {}
        self.lines: list[Line] = []

    def neuron(self) -> RandomNeuron:
        rng = self.rng
        states = [f"state.s{k}" for k in range(rng.choice((1, 1, 2, 2, 3)))]
        prepared = [rng.choice(PREPARED) for _ in range(rng.choice((0, 0, 0, 1, 2)))]
        self.values = {"r": ["x", *states, "self.p0", "self.p1", "self.c0"], "m": [], "i": [], "n": []}
        if rng.random() < 0.05:
            self.values["m"].append("self.m0")
        if rng.random() < 0.3:
            self.values["i"].append("self.i0")
        for k, text in enumerate(prepared):
            self.values["m" if ">" in text else "n" if "k0" in text else "r"].append(f"w{k}")
        self.lines = []
        for _ in range(rng.choice((1, 2, 3, 4, 5, 6, 8, 10, 14))):
            self._add_line(rng.choices("rmi", (8, 2, 1))[0])
        after = [self._full(self._fill(self._choose(NEXT_STATE), s)) for s in states]
        return RandomNeuron(
            k0=rng.choice((0.75, 1.5, -0.3)),
            n0=rng.choice((0, 1, 2)),
            flag=rng.random() < 0.5,
            surrogate=rng.choice(SURROGATES),
            rests=tuple(rng.choice(REST) for _ in states),
            prepared=tuple(prepared),
            lines=tuple(self.lines),
            z=self._full(self._fill(self._choose(OUTPUT))),
            after=tuple(after),
        )

    def _choose(self, table: str) -> str:
        return self.rng.choice(table.strip().splitlines())

    def _add_line(self, kind: str) -> str:
        name = f"t{len(self.lines)}"
        templates = self.unknown if self.rng.random() < 0.01 else self.known
        text = self._fill(self.rng.choice(templates[kind]))
        self.lines.append(Line(name, kind, text))
        self.values[kind].append(name)
        return name

    def _full(self, text: str) -> str:
        """The expression in the shape of the input, which one of parameters does not have."""
        return f"{text} + torch.zeros_like(x)"

    def _fill(self, template: str, state: str = "") -> str:
        """Replace the placeholders of a template."""
        return re.sub(r"\{(\w)\}", lambda found: state if found[1] == "s" else self._value(found[1]), template)

    def _value(self, kind: str) -> str:
        rng = self.rng
        match kind:
            case "a":
                return self._value("r" if rng.random() < 0.7 else "n")
            case "n":
                return rng.choice((*NUMBERS, *self.values["n"]))
            case "u":
                return rng.choice(POSITIVE_NUMBERS)
            case "p":
                texts = ("({}.abs() + 0.2)", "torch.exp({}.clamp(-2, 2))", "(1 + {}**2)", "{}")
                return rng.choices(texts, (8, 2, 2, 1))[0].format(self._value("r"))
            case "b":
                texts = ("torch.tanh({})", "{}.clamp(-2, 2)", "torch.sin({})", "{}")
                return rng.choices(texts, (4, 4, 4, 1))[0].format(self._value("r"))
            case "f":
                return f"({self._value('r')} + torch.zeros_like(x))"
            case "m" if rng.random() < 0.5 or not self.values["m"]:
                return f"({self._value('r')} > {self._value('a')})"
            case "i" if rng.random() < 0.5 or not self.values["i"]:
                return f"({self._value('m')}).long()"
        values = self.values[kind]
        # Recent values more often, or most lines would not be used.
        return rng.choice(values[-3:] if rng.random() < 0.5 else values)
