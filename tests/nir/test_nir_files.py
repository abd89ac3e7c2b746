"""Damaged and hostile NIR files: an error that names file and node, and little memory."""

import itertools
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import geir
from geir.nir import from_nir, NIRError, read, to_nir

nir = pytest.importorskip("nir", reason="NIR graphs need the nir package")
h5py = pytest.importorskip("h5py", reason="NIR files are HDF5")


@pytest.fixture
def path(tmp_path):
    """A valid file: input -> w -> lif -> output."""
    graph = nir.NIRGraph(
        {
            "input": nir.Input({"input": np.array([3])}),
            "w": nir.Affine(weight=np.ones((2, 3), np.float32), bias=np.zeros(2, np.float32)),
            "lif": nir.LIF(
                tau=np.full(2, 0.01), r=np.ones(2), v_leak=np.zeros(2), v_threshold=np.ones(2), v_reset=np.zeros(2)
            ),
            "output": nir.Output({"output": np.array([2])}),
        },
        [("input", "w"), ("w", "lif"), ("lif", "output")],
        type_check=False,
    )
    nir.write(tmp_path / "model.nir", graph)
    return tmp_path / "model.nir"


def replaced(file, name, value, **settings):
    """Replace a dataset."""
    del file[name]
    file.create_dataset(name, data=value, **settings)


def edges(*pairs):
    return np.array(pairs, h5py.string_dtype())


def huge(file, name, shape, **settings):
    """Replace a dataset by one of which nothing is stored."""
    del file[name]
    file.create_dataset(name, shape, "f4", **settings)


def link_group_into_itself(file):
    file["node/nodes/w/again"] = file["node/nodes"]


def link_many_times(file):
    """A group with two names of a group with two names of ...: 2^30 paths in a small file."""
    group = file["node/nodes/w"]
    for k in range(30):
        below = file.create_group(f"g{k}")
        group["a"] = below
        group["b"] = below
        group = below


def cycle_without_neuron(file):
    nodes = file["node/nodes"]
    file.copy("node/nodes/w", nodes, "v")
    replaced(nodes["v"], "weight", np.ones((3, 2)))
    replaced(nodes["v"], "bias", np.zeros(3))
    replaced(file, "node/edges", edges(("input", "w"), ("w", "v"), ("v", "w"), ("w", "lif"), ("lif", "output")))


