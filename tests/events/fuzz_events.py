"""Fuzz the readers of event files: `python tests/events/fuzz_events.py --help`.

Reads hundreds of thousands of damaged files. Reading must yield valid events or raise EventFileError, and C and Python must agree.
Each format is fuzzed in a subprocess, which has a limit of memory, and of processor time per file. A file that exceeds a limit or
crashes the subprocess is kept.
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
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from geir.events import _native, Compression, EventFileError, Events, open_events, SpikeTrains, write_events

SIZE = (320, 240)
MEMORY_BYTES = 1 << 30
SECONDS_PER_FILE = 5
MAX_FAILURES = 20
# Every how many files C and Python are compared.
COMPARE_EVERY = 8

# Format that is fuzzed: suffix, and options of `write_events`; of those that geir does not write, only the suffix.
FORMATS = {
    "aedat4": (".aedat4", {"compression": Compression.NONE}),
    "aedat4-lz4": (".aedat4", {}),
    "aedat4-zstd": (".aedat4", {"compression": Compression.ZSTD}),
    "evt2": (".raw", {"format": "evt2"}),
    "evt21": (".raw", None),
    "evt3": (".raw", {"format": "evt3"}),
    "dat": (".dat", {}),
    "nmnist": (".bin", None),
    "hdf5": (".h5", {}),
    "csv": (".csv", {}),
    "npz": (".npz", {}),
    "aedat2": (".aedat", None),
    "aedat3": (".aedat", None),
    "text-seconds": (".txt", None),
    "text-names": (".csv", None),
    "npy": (".npy", None),
    "npz-structured": (".npz", None),
    "hdf5-mvsec": (".h5", None),
    "hdf5-prophesee": (".h5", None),
    "hdf5-dsec": (".h5", None),
    "hdf5-e2vid": (".h5", None),
    "spike-trains": (".h5", None),
}
# Options of reading, where files do not say it themselves.
SIZED = {"sensor_size": SIZE}
READ_OPTIONS = {
    "text-seconds": {"format": "csv"},
    "text-names": {"format": "csv", **SIZED},
    "npy": {"format": "npy", **SIZED},
    "npz-structured": SIZED,
    "hdf5-mvsec": SIZED,
    "hdf5-dsec": SIZED,
    "hdf5-e2vid": SIZED,
}
# Formats without a name in their first bytes must be named, or damage to the head would end every test.
NAMED = ("nmnist", "csv", "dat")
# Formats whose decoder is in a library: nothing to compare.
WITHOUT_DECODER = ("hdf5", "npz", "npy", "npz-structured", "aedat2", "aedat3")
WITHOUT_DECODER += ("hdf5-mvsec", "hdf5-prophesee", "hdf5-dsec", "hdf5-e2vid", "spike-trains")

# Values that are written over numbers in a file.
NUMBERS = [0, 1, -1, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535]
NUMBERS += [2**31 - 1, -(2**31), 2**32 - 1, 2**62, 2**63 - 1, -(2**63)]

LZ4_MAGIC = b"\x04\x22\x4d\x18"


def valid_files(name, folder):
    """Contents of valid files of a format."""
    rng = np.random.default_rng(0)
    if name == "nmnist":
        return [rng.integers(0, 256, 5 * n, dtype=np.uint8).tobytes() for n in (1, 50)]
    if name == "evt21":
        return evt21_files()
    if FORMATS[name][1] is None:
        return [content for count in (0, 3, 60) for content in files_of_other_programs(name, count, folder)]
    suffix, options = FORMATS[name]
    path = folder / f"seed{suffix}"

    def content(events):
        write_events(events, path, **options)
        return path.read_bytes()

    samples = []
    for count, step in ((0, 1), (3, 9), (60, 40), (60, 3000)):
        x, y = (rng.integers(0, n, count) for n in SIZE)
        t = 5000 + np.cumsum(rng.integers(0, step, count))
        samples.append(content(Events(t, x, y, rng.integers(0, 2, count), SIZE)))
    if name in ("aedat4-lz4", "aedat4-zstd"):
        # Small in the file, large when decompressed.
        samples.append(content(Events(*(np.full(100_000, n) for n in (5000, 7, 8, 1)), SIZE)))
    if name == "evt3":
        samples.append(samples[2] + evt3_vectors())
    return samples


def evt21_files():
    head = b"% evt 2.1\n% format EVT21;endianness=little;height=240;width=320\n% end\n"

    def word(kind, low, x, y, mask):
        return struct.pack("<II", mask, kind << 28 | low << 22 | x << 11 | y)

    words = b"".join(word(8, 0, 0, k, 0) + word(k & 1, k & 63, 32 * (k % 9), k, 5 << k) for k in range(29))
    return [head, head + words, head.replace(b"little", b"legacy") + words]


def files_of_other_programs(name, count, folder):
    """Contents of valid files, with `count` events, of a format or layout that geir does not write."""
    rng = np.random.default_rng(count)
    t = 5000 + np.cumsum(rng.integers(0, 400, count))
    x, y, p = rng.integers(0, 128, count), rng.integers(0, 128, count), rng.integers(0, 2, count)
    path = folder / "other"
    match name:
        case "aedat2":
            head = b"#!AER-DAT2.0\r\n# Timestamps tick is 1 us\r\n"
            words = np.stack([y << 8 | x << 1 | p, t], 1).astype(">u4").tobytes()
            davis = np.stack([y << 22 | x << 12 | p << 11, t], 1).astype(">u4").tobytes()
            return [head + words, head + b"# AEChip: a.DVS128\r\n" + words, head + b"# AEChip: DAVIS346\r\n" + davis]
        case "aedat3":
            head = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"
            words = np.stack([x << 17 | y << 2 | p << 1 | 1, t], 1).astype("<u4")
            packet = [
                struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, len(part), len(part), len(part)) + part.tobytes()
                for part in (words[: count // 3], words[count // 3 :])
            ]
            return [head + packet[0] + struct.pack("<hhiiiiii", 0, 1, 4, 0, 0, 1, 1, 1) + bytes(4) + packet[1]]
        case "text-seconds":
            lines = "".join(f"{a / 1e6:.6f} {b} {c} {d}\n" for a, b, c, d in zip(t, x, y, p, strict=True))
            return [b"320 240\n" + lines.encode(), b"320 240\n# t x y p\n" + lines.replace(" ", "\t").encode()]
        case "text-names":
            cells = zip(range(count), x, y, t, p, strict=True)
            lines = "".join(f'{k},{a}.0,"{b}",{c}.0,{bool(d)}\r\n' for k, a, b, c, d in cells).encode()
            return [b'\xef\xbb\xbf,"X","Y","Time","Polarity"\r\n' + lines]
        case "npy" | "npz-structured":
            array = np.zeros(count, [("x", "<u2"), ("y", ">i4"), ("ts", "<f8"), ("pol", "i1")])
            array["x"], array["y"], array["ts"], array["pol"] = x, y, t / 1e6, 2 * p - 1
            with open(path, "wb") as file:
                {"npy": np.save, "npz-structured": np.savez}[name](file, array)
            return [path.read_bytes()]
    with h5py.File(path, "w") as file:
        if name == "hdf5-mvsec":
            rows = np.stack([x, y, t / 1e6, 2 * p - 1], 1)
            stored = {"chunks": (32, 4), "maxshape": (None, 4), "fletcher32": True, "compression": "gzip"}
            file.create_dataset("davis/left/events", data=rows, **stored)
            file["davis/left/image_raw"] = np.zeros((1, 240, 320), "u1")
        elif name == "hdf5-prophesee":
            rows = np.zeros(count, [("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")])
            rows["x"], rows["y"], rows["p"], rows["t"] = x, y, p, t
            file["CD/events"] = rows
            file.attrs["geometry"] = "320x240"
        elif name == "spike-trains":
            for key, values, dtype in (("times", t / 1e6, "<f2"), ("units", x, "<u2")):
                data = file.create_dataset(f"spikes/{key}", (3,), h5py.vlen_dtype(np.dtype(dtype)))
                for k in range(3):
                    data[k] = values[k::3].astype(dtype)
            file["labels"] = np.arange(3)
            file["extra/keys"] = np.array(["zero", "one", "two"], "S")
        else:
            names = "txyp" if name == "hdf5-dsec" else ("ts", "xs", "ys", "ps")
            times = t if name == "hdf5-dsec" else t / 1e6
            for key, values in zip(names, (times, x, y, p), strict=True):
                file.create_dataset(f"events/{key}", data=values, chunks=(40,), maxshape=(None,))
            if name == "hdf5-dsec":
                file["t_offset"] = 10**12
    return [path.read_bytes()]


def evt3_vectors():
    """Words of vectors, which geir does not write, and of all other types."""
    words = [
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
    return b"".join(struct.pack("<H", kind << 12 | value) for kind, value in words)


def mutate(content, others, rng):
    """Change a file in one or several places, most often near its beginning or anywhere."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(data) + 1) if rng.random() < 0.6 else min(len(data), rng.randrange(800))
        match rng.randrange(9):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(data):
                data[at] = rng.randrange(256)
            case 2:
                value, size = rng.choice(NUMBERS), rng.choice((1, 2, 4, 8))
                order = rng.choice(("little", "little", "big"))
                data[at : at + size] = (value % (1 << (8 * size))).to_bytes(size, order)
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
    return repair_lz4(data, rng) if rng.random() < 0.5 else bytes(data)


