"""Fuzz the reader of NIR files: `python tests/fuzz_nir.py --help`.

Reads damaged and hostile files, and runs what can be read. Reading must give a network or raise NIRError, which names the file.
Half of the files are changed byte by byte, half in their nodes, fields and edges. Files are read in a subprocess, which has a
limit of memory, and of processor time per file. A file that exceeds a limit or crashes the subprocess is kept.
"""

import argparse
import json
import math
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import h5py
import nir
import numpy as np
import torch

from geir.nir import from_nir, NIRError

MEMORY_BYTES = 1 << 30
SECONDS_PER_FILE = 10
MAX_FAILURES = 20
# Networks with larger values are made, but not run.
MAX_RUN_SIZE = 100_000
# Values that are written over numbers.
NUMBERS = [0, 1, -1, 2, 7, 127, 255, 256, 32767, 65535, 2**31 - 1, -(2**31), 2**32 - 1, 2**62, 2**63 - 1, -(2**63)]
VALUES = [math.nan, math.inf, -math.inf, 0.0, -1.0, 1e-300, 1e300, 0.5, 3.0, *NUMBERS[:12]]


def valid_graphs():
    """Graphs with every type of node."""
    rng = np.random.default_rng(0)

    def array(*shape):
        return rng.random(shape, np.float32) + 0.1

    def neurons(kind, *shape):
        fields = {
            "I": "r",
            "IF": "r v_threshold v_reset",
            "LI": "tau r v_leak",
            "LIF": "tau r v_leak v_threshold v_reset",
            "CubaLI": "tau_mem tau_syn r v_leak w_in",
            "CubaLIF": "tau_mem tau_syn r v_leak v_threshold v_reset w_in",
        }
        return getattr(nir, kind)(**{field: array(*shape) for field in fields[kind].split()})

    def graph(edges, **nodes):
        pairs = [tuple(edge.split("-")) for edge in edges.split()]
        return nir.NIRGraph(nodes, pairs, type_check=False, metadata={"note": "text", "number": 3.5, "array": array(2)})

    def ends(first, last):
        return {"input": nir.Input({"input": np.array(first)}), "output": nir.Output({"output": np.array(last)})}

    dense = graph(
        "input-a a-b b-c c-d d-e e-f f-g g-output",
        **ends([3], [2]),
        a=nir.Affine(weight=array(4, 3), bias=array(4)),
        b=neurons("LIF", 4),
        c=nir.Linear(weight=array(4, 4)),
        d=neurons("CubaLIF", 4),
        e=nir.Delay(delay=array(4) * 1e-3),
        f=nir.Linear(weight=array(2, 4)),
        g=neurons("CubaLI", 2),
    )
    conv = graph(
        "input-a a-b b-c c-d d-e e-f f-g g-h h-i i-output",
        **ends([2, 7, 6], [8]),
        a=nir.Conv2d((7, 6), array(4, 1, 3, 2), np.array([1, 1]), np.array([1, 0]), np.array([1, 1]), 2, array(4)),
        b=neurons("IF", 4, 7, 5),
        c=nir.SumPool2d(kernel_size=np.array([2, 2]), stride=np.array([2, 1]), padding=np.array([0, 1])),
        d=nir.AvgPool2d(kernel_size=np.array([2, 2]), stride=np.array([2, 2]), padding=np.array([0, 0])),
        e=nir.Flatten({"input": np.array([4, 1, 3])}, 1, -1),
        f=nir.Conv1d(3, array(4, 4, 2), 1, "same", 1, 1, array(4)),
        g=nir.Flatten({"input": np.array([4, 3])}, 0, -1),
        h=nir.Linear(weight=array(8, 12)),
        i=nir.Threshold(threshold=array(8)),
    )
    recurrent = graph(
        "input-lif lif-rec rec-lif lif-inner inner-lif lif-output",
        **ends([3], [3]),
        lif=neurons("LIF", 3),
        rec=nir.Affine(weight=array(3, 3), bias=array(3)),
        inner=graph("input-a a-output", **ends([3], [3]), a=nir.Scale(scale=array(3))),
    )
    several = graph(
        "x-a y-a a-b a-c",
        x=nir.Input({"input": np.array([3])}),
        y=nir.Input({"input": np.array([3])}),
        a=neurons("LI", 3),
        b=nir.Output({"output": np.array([3])}),
        c=neurons("I", 3),
    )
    return [dense, conv, recurrent, several]


