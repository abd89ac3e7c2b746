"""Fingerprints: equal in all processes for equal values and code, different for different ones, or refused."""

import enum
import functools
import logging
import os
import random
import subprocess
import sys
import threading
import types
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy
import pytest
import torch
from torch import nn

from geir.events import Events, read_events, transforms as T
from geir.events.fingerprint import fingerprint, UnknownContentError

LIMIT = 3
LIMITS = [3, 4]
TABLE = torch.arange(3)
logger = logging.getLogger(__name__)


class Module(nn.Module):
    def __init__(self, bins=3, weight=1.0):
        super().__init__()
        self.bins = bins
        self.weight = nn.Parameter(torch.tensor(weight))
        self._limits = [bins, {"a": 1}]

    def forward(self, events):
        return T.count_frames(events, bins=self.bins) * self.weight


class Plain:
    """A callable object whose repr is that of `object`."""

    def __init__(self, bins):
        self.bins = bins

    def __call__(self, events):
        return T.count_frames(events, bins=self.bins)

    def method(self, events):
        return self(events)


class Slotted:
    __slots__ = ("bins",)

    def __init__(self, bins):
        self.bins = bins


@dataclass(frozen=True)
class Settings:
    bins: int


class Pair(NamedTuple):
    a: int
    b: int


class Color(enum.Enum):
    RED = 1
    BLUE = 2


def first(events, bins=3):
    logger.debug("first")
    return T.count_frames(events, bins=bins)[:LIMIT]


def second(events, bins=3):
    logger.debug("first")
    return T.count_frames(events, bins=bins)[:LIMIT] + 1


def recursive(n):
    return recursive(n - 1) if n else first(n)


@torch.no_grad()
def decorated(events):
    return first(events)


@torch.no_grad()
def decorated_differently(events):
    return second(events)


@functools.lru_cache
def remembered(events):
    return second(events)


def closure(value):
    def prepare(events):
        return T.count_frames(events, bins=value)

    return prepare


def compiled(source, **variables):
    """The function `f` of some source text, in a module of its own."""
    namespace = {"__name__": "somewhere", **variables}
    exec(source, namespace)
    return namespace["f"]


def with_training(module, training):
    return module.train(training)


def with_buffer(value):
    module = nn.BatchNorm2d(2)
    module.running_mean.fill_(value)
    return module


EVENTS = Events([1, 2], [0, 0], [0, 0], [1, 1], (2, 2))
LATER = Events([1, 3], [0, 0], [0, 0], [1, 1], (2, 2))