def repair_lz4(data, rng):
    """Correct the checksums of the headers of LZ4 frames, without which LZ4 reads no further; sometimes change the content size."""
    at = data.find(LZ4_MAGIC)
    while 0 <= at < len(data) - 6:
        # Two flags tell whether the header has a content size and a dictionary number, which precede the checksum.
        has_size, has_dictionary = data[at + 4] >> 3 & 1, data[at + 4] & 1
        end = at + 6 + 8 * has_size + 4 * has_dictionary
        if end < len(data) and has_size and rng.random() < 0.1:
            data[at + 6 : at + 14] = (rng.choice(NUMBERS) % 2**64).to_bytes(8, "little")
        if end < len(data):
            data[end] = xxh32(bytes(data[at + 4 : end])) >> 8 & 255
        at = data.find(LZ4_MAGIC, at + 4)
    return bytes(data)


def xxh32(data):
    """The XXH32 checksum of fewer than 16 bytes."""
    p1, p2, p3, p4, p5 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1
    whole = len(data) // 4 * 4
    parts = [(word * p3, 17, p4) for (word,) in struct.iter_unpack("<I", data[:whole])]
    parts += [(byte * p5, 11, p1) for byte in data[whole:]]
    h = p5 + len(data)
    for value, turn, factor in parts:
        h = (h + value) % 2**32
        h = (h << turn | h >> 32 - turn) * factor % 2**32
    h = (h ^ h >> 15) * p2 % 2**32
    h = (h ^ h >> 13) * p3 % 2**32
    return h ^ h >> 16


