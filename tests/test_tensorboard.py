"""What a real SummaryWriter stored, read back with TensorBoard's own reader, is what the neurons put out."""

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
def written(tmp_path):
    """A writer, and what it has written so far."""
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


def test_what_is_read_back_is_what_the_neurons_put_out(written):
    writer, read = written
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


def test_the_histogram_is_over_the_neurons(written):
    writer, read = written
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


def test_the_image_is_the_raster_of_the_first_sample(written):
    writer, read = written
    model, (xs,) = network(), inputs(1)
    with log_activity(model, writer, image_rows=5):
        model(xs)
    (image,) = read().Images("raster/1")
    pixels = np.asarray(Image.open(io.BytesIO(image.encoded_image_string)).convert("L"))
    assert pixels.shape == (5, 40)
    np.testing.assert_array_equal(pixels == 0, spikes_of(model, xs)["1"][:, 0, :5].detach().numpy().T == 1)


def test_only_every_nth_call_is_written_and_the_step_can_be_set(written):
    writer, read = written
    model = network()
    with log_activity(model, writer, every=2, first_step=10) as log:
        for xs in inputs(4):
            model(xs)
        assert log.step == 14
        log.step = 100
        model(xs)
    assert [e.step for e in read().Scalars("spikes_mean/1")] == [10, 12, 100]


def test_a_cell_stepped_within_one_call_is_written_once(written):
    writer, read = written
    model = nn.Sequential(geir.Lift(geir.SequentialState(nn.Linear(5, 6), geir.LIFCell(v_th=0.1))))
    (xs,) = inputs(1)
    with log_activity(model, writer):
        zs, _ = model(xs)
    (event,) = read().Scalars("spikes_mean/0.module.1")
    assert zs.sum() > 10
    assert event.value == pytest.approx(zs.mean().item())
    (image,) = read().Images("raster/0.module.1")
    assert (image.height, image.width) == (6, 40)


def test_a_part_called_by_itself_is_not_counted(written):
    writer, read = written
    model, (xs, other) = network(), inputs(2)
    with log_activity(model, writer):
        model[:2](other)
        model(xs)
    (event,) = read().Scalars("spikes_mean/1")
    assert event.value == pytest.approx(spikes_of(model, xs)["1"].mean().item())


def test_the_log_does_not_hold_on_to_gradients(written, monkeypatch):
    writer, _ = written
    given = []
    monkeypatch.setattr(writer, "add_scalar", lambda tag, value, step: given.append(value))
    with log_activity(model := network(), writer):
        model(*inputs(1))
    assert len(given) == 4
    assert not any(value.requires_grad for value in given)


def test_a_model_may_be_one_neuron(written):
    writer, read = written
    xs = torch.rand(40, 3, 5)
    model = geir.LIF()
    with log_activity(model, writer):
        zs, _ = model(xs)
    (event,) = read().Scalars("spikes_mean/LIF")
    assert event.value == pytest.approx(zs.mean().item())


def test_afterwards_the_model_is_as_before(written):
    writer, read = written
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
            "log_activity writes to a torch.utils.tensorboard.SummaryWriter, got str",
        ),
        (
            (nn.Linear(2, 2), None),
            {},
            ValueError,
            "log_activity finds nothing that spikes in Linear; give it a model with neurons such as",
        ),
        (
            (geir.LIF(), None),
            {"every": 0},
            ValueError,
            "every and image_rows must be whole numbers >= 1, got 0 and 256",
        ),
    ],
)
def test_wrong_input_is_refused(arguments, keywords, kind, message, written):
    writer, _ = written
    model, given = arguments
    with pytest.raises(kind, match=message), log_activity(model, given or writer, **keywords):
        pass
