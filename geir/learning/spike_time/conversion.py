"""From spike tensors on a grid to lists of spikes and back."""

import torch
from torch import Tensor

from ..._util.validation import check_has_time, check_integer, check_positive
from .times import check_spikes, NO_UNIT, SpikeTimes


def spikes_to_times(zs: Tensor, dt: float = 1e-3) -> SpikeTimes:
    """The spikes of a spike tensor: a spike in step k has the time ``k * dt``. Not differentiable.

    Args:
        zs: Number of spikes in each step, shape (time, batch, units).
        dt: Step size in seconds.

    Returns:
        Spikes, in the dtype of `zs` (at least float32), padded to the sample with the most spikes.

    Raises:
        TypeError: If `zs` is not floating-point.
        ValueError: If `zs` has another shape or other values than whole numbers, or `dt` is not positive.
    """
    check_has_time("spikes_to_times", zs)
    check_positive("spikes_to_times", dt=dt)
    if zs.dim() != 3:
        raise ValueError(f"spikes_to_times expected spikes of shape (time, batch, units), got {tuple(zs.shape)}.")
    counts = zs.detach().transpose(0, 1).cpu()
    if bool(((counts < 0) | (counts != counts.round()) | counts.isinf()).any()):
        raise ValueError("spikes_to_times expected whole numbers of spikes, got others, such as potentials.")
    dtype = torch.float64 if zs.dtype == torch.float64 else torch.float32
    # In the order of samples, then of time, then of units.
    sample, step, unit = counts.nonzero(as_tuple=True)
    repeats = counts[sample, step, unit].long()
    sample, step, unit = (index.repeat_interleave(repeats) for index in (sample, step, unit))
    per_sample = torch.bincount(sample, minlength=counts.shape[0])
    place = torch.arange(len(sample)) - (per_sample.cumsum(0) - per_sample)[sample]
    longest = int(per_sample.max()) if len(per_sample) else 0
    times = torch.full((counts.shape[0], longest), torch.inf, dtype=dtype)
    units = torch.full(times.shape, NO_UNIT)
    times[sample, place] = (step.double() * dt).to(dtype)
    units[sample, place] = unit
    return SpikeTimes(times, units)


def times_to_spikes(times: Tensor, units: Tensor, *, steps: int, size: int, dt: float = 1e-3) -> Tensor:
    """The spike tensor of a list of spikes: step k counts the spikes from ``k * dt`` until ``(k + 1) * dt``, excluded.

    Not differentiable. A time that is before a step by its own rounding error belongs to it, so that the result of
    `spikes_to_times` returns to its place.

    Args:
        times: Times in seconds, shape (batch, spikes), ascending, padded with infinity.
        units: Unit numbers, shape (batch, spikes).
        steps: Number of steps.
        size: Number of units.
        dt: Step size in seconds.

    Returns:
        Number of spikes, shape (steps, batch, size), in the dtype of `times`.

    Raises:
        TypeError: If a tensor has the wrong dtype.
        ValueError: If the spikes are invalid, or one is after the last step.
    """
    check_integer("times_to_spikes", minimum=1, steps=steps, size=size)
    check_positive("times_to_spikes", dt=dt)
    check_spikes("times_to_spikes", times, units, size)
    exists = times.isfinite()
    sample, place = exists.nonzero(as_tuple=True)
    position = times.detach()[sample, place].double() / dt
    step = (position * (1 + 4 * torch.finfo(times.dtype).eps)).floor().long()
    if bool((step >= steps).any()):
        last = float(times.detach()[exists].max())
        raise ValueError(
            f"times_to_spikes: a spike at {last} s is after the last of {steps} steps of {dt} s; give more steps, or "
            "set later times to infinity."
        )
    zs = torch.zeros(steps, len(times), size, dtype=times.dtype)
    zs.index_put_((step, sample, units[sample, place].long()), torch.ones((), dtype=times.dtype), accumulate=True)
    return zs
