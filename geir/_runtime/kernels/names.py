"""Names of generated code: those of the model, made valid and unique identifiers of C, Python and JavaScript."""

import functools
import itertools
import keyword
import re
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

from torch import Tensor

from ..stepper import Prepared
from .arguments import ARGUMENT_NAMES
from .operators import OPERATORS

# Every form in which generated code uses the name of a state or a constant. Two names may not share any of them.
FORMS = ("{}", "grad_{}", "{}_block", "grad_{}_block", "tape_{}", "{}_ptr", "{}_size", "{}_repeat")

C_KEYWORDS = """
alignas alignof asm auto bool break case char const constexpr continue default do double else enum
extern float for goto if inline int long nullptr register restrict return short signed sizeof static
static_assert struct switch thread_local typedef typeof union unsigned void volatile while
"""
JAVASCRIPT_KEYWORDS = """
arguments async await catch debugger delete eval export extends finally function implements in instanceof interface let
new null of package private protected public super this throw try typeof undefined var yield Infinity NaN
"""
# Macros of C's headers and compilers that do not look like macros. Those in capital letters are recognized by
# their letters.
C_MACROS = "I alloca complex errno imaginary linux math_errhandling stderr stdin stdout unix i386"
# Of the name of an expression.
MAX_LENGTH = 60
# The traced input, the gradient of the output, and the names of temporaries.
TRACED = "x grad_x grad_z"
TEMPORARY = re.compile(r"t\d+")


def state_names(names: Iterable[str], taken: set[str]) -> list[str]:
    """Identifiers for the parts of a state, such as `neuron_v` for `neuron.v`."""
    return [_identifier(name, taken) for name in names]


def receptor_names(input_type: type, taken: set[str]) -> list[str]:
    """Identifiers for the inputs of a step: `x`, or such as `x_exc` for each receptor."""
    receptors: Any = input_type
    return [_identifier(f"x_{name}", taken) for name in receptors._fields] if issubclass(input_type, tuple) else ["x"]


def constant_names(parameters: Iterable[str], prepared: Prepared, taken: set[str]) -> list[str]:
    """Identifiers for the constants of a step: parameters and buffers by their own names, prepared values by
    their paths.

    Args:
        parameters: Names of parameters and buffers, such as `neuron.tau_mem`.
        prepared: The prepared values: the tensor ``prepared[0].propagator["v", "i"]`` becomes `propagator_v_i`,
            ``prepared[1]`` becomes `prepared_1`.
        taken: Identifiers that are in use; the new ones are added.
    """
    paths: list[str] = []
    for k, value in enumerate(prepared):
        _collect_paths(value, (), str(k), paths)
    return [_identifier(name, taken) for name in (*parameters, *paths)]


def number_name(name: str, taken: set[str]) -> str:
    """An identifier for a number, or for an expression of numbers."""
    return _identifier(name[:MAX_LENGTH], taken)


def _collect_paths(value: object, path: tuple[str, ...], place: str, paths: list[str]) -> None:
    """Append the name of every tensor in a prepared value, in the order of `map_tensors`."""
    if isinstance(value, Tensor):
        paths.append("_".join(path) if path and not path[-1].isdigit() else "_".join(("prepared", place, *path)))
    elif isinstance(value, dict):
        for key, part in value.items():
            name = "_".join(map(str, key)) if isinstance(key, tuple) else str(key)
            _collect_paths(part, (*path, name), place, paths)
    elif isinstance(value, tuple | list):
        names = getattr(value, "_fields", None) or map(str, range(len(value)))  # of a named tuple, or indices
        for name, part in zip(names, value, strict=True):
            _collect_paths(part, (*path, name), place, paths)


def _identifier(name: str, taken: set[str]) -> str:
    """A valid identifier as close to a name as possible.

    Characters other than ASCII letters, digits and underscores become underscores. On a clash, with a word of
    C, Python, JavaScript or the generated code or with an identifier in `taken`, the name gets a suffix: `x_`, `x_v2`,
    `x_v3`, ...
    """
    valid = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "unnamed"
    if valid[0].isdigit():
        valid = f"n{valid}"
    for candidate in itertools.chain([valid, f"{valid}_"], (f"{valid}_v{k}" for k in itertools.count(2))):
        forms = {form.format(candidate) for form in FORMS}
        if not any(form in taken or _is_reserved(form) for form in forms):
            taken |= forms
            return candidate
    raise AssertionError("unreachable: there are infinitely many candidates")


def _is_reserved(name: str) -> bool:
    # Capital letters alone may be a macro: NAN, M_PI, INT_MAX.
    macro = len(name) > 1 and name.isupper()
    return macro or name in reserved_words() or TEMPORARY.fullmatch(name) is not None


@functools.cache
def reserved_words() -> frozenset[str]:
    """The words of C, of Python, of JavaScript and of everything that generated code consists of."""
    runtime = files("geir._runtime")
    words = {*keyword.kwlist, *keyword.softkwlist, *C_KEYWORDS.split(), *C_MACROS.split(), *TRACED.split()}
    words |= {*JAVASCRIPT_KEYWORDS.split(), *ARGUMENT_NAMES}
    functions = " ".join(text for texts in OPERATORS.values() for text in texts)
    for word in re.findall(r"[A-Za-z_]\w*", functions):
        # Type-generic functions such as `sqrt` stand for functions of one type.
        words |= {word, f"{word}f", f"{word}l", f"c{word}", f"c{word}f", f"c{word}l"}
    for template, comment in (
        ("template.c", "//"),
        ("active.c", "//"),
        ("synapses.c", "//"),
        ("template.triton", "# "),
        ("template.js", "//"),
    ):
        text = runtime.joinpath("kernels", template).read_text()
        code = re.sub(comment + r".*|\{\{\w+\}\}|\"[^\"]*\"", " ", text)
        words |= set(re.findall(r"[A-Za-z_]\w*", code))
    # Functions and macros of what the templates include, but not the local variables of its functions.
    header = re.sub(r"//.*", "", runtime.joinpath("native.h").read_text())
    mathematics = re.sub(r"# .*", "", runtime.joinpath("mathematics.triton").read_text())
    browser = re.sub(r"//.*", "", runtime.joinpath("mathematics.js").read_text())
    words |= set(re.findall(r"\b([A-Za-z_]\w*)\s*\(", header + mathematics + browser))
    words |= set(re.findall(r"#define\s+(\w+)", header)) | set(re.findall(r"import\s+.*?(\w+)$", mathematics, re.M))
    return frozenset(words | {"real", "mask", "job", "wide", "lane_vector"})
