"""Penalties that hold parameters which earlier tasks need: synaptic intelligence and elastic weight consolidation."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor

from .._util.validation import check_positive


class Consolidation(ABC):
    r"""A quadratic penalty, :math:`c \sum_k \Omega_k (\theta_k - \tilde\theta_k)^2`, on parameters :math:`\theta`.

    Abstract: a subclass defines `scale`, and sets the importances :math:`\Omega` and the references
    :math:`\tilde\theta` when a task ends.

    Args:
        parameters: The parameters, as for an optimizer; those that do not require gradients are ignored.
        strength: A positive number.
    """

    # The tensors that a subclass remembers of every parameter: its attributes of these names.
    _remembered: ClassVar[tuple[str, ...]] = ("importance", "reference")

    def __init__(self, parameters: Iterable[Tensor], strength: float):
        name = type(self).__name__
        given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        if not all(isinstance(p, Tensor) for p in given):
            raise TypeError(f"{name} expected parameters, such as model.parameters(), got {given!r}.")
        self.parameters = [p for p in given if p.requires_grad]
        if not self.parameters:
            raise ValueError(f"{name} expected parameters that require a gradient, got none.")
        if not all(p.is_leaf for p in self.parameters):
            raise ValueError(f"{name} expected parameters, got tensors that were computed from others.")
        check_positive(name, strength=strength)
        self.strength = strength
        self.importance = [torch.zeros_like(p, requires_grad=False) for p in self.parameters]
        self.reference = [p.detach().clone() for p in self.parameters]

    def penalty(self) -> Tensor:
        """The penalty, to be added to the loss: a scalar, zero before the first task ends."""
        terms = [
            (importance * (p - reference) ** 2).sum()
            for p, importance, reference in zip(self.parameters, self.importance, self.reference, strict=True)
        ]
        return self.scale * torch.stack(terms).sum()

    @property
    @abstractmethod
    def scale(self) -> float:
        """The factor :math:`c` of the sum of squares."""

    def state_dict(self) -> dict[str, Any]:
        """The tensors kept for each parameter, in the order of the parameters."""
        return {name: [t.clone() for t in getattr(self, name)] for name in self._remembered}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state from `state_dict`.

        Raises:
            ValueError: If it is not that of an object of the same class for parameters of the same shapes.
        """
        shapes = [p.shape for p in self.parameters]
        for name in self._remembered:
            if [getattr(t, "shape", None) for t in state_dict.get(name, ())] != shapes:
                raise ValueError(
                    f"{type(self).__name__}.load_state_dict expected the state_dict() of a {type(self).__name__} "
                    f"with parameters of the same number and shapes; its {name!r} does not fit."
                )
        for name in self._remembered:
            loaded = [t.to(p.detach(), copy=True) for t, p in zip(state_dict[name], self.parameters, strict=True)]
            setattr(self, name, loaded)


class SynapticIntelligence(Consolidation):
    r"""Synaptic intelligence: parameters are held as much as they contributed to the fall of earlier losses.

    While a task is learned, every parameter sums up its contribution, :math:`\omega_k \leftarrow \omega_k - g_k
    \Delta\theta_k`, with the gradient :math:`g` of the loss of the task and the change :math:`\Delta\theta` of one
    step; :math:`\sum_k \omega_k` is the fall of the loss, to first order in the step size. At the end of the task,

    .. math::
        \Omega_k \leftarrow \max\left(0, \Omega_k + \frac{\omega_k}{(\theta_k - \tilde\theta_k)^2 + \xi}\right), \qquad
        \tilde\theta_k \leftarrow \theta_k, \qquad \omega_k \leftarrow 0,

    and the loss of the next task has the penalty :math:`c \sum_k \Omega_k (\theta_k - \tilde\theta_k)^2`. The maximum
    is that of the authors' program: noise can make contributions negative.

    Reference: F. Zenke, B. Poole & S. Ganguli, *Continual learning through synaptic intelligence*, 2017.

    Args:
        parameters: The parameters, as for an optimizer; those that do not require gradients are ignored.
        strength: :math:`c`, positive.
        damping: :math:`\xi`, positive.

    Raises:
        TypeError: If something else than parameters is given.
        ValueError: If no parameter needs a gradient, or a number is not positive.

    >>> model = torch.nn.Linear(3, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> intelligence = SynapticIntelligence(model.parameters())
    >>> for task in (1.0, -1.0):
    ...     for _ in range(5):
    ...         optimizer.zero_grad()
    ...         loss = (model(torch.ones(3)) - task).square().sum()
    ...         (loss + intelligence.penalty()).backward()
    ...         optimizer.step()
    ...         intelligence.update()  # after every step, before gradients are set to zero
    ...     intelligence.consolidate()  # at the end of a task
    """

    _remembered = ("importance", "reference", "contribution", "previous")

    def __init__(self, parameters: Iterable[Tensor], strength: float = 0.1, damping: float = 0.1):
        super().__init__(parameters, strength)
        check_positive(type(self).__name__, damping=damping)
        self.damping = damping
        self.contribution = [torch.zeros_like(reference) for reference in self.reference]
        self.previous = [reference.clone() for reference in self.reference]

    @property
    def scale(self) -> float:
        return self.strength

    @torch.no_grad()
    def update(self) -> None:
        """Add the contributions of the step that the optimizer has just made.

        `.grad` must hold the gradient of that step, of the loss with the penalty: its gradient is subtracted here.
        """
        entries = zip(self.parameters, self.importance, self.reference, self.contribution, self.previous, strict=True)
        for p, importance, reference, contribution, previous in entries:
            if p.grad is not None:
                of_penalty = 2 * self.scale * importance * (previous - reference)
                contribution -= (p.grad - of_penalty) * (p - previous)
            previous.copy_(p)

    @torch.no_grad()
    def consolidate(self) -> None:
        """End a task: turn contributions into importances, and hold the parameters where they are now."""
        entries = zip(self.parameters, self.importance, self.reference, self.contribution, self.previous, strict=True)
        for p, importance, reference, contribution, previous in entries:
            importance += contribution / ((p - reference).square() + self.damping)
            importance.clamp_(min=0)
            reference.copy_(p)
            previous.copy_(p)
            contribution.zero_()


