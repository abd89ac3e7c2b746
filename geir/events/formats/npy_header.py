"""The header of an array in NPY, read without Python's parser.

NumPy reads it with `ast.literal_eval`, which fails in CPython 3.11 ("AST constructor recursion depth mismatch") while
another thread parses source code, as an import or pytest does; and event files are read in threads.
"""

import re
import struct
from typing import IO, NamedTuple

import numpy
from numpy.lib import format as npy

# The longest header, as in NumPy, and how deep its dtype may be nested.
_MAX_BYTES = 10_000
_MAX_DEPTH = 32
_ESCAPE = re.compile(r"""\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[nrt'"\\])""")
_STRING = rf"""'(?:[^'\\\n]|{_ESCAPE.pattern})*'|"(?:[^"\\\n]|{_ESCAPE.pattern})*\""""
# Long integers of Python 2 end in L.
_TOKEN = re.compile(rf"\s*({_STRING}|(?:0|[1-9][0-9]*)L?|True|False|None|[][(){{}},:])\s*")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}
_CLOSING = {"(": ")", "[": "]", "{": "}"}


class RawHeader(NamedTuple):
    """A header as the file states it."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: numpy.dtype


def read_raw_header(file: IO[bytes]) -> RawHeader:
    """Read the header of an array, and leave the file at its first number.

    Raises:
        ValueError: If it is not a header of NPY, or damaged.
    """
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"the version of the header must be 1.0, 2.0 or 3.0, got {version[0]}.{version[1]}")
    size = "<H" if version == (1, 0) else "<I"
    (length,) = struct.unpack(size, _read(file, struct.calcsize(size)))
    if length > _MAX_BYTES:
        raise ValueError(f"the header must have at most {_MAX_BYTES:,} bytes, got {length:,}")
    text = _read(file, length).decode("utf-8" if version == (3, 0) else "latin-1")
    header = parse_literal(text)
    if not isinstance(header, dict) or header.keys() != {"descr", "fortran_order", "shape"}:
        raise ValueError("the header must state descr, fortran_order and shape")
    shape, fortran_order = header["shape"], header["fortran_order"]
    if not isinstance(shape, tuple) or not all(type(side) is int for side in shape):
        raise ValueError(f"the shape must be a tuple of integers, got {shape!r}")
    if not isinstance(fortran_order, bool):
        raise ValueError(f"fortran_order must be True or False, got {fortran_order!r}")
    return RawHeader(shape, fortran_order, npy.descr_to_dtype(header["descr"]))


def _read(file: IO[bytes], count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise ValueError(f"the header is truncated: expected {count} bytes, got {len(data)}")
    return data


def parse_literal(text: str) -> object:
    """The value of a Python literal of strings, integers >= 0, booleans, None, tuples, lists and dicts.

    Raises:
        ValueError: If it is anything else.
    """
    tokens, position = list[str](), 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise ValueError(f"the header has an unexpected character at {position}: {text[position:][:20]!r}")
        tokens.append(found[1])
        position = found.end()
    tokens.reverse()
    try:
        value = _value(tokens, 0)
    except IndexError:
        raise ValueError("the header ends within a value") from None
    if tokens:
        raise ValueError(f"the header goes on after its value: {tokens[-1]!r}")
    return value


def _value(tokens: list[str], depth: int) -> object:
    """Take a value from the tokens, of which the next is the last."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"the header is nested more than {_MAX_DEPTH} deep")
    token = tokens.pop()
    if token in _CLOSING:
        return _collection(token, tokens, depth)
    if token[0] in "'\"":
        return _ESCAPE.sub(_unescape, token[1:-1])
    if token[0].isdecimal():
        return int(token.removesuffix("L"))
    constants = {"True": True, "False": False, "None": None}
    if token not in constants:
        raise ValueError(f"the header has an unexpected {token!r}")
    return constants[token]


def _collection(opening: str, tokens: list[str], depth: int) -> object:
    """Take a tuple, list or dict, whose opening bracket has been taken, from the tokens."""
    closing, items, pairs, commas = _CLOSING[opening], list[object](), dict[object, object](), 0
    while tokens[-1] != closing:
        if len(items) > commas:
            _take(tokens, ",")
            commas += 1
            continue
        item = _value(tokens, depth + 1)
        if opening == "{":
            _take(tokens, ":")
            pairs[item] = _value(tokens, depth + 1)
        items.append(item)
    tokens.pop()
    if opening == "{":
        return pairs
    if opening == "[":
        return items
    # Parentheses around one value without a comma are not a tuple.
    return tuple(items) if commas or len(items) != 1 else items[0]


def _take(tokens: list[str], expected: str) -> None:
    if (token := tokens.pop()) != expected:
        raise ValueError(f"the header has {token!r} where {expected!r} was expected")


def _unescape(escape: re.Match[str]) -> str:
    code = escape[1]
    return chr(int(code[1:], 16)) if code[0] in "xuU" else _ESCAPED.get(code, code)
