"""Random runs of a neuron, for the fuzzer of kernels: shapes, memory layouts, dtypes, parameters and transforms."""

import dataclasses
import functools
import random
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

SHAPES = ((), (1,), (3,), (5,), (2, 3), (3, 1), (1, 4), (2, 1, 3), (2, 3, 2), (0,), (2, 0), (130,), (1030,), (2, 600))
STEPS = (0, 1, 2, 3, 5, 9, 33, 40)
CHECKPOINTS = (None, None, 1, 2, 3, 7, 40)
# How often each is tried.
DTYPES = {"float64": 4, "float32": 4, "bfloat16": 1, "float16": 1}
TRANSFORMS = {
    "plain": 8,
    "no_grad": 1,
    "inference": 1,
    "record": 2,
    "chunks": 2,
    "cell": 1,
    "direct_calls": 4,
    "checkpoint": 1,
    "saved_tensors_hooks": 1,
    "backward_twice": 1,
    "batched_grad": 1,
    "vmap": 2,
    "vmap_parameters": 1,
    "grad": 2,
    "vmap_grad": 2,
    "jacrev": 2,
}  # fmt: skip
VALUES = {"normal": 4, "grid": 2, "large": 1, "zero": 1}


def make_values(kind: str, shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Random numbers; those of a grid meet the kinks of functions."""
    if kind == "grid":
        return torch.randint(-4, 5, shape, generator=generator).to(dtype) / 2
    scale = {"normal": 1.0, "large": 8.0, "zero": 0.0}[kind]
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def _contiguous(make: Callable[[tuple[int, ...]], Tensor], shape: tuple[int, ...]) -> Tensor:
    return make(shape)


def _transposed(make: Callable[[tuple[int, ...]], Tensor], shape: tuple[int, ...]) -> Tensor:
    return make(shape[::-1]).permute(tuple(reversed(range(len(shape)))))


def _expanded_first(make: Callable[[tuple[int, ...]], Tensor], shape: tuple[int, ...]) -> Tensor:
    return make((1, *shape[1:])).expand(shape) if shape else make(shape)


def _expanded_last(make: Callable[[tuple[int, ...]], Tensor], shape: tuple[int, ...]) -> Tensor:
    return make((*shape[:-1], 1)).expand(shape) if shape else make(shape)


def _expanded(make: Callable[[tuple[int, ...]], Tensor], shape: tuple[int, ...]) -> Tensor:
    return make(()).expand(shape)


def _strided(make: Callable[[tuple[int, ...]], Tensor], shape: tuple[int, ...]) -> Tensor:
    return make((*shape[:-1], 2 * shape[-1]))[..., ::2] if shape else make((2,))[1]


def _offset(make: Callable[[tuple[int, ...]], Tensor], shape: tuple[int, ...]) -> Tensor:
    return make((shape[0] + 1, *shape[1:]))[1:] if shape else make((3,))[2]


def _negated(make: Callable[[tuple[int, ...]], Tensor], shape: tuple[int, ...]) -> Tensor:
    return torch._neg_view(make(shape))


LAYOUTS = {
    "contiguous": _contiguous,
    "transposed": _transposed,
    "expanded_first": _expanded_first,
    "expanded_last": _expanded_last,
    "expanded": _expanded,
    "strided": _strided,
    "offset": _offset,
    "negated": _negated,
}


class Numbers(NamedTuple):
    """How a tensor is made."""

    kind: str
    layout: str = "contiguous"

    def tensor(self, shape: tuple[int, ...], seed: int, name: str, dtype: torch.dtype) -> Tensor:
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
        return LAYOUTS[self.layout](lambda full: make_values(self.kind, full, generator, dtype), shape)


class ParameterRun(NamedTuple):
    """How a parameter or buffer is set: a "number", a "buffer", an nn.Parameter ("parameter") or "learnable"."""

    form: str
    shape: tuple[int, ...]
    layout: str = "contiguous"


@dataclasses.dataclass(frozen=True)
class RandomRun:
    """Everything about a run but the neuron. Numbers follow from the seed."""

    seed: int
    dtype: str
    wide_parameters: bool  # float64, whatever the input is
    shape: tuple[int, ...]
    steps: int
    input: Numbers
    state: Numbers | None  # None: at rest
    gradient: Numbers
    checkpoint_every: int | None
    parameters: tuple[ParameterRun, ...]  # of p0, p1, c0, m0, i0
    learn_input: bool
    outputs: str  # "all", "z" or "state": what has a gradient
    transform: str

    def smaller(self) -> Iterator["RandomRun"]:
        """Runs that are a little simpler."""
        change = functools.partial(dataclasses.replace, self)
        simplest = {
            "transform": "plain",
            "checkpoint_every": None,
            "state": None,
            "wide_parameters": False,
            "outputs": "all",
        }
        simplest |= {"input": Numbers("normal"), "gradient": Numbers("normal"), "dtype": "float64"}
        for name, value in simplest.items():
            if getattr(self, name) != value:
                yield change(**{name: value})
        for k, given in enumerate(self.parameters):
            for other in (ParameterRun("number", ()), given._replace(shape=()), given._replace(layout="contiguous")):
                if other != given:
                    yield change(parameters=(*self.parameters[:k], other, *self.parameters[k + 1 :]))
        for steps in (1, self.steps // 2, self.steps - 1):
            if 0 < steps < self.steps:
                yield change(steps=steps)
        for shape in ((), (2,), self.shape[1:]):
            if shape != self.shape and len(shape) >= max((len(p.shape) for p in self.parameters), default=0):
                yield change(shape=shape)


def random_run(rng: random.Random) -> RandomRun:
    """A random run."""

    def pick(table: dict[str, int]) -> str:
        return rng.choices([*table], [*table.values()])[0]

    def numbers(kind: str | None = None) -> Numbers:
        return Numbers(kind or pick(VALUES), "contiguous" if rng.random() < 0.5 else rng.choice([*LAYOUTS]))

    transform = pick(TRANSFORMS)
    shape = rng.choice(SHAPES)
    if transform == "jacrev":
        shape = rng.choice(SHAPES[:9])
    if transform in ("vmap", "vmap_grad") and not shape:
        shape = (3,)
    steps = rng.choice(STEPS[:6] if transform == "jacrev" or shape[-1:] > (500,) else STEPS)
    # Samples under vmap have one dimension less.
    inner = shape[1:] if transform in ("vmap", "vmap_grad") else shape

    def parameter(forms: tuple[str, ...]) -> ParameterRun:
        own = inner[rng.randrange(len(inner) + 1) :]
        own = tuple(1 if rng.random() < 0.2 else n for n in own) if rng.random() < 0.5 else ()
        layout = "contiguous" if rng.random() < 0.6 else rng.choice([*LAYOUTS][:7])
        return ParameterRun(rng.choice(forms), own, layout)

    forms = ("number", "buffer", "parameter", "parameter", "learnable")
    return RandomRun(
        seed=rng.randrange(1 << 30),
        dtype=pick(DTYPES),
        wide_parameters=rng.random() < 0.1,
        shape=shape,
        steps=steps,
        input=numbers(),
        state=None if rng.random() < 0.5 else numbers(),
        gradient=numbers("normal"),
        checkpoint_every=rng.choice(CHECKPOINTS),
        parameters=(*(parameter(forms) for _ in range(2)), *(parameter(("number", "buffer")) for _ in range(3))),
        learn_input=rng.random() < 0.8,
        outputs=rng.choice(("all", "all", "all", "z", "state")),
        transform=transform,
    )