class ElasticWeightConsolidation(Consolidation):
    r"""Elastic weight consolidation: parameters are held as much as the output of earlier tasks depends on them.

    The importance of a parameter for a task is the diagonal of the Fisher information, the mean of the squared
    derivative of the log-likelihood over samples, at the parameters :math:`\theta^{(a)}` with which the task ended:

    .. math::
        F_k^{(a)} = \mathbb E \left[ \left( \frac{\partial \log p(y \mid x, \theta)}{\partial \theta_k} \right)^2
        \right], \qquad
        \text{penalty} = \frac{\lambda}{2} \sum_a \sum_k F_k^{(a)} \left(\theta_k - \theta_k^{(a)}\right)^2.

    The sum over tasks is kept as one quadratic function, with the importance :math:`\sum_a F^{(a)}` and the weighted
    mean of the :math:`\theta^{(a)}` as reference: it equals the sum up to a constant, which has no gradient, and
    memory does not depend on the number of tasks.

    Reference: J. Kirkpatrick et al., *Overcoming catastrophic forgetting in neural networks*, 2017.

    Args:
        parameters: The parameters, as for an optimizer; those that do not require gradients are ignored.
        strength: :math:`\lambda`, positive.

    Raises:
        TypeError: If something else than parameters is given.
        ValueError: If no parameter needs a gradient, or `strength` is not positive.

    >>> model = torch.nn.Linear(3, 2)
    >>> consolidation = ElasticWeightConsolidation(model.parameters(), strength=100.0)
    >>> x, labels = torch.randn(20, 3), torch.randint(2, (20,))
    >>> consolidation.consolidate([torch.nn.functional.cross_entropy(model(x), labels, reduction="none")])
    >>> consolidation.penalty().item()
    0.0
    """

    def __init__(self, parameters: Iterable[Tensor], strength: float = 100.0):
        super().__init__(parameters, strength)

    @property
    def scale(self) -> float:
        return self.strength / 2

    def consolidate(self, losses: Iterable[Tensor]) -> None:
        """End a task: measure the Fisher information, and hold the parameters where they are now.

        Args:
            losses: Negative log-likelihoods of samples, with their graphs, in batches of shape (batch,); may be a
                generator. For the Fisher information, labels are drawn from the output of the model; with the labels
                of the data it is the empirical one. There is one backward pass of the batch for each sample, so small
                batches are faster; a few hundred samples are enough.

        Raises:
            TypeError: If a batch is not a tensor that depends on the parameters.
            ValueError: If a batch has another shape, or there is no sample.
        """
        fisher = [torch.zeros_like(reference) for reference in self.reference]
        count = 0
        for batch in losses:
            for loss in self._check_losses(batch).unbind():
                gradients = torch.autograd.grad(loss, self.parameters, retain_graph=True, allow_unused=True)
                for total, gradient in zip(fisher, gradients, strict=True):
                    if gradient is not None:
                        total += gradient.square()
                count += 1
        if not count:
            raise ValueError("ElasticWeightConsolidation.consolidate expected the losses of samples, got none.")
        for k, (p, total) in enumerate(zip(self.parameters, fisher, strict=True)):
            information = total / count
            importance = self.importance[k] + information
            # Where nothing depends on a parameter its reference does not matter.
            share = torch.where(importance > 0, information / importance, 1.0)
            self.reference[k] = torch.lerp(self.reference[k], p.detach(), share)
            self.importance[k] = importance

    def _check_losses(self, batch: object) -> Tensor:
        caller = "ElasticWeightConsolidation.consolidate"
        if not isinstance(batch, Tensor) or not batch.requires_grad:
            raise TypeError(
                f"{caller} expected losses that depend on the parameters, such as "
                f"[cross_entropy(model(x), labels, reduction='none')], got {batch!r}."
            )
        if batch.dim() != 1:
            raise ValueError(
                f"{caller} expected batches of losses of samples, shape (batch,), got shape {tuple(batch.shape)}; "
                "compute the loss with reduction='none'."
            )
        return batch
