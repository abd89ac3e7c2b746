"""Learning from rewards: gradients that wait for the error of the predicted reward, around any optimizer."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ._optimizer_wrapper import OptimizerWrapper


class RewardTraces(OptimizerWrapper):
    r"""Reward-modulated learning: an optimizer whose gradients are remembered until rewards arrive.

    With a loss :math:`\ell_t` of every step and the error :math:`\delta_t` of the predicted reward,

    .. math::
        F_t = \gamma \lambda F_{t-1} + \nabla \ell_t, \qquad
        \delta_t = r_t + \gamma V_{t+1} - V_t,

    and the inner optimizer is given :math:`\delta_t F_t` as the gradient. An actor-critic has the loss
    :math:`\ell_t = -\log \pi(a_t) - c V_t` with the probability of the chosen action and the predicted reward
    :math:`V_t`. With ``Online(model, EProp())``, :math:`\nabla \ell_t = L_j(t) \bar e_{ji}(t)`: reward-based e-prop.

    The error of a step is known only after the prediction of the next one, so `step` is given the error of the step
    before: it makes the update, then adds the gradient in `.grad` to the traces. `end` makes the last update of an
    episode. `.grad` holds the gradient of :math:`\ell_t` before and after a step. The errors of several environments
    differ, but their gradients are already summed, so use a batch of one.

    Reference: G. Bellec et al., *A solution to the learning dilemma for recurrent networks of spiking neurons*, 2020.

    Args:
        optimizer: The inner optimizer, with the parameters.
        gamma: Discount of later rewards :math:`\gamma`, from 0 to 1.
        lam: Decay of the traces beside it, :math:`\lambda`, from 0 to 1.

    Raises:
        TypeError: If `optimizer` is not an optimizer.
        ValueError: If a number is out of range.

    >>> weight = torch.nn.Parameter(torch.tensor(0.0))
    >>> optimizer = RewardTraces(torch.optim.SGD([weight], lr=1.0), gamma=0.9, lam=0.5)
    >>> weight.backward()
    >>> optimizer.step()
    >>> optimizer.end(td_error=2.0)
    >>> weight.item()
    -2.0
    """

    def __init__(self, optimizer: Optimizer, gamma: float = 0.99, lam: float = 0.95):
        super().__init__(optimizer)
        for name, value in (("gamma", gamma), ("lam", lam)):
            if not 0 <= value <= 1:
                raise ValueError(f"RewardTraces: {name} must be at least 0 and at most 1, got {value}.")
        self.gamma, self.lam = gamma, lam
        self.traces: dict[Tensor, Tensor] = {}

    def __repr__(self) -> str:
        return f"RewardTraces({self.optimizer!r}, gamma={self.gamma}, lam={self.lam})"

    @torch.no_grad()
    def step(self, td_error: float | Tensor | None = None) -> None:
        """Update the parameters for the step before, and add the gradient in `.grad` to the traces.

        Args:
            td_error: Error of the predicted reward of the step before, one number. None in the first step of an
                episode, where there is none.

        Raises:
            ValueError: If `td_error` is not one finite number.
        """
        if td_error is not None:
            self._update(td_error)
        for p in self._parameters():
            trace = self.traces.get(p)
            if trace is not None:
                trace.mul_(self.gamma * self.lam)
            if p.grad is not None:
                self.traces[p] = p.grad.clone() if trace is None else trace.add_(p.grad)

    @torch.no_grad()
    def end(self, td_error: float | Tensor) -> None:
        """Update the parameters for the last step of an episode, and forget the traces.

        Args:
            td_error: Error of the predicted reward of the last step, which no prediction follows: :math:`r_t - V_t`.

        Raises:
            ValueError: If `td_error` is not one finite number.
        """
        self._update(td_error)
        self.traces.clear()

    def _update(self, td_error: float | Tensor) -> None:
        count = td_error.numel() if isinstance(td_error, Tensor) else 1
        if count != 1 or not math.isfinite(td_error):
            raise ValueError(
                "RewardTraces expected the error of the predicted reward as one finite number, got "
                f"{td_error if count == 1 else f'a tensor of {count} numbers'}; use a batch of one environment."
            )
        gradients = [(p, p.grad) for p in self._parameters()]
        for p, _ in gradients:
            trace = self.traces.get(p)
            p.grad = None if trace is None else float(td_error) * trace
        try:
            self.optimizer.step()
        finally:
            for p, gradient in gradients:
                p.grad = gradient

    def state_dict(self) -> dict[str, Any]:
        """The state of the inner optimizer and the traces, in the order of the parameters."""
        return {"optimizer": self.optimizer.state_dict(), "traces": [self.traces.get(p) for p in self._parameters()]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state from `state_dict`.

        Raises:
            ValueError: If it is not that of a `RewardTraces` with the same parameters.
        """
        parameters, traces = self._parameters(), state_dict.get("traces", [])
        fits = "traces" in state_dict and len(traces) == len(parameters)
        if not fits or any(t is not None and t.shape != p.shape for t, p in zip(traces, parameters, strict=True)):
            raise ValueError(
                "RewardTraces.load_state_dict expected the state_dict() of a RewardTraces with parameters of the same "
                "number and shapes."
            )
        self.optimizer.load_state_dict(state_dict["optimizer"])
        pairs = zip(parameters, traces, strict=True)
        self.traces = {p: trace.to(p, copy=True) for p, trace in pairs if trace is not None}
