"""The command line: python -m geir.nir."""

import numpy as np
import pytest
import torch
from torch import nn

import geir
from geir.nir import from_nir, to_nir, write
from geir.nir.__main__ import main

nir = pytest.importorskip("nir", reason="NIR graphs need the nir package")


@pytest.fixture
def file(tmp_path):
    """A recurrent network in a file."""
    model = geir.SequentialState(nn.Linear(3, 4), geir.LIFBoxRecurrent(4, 5, v_th=0.2))
    write(tmp_path / "model.nir", to_nir(model, (3,)))
    np.save(tmp_path / "input.npy", 4 * np.random.default_rng(0).random((20, 2, 3), np.float32))
    return tmp_path / "model.nir"


def test_info_lists_nodes_shapes_and_parameters(file, capsys):
    assert main(["info", str(file)]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line for line in lines}
    assert header.split() == ["node", "type", "input", "output", "from", "parameters"]
    assert list(rows) == ["input", "0", "1.w_in", "1.lif", "1.w_rec", "output"]
    assert rows["1.lif"].split()[:4] == ["1.lif", "LIF", "5", "5"]
    assert "1.w_in, 1.w_rec (t-1)" in rows["1.lif"]
    assert "tau=0.01" in rows["1.lif"]
    assert "weight[4x3]=" in rows["0"]


def test_run_computes_what_the_module_does(file, tmp_path, capsys):
    output = tmp_path / "output.npy"
    assert main(["run", str(file), str(tmp_path / "input.npy"), "--output", str(output)]) == 0
    expected, _ = from_nir(file)(torch.tensor(np.load(tmp_path / "input.npy")))
    assert expected.sum() > 10
    np.testing.assert_array_equal(np.load(output), expected.detach())
    assert f"output: shape (20, 2, 5), sum {expected.sum().item():g}" in capsys.readouterr().out
    arguments = ["--as", "norse", "--dt", "0.002"]
    assert main(["run", str(file), str(tmp_path / "input.npy"), "--output", str(output), *arguments]) == 0
    other, _ = from_nir(file, dt=2e-3, integrator=geir.nir.Norse())(torch.tensor(np.load(tmp_path / "input.npy")))
    np.testing.assert_array_equal(np.load(output), other.detach())
    assert (other != expected).any()


def test_check_compares_files_and_their_outputs(file, tmp_path, capsys):
    graph = geir.nir.read(file)
    graph.nodes["0"].weight = graph.nodes["0"].weight + np.float32(0.5)
    write(tmp_path / "other.nir", graph)
    assert main(["check", str(file)]) == 0
    assert main(["check", str(file), str(file), "--input", str(tmp_path / "input.npy")]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{file}: 6 nodes", "no difference"]
    assert main(["check", str(file), str(tmp_path / "other.nir"), "--input", str(tmp_path / "input.npy")]) == 1
    weights, output = capsys.readouterr().out.splitlines()
    assert weights == "'0': weight differs by up to 0.5"
    assert output.startswith("output 'output' differs in ")
    graph.nodes["more"] = nir.Scale(scale=np.ones(5))
    graph.edges = [*[edge for edge in graph.edges if edge[1] != "output"], ("1.lif", "more"), ("more", "output")]
    write(tmp_path / "other.nir", graph)
    assert main(["check", str(file), str(tmp_path / "other.nir")]) == 1
    assert capsys.readouterr().out.splitlines()[:2] == [
        "'more' is only in the second",
        "'1.lif' -> 'output' is only in the first",
    ]


def test_convert_writes_files_and_pictures(file, tmp_path, capsys):
    assert main(["convert", str(file), str(tmp_path / "copy.nir")]) == 0
    assert main(["check", str(file), str(tmp_path / "copy.nir")]) == 0
    assert main(["convert", str(file), str(tmp_path / "model.dot")]) == 0
    picture = (tmp_path / "model.dot").read_text()
    assert '"1.lif" [label="1.lif: LIF"];' in picture
    assert '"1.w_rec" -> "1.lif" [style=dashed];' in picture
    assert '"1.lif" -> "1.w_rec";' in picture


def test_errors_name_the_file_and_are_not_tracebacks(file, tmp_path, capsys):
    (tmp_path / "text.nir").write_text("text")
    graph = geir.nir.read(file)
    graph.edges.append(("1.lif", "nowhere"))
    write(tmp_path / "dangling.nir", graph)
    np.save(tmp_path / "wrong.npy", np.ones((20, 7), np.float32))
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    for arguments, message in {
        ("info", "absent.nir"): "absent.nir",
        ("info", "text.nir"): "text.nir: it is not an HDF5 file",
        ("info", "dangling.nir"): "dangling.nir: node 'nowhere': an edge ends here, but there is no such node",
        ("check", "dangling.nir"): "dangling.nir: node 'nowhere'",
        ("run", "model.nir", "wrong.npy"): "expected input of shape (time, ..., 3) for 'input', got (20, 7)",
        ("run", "model.nir", "objects.npy"): "allow_pickle=False",
        ("info", "--max-bytes", "100", "model.nir"): "beyond 100 bytes",
    }.items():
        paths = [str(tmp_path / part) if "." in part else part for part in arguments]
        assert main(paths) == 1
        assert message in capsys.readouterr().err
