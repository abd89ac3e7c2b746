"""Files of cached results: tensors, arrays, events, and containers of these."""

import contextlib
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy
import torch
from torch import Tensor

from .._util.atomic import atomic_write
from .store import Events

# First bytes of a file; followed by the hash of the content, and the content.
_MAGIC: Final = b"geir cache 1\n"
_HASH_BYTES: Final = 16
_PLAIN_TYPES: Final = (type(None), bool, int, float, complex, str, bytes)


class NotCachedError(Exception):
    """There is no file of a result, or it is damaged."""


def write_cached(path: Path, value: object) -> Any:
    """Write a result, for `read_cached`.

    Another process may read or write the same file meanwhile.

    Returns:
        The result as `read_cached` returns it, without gradients.

    Raises:
        TypeError: If the value, or a part of it, is of a type that cannot be cached.
    """
    buffer = io.BytesIO()
    packed = _pack(value)
    torch.save(packed, buffer)
    content = buffer.getbuffer()
    path.parent.mkdir(parents=True, exist_ok=True)
    # If another process empties the folder meanwhile, the result is written the next time.
    with contextlib.suppress(FileNotFoundError), atomic_write(path) as draft, open(draft, "wb") as file:
        file.write(_MAGIC)
        file.write(_hash(content))
        file.write(content)
    return _unpack(packed)


def read_cached(path: Path) -> Any:
    """Read a result that `write_cached` has written. Nothing in the file can run code.

    Raises:
        NotCachedError: If there is no such file, or it is not as it was written.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotCachedError from None
    begin = len(_MAGIC) + _HASH_BYTES
    content = memoryview(data)[begin:]
    if not data.startswith(_MAGIC) or _hash(content) != data[len(_MAGIC) : begin]:
        raise NotCachedError
    return _unpack(torch.load(io.BytesIO(content), weights_only=True))


def file_state(path: Path) -> tuple[object, ...]:
    """Return the path, size and times of a file, or of all files in a folder, which change if the content does."""
    paths = [path, *sorted(path.rglob("*"))] if path.is_dir() else [path]
    states: list[object] = []
    for part in paths:
        status = part.stat()
        # The time of the last change of the status, because programs can set that of the content to an old one.
        states += [str(part.resolve()), status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    return tuple(states)


def _hash(content: bytes | memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=_HASH_BYTES).digest()


def _pack(value: object) -> tuple[object, ...]:
    """Convert a value to tuples of a kind and its content, which `torch.load` reads without running code."""
    if isinstance(value, Tensor):
        if type(value) not in (Tensor, torch.nn.Parameter):
            raise _unknown_type(value)
        if value.layout == torch.sparse_coo:
            # Their parts, because PyTorch 2.14 warns when it loads a sparse tensor.
            parts = [_shrink(value.detach()._indices()), _shrink(value.detach()._values())]
            return "sparse", parts, list(value.shape), value.is_coalesced()
        return "tensor", _shrink(value.detach())
    if isinstance(value, Events):
        return "events", [_shrink(column) for column in value.columns()], list(value.sensor_size)
    if isinstance(value, numpy.ndarray | numpy.generic) and not value.dtype.hasobject:
        array = numpy.ascontiguousarray(value)
        content = torch.frombuffer(bytearray(array.tobytes() or b"\0"), dtype=torch.uint8)
        return "array", _describe_dtype(value.dtype), list(value.shape), content, isinstance(value, numpy.generic)
    if type(value) in _PLAIN_TYPES:
        return "plain", value
    if type(value) in (tuple, list):
        return type(value).__name__, [_pack(part) for part in value]  # pyright: ignore[reportGeneralTypeIssues]
    if type(value) is dict:
        entries: Mapping[Any, object] = value
        return "dict", [[_pack(key), _pack(part)] for key, part in entries.items()]
    raise _unknown_type(value)


def _unknown_type(value: object) -> TypeError:
    return TypeError(
        "EventDataset caches tensors, arrays, Events, numbers, texts, and tuples, lists and dicts of these, but "
        f"`prepare` returned an object of the type {type(value).__module__}.{type(value).__qualname__}."
    )


def _unpack(packed: Any) -> Any:
    kind, content, *rest = packed
    match kind:
        case "sparse":
            indices, values = content
            shape, is_coalesced = rest
            return torch.sparse_coo_tensor(indices, values, shape, is_coalesced=is_coalesced, check_invariants=False)
        case "events":
            return Events(*content, sensor_size=tuple(rest[0]))
        case "array":
            shape, data, is_scalar = rest
            dtype = _parse_dtype(content)
            count = int(numpy.prod(shape, dtype=numpy.int64)) * dtype.itemsize
            array = numpy.frombuffer(bytearray(data.numpy().tobytes()[:count]), dtype).reshape(shape)
            return array[()] if is_scalar else array
        case "tuple":
            return tuple(map(_unpack, content))
        case "list":
            return list(map(_unpack, content))
        case "dict":
            return {_unpack(key): _unpack(value) for key, value in content}
        case _:
            return content


def _shrink(tensor: Tensor) -> Tensor:
    """Copy a tensor that shares memory with a larger one, because `torch.save` stores all of the memory."""
    if tensor.layout != torch.strided:
        return tensor
    return tensor.clone() if tensor.untyped_storage().nbytes() > tensor.nbytes else tensor


def _describe_dtype(dtype: numpy.dtype[Any]) -> Any:
    """Return a text, or for a structured dtype its fields."""
    if dtype.names is None:
        return dtype.str
    fields: Any = dtype.fields or {}
    return [
        [name, _describe_dtype(fields[name][0].base), list(fields[name][0].shape), fields[name][1]]
        for name in dtype.names
    ] + [dtype.itemsize]


def _parse_dtype(described: Any) -> numpy.dtype[Any]:
    if isinstance(described, str):
        return numpy.dtype(described)
    *fields, itemsize = described
    return numpy.dtype(
        {
            "names": [name for name, *_ in fields],
            "formats": [(_parse_dtype(base), tuple(shape)) for _, base, shape, _ in fields],
            "offsets": [offset for *_, offset in fields],
            "itemsize": itemsize,
        }
    )
