"""What a network's neurons do while it trains, written to TensorBoard (``pip install "geir[tensorboard]"``)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn, Tensor

from .wrappers import CellMixin

__all__ = ["ActivityLog", "log_activity"]


@dataclass
class ActivityLog:
    """What `log_activity` gives: `step`, the global step of the model's next call. It counts calls unless it is set."""

    step: int = 0


@contextmanager
def log_activity(
    model: nn.Module, writer: Any, every: int = 1, first_step: int = 0, image_rows: int = 256
) -> Iterator[ActivityLog]:
    r"""Write what every spiking module of a model puts out, at each call of the model, until the context ends.

    Of a module called `name`: ``spikes_mean/name``, the spikes a step of one neuron, averaged over time, batch and neurons;
    ``spikes_sum/name``, all spikes of a sample, averaged over the batch; ``spikes_per_neuron/name``, the histogram over neurons of their spikes
    in a sample; and ``raster/name``, the spikes of the first sample as an image, time to the right. A cell that is stepped within one call of the
    model is written once, with its steps together; where the model itself takes one step, so does the log.

    Args:
        model: A spiking module, or one that contains some: each that has a `surrogate`, also when it is wrapped or lifted.
        writer: A `torch.utils.tensorboard.SummaryWriter`.
        every: Write at every how many-th step.
        first_step: Global step of the first call.
        image_rows: How many neurons an image shows at most, the first ones.

    Raises:
        TypeError: If `writer` is not a `SummaryWriter`.
        ValueError: If nothing in the model spikes, or a number is out of range.
    """
    if not all(hasattr(writer, f"add_{kind}") for kind in ("scalar", "histogram", "image")):
        raise TypeError(f"log_activity writes to a torch.utils.tensorboard.SummaryWriter, got {type(writer).__name__}.")
    if not isinstance(every, int) or every < 1 or not isinstance(image_rows, int) or image_rows < 1:
        raise ValueError(
            f"log_activity: every and image_rows must be whole numbers >= 1, got {every!r} and {image_rows!r}."
        )
    # What a wrapper holds is not called, so nothing is written of it.
    spiking = {
        name or type(module).__name__: module for name, module in model.named_modules() if hasattr(module, "surrogate")
    }
    if not spiking:
        raise ValueError(
            f"log_activity finds nothing that spikes in {type(model).__name__}; give it a model with neurons such as geir.LIF()."
        )
    log = ActivityLog(first_step)
    outputs: dict[str, list[Tensor]] = {name: [] for name in spiking}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if log.step % every == 0:
                outputs[name].append((output[0] if isinstance(output, tuple) else output).detach())

        return hook

    def begin(module: nn.Module, inputs: Any) -> None:
        # Parts may have been called by themselves, or a call have failed.
        for kept in outputs.values():
            kept.clear()

    def write(module: nn.Module, inputs: Any, output: Any) -> None:
        for name, zs in outputs.items():
            if zs:
                _write(
                    writer,
                    name,
                    torch.stack(zs) if isinstance(spiking[name], CellMixin) else torch.cat(zs),
                    log.step,
                    image_rows,
                )
        log.step += 1

    with ExitStack() as hooks:
        hooks.callback(model.register_forward_pre_hook(begin).remove)
        for name, module in spiking.items():
            hooks.callback(module.register_forward_hook(keep(name)).remove)
        # After those of the neurons, of which the model may be one.
        hooks.callback(model.register_forward_hook(write).remove)
        yield log


def _write(writer: Any, name: str, zs: Tensor, step: int, image_rows: int) -> None:
    """Write spikes of shape (time, batch, ...); (time,) and (time, neurons) are of one sample."""
    zs = zs.float()
    zs = zs.reshape(len(zs), 1, -1) if zs.dim() < 3 else zs.flatten(2)
    counts = zs.sum(0)
    writer.add_scalar(f"spikes_mean/{name}", zs.mean(), step)
    writer.add_scalar(f"spikes_sum/{name}", counts.sum(1).mean(), step)
    writer.add_histogram(f"spikes_per_neuron/{name}", counts.mean(0), step)
    # Dark on white, the first neuron at the top.
    writer.add_image(f"raster/{name}", 1 - zs[:, 0, :image_rows].T.abs().clamp(max=1), step, dataformats="HW")
