"""Losses on spikes and membrane potentials.

All take shape (time, batch, classes) and integer class labels of shape (batch,), and return a scalar,
float32 if the input is in half precision. All raise a `ValueError` if there is no step, the labels do not have the
shape of the batch or one is not a class, and a `TypeError` if the input is not floating-point or the labels are not
integers. Cross entropies take the probabilities of the classes, shape (batch, classes), in place of labels too.
"""

from torch import Tensor
from torch.nn import functional

from .._util.precision import widen
from .._util.validation import check_has_time
from ._labels import check_labels
from .decoders import first_spike_score, first_spike_time, last_potential, max_potential, spike_count


def _cross_entropy(caller: str, scores: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(scores, check_labels(caller, scores, labels, soft=True))


def _checked(caller: str, xs: Tensor) -> Tensor:
    check_has_time(caller, xs)
    return widen(xs)


def _one_hot(caller: str, scores: Tensor, labels: Tensor, correct: float, incorrect: float) -> Tensor:
    """Targets, shape (batch, classes): `correct` for the class of the label, `incorrect` for the others."""
    if scores.dim() != 2:
        raise ValueError(
            f"{caller} expected an input of shape (time, batch, classes), got one step of shape {tuple(scores.shape)}."
        )
    hot = functional.one_hot(check_labels(caller, scores, labels), scores.shape[1]).to(scores.dtype)
    return incorrect + (correct - incorrect) * hot


def rate_loss(zs: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the spike counts.

    Args:
        zs: Spikes, shape (time, batch, classes).
        labels: Class labels, shape (batch,).

    Returns:
        Scalar, the mean over the batch.

    Raises:
        ValueError: If `zs` has no step.
        TypeError: If `zs` is not floating-point.
    """
    check_has_time("decode.rate_loss", zs)
    return _cross_entropy("decode.rate_loss", widen(zs).sum(0), labels)


def max_potential_loss(vs: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the largest membrane potentials over time.

    Args:
        vs: Membrane potentials, shape (time, batch, classes).
        labels: Class labels, shape (batch,).

    Returns:
        Scalar, the mean over the batch.

    Raises:
        ValueError: If `vs` has no step.
        TypeError: If `vs` is not floating-point.
    """
    return _cross_entropy("decode.max_potential_loss", max_potential(_checked("decode.max_potential_loss", vs)), labels)


def last_potential_loss(vs: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of the membrane potentials at the last step.

    Args:
        vs: Membrane potentials, shape (time, batch, classes).
        labels: Class labels, shape (batch,).

    Returns:
        Scalar, the mean over the batch.

    Raises:
        ValueError: If `vs` has no step.
        TypeError: If `vs` is not floating-point.
    """
    return _cross_entropy(
        "decode.last_potential_loss", last_potential(_checked("decode.last_potential_loss", vs)), labels
    )


def first_spike_loss(zs: Tensor, labels: Tensor, dt: float = 1e-3, tau: float = 10e-3) -> Tensor:
    """Cross entropy of the negative times of the first spikes: trains the neuron of the correct class to spike first.

    References: H. Mostafa, *Supervised learning based on temporal coding in spiking neural networks*, 2017;
    J. Göltz et al., *Fast and energy-efficient neuromorphic deep learning with first-spike times*, 2021.

    Args:
        zs: Spikes, shape (time, batch, classes).
        labels: Class labels, shape (batch,).
        dt: Step size in seconds.
        tau: Time by which spikes must differ for a difference of 1 in the scores, in seconds.

    Returns:
        Scalar, the mean over the batch.

    Raises:
        ValueError: If `zs` has no step.
        TypeError: If `zs` is not floating-point.
    """
    return _cross_entropy("decode.first_spike_loss", first_spike_score(zs, dt, tau), labels)


def spike_count_loss(zs: Tensor, labels: Tensor, correct: float = 0.8, incorrect: float = 0.2) -> Tensor:
    r"""Squared error of the spike counts: each neuron is trained to fire at a rate, as a share of all steps.

    .. math:: \frac{1}{T} \left\langle \left(\sum_t z_t - T r\right)^2 \right\rangle,

    with :math:`r` = `correct` for the neuron of the correct class and `incorrect` for the others, the mean being over
    batch and classes. It is snnTorch's ``mse_count_loss``. For population codes, pass ``vote(zs, classes)``.

    Reference: J. Eshraghian et al., *Training spiking neural networks using lessons from deep learning*, 2023.

    Args:
        zs: Spikes, shape (time, batch, classes).
        labels: Class labels, shape (batch,).
        correct: Share of the steps in which the neuron of the correct class should spike.
        incorrect: The same for all others.

    Returns:
        Scalar, the mean over the batch.

    Raises:
        ValueError: If `zs` has no step, a label is not a class or `labels` does not have the shape of the batch.
        TypeError: If `zs` is not floating-point, or `labels` are not integers.
    """
    counts = spike_count(_checked("decode.spike_count_loss", zs))
    steps = len(zs)
    targets = _one_hot("decode.spike_count_loss", counts, labels, correct * steps, incorrect * steps)
    return functional.mse_loss(counts, targets) / steps


def step_loss(xs: Tensor, labels: Tensor, target: float = 1.0, weight: float = 0.0) -> Tensor:
    r"""Cross entropy at every step, averaged over time: temporal efficient training (TET).

    .. math:: \frac{1}{T} \sum_t (1 - \lambda) \, \text{CE}(x_t, y) + \lambda \, \langle (x_t - \phi)^2 \rangle,

    with :math:`\lambda` = `weight` and :math:`\phi` = `target`. The second term keeps outputs near a constant. With
    ``weight=0`` it is the mean cross entropy of the steps, snnTorch's ``ce_rate_loss`` on spikes, and the loss of its
    fifth tutorial on potentials, divided by :math:`T`.

    Reference: S. Deng et al., *Temporal efficient training of spiking neural network via gradient re-weighting*, 2022.

    Args:
        xs: Membrane potentials or spikes, shape (time, batch, classes).
        labels: Class labels, shape (batch,).
        target: Output to stay near, :math:`\phi`.
        weight: Weight of staying near it, :math:`\lambda`, in [0, 1].

    Returns:
        Scalar, the mean over time and batch.

    Raises:
        ValueError: If `xs` has no step, a label is not a class, `labels` does not have the shape of the batch, or
            `weight` is not in [0, 1].
        TypeError: If `xs` is not floating-point, or `labels` are not integers.
    """
    xs = _checked("decode.step_loss", xs)
    if not 0 <= weight <= 1:
        raise ValueError(f"decode.step_loss: weight must be in [0, 1], got {weight!r}.")
    labels = check_labels("decode.step_loss", xs[0], labels, soft=True)
    # The mean over all steps and samples is that of the means of the steps, which have the same number of samples.
    steps = labels.expand(len(xs), *labels.shape)
    if xs.dim() == 2:
        loss = functional.cross_entropy(xs, steps)
    else:
        loss = functional.cross_entropy(xs.flatten(0, 1), steps.flatten(0, 1))
    if weight == 0:
        return loss
    return (1 - weight) * loss + weight * (xs - target).square().mean()


def potential_loss(vs: Tensor, labels: Tensor, correct: float = 1.0, incorrect: float = 0.0) -> Tensor:
    r"""Squared error of the membrane potential at every step.

    .. math:: \frac{1}{T} \sum_t \left\langle (v_t - v^*)^2 \right\rangle,

    with :math:`v^*` = `correct` for the neuron of the correct class and `incorrect` for the others. It is snnTorch's
    ``mse_membrane_loss``. The potential that a spiking neuron records never exceeds its threshold: to train it to more,
    pass the potential before the reset (`geir.BeforeReset`).

    Reference: J. Eshraghian et al., *Training spiking neural networks using lessons from deep learning*, 2023.

    Args:
        vs: Membrane potentials, shape (time, batch, classes).
        labels: Class labels, shape (batch,).
        correct: Potential of the neuron of the correct class.
        incorrect: Potential of the others.

    Returns:
        Scalar, the mean over time, batch and classes.

    Raises:
        ValueError: If `vs` has no step, a label is not a class or `labels` does not have the shape of the batch.
        TypeError: If `vs` is not floating-point, or `labels` are not integers.
    """
    vs = _checked("decode.potential_loss", vs)
    targets = _one_hot("decode.potential_loss", vs[0], labels, correct, incorrect)
    return (vs - targets).square().mean()


def spike_time_loss(
    zs: Tensor, labels: Tensor, correct: float, incorrect: float, tolerance: float = 0.0, dt: float = 1e-3
) -> Tensor:
    r"""Squared error of the time of the first spike, in units of the duration of the run.

    .. math:: \left\langle \left(\frac{t_1 - t^*}{T \Delta t}\right)^2 \right\rangle,

    with the target :math:`t^*` = `correct` for the neuron of the correct class and `incorrect` for the others. Times
    that differ from their target by less than `tolerance` are no error. A silent neuron has the time
    :math:`T \Delta t`, and a gradient. snnTorch's ``mse_temporal_loss`` is the same in units of steps, with a gradient
    at the first spike only.

    Reference: S. Bohte, J. Kok & H. La Poutré, *Error-backpropagation in temporally encoded networks of spiking
    neurons*, 2002.

    Args:
        zs: Spikes, shape (time, batch, classes).
        labels: Class labels, shape (batch,).
        correct: Time of the first spike of the neuron of the correct class, in seconds.
        incorrect: Time of the first spike of the others, in seconds.
        tolerance: Difference that is no error, in seconds.
        dt: Step size in seconds.

    Returns:
        Scalar, the mean over batch and classes.

    Raises:
        ValueError: If `zs` has no step, a label is not a class, `labels` does not have the shape of the batch, or a
            time is not within the run.
        TypeError: If `zs` is not floating-point, or `labels` are not integers.
    """
    zs = _checked("decode.spike_time_loss", zs)
    duration = len(zs) * dt
    for name, time in (("correct", correct), ("incorrect", incorrect), ("tolerance", tolerance)):
        # Up to rounding: the duration itself is the time of a silent neuron.
        if not 0 <= time <= duration * (1 + 1e-6):
            raise ValueError(
                f"decode.spike_time_loss: {name} must be a time within the run, from 0 to {duration:g} s, got "
                f"{time!r}; times are in seconds."
            )
    times = first_spike_time(zs, dt)
    errors = times - _one_hot("decode.spike_time_loss", times, labels, correct, incorrect)
    return (errors * (errors.abs() >= tolerance) / duration).square().mean()