# Functions that make a value; those of one row must have different fingerprints.
DIFFERENT = {
    "numbers": [lambda: 1, lambda: 1.0, lambda: True, lambda: 2, lambda: "1", lambda: b"1", lambda: None],
    "signs of zero": [lambda: 0.0, lambda: -0.0],
    "containers": [lambda: [1, 2], lambda: (1, 2), lambda: [1, [2]], lambda: [[1], 2], lambda: {1, 2}],
    "dicts": [lambda: {"a": 1}, lambda: {"a": 2}, lambda: {"b": 1}, lambda: {1: "a"}],
    "texts": [lambda: ["ab", "c"], lambda: ["a", "bc"], lambda: ["abc"]],
    "tensors": [
        lambda: torch.zeros(2, 3),
        lambda: torch.zeros(3, 2),
        lambda: torch.zeros(2, 3).double(),
        lambda: torch.tensor([[0.0, 0, 0], [0, 0, 1e-30]]),
        lambda: torch.zeros(2, 3).bfloat16(),
    ],
    "arrays": [lambda: numpy.zeros(2), lambda: numpy.zeros(2, "i8"), lambda: numpy.zeros((2, 1)), lambda: [0.0, 0.0]],
    "events": [lambda: EVENTS, lambda: LATER, lambda: Events(*EVENTS.columns(), (3, 2))],
    "transforms": [
        lambda: T.CountFrames(dt=1e-3),
        lambda: T.CountFrames(dt=2e-3),
        lambda: T.BinaryFrames(dt=1e-3),
        lambda: T.count_frames,
        lambda: functools.partial(T.count_frames, dt=1e-3),
        lambda: nn.Sequential(T.CountFrames(dt=1e-3)),
        lambda: nn.Sequential(T.CountFrames(dt=1e-3), nn.ReLU()),
    ],
    "settings of a module": [Module, lambda: Module(4), lambda: Module(weight=2.0)],
    "the mode of a module": [lambda: with_training(Module(), True), lambda: with_training(Module(), False)],
    "buffers": [lambda: with_buffer(0.0), lambda: with_buffer(1.0)],
    "objects": [lambda: Plain(3), lambda: Plain(4), lambda: Plain("3"), lambda: Plain(Plain(3))],
    "methods": [lambda: Plain(3).method, lambda: Plain(4).method, lambda: Plain(3).__call__],
    "slots": [lambda: Slotted(3), lambda: Slotted(4)],
    "dataclasses": [lambda: Settings(3), lambda: Settings(4)],
    "named tuples": [lambda: Pair(1, 2), lambda: Pair(2, 1), lambda: (1, 2)],
    "enums": [lambda: Color.RED, lambda: Color.BLUE],
    "functions": [lambda: first, lambda: second, lambda: recursive, lambda: decorated, lambda: decorated_differently],
    "a remembering function": [lambda: remembered, lambda: second],
    "arguments": [lambda: functools.partial(first, bins=4), lambda: functools.partial(first, bins=5), lambda: first],
    "closures": [lambda: closure(3), lambda: closure(4), lambda: closure((3,)), lambda: closure(first)],
    "code": [
        lambda: compiled("def f(x): return x + 1"),
        lambda: compiled("def f(x): return x + 2"),
        lambda: compiled("def f(x): return x - 1"),
        lambda: compiled("def f(x, y=1): return x + 1"),
        lambda: compiled("def f(x, y=2): return x + 1"),
    ],
    "globals": [
        lambda: compiled("def f(x): return x + A", A=1),
        lambda: compiled("def f(x): return x + A", A=2),
        lambda: compiled("def f(x): return x + A"),
    ],
    "functions that a function calls": [
        lambda: compiled("def g(x): return x + 1\ndef f(x): return g(x)"),
        lambda: compiled("def g(x): return x + 2\ndef f(x): return g(x)"),
        lambda: compiled("def f(x): return m.g(x)", m=module_with(first)),
        lambda: compiled("def f(x): return m.g(x)", m=module_with(second)),
        lambda: compiled("def f(x): return [m.g(y) for y in x]", m=module_with(second)),
        lambda: compiled("def f(x): return [m.g(y) for y in x]", m=module_with(first)),
    ],
    "methods that a class defines or inherits": [
        lambda: compiled("class A:\n  def g(self): return 1\nclass B(A): pass\ndef f(x): return B().g()"),
        lambda: compiled("class A:\n  def g(self): return 2\nclass B(A): pass\ndef f(x): return B().g()"),
        lambda: compiled("class A:\n  g = 1\nclass B(A): pass\ndef f(x): return B().g"),
        lambda: compiled("class A:\n  g = 2\nclass B(A): pass\ndef f(x): return B().g"),
        lambda: compiled("class A:\n  @property\n  def g(self): return 1\ndef f(x): return A().g"),
        lambda: compiled("class A:\n  @property\n  def g(self): return 2\ndef f(x): return A().g"),
    ],
    "readers": [
        lambda: read_events,
        lambda: functools.partial(read_events, errors="skip"),
        lambda: functools.partial(read_events, sensor_size=(3, 4)),
    ],
    "functions of libraries": [lambda: numpy.log, lambda: numpy.exp, lambda: torch.relu, lambda: torch.sigmoid],
}


def module_with(function):
    module = types.ModuleType("somewhere_else")
    module.g = function
    return module


