"""Ternary weights and binary spikes on MNIST: `geir.tasks.ternary_mnist`."""

import pytest
import torch
from task_table import write_halves

from geir import hardware
from geir.tasks import ternary_mnist as task


@pytest.fixture
def path(tmp_path):
    return write_halves(tmp_path / "mnist.npz")


def trained(result, **settings):
    model = task.network(**settings)
    model.load_state_dict(torch.load(result["weights"], weights_only=True))
    return model.eval()


def test_the_trained_network_is_ternary_and_its_integers_give_the_same_spikes(tmp_path, path):
    result = task.run(data=path, epochs=12, batch_size=8, learning_rate=1e-2, device="cpu", out=tmp_path)
    assert result["test_accuracy"] == 1
    assert (tmp_path / "ternary_mnist.png").exists()
    model = trained(result)
    deployed = task.deploy(model)
    for k in (0, 3):
        weight, scale = model[k].module.weight, model[k].module.parametrizations.weight[0].scale
        assert torch.equal(deployed[k].module.weight.unique(), torch.tensor([-1.0, 0.0, 1.0]))
        torch.testing.assert_close(deployed[k].module.weight * scale, weight)
    images = task.load(path)
    xs = images.encode(images.train.tensors[0], 8)
    for network in (model, deployed):
        network.return_hidden = True
    with torch.no_grad():
        (expected, _), (actual, _) = model(xs), deployed(xs)
    for k in (1, 4):
        assert expected[k].sum() > 100
        assert torch.equal(deployed[k].v_th, deployed[k].v_th.round())
        assert torch.equal(actual[k], expected[k])


def test_real_weights_are_trained_for_comparison_but_not_deployed(tmp_path, path):
    result = task.run(data=path, epochs=1, batch_size=16, real=True, device="cpu", out=tmp_path)
    model = trained(result, real=True)
    assert len(model[0].module.weight.unique()) > 1000
    with pytest.raises(ValueError, match="deploy expected ternary weights, got real ones; train without --real"):
        task.deploy(model)


def test_the_network_fits_five_cores_of_truenorth():
    model = task.network()
    report = hardware.check(model[:5], hardware.TRUENORTH, input_shape=(1024, 1, 1))
    assert report.ok, report
    # A core has 256 inputs and 256 neurons.
    assert model[0].module.weight.shape[1] == model[3].module.in_features == 256
    assert model[0].module.out_channels // model[0].module.groups == 64
    assert model[3].module.out_features == 250


def test_a_core_sees_the_spikes_of_its_window():
    pixels = torch.zeros(1, 28, 28)
    pixels[0, 0, 0], pixels[0, 12, 12], pixels[0, 27, 27] = 1.0, 0.5, 0.25
    xs = task.encode(pixels.flatten(1), 8)
    assert xs.shape == (8, 1, 1024, 1, 1)
    counts = xs.sum(0).view(4, 16, 16)
    expected = torch.zeros(4, 16, 16)
    # The middle belongs to all windows.
    expected[0, 0, 0], expected[3, 15, 15] = 8, 2
    expected[0, 12, 12] = expected[1, 12, 0] = expected[2, 0, 12] = expected[3, 0, 0] = 4
    assert torch.equal(counts, expected)


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_images_are_encoded_on_their_device(device):
    assert task.encode(torch.zeros(2, 784, device=device), 8).device.type == device


def test_the_class_whose_neurons_spike_most_is_the_answer(path):
    shares = torch.zeros(2, 2, 10)
    shares[0, 0, 3], shares[:, 0, 4] = 0.8, 0.6
    shares[0, 1, 7] = 0.2
    right, answers = task.load(path).count_answers(shares, torch.tensor([4, 6]))
    assert right.tolist() == [True, False]
    assert answers.tolist() == [1, 1]
    # Rates of 0.6 and 0.4 beside eight of 0, and of 0.1 beside nine of 0 and for a wrong class.
    logits = task.GAIN * torch.tensor([0.6, 0.4, 0.1])
    first = -torch.log(logits[0].exp() / (logits[0].exp() + logits[1].exp() + 8))
    second = -torch.log(1 / (logits[2].exp() + 9))
    torch.testing.assert_close(task.vote_loss(shares, torch.tensor([4, 6])), (first + second) / 2)
