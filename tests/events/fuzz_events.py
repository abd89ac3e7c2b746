"""Damaged event files by the hundred thousand: `python tests/fuzz_events.py --help`. Nothing may come of them but events and EventFileError.

Each format is tried in a process of its own, with limits of memory and of the processor's time for each file; the file that breaks a limit or the
process is kept.
"""

import argparse
import json
import random
import re
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from geir.events import Compression, EventFileError, Events, open_events, write_events
from geir.events.formats import decode

SIZE = (320, 240)
MEMORY, SECONDS = 1 << 30, 5
NUMBERS = [
    0,
    1,
    -1,
    7,
    8,
    127,
    128,
    255,
    256,
    32767,
    32768,
    65535,
    2**31 - 1,
    -(2**31),
    2**32 - 1,
    2**62,
    2**63 - 1,
    -(2**63),
]


def seeds(name, folder):
    """The file's suffix, and sound files."""
    rng = np.random.default_rng(0)
    events = []
    for count, step in ((0, 1), (3, 9), (60, 40), (60, 3000)):
        x, y = (rng.integers(0, n, count) for n in SIZE)
        events.append(Events(5000 + np.cumsum(rng.integers(0, step, count)), x, y, rng.integers(0, 2, count), SIZE))
    options = {
        "aedat4": (".aedat4", {"compression": Compression.NONE}),
        "aedat4-lz4": (".aedat4", {}),
        "aedat4-zstd": (".aedat4", {"compression": Compression.ZSTD}),
        "evt2": (".raw", {"format": "evt2"}),
        "evt3": (".raw", {"format": "evt3"}),
        "dat": (".dat", {}),
        "hdf5": (".h5", {}),
        "csv": (".csv", {}),
        "npz": (".npz", {}),
    }
    if name == "nmnist":
        return ".bin", [rng.integers(0, 256, 5 * n, dtype=np.uint8).tobytes() for n in (1, 50)]
    if name == "evt21":
        head = b"% evt 2.1\n% format EVT21;endianness=little;height=240;width=320\n% end\n"
        word = lambda kind, low, x, y, mask: struct.pack("<II", mask, kind << 28 | low << 22 | x << 11 | y)
        words = b"".join(word(8, 0, 0, k, 0) + word(k & 1, k & 63, 32 * (k % 9), k, 5 << k) for k in range(29))
        return ".raw", [head, head + words, head.replace(b"little", b"legacy") + words]
    suffix, chosen = options[name]
    contents = []
    for some in events:
        write_events(some, folder / f"seed{suffix}", **chosen)
        contents.append((folder / f"seed{suffix}").read_bytes())
    # What is small in the file and large when it is decompressed.
    if name in ("aedat4-lz4", "aedat4-zstd"):
        write_events(Events(*(np.full(100_000, n) for n in (5000, 7, 8, 1)), SIZE), folder / f"seed{suffix}", **chosen)
        contents.append((folder / f"seed{suffix}").read_bytes())
    # Vectors, which geir does not write.
    if name == "evt3":
        vectors = [
            (3, 100),
            (4, 0xF0F),
            (0, 9),
            (5, 0x81),
            (6, 77),
            (8, 2),
            (3, 2047),
            (4, 0),
            (7, 1),
            (15, 2),
            (10, 1),
            (14, 3),
        ]
        contents.append(contents[2] + b"".join(struct.pack("<H", kind << 12 | value) for kind, value in vectors))
    return suffix, contents


def mutated(content, others, rng):
    """Some changes to a file."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(data) + 1) if rng.random() < 0.6 else min(len(data), rng.randrange(800))
        match rng.randrange(9):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(data):
                data[at] = rng.randrange(256)
            case 2:
                value, kind = rng.choice(NUMBERS), rng.choice("BHIQ")
                size = struct.calcsize(kind)
                data[at : at + size] = (value % (1 << (8 * size))).to_bytes(
                    size, rng.choice(("little", "little", "big"))
                )
            case 3:
                del data[at : at + rng.choice((1, 2, 4, 8, 100))]
            case 4:
                data[at:at] = rng.randbytes(rng.choice((1, 2, 4, 8)))
            case 5:
                del data[at:]
            case 6:
                length = rng.choice((1, 4, 16, 200))
                data[at:at] = data[at : at + length] * rng.choice((1, 1, 50))
            case 7:
                other = rng.choice(others)
                start = rng.randrange(len(other) + 1)
                data[at : at + 64] = other[start : start + 64]
            case 8:
                data[at : at + 4] = (len(data) + rng.randrange(-9, 10)).to_bytes(4, "little", signed=True)
    return repaired(data, rng) if rng.random() < 0.5 else bytes(data)


def repaired(data, rng):
    """With the checksums of LZ4 frames' headers made right, without which the library looks no further, and now and then other sizes of content."""
    at = data.find(b"\x04\x22\x4d\x18")
    while 0 <= at < len(data) - 6:
        # The size of the content and the number of a dictionary come between, as two flags say.
        end = at + 6 + 8 * (data[at + 4] >> 3 & 1) + 4 * (data[at + 4] & 1)
        if end < len(data) and data[at + 4] & 8 and rng.random() < 0.1:
            data[at + 6 : at + 14] = (rng.choice(NUMBERS) % 2**64).to_bytes(8, "little")
        if end < len(data):
            data[end] = xxh32(bytes(data[at + 4 : end])) >> 8 & 255
        at = data.find(b"\x04\x22\x4d\x18", at + 4)
    return bytes(data)


