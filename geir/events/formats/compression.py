"""Compression of AEDAT 4's packets, with a limit on their decompressed size."""

import functools
import threading
from collections.abc import Callable
from enum import IntEnum
from types import ModuleType

import numpy

from .flatbuffer import DamagedError
from .source import Buffer

# Decompressed bytes of a packet at most: about 8 million events.
MAX_PACKET_BYTES = 1 << 27
# Room for a packet of LZ4 at first: usually they have 1 MB at most.
_LZ4_ROOM = 1 << 21
# A multiple of that room.
_MALLOC_BLOCK_BYTES = 1 << 22
# Assumed ratio of LZ4 where the size is not stated. It is at most 255, and mostly below three.
_TYPICAL_LZ4_RATIO = 4


class Compression(IntEnum):
    """Compression of the packets of an AEDAT 4 file."""

    NONE = 0
    LZ4 = 1
    LZ4_HIGH = 2
    ZSTD = 3
    ZSTD_HIGH = 4


def _lz4() -> ModuleType:
    try:
        import lz4.frame
    except ImportError as error:
        raise ImportError(
            "LZ4-compressed AEDAT4 files need the package lz4; install it: pip install 'geir[events]'"
        ) from error
    return lz4.frame


def _zstd() -> ModuleType:
    try:
        import zstandard
    except ImportError as error:
        raise ImportError(
            "Zstandard-compressed AEDAT4 files need the package zstandard; install it: pip install 'geir[events]'"
        ) from error
    return zstandard


def make_decompressor(compression: int) -> Callable[[Buffer], Buffer]:
    """Return a function that decompresses a packet, which any thread may call.

    For invalid bytes the function raises `DamagedError` or the errors of the package that it uses.

    Raises:
        ImportError: If the package that it needs is not installed.
    """
    match compression:
        case Compression.NONE:
            return lambda data: data
        case Compression.LZ4 | Compression.LZ4_HIGH:
            _raise_malloc_limits()
            return functools.partial(_decompress_lz4, _lz4(), threading.local())
        case _:
            return functools.partial(_decompress_zstd, _zstd(), threading.local())


def _raise_malloc_limits() -> None:
    """Let the C library reuse the memory of a packet for the next one.

    The package for LZ4 allocates the memory of a packet twice, and frees it. glibc returns freed memory to the system
    if it is more than twice the largest block that was freed before (mallopt(3), M_MMAP_THRESHOLD), and the system
    clears it again for the next packet, which takes as long as decompressing. So free one block that is larger than
    packets are. Its memory is never touched: NumPy does not clear it, as `bytearray` does.
    """
    numpy.empty(_MALLOC_BLOCK_BYTES, numpy.uint8)


def _decompress_lz4(frame: ModuleType, per_thread: threading.local, data: Buffer) -> bytes:
    # A context must not be shared between threads. After a whole frame it is as good as new; after an error it is not.
    try:
        context = per_thread.context
    except AttributeError:
        context = per_thread.context = frame.create_decompression_context()
    try:
        # The package allocates the room at once. It does not depend on the size that the packet states, which may be
        # too large, or too small.
        part, read, complete = frame.decompress_chunk(context, data, max_length=_LZ4_ROOM)
        return part if complete else _decompress_rest(frame, context, part, data[read:])
    except BaseException:
        del per_thread.context
        raise


def _decompress_rest(frame: ModuleType, context: object, first: bytes, data: Buffer) -> bytes:
    """Decompress the rest of a packet of LZ4 after its first part."""
    parts, size, room, complete = [first], len(first), _LZ4_ROOM, False
    while not complete:
        # It takes all of the data unless it runs out of room.
        if len(parts[-1]) < room:
            raise DamagedError("is truncated")
        room = max(_LZ4_ROOM, size)
        part, read, complete = frame.decompress_chunk(context, data, max_length=room)
        parts.append(part)
        size += len(part)
        if size > MAX_PACKET_BYTES:
            raise DamagedError(f"has more than {MAX_PACKET_BYTES:,} bytes")
        data = data[read:]
    return b"".join(parts)


def _decompress_zstd(zstandard: ModuleType, per_thread: threading.local, data: Buffer) -> bytes:
    size = zstandard.frame_content_size(data)
    if size > MAX_PACKET_BYTES:
        raise DamagedError(f"has {size:,} bytes, more than {MAX_PACKET_BYTES:,}")
    # A decompressor must not be shared between threads.
    try:
        decompressor = per_thread.decompressor
    except AttributeError:
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_PACKET_BYTES // 2)
        per_thread.decompressor = decompressor
    if size >= 0:
        return decompressor.decompress(data)
    with decompressor.stream_reader(data) as reader:
        result = reader.read(MAX_PACKET_BYTES)
    if len(result) == MAX_PACKET_BYTES:
        raise DamagedError(f"has more than {MAX_PACKET_BYTES:,} bytes")
    return result


def estimate_size(data: Buffer, compression: int) -> int:
    """Estimate the decompressed size of a packet in bytes, from its header."""
    if compression == Compression.NONE:
        return len(data)
    try:
        if compression in (Compression.LZ4, Compression.LZ4_HIGH):
            return _lz4().get_frame_info(data)["content_size"] or _TYPICAL_LZ4_RATIO * len(data)
        size = _zstd().frame_content_size(data)
    except Exception:  # invalid; decompressing it will raise the error
        return len(data)
    return size if size >= 0 else MAX_PACKET_BYTES


def make_compressor(compression: Compression) -> Callable[[bytes], bytes]:
    """Return a function that compresses a packet.

    Raises:
        ImportError: If the package that it needs is not installed.
    """
    match compression:
        case Compression.NONE:
            return bytes
        case Compression.LZ4 | Compression.LZ4_HIGH:
            level = 9 if compression == Compression.LZ4_HIGH else 0
            return functools.partial(_lz4().compress, compression_level=level)
        case _:
            return _zstd().ZstdCompressor(10 if compression == Compression.ZSTD_HIGH else 3).compress
