"""Distances between spike trains: how far apart what two neurons say is in time. All take spikes of shape (time, ...) and give (...)."""

import torch
from torch import Tensor

from .._util.validation import check_pair, check_positive, spike_steps, time_indices
from .filters import exponential_filter


def van_rossum_distance(zs: Tensor, others: Tensor, tau: float | Tensor = 10e-3, dt: float = 1e-3) -> Tensor:
    r"""Distance of two trains that are filtered with a decaying exponential.

    .. math:: D^2 = \frac{1}{\tau} \int_0^\infty \left(f(t) - g(t)\right)^2 dt, \qquad f(t) = \sum_{t_k \le t} e^{-(t - t_k) / \tau}

    The integral is exact, and goes on beyond the end of the run. A spike added is a distance of :math:`\sqrt{1/2}`, and so many spikes apart
    by much more than :math:`\tau` are their number's root times that. Differentiable; where two trains are equal the gradient is 0.

    Reference: M. van Rossum, *A novel spike distance*, 2001.

    Args:
        zs: Spikes, shape (time, ...).
        others: Spikes, the same shape.
        tau: Time constant in seconds.
        dt: Step size in seconds.

    Returns:
        Shape (...).

    >>> van_rossum_distance(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0]), tau=10e-3)
    tensor(0.4258)
    """
    check_pair("van_rossum_distance", zs, others)
    apart = exponential_filter(zs - others, tau, dt)
    decay = torch.exp(-2 * dt / torch.as_tensor(tau, dtype=apart.dtype, device=apart.device))
    square = ((1 - decay) * (apart[:-1] ** 2).sum(0) + apart[-1] ** 2) / 2
    # A root's slope at 0 is infinite; that of the distance from oneself is taken as 0.
    return torch.where(square > 0, square.where(square > 0, 1).sqrt(), 0)


def victor_purpura_distance(zs: Tensor, others: Tensor, q: float = 100.0, dt: float = 1e-3) -> Tensor:
    r"""The least that it costs to turn one train into the other: 1 to add or delete a spike, :math:`q |\Delta t|` to move it.

    With :math:`q = 0` it is the difference of spike counts; a spike is moved by no more than :math:`2 / q`. Not differentiable.

    Reference: J. Victor & K. Purpura, *Nature and precision of temporal coding in visual cortex: a metric-space analysis*, 1996.

    Args:
        zs: Spikes, shape (time, ...).
        others: Spikes, the same shape.
        q: Cost of moving a spike, per second.
        dt: Step size in seconds.

    Returns:
        Shape (...).

    >>> victor_purpura_distance(torch.tensor([1.0, 0.0, 0.0, 1.0]), torch.tensor([0.0, 0.0, 1.0, 0.0]), q=100.0)
    tensor(1.1000)
    """
    check_pair("victor_purpura_distance", zs, others)
    check_positive("victor_purpura_distance", dt=dt)
    if not q >= 0:
        raise ValueError(f"victor_purpura_distance: q must not be negative, got {q} per second.")
    number, others_number = (zs != 0).sum(0), (others != 0).sum(0)
    if not number.numel():
        return zs.new_empty(number.shape)
    dtype = torch.promote_types(zs.dtype, torch.float32)
    steps = spike_steps(zs, int(number.max())).to(dtype)
    others_steps = spike_steps(others, int(others_number.max())).to(dtype)
    index = time_indices(len(others_steps) + 1, number).to(dtype)
    # Entry j of a row: the cost of turning the first spikes of one train, so many as rows so far, into the first j of the other.
    row = index.expand(-1, *number.shape)
    distance = row.gather(0, others_number[None])
    for spikes, step in enumerate(steps, 1):
        moved = row[:-1] + q * dt * (step - others_steps).abs()
        best = torch.cat([row[:1] + 1, torch.minimum(row[1:] + 1, moved)])
        # Adding spikes costs 1 each, from wherever in the row.
        row = torch.cummin(best - index, 0).values + index
        distance = torch.where(number >= spikes, row.gather(0, others_number[None]), distance)
    return distance[0]


def isi_distance(zs: Tensor, others: Tensor) -> Tensor:
    r"""How much the intervals of two trains differ: the mean over time of :math:`|I_1 - I_2| / \max(I_1, I_2)`, from 0 to below 1.

    :math:`I(t)` is the interval between the spikes before and after :math:`t`; begin and end of the run count as spikes. Not differentiable.

    Reference: T. Kreuz, J. Haas, A. Morelli, H. Abarbanel & A. Politi, *Measuring spike train synchrony*, 2007.

    >>> isi_distance(torch.tensor([0.0, 0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 0.0, 0.0]))
    tensor(0.5000)
    """
    check_pair("isi_distance", zs, others)
    interval, other = (after - before for before, after in map(_neighbours, (zs, others)))
    return (1 - torch.minimum(interval, other) / torch.maximum(interval, other)).mean(0)


def spike_distance(zs: Tensor, others: Tensor) -> Tensor:
    r"""How much the spikes of two trains around each time differ: the SPIKE-distance, the mean over time of

    .. math:: S(t) = \frac{S_1 I_2 + S_2 I_1}{(I_1 + I_2)^2 / 2}, \qquad S_n = \frac{d_n^- (t_n^+ - t) + d_n^+ (t - t_n^-)}{I_n}

    where :math:`t_n^-` and :math:`t_n^+` are the spikes of train :math:`n` before and after :math:`t`, :math:`I_n` their interval, and
    :math:`d_n^\pm` how far the nearest spike of the other train is from them. Begin and end of the run count as spikes. The mean is
    exact. Not differentiable.

    Reference: T. Kreuz, D. Chicharro, C. Houghton, R. Andrzejak & F. Mormann, *Monitoring spike train synchrony*, 2013.

    >>> spike_distance(torch.tensor([0.0, 0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0, 0.0]))
    tensor(0.)
    """
    check_pair("spike_distance", zs, others)
    one, two = _neighbours(zs), _neighbours(others)
    # In the middle of every step; between spikes it is a straight line.
    middle = time_indices(len(zs), zs[0]) + 0.5
    weighted = torch.zeros_like(one[0])
    for (before, after), other in ((one, two), (two, one)):
        own = (_to_nearest(before, other) * (after - middle) + _to_nearest(after, other) * (middle - before)) / (
            after - before
        )
        weighted = weighted + own * (other[1] - other[0])
    return (2 * weighted / (one[1] - one[0] + two[1] - two[0]) ** 2).mean(0)


def _neighbours(zs: Tensor) -> tuple[Tensor, Tensor]:
    """The last spike until the begin of every step and the first after it, in steps; at least the begin and the end of the run."""
    spiked, end = zs != 0, len(zs)
    steps = time_indices(end, zs[0]).to(torch.promote_types(zs.dtype, torch.float32))
    before = torch.cummax(torch.where(spiked, steps, 0), 0).values
    at_or_after = torch.cummin(torch.where(spiked, steps, end).flip(0), 0).values.flip(0)
    return before, torch.cat([at_or_after[1:], torch.full_like(before[:1], end)])


def _to_nearest(steps: Tensor, train: tuple[Tensor, Tensor]) -> Tensor:
    """How far it is from each of these steps to the nearest spike of a train, given by its neighbours at every step."""
    before, after = train
    at = steps.long().clamp(max=len(before) - 1)
    return torch.minimum(steps - before.gather(0, at), after.gather(0, at) - steps)
