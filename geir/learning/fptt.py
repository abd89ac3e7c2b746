"""Forward propagation through time, around any optimizer."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from .._util.validation import check_positive
from ._optimizer_wrapper import OptimizerWrapper


class FPTTState(NamedTuple):
    """State of FPTT for one parameter."""

    average: Tensor  # running average of the parameter
    dual: Tensor  # estimate of the gradient of the loss


class FPTT(OptimizerWrapper):
    r"""Forward propagation through time: an optimizer that steps at every time step, around any optimizer.

    With the loss :math:`\ell_t` of step :math:`t`, the inner optimizer takes one step on

    .. math:: \ell_t(W) + (\rho - 1) \langle W, \lambda \rangle + \frac{\alpha}{2} \lVert W - \bar W \rVert^2,

    after which

    .. math::
        \lambda \leftarrow \lambda - \alpha (W - \bar W), \qquad
        \bar W \leftarrow (1 - \beta) \bar W + \beta W - \frac{\beta}{\alpha} \lambda.

    The running average :math:`\bar W` starts at the initial weights and :math:`\lambda` at 0. Where :math:`\rho = 0`
    and the inner optimizer finds the minimum, :math:`\lambda` is the gradient of :math:`\ell_t`. The strength
    :math:`\alpha` is relative to the loss: a mean over more elements makes it stronger.

    The state of the network is detached between time steps, as by ``Online(model, SLTT())``; any other rule of
    `Online` gives a better gradient. `.grad` holds the gradient of :math:`\ell_t` before and after a step. Schedulers
    are given the inner optimizer.

    Reference: A. Kag & V. Saligrama, *Training recurrent neural networks via forward propagation through time*, 2021;
    B. Yin et al., *Accurate online training of dynamical spiking neural networks through Forward Propagation Through
    Time*, 2023.

    Args:
        optimizer: The inner optimizer, with the parameters.
        alpha: Strength of the penalty, > 0.
        beta: Weight of a step in the running average, > 0 and at most 1.
        rho: Weight of the dual term, at least 0 and at most 1; 1 leaves it out.

    Raises:
        TypeError: If `optimizer` is not an optimizer.
        ValueError: If a number is out of range.

    >>> weight = torch.nn.Parameter(torch.tensor(2.0))
    >>> optimizer = FPTT(torch.optim.SGD([weight], lr=0.1))
    >>> for _ in range(300):
    ...     optimizer.zero_grad()
    ...     (weight - 1).square().backward()
    ...     optimizer.step()
    >>> round(weight.item(), 3)
    1.0
    """

    def __init__(self, optimizer: Optimizer, alpha: float = 0.5, beta: float = 0.5, rho: float = 0.0):
        super().__init__(optimizer)
        check_positive("FPTT", alpha=alpha, beta=beta)
        if beta > 1:
            raise ValueError(f"FPTT: beta must be at most 1, got {beta}.")
        if not 0 <= rho <= 1:
            raise ValueError(f"FPTT: rho must be at least 0 and at most 1, got {rho}.")
        self.alpha, self.beta, self.rho = alpha, beta, rho
        self.state: dict[Tensor, FPTTState] = {p: _start(p) for p in self._parameters()}

    def __repr__(self) -> str:
        return f"FPTT({self.optimizer!r}, alpha={self.alpha}, beta={self.beta}, rho={self.rho})"

    @torch.no_grad()
    def step(self) -> None:
        """Take one step with the gradients in `.grad`. Parameters without a gradient stay as they are."""
        gradients = {p: p.grad for p in self._parameters() if p.grad is not None}
        for p, gradient in gradients.items():
            average, dual = self.state.setdefault(p, _start(p))
            p.grad = gradient + (self.rho - 1) * dual + self.alpha * (p - average)
        try:
            self.optimizer.step()
        finally:
            for p, gradient in gradients.items():
                p.grad = gradient
        for p in gradients:
            average, dual = self.state[p]
            dual = dual - self.alpha * (p - average)
            average = (1 - self.beta) * average + self.beta * p - self.beta / self.alpha * dual
            self.state[p] = FPTTState(average, dual)

    def state_dict(self) -> dict[str, Any]:
        """The state of the inner optimizer, running averages and duals, in the order of the parameters."""
        states = [tuple(self.state.get(p) or _start(p)) for p in self._parameters()]
        return {"optimizer": self.optimizer.state_dict(), "fptt": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state from `state_dict`.

        Raises:
            ValueError: If it is not that of an FPTT with the same parameters.
        """
        parameters, states = self._parameters(), state_dict.get("fptt")
        if states is None or [entry[0].shape for entry in states] != [p.shape for p in parameters]:
            raise ValueError(
                "FPTT.load_state_dict expected the state_dict() of an FPTT with parameters of the same number and "
                "shapes."
            )
        self.optimizer.load_state_dict(state_dict["optimizer"])
        self.state = {
            p: FPTTState(*(part.to(p, copy=True) for part in entry))
            for p, entry in zip(parameters, states, strict=True)
        }


def _start(parameter: Tensor) -> FPTTState:
    return FPTTState(parameter.detach().clone(), torch.zeros_like(parameter, requires_grad=False))
