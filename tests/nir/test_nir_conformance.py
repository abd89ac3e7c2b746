"""Networks that other frameworks trained and recorded, run as they ran there."""

import numpy as np
import pytest
import torch

import geir

pytest.importorskip("nir", reason="NIR graphs need the nir package")

from geir.nir import (
    DelayedReset,
    Discretization,
    ExactSolution,
    from_nir,
    Lava,
    Norse,
    Rockpool,
    Sinabs,
    SnnTorch,
    SnnTorchSubtraction,
    to_nir,
)


@pytest.fixture
def files(real_data):
    folder = real_data / "nir"
    if not folder.is_dir():
        pytest.skip("the folder of real data has no NIR files")
    return folder


def run_lif(files, discretization):
    """Potentials and spikes of the recorded neuron."""
    input = np.loadtxt(files / "lif_exact.csv", delimiter=",")[:, :1]
    network = from_nir(files / "lif_norse.nir", dt=1e-4, integrator=discretization, dtype=torch.float64)
    network["1"].record_states = True
    zs, state = network(torch.tensor(input))
    return state.nodes["1"].v[:, 0].detach().numpy(), zs[:, 0].detach().numpy()


# snnTorch's potential is in units of dt / tau.
@pytest.mark.parametrize(
    ("name", "discretization", "unit", "spikes"),
    [
        ("exact", ExactSolution(), 1, [460, 510, 710, 760]),
        ("norse", Norse(), 1, [460, 510, 710, 760]),
        ("norse", geir.Euler(), 1, [460, 510, 710, 760]),
        ("snntorch", SnnTorch(), 25, [460, 510, 710, 760]),
        ("sinabs", Sinabs(), 1, [450, 500, 710, 760]),
        ("sinabs", Rockpool(), 1, [450, 500, 710, 760]),
    ],
)
def test_neuron_has_the_recorded_potentials_and_spikes(files, name, discretization, unit, spikes):
    recorded = np.loadtxt(files / f"lif_{name}.csv", delimiter=",")
    v, zs = run_lif(files, discretization)
    assert np.flatnonzero(zs).tolist() == np.flatnonzero(recorded[:, 2]).tolist() == spikes
    np.testing.assert_allclose(v * unit, recorded[:, 1], rtol=0, atol=1e-6)


def test_lava_is_euler_one_step_late(files):
    recorded = np.loadtxt(files / "lif_norse.csv", delimiter=",")
    v, zs = run_lif(files, Lava())
    assert np.flatnonzero(zs).tolist() == [461, 511, 711, 761]
    np.testing.assert_allclose(v[1:], recorded[:-1, 1], rtol=0, atol=1e-6)


def hidden_spikes(network, xs):
    """Spikes of the recurrent layer, and of the output."""
    hidden = []
    network["lif1.lif"].register_forward_hook(lambda module, arguments, output: hidden.append(output[0]))
    ys, _ = network(xs)
    return torch.cat(hidden).detach().numpy(), ys.detach()


BRAILLE = [
    ("braille_noDelay_noBias_subtract", "snntorch", SnnTorch(reset=SnnTorchSubtraction())),
    ("braille_noDelay_bias_zero", "norse", Norse()),
]


def braille_sample(files):
    # The rows of the figure begin with the last channel.
    return torch.tensor(np.load(files / "braille_sample.npy")).flip(1)


@pytest.mark.parametrize(("file", "framework", "discretization"), BRAILLE)
def test_recurrent_network_has_the_recorded_spikes(files, file, framework, discretization):
    recorded = np.load(files / f"{framework}_activity_{file.removeprefix('braille_')}.npy")
    network = from_nir(files / f"{file}.nir", dt=1e-4, integrator=discretization)
    spikes, ys = hidden_spikes(network, braille_sample(files))
    assert recorded.sum() == 118
    assert (spikes != recorded).sum() == 0
    if framework == "snntorch":
        assert ys.sum(0).argmax() == 1  # the letter


@pytest.mark.parametrize(("file", "framework", "discretization"), BRAILLE)
@pytest.mark.parametrize(
    "other", [Discretization(), geir.Euler(), geir.Exact(), Sinabs(), SnnTorch(reset=DelayedReset())]
)
def test_recorded_spikes_tell_discretizations_apart(files, file, framework, discretization, other):
    recorded = np.load(files / f"{framework}_activity_{file.removeprefix('braille_')}.npy")
    spikes, _ = hidden_spikes(from_nir(files / f"{file}.nir", integrator=other), braille_sample(files))
    assert (spikes != recorded).sum() > 10


def images(real_data, count, steps=310):
    """N-MNIST recordings as images of 1 ms, shape (time, recording, polarity, y, x), and their labels."""
    data = np.load(real_data / "nmnist_test.npz", allow_pickle=False)
    xs = torch.zeros(steps, count, 2, 34, 34)
    for k in range(count):
        part = slice(data["offsets"][k], data["offsets"][k + 1])
        t, x, y, p = (torch.tensor(data[key][part].astype(np.int64)) for key in "txyp")
        t = t // 1000
        seen = t < steps
        xs[:, k].index_put_((t[seen], p[seen], y[seen], x[seen]), torch.tensor(1.0), accumulate=True)
    return xs, data["labels"][:count]


@pytest.mark.parametrize(("discretization", "correct"), [(Sinabs(), 100), (Sinabs(multiple_spikes=False), 98)])
def test_convolutional_network_classifies_real_recordings(files, real_data, discretization, correct):
    xs, labels = images(real_data, 100)
    network = from_nir(files / "cnn_sinabs.nir", integrator=discretization)
    with torch.no_grad():
        counts = torch.cat([network(part)[0].sum(0) for part in xs.split(10, 1)])
    assert (counts.argmax(1).numpy() == labels).sum() >= correct


@pytest.mark.parametrize("name", ["lif_norse", "cnn_sinabs", *(file for file, _, _ in BRAILLE)])
def test_files_survive_the_way_there_and_back(files, name, tmp_path):
    """Every field of every node is kept, to the bit."""
    original = geir.nir.read(files / f"{name}.nir")
    graph = to_nir(from_nir(original, dtype=torch.float64), tuple(original.nodes["input"].input_type["input"].tolist()))
    geir.nir.write(tmp_path / "copy.nir", graph)
    copy = geir.nir.read(tmp_path / "copy.nir")
    assert set(copy.edges) == set(original.edges)
    assert copy.nodes.keys() == original.nodes.keys()
    for key, node in original.nodes.items():
        assert type(copy.nodes[key]) is type(node)
        for field, value in vars(node).items():
            if field not in ("metadata", "input_type", "output_type"):
                np.testing.assert_array_equal(np.asarray(getattr(copy.nodes[key], field)), np.asarray(value))
