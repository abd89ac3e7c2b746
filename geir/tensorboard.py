"""Log the activity of a network's neurons to TensorBoard (``pip install "geir[tensorboard]"``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn, Tensor

from .core.neuron import Dynamics
from .wrappers import CellMixin

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@dataclass
class ActivityLog:
    """State of `log_activity`."""

    step: int = 0  # global step of the model's next call; incremented after each call, and may be set


@contextmanager
def log_activity(
    model: nn.Module, writer: SummaryWriter, every: int = 1, first_step: int = 0, image_rows: int = 256
) -> Iterator[ActivityLog]:
    r"""Context manager that logs the spikes of every spiking module in a model at each call of the model.

    For a module called `name`, it writes:

    - ``spikes_mean/name``: mean number of spikes per step and neuron, over time, batch and neurons;
    - ``spikes_sum/name``: number of spikes per sample, summed over time and neurons;
    - ``spikes_per_neuron/name``: histogram over neurons of the number of spikes per sample;
    - ``raster/name``: spikes of the first sample as an image, time from left to right.

    A cell that is called several times within one call of the model is logged once, as a run over these
    steps. If the model itself processes one step per call, each call is logged as a run of one step. At
    the end of the context all hooks are removed.

    Args:
        model: A spiking module, or a model that contains some.
        writer: A `torch.utils.tensorboard.SummaryWriter`.
        every: Write every this many steps: those that are multiples of this number.
        first_step: Global step of the first call.
        image_rows: Maximum number of neurons in an image; the first ones are shown.

    Yields:
        The log, whose `step` is the global step of the next call. Set it to use your own step numbers.

    Raises:
        TypeError: If `writer` is not a `SummaryWriter`.
        ValueError: If the model has no spiking modules, or a number is out of range.
    """
    if not all(hasattr(writer, f"add_{kind}") for kind in ("scalar", "histogram", "image")):
        raise TypeError(f"log_activity expected a torch.utils.tensorboard.SummaryWriter, got {type(writer).__name__}.")
    if not isinstance(every, int) or every < 1 or not isinstance(image_rows, int) or image_rows < 1:
        raise ValueError(f"log_activity: every and image_rows must be integers >= 1, got {every!r} and {image_rows!r}.")
    spiking = _spiking_modules(model)
    log = ActivityLog(first_step)
    outputs: dict[str, list[Tensor]] = {name: [] for name in spiking}

    def record(name: str) -> Callable[[nn.Module, object, Tensor | tuple[Tensor, object]], None]:
        def hook(module: nn.Module, inputs: object, output: Tensor | tuple[Tensor, object]) -> None:
            if log.step % every == 0:
                zs = output[0] if isinstance(output, tuple) else output
                outputs[name].append(zs.detach())

        return hook

    def discard(module: nn.Module, inputs: object) -> None:
        # Outputs are left over if a part of the model was called by itself, or if the previous call raised an error.
        for recorded in outputs.values():
            recorded.clear()

    def write(module: nn.Module, inputs: object, output: object) -> None:
        for name, recorded in outputs.items():
            if recorded:
                join = torch.stack if isinstance(spiking[name], CellMixin) else torch.cat
                _write(writer, name, join(recorded), log.step, image_rows)
        log.step += 1

    with ExitStack() as hooks:
        hooks.callback(model.register_forward_pre_hook(discard).remove)
        for name, module in spiking.items():
            hooks.callback(module.register_forward_hook(record(name)).remove)
        # Registered last: if the model itself is a neuron, its output must be recorded first.
        hooks.callback(model.register_forward_hook(write).remove)
        yield log


def _spiking_modules(model: nn.Module) -> Mapping[str, nn.Module]:
    """The spiking modules of a model by name. Wrapped neurons are included, but they are never called or logged."""
    modules = {
        name or type(module).__name__: module
        for name, module in model.named_modules()
        if isinstance(module, Dynamics) and module.spiking
    }
    if not modules:
        raise ValueError(
            f"log_activity found no spiking modules in {type(model).__name__}; "
            "pass a model that contains neurons such as geir.LIF()."
        )
    return modules


def _write(writer: SummaryWriter, name: str, zs: Tensor, step: int, image_rows: int) -> None:
    """Write spikes of shape (time, batch, ...), or (time,) or (time, neurons) for a single sample."""
    zs = zs.float()
    zs = zs.reshape(len(zs), 1, -1) if zs.dim() < 3 else zs.flatten(2)
    counts = zs.sum(0)
    writer.add_scalar(f"spikes_mean/{name}", zs.mean(), step)
    writer.add_scalar(f"spikes_sum/{name}", counts.sum(1).mean(), step)
    writer.add_histogram(f"spikes_per_neuron/{name}", counts.mean(0), step)
    # Dark on white, with the first neuron at the top.
    image = 1 - zs[:, 0, :image_rows].T.abs().clamp(max=1)
    writer.add_image(f"raster/{name}", image, step, dataformats="HW")