@pytest.mark.parametrize("name", DIFFERENT)
def test_equal_values_and_code_have_equal_fingerprints_and_others_different_ones(name):
    prints = [fingerprint(make()) for make in DIFFERENT[name]]
    assert prints == [fingerprint(make()) for make in DIFFERENT[name]]
    assert len(set(prints)) == len(prints)


def test_an_attribute_that_is_changed_later_changes_the_fingerprint():
    module = nn.Sequential(Module())
    prints = [fingerprint(module)]
    for change in (
        lambda: setattr(module[0], "bins", 5),
        lambda: module[0].weight.data.fill_(3.0),
        lambda: module[0]._limits.append(1),
        lambda: module[0]._limits[1].update(b=2),
        lambda: setattr(module[0], "forward", first),
        lambda: module.append(nn.ReLU()),
    ):
        change()
        prints.append(fingerprint(module))
    assert len(set(prints)) == len(prints)


def uses_a_list(events):
    return LIMITS


def uses_a_tensor(events):
    return [TABLE for _ in events]


def uses_an_object_of_c(events):
    return LOCK


LOCK = threading.Lock()


def captures(value):
    def prepare(events):
        return value

    return prepare


REFUSED = {
    "a lambda": (lambda events: events, "the object is a lambda"),
    "a lambda among the settings": (Plain([lambda events: events]), r"the object\.bins\[0\] is a lambda"),
    "a closure over a list": (captures([1]), "the variable value of captures.<locals>.prepare is an object of the"),
    "a closure over a dict in a tuple": (captures((1, {})), "type builtins.tuple, which can change without notice"),
    "a closure over a tensor": (captures(torch.ones(1)), "type torch.Tensor, which can change without notice"),
    "a closure over an object": (captures(Plain(3)), r"test_fingerprint\.Plain, which can change without notice"),
    "a global list": (uses_a_list, "the global variable LIMITS of uses_a_list is an object of the type builtins.list"),
    "a global tensor": (uses_a_tensor, "the global variable TABLE of uses_a_tensor"),
    "a global object of C": (uses_an_object_of_c, "the global variable LOCK of uses_an_object_of_c"),
    "an object of C": (Plain(threading.Lock()), r"the object\.bins is an object of the type _thread\.lock"),
    "a generator of PyTorch": (Plain(torch.Generator()), r"type torch\._C\.Generator, whose content is unknown"),
    "a generator of NumPy": (Plain(numpy.random.default_rng(0)), "whose content is unknown"),
    "a generator of Python": (Plain(random.Random(0)), "whose content is unknown"),
    "a running generator": (Plain(x for x in "a"), "whose content is unknown"),
    "a sparse tensor": (Plain(torch.ones(2).to_sparse()), "is a tensor of torch.sparse_coo on cpu"),
    "an array of objects": (Plain(numpy.array([None])), "is an array of objects"),
    "an import that fails": (
        compiled("def f(x):\n  import no_such_module\n  return 1"),
        "f imports no_such_module, which is not found",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_known_is_refused_with_its_place(name):
    value, message = REFUSED[name]
    with pytest.raises(UnknownContentError, match=message):
        fingerprint(value)


def test_fingerprints_are_equal_in_all_processes():
    # Hashes of texts, and with them the order of sets, differ between processes.
    command = "import test_fingerprint as t; print(*[t.fingerprint(f()) for row in t.DIFFERENT.values() for f in row])"
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    expected = " ".join(fingerprint(make()) for row in DIFFERENT.values() for make in row)
    environment = os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.run(
        [sys.executable, "-c", command], env=environment, capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == expected


def test_a_module_of_ones_own_that_a_function_imports_counts_with_its_source(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    prints = set()
    for body in ("value = 1", "value = 2"):
        (tmp_path / "own_module_of_this_test.py").write_text(body)
        prints.add(fingerprint(compiled("def f(x):\n  import own_module_of_this_test as m\n  return m.value")))
    assert len(prints) == 2
