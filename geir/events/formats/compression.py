"""The compression of packets, of which none may become larger than a limit."""

import functools
import threading
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from .flatbuffer import DamagedError

# A packet may become so large when it is decompressed, which is 8 million events.
LARGEST = 1 << 27


class Compression(IntEnum):
    """What packets are compressed with."""

    NONE = 0
    LZ4 = 1
    LZ4_HIGH = 2
    ZSTD = 3
    ZSTD_HIGH = 4


def _lz4() -> Any:
    try:
        import lz4.frame
    except ImportError as error:
        raise ImportError(
            "LZ4-compressed AEDAT4 files need the package lz4; install it: pip install 'geir[events]'"
        ) from error
    return lz4.frame


def _zstd() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise ImportError(
            "Zstandard-compressed AEDAT4 files need the package zstandard; install it: pip install 'geir[events]'"
        ) from error
    return zstandard


def decompressor_of(compression: int) -> Callable[[bytes], bytes]:
    """What undoes a compression; any thread may call it. Bytes that are damaged raise `DamagedError` or errors of the packages."""
    if compression == Compression.NONE:
        return lambda data: data
    if compression in (Compression.LZ4, Compression.LZ4_HIGH):
        frame = _lz4()

        def lz4(data: bytes) -> bytes:
            decompressor, parts, size = frame.LZ4FrameDecompressor(), [], 0
            # Room is claimed at once, therefore only as much as the packet says, but not less than a mebibyte: it may say too little.
            room = max(1 << 20, min(LARGEST, frame.get_frame_info(data)["content_size"]))
            while not decompressor.eof:
                parts.append(decompressor.decompress(data if decompressor.needs_input else b"", max_length=room))
                size += len(parts[-1])
                if size > LARGEST:
                    raise DamagedError(f"has more than {LARGEST:,} bytes")
                if not decompressor.eof and decompressor.needs_input:
                    raise DamagedError("is cut short")
            return parts[0] if len(parts) == 1 else b"".join(parts)

        return lz4
    zstandard, own = _zstd(), threading.local()

    def zstd(data: bytes) -> bytes:
        size = zstandard.frame_content_size(data)
        if size > LARGEST:
            raise DamagedError(f"has {size:,} bytes, which are more than {LARGEST:,}")
        # A decompressor is for one thread.
        own.decompressor = getattr(own, "decompressor", None) or zstandard.ZstdDecompressor(
            max_window_size=LARGEST // 2
        )
        if size >= 0:
            return own.decompressor.decompress(data)
        with own.decompressor.stream_reader(data) as reader:
            result = reader.read(LARGEST)
        if len(result) == LARGEST:
            raise DamagedError(f"has more than {LARGEST:,} bytes")
        return result

    return zstd


def expected_size(data: bytes, compression: int) -> int:
    """About how many bytes a packet has when it is decompressed."""
    if compression == Compression.NONE:
        return len(data)
    try:
        if compression in (Compression.LZ4, Compression.LZ4_HIGH):
            # Where it does not say so: LZ4 makes at most 255 of one, and mostly three.
            return _lz4().get_frame_info(data)["content_size"] or 4 * len(data)
        size = _zstd().frame_content_size(data)
    except Exception:  # to be told when it is decompressed
        return len(data)
    return size if size >= 0 else LARGEST


def compressor_of(compression: Compression) -> Callable[[bytes], bytes]:
    """What compresses."""
    match compression:
        case Compression.NONE:
            return bytes
        case Compression.LZ4 | Compression.LZ4_HIGH:
            frame = _lz4()
            return functools.partial(frame.compress, compression_level=9 if compression == Compression.LZ4_HIGH else 0)
        case _:
            return _zstd().ZstdCompressor(10 if compression == Compression.ZSTD_HIGH else 3).compress