def read_outcome(path, name):
    """Read a file. Returns the number of events, and the byte and kind of the error, if any; other errors are raised."""
    count = 0
    try:
        if name == "spike-trains":
            for train in SpikeTrains(path):
                assert len(train.times) == len(train.units)
                count += len(train.times)
            return count, None, "valid"
        options = READ_OPTIONS.get(name, {"format": name if name in NAMED else None})
        with open_events(path, **options) as recording:
            for chunk in recording.chunks(1000):
                Events(*chunk.columns(), chunk.sensor_size)  # the constructor checks every event
                count += len(chunk)
    except EventFileError as error:
        return count, error.offset, re.sub(r"(?<!\w)b?(['\"]).*\1|[-\d,]", "", error.reason)[:60]
    return count, None, "valid"


@contextmanager
def python_decoders():
    """Decode in Python."""
    load = _native.load
    _native.load = lambda *_, **__: None
    try:
        yield
    finally:
        _native.load = load


@contextmanager
def traced_lines(lines):
    """Add to `lines` every line of the readers that runs."""

    def trace(frame, event, argument):
        if "events/formats" not in frame.f_code.co_filename:
            return None
        lines.add((frame.f_code.co_filename, frame.f_lineno))
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)


def limit_memory():
    """Limit the memory that reading may need in addition to what is loaded already."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES,) * 2)


def fuzz(options):
    """Fuzz one format in this process, and print a summary as JSON."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    name = options.format
    path = options.folder / f"current{FORMATS[name][0]}"
    with tempfile.TemporaryDirectory() as folder:
        contents = valid_files(name, Path(folder))
    valid = len(contents)
    # Load everything before memory is limited.
    path.write_bytes(contents[0])
    read_outcome(path, name)
    limit_memory()
    counts, lines = Counter(), set()
    end = time.monotonic() + options.seconds
    k = options.start
    while k < options.start + options.count and (not options.guided or time.monotonic() < end):
        rng = random.Random(f"{name} {k} {options.seed}")
        # Files found on the way are mostly damaged early; valid ones reach further, so these are chosen more often.
        content = mutate(rng.choice(contents[:valid] if rng.random() < 0.3 else contents), contents, rng)
        path.write_bytes(content)
        (options.folder / "number").write_text(str(k))
        signal.setitimer(signal.ITIMER_PROF, SECONDS_PER_FILE)
        result = (
            fuzz_guided(path, name, content, contents, counts, lines) if options.guided else read_outcome(path, name)
        )
        if not options.guided and k % COMPARE_EVERY == 0 and name not in WITHOUT_DECODER:
            with python_decoders():
                in_python = read_outcome(path, name)
            assert in_python == result, f"C and Python differ: {result} and {in_python}"
        signal.setitimer(signal.ITIMER_PROF, 0)
        counts[result[2]] += 1
        k += 1
    summary = {
        "files": k - options.start,
        "kept": len(contents),
        "lines": len(lines),
        "valid": counts.pop("valid", 0),
        "errors": dict(counts.most_common()),
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }
    print(json.dumps(summary))