def xxh32(data):
    """The XXH32 checksum of fewer than 16 bytes."""
    p1, p2, p3, p4, p5 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1
    whole = len(data) // 4 * 4
    parts = [(w * p3, 17, p4) for (w,) in struct.iter_unpack("<I", data[:whole])] + [
        (b * p5, 11, p1) for b in data[whole:]
    ]
    h = p5 + len(data)
    for value, turn, factor in parts:
        h = (h + value) % 2**32
        h = (h << turn | h >> 32 - turn) * factor % 2**32
    h = (h ^ h >> 15) * p2 % 2**32
    h = (h ^ h >> 13) * p3 % 2**32
    return h ^ h >> 16


def outcome(path, name):
    """What reading a file comes to: how many events, and what kind of error. Anything else is raised."""
    count = 0
    try:
        with open_events(path, format=name.split("-")[0] if name in ("nmnist", "csv", "dat") else None) as recording:
            for part in recording.chunks(1000):
                Events(*part.columns(), part.sensor_size)  # which looks at every one
                count += len(part)
    except EventFileError as error:
        # Where a chunk begins depends on how it was decoded.
        offset = None if error.reason.startswith("in what begins here") else error.offset
        return count, offset, re.sub(r"(?<!\w)b?(['\"]).*\1|[-\d,]", "", error.reason)[:60]
    return count, None, "sound"


def child(options):
    """Try files; print what came of them."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        suffix, contents = seeds(options.format, Path(folder))
    # After all is loaded, for what the limit is about is what comes on top.
    path = options.folder / f"current{suffix}"
    path.write_bytes(contents[0])
    outcome(path, options.format)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
    counts = Counter()
    library = decode._library
    end = time.monotonic() + options.seconds
    sound = len(contents)
    lines = set()

    def trace(frame, event, argument):
        if "events/formats" not in frame.f_code.co_filename:
            return None
        lines.add((frame.f_code.co_filename, frame.f_lineno))
        return trace

    k = options.start
    while k < options.start + options.count and (not options.guided or time.monotonic() < end):
        rng = random.Random(f"{options.format} {k} {options.seed}")
        # Most of what is found on the way is damaged early; what is sound leads further in.
        content = mutated(rng.choice(contents[:sound] if rng.random() < 0.3 else contents), contents, rng)
        path.write_bytes(content)
        (options.folder / "number").write_text(str(k))
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        if options.guided:
            decode._library = lambda: None
            before = len(lines)
            sys.settrace(trace)
            try:
                result = outcome(path, options.format)
            finally:
                sys.settrace(None)
                decode._library = library
            # What reaches a new line, or a new kind of error, is changed further.
            if len(lines) > before or result[2] not in counts:
                contents.append(content)
        else:
            result = outcome(path, options.format)
        # The other way to decode comes to the same. These two have but one, and HDF5's library does not always find the same fault first.
        if (k % 8 == 0 or options.guided) and options.format not in ("hdf5", "npz"):
            decode._library = (lambda: None) if decode._library is library and not options.guided else library
            again = outcome(path, options.format)
            decode._library = library
            assert again == result, f"C and NumPy differ: {result} and {again}"
        signal.setitimer(signal.ITIMER_PROF, 0)
        counts[result[2]] += 1
        k += 1
    about = {
        "files": k - options.start,
        "kept": len(contents),
        "lines": len(lines),
        "sound": counts.pop("sound", 0),
        "errors": dict(counts.most_common()),
    }
    about["peak MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(json.dumps(about))


def main():
    """Try every format, and go on after what breaks a process."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = ["aedat4", "aedat4-lz4", "aedat4-zstd", "evt2", "evt21", "evt3", "dat", "nmnist", "hdf5", "csv", "npz"]
    parser.add_argument("--format", choices=names, help="one alone")
    parser.add_argument("--count", type=int, default=100_000, help="files of each format (default: 100000)")
    parser.add_argument(
        "--guided",
        action="store_true",
        help="keep files that reach new lines of the decoders in NumPy, and change these further",
    )
    parser.add_argument("--seconds", type=float, default=3600.0, help="of each format, if guided (default: an hour)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        return child(options)
    broken = 0
    for name in [options.format] if options.format else names:
        start, began, end = options.start, time.monotonic(), options.start + options.count
        with tempfile.TemporaryDirectory() as folder:
            while start < end and (not options.guided or time.monotonic() < began + options.seconds):
                left = options.seconds - (time.monotonic() - began)
                command = [
                    sys.executable,
                    __file__,
                    "--folder",
                    folder,
                    "--format",
                    name,
                    "--start",
                    str(start),
                    "--count",
                    str(end - start),
                ]
                command += ["--seed", str(options.seed), "--seconds", str(left)] + ["--guided"] * options.guided
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode == 0:
                    print(name, f"{time.monotonic() - began:.0f} s", done.stdout.strip(), flush=True)
                    break
                broken += 1
                number = int(Path(folder, "number").read_text())
                kept = Path(tempfile.gettempdir(), f"fuzz-{name}-{number}{next(Path(folder).glob('current*')).suffix}")
                kept.write_bytes(next(Path(folder).glob("current*")).read_bytes())
                print(f"{name}: BROKEN by {kept}, code {done.returncode}: {done.stderr.strip()[-700:]}", flush=True)
                start = number + 1
                if broken > 20:
                    return 1
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