N = "node/nodes"
# What is done to the file; the node that the error names, or None; and part of the message.
DAMAGE = {
    "no nodes": (lambda f: f.__delitem__(N), None, "the graph has no group of nodes"),
    "no graph": (lambda f: f.__delitem__("node"), None, "no group /node"),
    "no edges": (lambda f: f.__delitem__("node/edges"), None, "no list of edges"),
    "no type": (lambda f: f.__delitem__(f"{N}/lif/type"), "lif", "unknown type of node None"),
    "unknown type": (lambda f: replaced(f, f"{N}/lif/type", "Izhikevich"), "lif", "unknown type of node 'Izhikevich'"),
    "a type that is a function": (lambda f: replaced(f, f"{N}/lif/type", "dict2NIRNode"), "lif", "unknown type"),
    "no weight": (lambda f: f.__delitem__(f"{N}/w/weight"), "w", "Affine has no weight"),
    "unknown field": (lambda f: f.create_dataset(f"{N}/w/gain", data=1.0), "w", "unknown field 'gain'"),
    "text for numbers": (lambda f: replaced(f, f"{N}/w/bias", "zero"), "w", "Affine.bias must be an array of numbers"),
    "a group for numbers": (
        lambda f: [f.__delitem__(f"{N}/w/bias"), f.create_group(f"{N}/w/bias")],
        "w",
        "bias must be a number or an array, but is a group",
    ),
    "NaN": (lambda f: replaced(f, f"{N}/w/weight", np.full((2, 3), np.nan)), "w", "weight has 6 values that are not"),
    "infinity": (lambda f: replaced(f, f"{N}/lif/v_leak", np.full(2, np.inf)), "lif", "v_leak has 2 values"),
    "too large for float32": (lambda f: replaced(f, f"{N}/w/bias", np.full(2, 1e300)), "w", "too large for"),
    "time constant of zero": (lambda f: replaced(f, f"{N}/lif/tau", np.zeros(2)), "lif", "tau_mem must be > 0.0 s"),
    "negative time constant": (lambda f: replaced(f, f"{N}/lif/tau", -np.ones(2)), "lif", "tau_mem must be > 0.0 s"),
    "other shape": (lambda f: replaced(f, f"{N}/lif/tau", np.ones(5)), "lif", "have different shapes"),
    "weights of another shape": (lambda f: replaced(f, f"{N}/w/weight", np.ones((2, 4))), "w", "which do not fit"),
    "weights without dimensions": (lambda f: replaced(f, f"{N}/w/weight", 1.0), "w", "Weight must be at least 2D"),
    "bias of another shape": (lambda f: replaced(f, f"{N}/w/bias", np.ones(3)), "w", r"bias has shape \(3,\)"),
    "input of another shape": (
        lambda f: replaced(f, f"{N}/input/shape", np.array([4])),
        "w",
        r"values of shape \(4,\)",
    ),
    "output of another shape": (lambda f: replaced(f, f"{N}/output/shape", np.array([4])), "output", "do not fit"),
    "negative shape": (lambda f: replaced(f, f"{N}/input/shape", np.array([-3])), "input", "empty"),
    "shape that is no integer": (
        lambda f: replaced(f, f"{N}/input/shape", np.array([0.5])),
        "input",
        "a shape must be",
    ),
    "huge shape": (lambda f: replaced(f, f"{N}/input/shape", np.array([2**40, 2**40])), "input", "over 268,435,456"),
    "complex numbers": (lambda f: replaced(f, f"{N}/w/bias", np.ones(2, "c8")), None, "neither numbers nor text"),
    "records": (lambda f: replaced(f, f"{N}/w/bias", np.zeros(2, "f4,i4")), None, "neither numbers nor text"),
    "references": (lambda f: replaced(f, f"{N}/w/bias", f.ref, dtype=h5py.ref_dtype), None, "neither numbers nor text"),
    "opaque bytes": (lambda f: replaced(f, f"{N}/w/bias", np.void(b"pickle")), None, "neither numbers nor text"),
    "text that is not UTF-8": (lambda f: replaced(f, f"{N}/lif/type", np.bytes_(b"\xff\xfe")), None, "not UTF-8"),
    "edge to nowhere": (
        lambda f: replaced(f, "node/edges", edges(("input", "w"), ("w", "lif"), ("lif", "exit"), ("lif", "output"))),
        "exit",
        "an edge ends here, but there is no such node; there are 'input', 'lif', 'output', 'w'",
    ),
    "edge from nowhere": (
        lambda f: replaced(f, "node/edges", edges(("entry", "w"), ("input", "w"), ("w", "lif"), ("lif", "output"))),
        "entry",
        "an edge begins here, but there is no such node",
    ),
    "edge twice": (
        lambda f: replaced(f, "node/edges", edges(("input", "w"), ("input", "w"), ("w", "lif"), ("lif", "output"))),
        "w",
        "'input' -> 'w' occurs twice",
    ),
    "edge into the input": (
        lambda f: replaced(f, "node/edges", edges(("input", "w"), ("w", "lif"), ("lif", "output"), ("lif", "input"))),
        "input",
        "incoming edge",
    ),
    "node without input": (
        lambda f: replaced(f, "node/edges", edges(("input", "w"), ("lif", "output"))),
        "lif",
        "no edge leads to it",
    ),
    "edges of three": (lambda f: replaced(f, "node/edges", edges(("a", "b", "c"))), None, "pairs of names"),
    "edges of numbers": (lambda f: replaced(f, "node/edges", np.ones((3, 2))), None, "pairs of names"),
    "cycle without delay": (cycle_without_neuron, "v", "cycle without a neuron and without a delay"),
    "soft link": (lambda f: f.__setitem__(f"{N}/x", h5py.SoftLink("/node")), None, "is a link to another place"),
    "external link": (
        lambda f: f.__setitem__(f"{N}/x", h5py.ExternalLink("/etc/passwd", "/")),
        None,
        "is a link to another place",
    ),
    "group in itself": (link_group_into_itself, None, "an object with several names"),
    "many names": (link_many_times, None, "an object with several names"),
    "external data": (
        lambda f: huge(f, f"{N}/w/bias", (2,), external=[("/dev/zero", 0, 8)]),
        None,
        "is stored in another file",
    ),
    "a terabyte": (lambda f: huge(f, f"{N}/w/weight", (10**6, 10**6)), None, "beyond 2,147,483,648 bytes"),
    "a terabyte in chunks": (
        lambda f: huge(f, f"{N}/w/weight", (10**6, 10**6), chunks=(10, 10)),
        None,
        "beyond 2,147,483,648 bytes",
    ),
    "large chunks": (
        lambda f: huge(f, f"{N}/w/weight", (1, 3), chunks=(1 << 10, 1 << 18), maxshape=(None, None)),
        None,
        "chunks of 268,435,456 values",
    ),
    "no dimensions": (lambda f: replaced(f, f"{N}/w/bias", h5py.Empty("f4")), None, "is empty"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_errors_name_node_and_file(path, damage):
    change, node, message = DAMAGE[damage]
    with h5py.File(path, "r+") as file:
        change(file)
    begin = time.perf_counter()
    with pytest.raises(NIRError, match=message) as info:
        from_nir(path)
    assert time.perf_counter() - begin < 5
    assert info.value.file == str(path)
    assert str(info.value).startswith(str(path))
    assert info.value.node == node
    assert node is None or f"node {node!r}" in str(info.value)


def test_valid_file_is_read(path):
    """Else the tests above would show nothing."""
    ys, _ = from_nir(path, dt=1e-3)(4 * torch.ones(10, 3))
    assert ys.sum() > 4
    assert read(path).edges == [("input", "w"), ("w", "lif"), ("lif", "output")]


def test_deep_nesting_is_refused(path):
    with h5py.File(path, "r+") as file:
        source = file["node"]
        for depth in range(40):
            group = file.create_group(f"level{depth}")
            group["type"] = "NIRGraph"
            file.copy(source, group, "nodes/inner")
            file.copy(f"{N}/input", group, "nodes/input")
            file.copy(f"{N}/output", group, "nodes/output")
            replaced_edges = edges(("input", "inner"), ("inner", "output"))
            group["edges"] = replaced_edges
            source = group
        del file["node"]
        file.move(f"level{depth}", "node")
    with pytest.raises(NIRError, match="nested over"):
        from_nir(path)


@pytest.mark.parametrize("length", [0, 4, 8, 100, 1000, 5000, -1])
def test_truncated_files_are_refused(path, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(NIRError, match=r"model\.nir: (it is not an HDF5 file|the file is damaged)"):
        from_nir(path)


@pytest.mark.parametrize("content", [b"", b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR.", b"PK\x03\x04", b"\x93NUMPY"])
def test_other_files_are_refused_and_not_unpickled(path, content):
    path.write_bytes(content)
    with pytest.raises(NIRError, match="not an HDF5 file"):
        from_nir(path)


def test_folders_and_absent_files_are_ordinary_errors(tmp_path):
    with pytest.raises(IsADirectoryError):
        from_nir(tmp_path)
    with pytest.raises(FileNotFoundError):
        from_nir(tmp_path / "absent.nir")


def test_pipes_do_not_block(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.nir")
    with pytest.raises(NIRError, match="not a regular file"):
        from_nir(tmp_path / "pipe.nir")


def test_bombs_need_little_memory(path):
    """Files of a few kB that decompress to gigabytes of zeros, or of text."""
    with h5py.File(path, "r+") as file:
        zeros = file.create_dataset("node/metadata/zeros", (1 << 29,), "f4", chunks=(1 << 20,), compression="gzip")
        zeros[: 1 << 20] = 0
    # Many texts that are the same one of 1 MB are 8 GB.
    texts = path.with_name("texts.nir")
    texts.write_bytes(path.read_bytes())
    with h5py.File(texts, "r+") as file:
        del file["node/metadata"]
        file.create_dataset("node/metadata/x", (8000,), h5py.string_dtype(), fillvalue="x" * 1_000_000)
    assert max(bomb.stat().st_size for bomb in (path, texts)) < 2_000_000
    code = (
        "import resource, sys, torch, h5py, nir, numpy\n"
        "from geir.nir import from_nir, NIRError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        from_nir(path)\n"
        "    except NIRError as error:\n"
        "        print(error)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)\n"
    )
    command = [sys.executable, "-c", code, str(path), str(texts)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, second, megabytes = done.stdout.splitlines()
    assert "beyond 2,147,483,648 bytes" in first
    assert "the text beyond 67,108,864 bytes" in second
    assert int(megabytes) < 300


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (nir.Delay(delay=np.full(3, 1e9)), "which are too many"),
        (nir.Delay(delay=np.full(3, -1.0)), "delay must be >= 0.0 s, got -1.0"),
        (nir.SumPool2d(np.array([2, 2]), np.array([0, 1]), np.array([0, 0])), "an image|stride must be"),
    ],
)
def test_nodes_that_would_fill_the_memory_are_refused(node, message):
    graph = nir.NIRGraph(
        {"input": nir.Input({"input": np.array([3])}), "node": node, "output": nir.Output({"output": None})},
        [("input", "node"), ("node", "output")],
        type_check=False,
    )
    with pytest.raises(NIRError, match=f"node 'node': .*({message})"):
        from_nir(graph)


def test_a_graph_in_itself_is_refused():
    graph = nir.NIRGraph({}, [], type_check=False)
    graph.nodes["inner"] = graph
    with pytest.raises(NIRError, match="nested over 32 deep"):
        from_nir(graph)


def test_long_chains_do_not_exhaust_the_stack():
    names = [f"n{k}" for k in range(5000)]
    nodes = {name: nir.Scale(scale=np.ones(1)) for name in names}
    path = ["input", *names, "output"]
    nodes |= {"input": nir.Input({"input": np.array([1])}), "output": nir.Output({"output": np.array([1])})}
    network = from_nir(nir.NIRGraph(nodes, [*itertools.pairwise(path)], type_check=False))
    assert len(network) == 5002


def test_other_arguments_are_refused():
    with pytest.raises(TypeError, match="expected a nir.NIRGraph, got int"):
        from_nir(3)
    with pytest.raises(TypeError, match="expected a nir.NIRGraph, got LIF"):
        from_nir(nir.LIF(*[np.ones(1)] * 5))


def test_the_fuzzer_runs():
    script = Path(__file__).parents[1] / "fuzz_nir.py"
    done = subprocess.run([sys.executable, str(script), "--count", "20"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert '"files": 20' in done.stdout


@pytest.mark.parametrize("call", [lambda path: from_nir(path), lambda path: to_nir(geir.LIF(), (2,))])
def test_without_the_package_the_error_names_the_extra(path, monkeypatch, call):
    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(ImportError, match=r"pip install 'geir\[nir\]'"):
        call(path)
