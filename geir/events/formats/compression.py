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
# Room that is claimed for a packet of LZ4 at least, whatever size it states.
_MIN_LZ4_ROOM = 1 << 20
# A multiple of the usual size of a packet, which is 1 MB at most.
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
            return functools.partial(_decompress_lz4, _lz4())
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


def _decompress_lz4(frame: ModuleType, data: Buffer) -> bytes:
    decompressor = frame.LZ4FrameDecompressor()
    parts: list[bytes] = []
    size = 0
    # The package allocates the room at once. A packet may state too large a size, so the room is
    # limited, or too small a one, which would make many small parts.
    room = max(_MIN_LZ4_ROOM, min(MAX_PACKET_BYTES, frame.get_frame_info(data)["content_size"]))
    while not decompressor.eof:
        parts.append(decompressor.decompress(data if decompressor.needs_input else b"", max_length=room))
        size += len(parts[-1])
        if size > MAX_PACKET_BYTES:
            raise DamagedError(f"has more than {MAX_PACKET_BYTES:,} bytes")
        if not decompressor.eof and decompressor.needs_input:
            raise DamagedError("is truncated")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _decompress_zstd(zstandard: ModuleType, per_thread: threading.local, data: Buffer) -> bytes:
    size = zstandard.frame_content_size(data)
    if size > MAX_PACKET_BYTES:
        raise DamagedError(f"has {size:,} bytes, more than {MAX_PACKET_BYTES:,}")
    # A decompressor must not be shared between threads.
    if not hasattr(per_thread, "decompressor"):
        per_thread.decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_PACKET_BYTES // 2)
    if size >= 0:
        return per_thread.decompressor.decompress(data)
    with per_thread.decompressor.stream_reader(data) as reader:
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
