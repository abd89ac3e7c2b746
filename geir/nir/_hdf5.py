"""HDF5 files as nested dictionaries, read under limits: a file may be damaged, or made to harm."""

import math
import os
from typing import Any, BinaryIO

import numpy as np

from .errors import NIRError

# Groups and datasets in a file, and how deep they are nested.
_MAX_OBJECTS = 1_000_000
_MAX_DEPTH = 64
# A chunk is decompressed as a whole.
_MAX_CHUNK_BYTES = 1 << 28
# Bytes of all texts: names of types, edges and metadata.
_MAX_TEXT_BYTES = 1 << 26
# Bytes of texts that are read at a time, if each is as large as the file.
_TEXT_BLOCK_BYTES = 1 << 24
# Errors that h5py raises on invalid files.
_H5PY_ERRORS = (OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError, AttributeError, MemoryError)

# Nested dictionaries of arrays, numbers and texts.
Tree = dict[str, Any]
# An object of h5py, which has no types.
_Object = Any


def read_tree(path: str, max_bytes: int) -> Tree:
    """Read all groups and datasets of a file.

    Links to other places and other files, and data that are neither numbers nor text, are refused; nothing is
    unpickled.

    Args:
        path: The file.
        max_bytes: Bytes that all datasets may have together.

    Raises:
        NIRError: If the file is damaged, is not HDF5, or exceeds a limit.
        ImportError: If h5py is not installed.
        OSError: If it cannot be opened.
    """
    if not os.path.isdir(path) and os.path.exists(path) and not os.path.isfile(path):
        raise NIRError("it is not a regular file", file=path)
    with open(path, "rb") as file:
        reader = _Reader(path, file, max_bytes)
        if file.read(8) != b"\x89HDF\r\n\x1a\n":
            raise reader.error("it is not an HDF5 file, as NIR files are")
        return reader.read()


class _Reader:
    """Reads one file and counts what it has read."""

    def __init__(self, path: str, file: BinaryIO, max_bytes: int):
        from ..events.formats.hdf5_storage import load_h5py

        self.h5py = load_h5py()
        self.path, self.file, self.max_bytes = path, file, max_bytes
        self.size = os.fstat(file.fileno()).st_size
        self.bytes = self.text_bytes = 0
        self.addresses: set[int] = set()  # of objects that were read

    def error(self, reason: str, offset: int | None = None) -> NIRError:
        return NIRError(reason if offset is None else f"{reason}, at byte {offset:,}", file=self.path)

    def read(self) -> Tree:
        from ..events.formats.hdf5_heaps import check_heaps

        # Texts of variable length are in heaps, which the HDF5 library does not read safely.
        check_heaps(self)
        try:
            with self.h5py.File(self.file, "r") as root:
                self._count(root, "/", 0)
                return self._read_group(root, "", 0)
        except _H5PY_ERRORS as error:
            if isinstance(error, NIRError):
                raise
            raise self.error(f"the file is damaged, or not HDF5: {error}") from error

    def _count(self, item: _Object, path: str, depth: int) -> None:
        """Check that an object was not read before: by a few links, a small file could contain any number of them."""
        address = self.h5py.h5o.get_info(item.id).addr
        if address in self.addresses:
            raise self.error(f"{path[:200]} is an object with several names")
        self.addresses.add(address)
        if len(self.addresses) > _MAX_OBJECTS or depth > _MAX_DEPTH:
            raise self.error(f"it has over {_MAX_OBJECTS:,} objects, or they are nested over {_MAX_DEPTH} deep")

    def _add_bytes(self, path: str, count: int) -> None:
        self.bytes += count
        if self.bytes > self.max_bytes:
            raise self.error(
                f"{path} takes the content beyond {self.max_bytes:,} bytes; if the file is trusted, pass max_bytes"
            )

    def _read_group(self, group: _Object, path: str, depth: int) -> Tree:
        tree: Tree = {}
        for name in group:
            below = f"{path}/{name}"
            if type(group.get(name, getlink=True)).__name__ != "HardLink":
                raise self.error(f"{below} is a link to another place, which NIR files do not have")
            member = group[name]
            self._count(member, below, depth)
            if isinstance(member, self.h5py.Group):
                tree[name] = self._read_group(member, below, depth + 1)
            elif isinstance(member, self.h5py.Dataset):
                tree[name] = self._read_dataset(member, below)
            else:
                raise self.error(f"{below} is neither a group nor a dataset")
        return tree

    def _read_dataset(self, data: _Object, path: str) -> Any:
        """The content of a dataset: text, a number or an array."""
        if data.shape is None:
            raise self.error(f"{path} is empty")
        is_text = data.dtype.kind == "S" or self.h5py.check_string_dtype(data.dtype) is not None
        if not is_text and data.dtype.kind not in "iufb":
            raise self.error(f"{path} has neither numbers nor text, but {data.dtype}")
        count, itemsize = math.prod(data.shape), data.dtype.itemsize
        self._add_bytes(path, count * itemsize)
        if data.external or data.is_virtual:
            raise self.error(f"{path} is stored in another file")
        if data.chunks and math.prod(data.chunks) * itemsize > _MAX_CHUNK_BYTES:
            raise self.error(f"{path} has chunks of {math.prod(data.chunks):,} values, which are too large")
        if not is_text:
            content = data[()]
            return content.astype(content.dtype.newbyteorder("="), copy=False) if data.shape else content.item()
        if data.ndim == 0:
            return self._decode(data[()], path)
        # Every text may be as large as the file, and many may be the same.
        rows = max(1, _TEXT_BLOCK_BYTES // max(1, self.size) // max(1, math.prod(data.shape[1:])))
        texts: list[np.ndarray] = []
        for first in range(0, len(data), min(rows, 4096)):
            block = data[first : first + min(rows, 4096)]
            decoded = [self._decode(text, path) for text in block.flat]
            texts.append(np.array(decoded, object).reshape(block.shape))
        return np.concatenate(texts) if texts else np.empty(data.shape, object)

    def _decode(self, text: Any, path: str) -> str:
        self.text_bytes += len(text)
        if self.text_bytes > _MAX_TEXT_BYTES:
            raise self.error(f"{path} takes the text beyond {_MAX_TEXT_BYTES:,} bytes")
        try:
            return text.decode() if isinstance(text, bytes) else str(text)
        except UnicodeDecodeError:
            raise self.error(f"{path} is text that is not UTF-8") from None