def fuzz_guided(path, name, content, contents, counts, lines):
    """Read a file in Python and in C; keep its content for further changes if it reaches a new line or a new kind of error."""
    before = len(lines)
    with python_decoders(), traced_lines(lines):
        result = read_outcome(path, name)
    if len(lines) > before or result[2] not in counts:
        contents.append(content)
    if name not in WITHOUT_DECODER:
        in_c = read_outcome(path, name)
        assert in_c == result, f"C and Python differ: {in_c} and {result}"
    return result


def run_format(name, options):
    """Fuzz one format in subprocesses, a new one after each failure. Returns the number of failures."""
    failures = 0
    start, began, end = options.start, time.monotonic(), options.start + options.count
    with tempfile.TemporaryDirectory() as folder:
        while start < end and (not options.guided or time.monotonic() < began + options.seconds):
            left = options.seconds - (time.monotonic() - began)
            command = [sys.executable, __file__, "--folder", folder, "--format", name, "--seed", str(options.seed)]
            command += ["--start", str(start), "--count", str(end - start), "--seconds", str(left)]
            command += ["--guided"] * options.guided
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                print(name, f"{time.monotonic() - began:.0f} s", done.stdout.strip(), flush=True)
                break
            failures += 1
            number = int(Path(folder, "number").read_text())
            current = next(Path(folder).glob("current*"))
            kept = Path(tempfile.gettempdir(), f"fuzz-{name}-{number}{current.suffix}")
            kept.write_bytes(current.read_bytes())
            print(f"{name}: FAILED on {kept}, code {done.returncode}: {done.stderr.strip()[-700:]}", flush=True)
            start = number + 1
            if failures > MAX_FAILURES:
                break
    return failures


def main():
    """Fuzz all formats, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--format", choices=FORMATS, help="fuzz only this format")
    parser.add_argument("--count", type=int, default=100_000, help="files per format (default: 100000)")
    guided = "keep files that reach new lines of the readers or of the decoders in Python, and change them further"
    parser.add_argument("--guided", action="store_true", help=guided)
    parser.add_argument("--seconds", type=float, default=3600.0, help="per format, with --guided (default: an hour)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="number of the first file (default: 0)")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        return fuzz(options)
    return int(sum(run_format(name, options) for name in ([options.format] if options.format else FORMATS)) > 0)


if __name__ == "__main__":
    sys.exit(main())
