"""Random neurons as Python source, for the fuzzer of kernels, `fuzz_neurons.py`."""

import dataclasses
import random
import re
from collections.abc import Iterator
from typing import NamedTuple

from random_expressions import (
    KINDS,
    NEXT_STATE,
    NUMBERS,
    OUTPUT,
    POSITIVE_NUMBERS,
    PREPARED,
    REST,
    SMALLEST,
    SURROGATES,
    UNKNOWN,
)

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