def valid_files(folder):
    """The contents of valid files, with and without compression."""
    contents = []
    for graph in valid_graphs():
        for compression in ("gzip", None):
            nir.write(folder / "seed.nir", graph, compression=compression)
            contents.append((folder / "seed.nir").read_bytes())
    return contents


def mutate_bytes(content, others, rng):
    """Change a file in one or several places."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(data) + 1) if rng.random() < 0.8 else min(len(data), rng.randrange(800))
        match rng.randrange(8):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(data):
                data[at] = rng.randrange(256)
            case 2:
                value, size = rng.choice(NUMBERS), rng.choice((1, 2, 4, 8))
                data[at : at + size] = (value % (1 << (8 * size))).to_bytes(size, "little")
            case 3:
                del data[at : at + rng.choice((1, 2, 4, 8, 100))]
            case 4:
                data[at:at] = rng.randbytes(rng.choice((1, 2, 4, 8)))
            case 5 if rng.random() < 0.3:
                del data[at:]
            case 6:
                length = rng.choice((1, 4, 16, 200))
                start = rng.randrange(len(data) + 1)
                data[at : at + length] = data[start : start + length]
            case 7:
                other = rng.choice(others)
                data[at : at + 64] = other[at : at + 64]
    return bytes(data)


def mutate_content(path, rng):
    """Change nodes, fields and edges of a file in place."""
    with h5py.File(path, "r+") as file:
        for _ in range(rng.choice((1, 1, 2, 4))):
            places = []
            file.visit(places.append)
            if not places:  # everything was deleted
                break
            at = rng.choice(places)
            item = file[at]
            match rng.randrange(10):
                case 0:
                    del file[at]
                case 1:
                    target = f"{rng.choice(places)}-copy" if rng.random() < 0.5 else f"{at}x"
                    if target not in file:
                        file.copy(item, file, target)
                case 2 if isinstance(item, h5py.Group):
                    kind = rng.choice((h5py.SoftLink("/node"), h5py.ExternalLink("/etc/passwd", "/x"), file["/node"]))
                    item[f"link{rng.random()}"] = kind
                case _ if isinstance(item, h5py.Dataset) and item.size is not None and item.size < 10**6:
                    replace_data(file, at, item, rng)
    return path.read_bytes()


def replace_data(file, at, data, rng):
    """Replace a dataset by a similar one."""
    attributes = {}
    if h5py.check_string_dtype(data.dtype):
        texts = np.array(data.asstr()[()], object)
        kinds = [*dir(nir), "", "same", "valid", "x" * 1000, "input", "output", "a", "inner", "a.b", "ä", "lif"]
        flat = texts.reshape(-1) if texts.size else np.array([""], object)
        for _ in range(rng.choice((1, 1, 3))):
            flat[rng.randrange(len(flat))] = rng.choice([*kinds, *flat])
        value = flat.reshape(texts.shape) if texts.size and rng.random() < 0.8 else flat
        value = value.item() if value.ndim == 0 else value
        attributes["dtype"] = h5py.string_dtype()
    else:
        value = np.array(data[()])
        match rng.randrange(6):
            case 0 if value.size:
                value = value.astype(rng.choice((value.dtype, np.dtype("f8"))))
                with np.errstate(all="ignore"):
                    value.reshape(-1)[rng.randrange(value.size)] = np.array(rng.choice(VALUES)).astype(value.dtype)
            case 1:
                value = np.array(rng.choice(VALUES))
            case 2:
                value = value.reshape(*value.shape, 1) if rng.random() < 0.5 else value.reshape(-1)
            case 3:
                value = np.concatenate([value, value]) if value.ndim else np.array([value, value])
            case 4:
                value = value.astype(
                    rng.choice(("i1", "u8", "?", "c8", "S4", ">f4", "f2", "longdouble")), casting="unsafe"
                )
            case 5:
                # Large, though nothing is stored.
                shape = tuple(rng.choice((1, 3, 1000, 10**6, 10**12)) for _ in range(rng.choice((1, 2, 4))))
                attributes = {"shape": shape, "dtype": value.dtype, "chunks": tuple(min(n, 10) for n in shape)}
                value = None
    del file[at]
    try:
        file.create_dataset(at, data=value, **attributes)
    except (TypeError, ValueError, OSError):
        file[at] = 0


def read_outcome(path):
    """Read a file and run the network. Returns "valid", or the kind of the error; other errors are raised."""
    try:
        network = from_nir(path)
    except NIRError as error:
        if error.file != str(path):
            raise AssertionError(f"the error does not name the file: {error}") from error
        return re.sub(r"(['\"]).*\1|[-\d,.]+|\(.*\)|\[.*\]", "", error.reason)[:60]
    sizes = [math.prod(shape) for shape in (*network.input_shapes.values(), *network.output_shapes.values())]
    delays = [layer.longest for layer in network.layers.values() if hasattr(layer, "longest")]
    if max(sizes) > MAX_RUN_SIZE or max(delays, default=0) > 1000:
        return "valid, large"
    names = network.graph.inputs
    xs = {name: torch.ones(3, 2, *network.input_shapes[name]) for name in names}
    _, state = network(xs)
    network(xs, state)
    return "valid"


def limit_memory():
    """Limit the memory that reading may need in addition to what is loaded already."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES,) * 2)


