"""The activity log: a real SummaryWriter writes it, and TensorBoard's own reader reads it back."""

import io

import numpy as np
import pytest
import torch
from torch import nn

import geir
from geir.tensorboard import log_activity

pytest.importorskip("tensorboard", reason="TensorBoard is not installed; pip install 'geir[tensorboard]'")

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator, HISTOGRAMS, IMAGES, SCALARS
from torch.utils.tensorboard import SummaryWriter


@pytest.fixture
def log(tmp_path):
    """A writer, and a function that reads what it has written so far."""
    with SummaryWriter(str(tmp_path)) as writer:

        def read():
            writer.flush()
            return EventAccumulator(str(tmp_path), size_guidance={SCALARS: 0, HISTOGRAMS: 0, IMAGES: 0}).Reload()

        yield writer, read


def network():
    return geir.SequentialState(
        geir.Lift(nn.Linear(5, 6)),
        geir.LIF(v_th=0.1),
        geir.Lift(nn.Linear(6, 4)),
        geir.Refractory(geir.LIF(v_th=0.1)),
        geir.LI(),
    )


def spikes_of(model, xs):
    """Outputs of the two spiking layers."""
    return {"1": model[:2](xs)[0], "3": model[:4](xs)[0]}


def inputs(calls):
    return [3 * torch.rand(40, 3, 5) for _ in range(calls)]


def test_scalars_are_the_mean_and_the_sum_of_the_spikes(log):
    writer, read = log
    model, batches = network(), inputs(3)
    with log_activity(model, writer):
        for xs in batches:
            model(xs)
    events = read()
    assert events.Tags()["scalars"] == ["spikes_mean/1", "spikes_sum/1", "spikes_mean/3", "spikes_sum/3"]
    for step, xs in enumerate(batches):
        for name, zs in spikes_of(model, xs).items():
            assert zs.sum() > 10
            mean, total = events.Scalars(f"spikes_mean/{name}")[step], events.Scalars(f"spikes_sum/{name}")[step]
            assert mean.step == total.step == step
            assert mean.value == pytest.approx(zs.mean().item())
            assert total.value == pytest.approx(zs.sum().item() / 3)


def test_the_histogram_is_over_neurons(log):
    writer, read = log
    model, (xs,) = network(), inputs(1)
    with log_activity(model, writer):
        model(xs)
    (histogram,) = read().Histograms("spikes_per_neuron/1")
    counts = spikes_of(model, xs)["1"].sum(0).mean(0)
    stored = histogram.histogram_value
    assert stored.num == 6
    assert (stored.min, stored.max, stored.sum) == pytest.approx(
        (counts.min().item(), counts.max().item(), counts.sum().item())
    )


def test_the_image_is_the_raster_of_the_first_sample(log):
    writer, read = log
    model, (xs,) = network(), inputs(1)
    with log_activity(model, writer, image_rows=5):
        model(xs)
    (image,) = read().Images("raster/1")
    pixels = np.asarray(Image.open(io.BytesIO(image.encoded_image_string)).convert("L"))
    assert pixels.shape == (5, 40)
    np.testing.assert_array_equal(pixels == 0, spikes_of(model, xs)["1"][:, 0, :5].detach().numpy().T == 1)


def test_only_multiples_of_every_are_written_and_the_step_can_be_set(log):
    writer, read = log
    model = network()
    with log_activity(model, writer, every=2, first_step=10) as activity:
        for xs in inputs(4):
            model(xs)
        assert activity.step == 14
        activity.step = 100
        model(xs)
    assert [e.step for e in read().Scalars("spikes_mean/1")] == [10, 12, 100]


def test_a_cell_called_at_every_step_of_a_run_is_written_once(log):
    writer, read = log
    model = nn.Sequential(geir.Lift(geir.SequentialState(nn.Linear(5, 6), geir.LIFCell(v_th=0.1))))
    (xs,) = inputs(1)
    with log_activity(model, writer):
        zs, _ = model(xs)
    (event,) = read().Scalars("spikes_mean/0.module.1")
    assert zs.sum() > 10
    assert event.value == pytest.approx(zs.mean().item())
    (image,) = read().Images("raster/0.module.1")
    assert (image.height, image.width) == (6, 40)


def test_a_separate_call_of_a_part_of_the_model_is_not_written(log):
    writer, read = log
    model, (xs, other) = network(), inputs(2)
    with log_activity(model, writer):
        model[:2](other)
        model(xs)
    (event,) = read().Scalars("spikes_mean/1")
    assert event.value == pytest.approx(spikes_of(model, xs)["1"].mean().item())


def test_the_log_keeps_no_gradient_graph(log, monkeypatch):
    writer, _ = log
    scalars = []
    monkeypatch.setattr(writer, "add_scalar", lambda tag, value, step: scalars.append(value))
    with log_activity(model := network(), writer):
        model(*inputs(1))
    assert len(scalars) == 4
    assert not any(value.requires_grad for value in scalars)


def test_a_model_may_be_one_neuron(log):
    writer, read = log
    xs = torch.rand(40, 3, 5)
    model = geir.LIF()
    with log_activity(model, writer):
        zs, _ = model(xs)
    (event,) = read().Scalars("spikes_mean/LIF")
    assert event.value == pytest.approx(zs.mean().item())


def test_an_error_removes_all_hooks_and_outputs_are_unchanged(log):
    writer, read = log
    model, (xs,) = network(), inputs(1)
    expected, _ = model(xs)

    def fail():
        with log_activity(model, writer):
            yield model(xs)[0]
            raise RuntimeError("stop")

    run = fail()
    actual = next(run)
    with pytest.raises(RuntimeError, match="stop"):
        next(run)
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    model(xs)
    assert len(read().Scalars("spikes_mean/1")) == 1
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize(
    ("arguments", "keywords", "kind", "message"),
    [
        (
            (geir.LIF(), "runs"),
            {},
            TypeError,
            "log_activity expected a torch.utils.tensorboard.SummaryWriter, got str",
        ),
        (
            (nn.ReLU(), None),
            {},
            ValueError,
            r"log_activity found no spiking modules in ReLU; pass a model that contains neurons such as geir.LIF\(\)",
        ),
        (
            (geir.LIF(), None),
            {"every": 0},
            ValueError,
            "every and image_rows must be integers >= 1, got 0 and 256",
        ),
    ],
)
def test_invalid_arguments_are_rejected(arguments, keywords, kind, message, log):
    writer, _ = log
    model, given = arguments
    with pytest.raises(kind, match=message), log_activity(model, given or writer, **keywords):
        pass