def fuzz(options):
    """Fuzz in this process, and print a summary as JSON."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    path = options.folder / "current.nir"
    with tempfile.TemporaryDirectory() as folder:
        contents = valid_files(Path(folder))
    # Load everything before memory is limited.
    for content in contents:
        path.write_bytes(content)
        assert read_outcome(path) == "valid"
    limit_memory()
    counts = Counter()
    for k in range(options.start, options.start + options.count):
        rng = random.Random(f"{k} {options.seed}")
        content = rng.choice(contents)
        path.write_bytes(content)
        (options.folder / "number").write_text(str(k))
        if k % 2:
            mutate_content(path, rng)
        else:
            path.write_bytes(mutate_bytes(content, contents, rng))
        signal.setitimer(signal.ITIMER_PROF, SECONDS_PER_FILE)
        counts[read_outcome(path)] += 1
        signal.setitimer(signal.ITIMER_PROF, 0)
    summary = {
        "files": options.count,
        "valid": counts.pop("valid", 0),
        "errors": dict(counts.most_common(60)),
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }
    print(json.dumps(summary))


def main():
    """Fuzz in subprocesses, a new one after each failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="number of files (default: 100000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="number of the first file (default: 0)")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        return fuzz(options)
    failures = 0
    start, began, end = options.start, time.monotonic(), options.start + options.count
    with tempfile.TemporaryDirectory() as folder:
        while start < end and failures <= MAX_FAILURES:
            command = [sys.executable, __file__, "--folder", folder, "--seed", str(options.seed)]
            command += ["--start", str(start), "--count", str(end - start)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                print(f"{time.monotonic() - began:.0f} s", done.stdout.strip(), flush=True)
                break
            failures += 1
            number = int(Path(folder, "number").read_text())
            kept = Path(tempfile.gettempdir(), f"fuzz-nir-{number}.nir")
            kept.write_bytes(Path(folder, "current.nir").read_bytes())
            print(f"FAILED on {kept}, code {done.returncode}: {done.stderr.strip()[-1200:]}", flush=True)
            start = number + 1
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
