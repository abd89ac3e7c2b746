"""Synapses with a chain of hidden variables, which forget slowly."""

import functools
from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

from .._util.validation import check_integer, check_positive


class BennaFusi(Optimizer):
    r"""Complex synapses: each weight is the first of a chain of variables that exchange their values.

    .. math::
        C_k \dot u_k = g_{k-1} (u_{k-1} - u_k) + g_k (u_{k+1} - u_k), \qquad
        C_k = 2^{k-1}, \quad g_k = \frac{2^{1-k}}{\tau},

    for :math:`k = 1, \dots, n`, with :math:`g_0 = 0`, :math:`u_{n+1} = 0`, the weight :math:`u_1` and time in steps.
    Like beakers of growing size, joined by tubes of shrinking width: a change of the weight flows into slower and
    slower variables, and out of them again when later changes have undone it. It decays with the square root of
    time, from :math:`\tau` to about :math:`4^{n-1} \tau` steps, instead of exponentially.

    The chain is solved exactly. `step` is called after every change of the weights, whatever made it: an optimizer,
    or a rule of `geir.plasticity`. Hidden variables start at the weight.

    Reference: M. Benna & S. Fusi, *Computational principles of synaptic memory consolidation*, 2016.

    Args:
        params: The weights, or parameter groups. Each option can differ between groups.
        variables: Number of variables :math:`n`, at least 2.
        tau: Time constant :math:`\tau` of the first exchange in steps, positive.

    Raises:
        ValueError: If an option is out of range.

    >>> layer = torch.nn.Linear(4, 2)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> synapses = BennaFusi(layer.parameters(), variables=6, tau=10.0)
    >>> layer(torch.ones(4)).sum().backward()
    >>> optimizer.step()
    >>> synapses.step()
    """

    def __init__(self, params: Any, variables: int = 6, tau: float = 10.0):  # `params` as every optimizer declares it
        super().__init__(params, {"variables": variables, "tau": tau})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add weights with separate options.

        Raises:
            ValueError: If an option is out of range.
        """
        group = {**self.defaults, **param_group}
        check_integer("BennaFusi", 2, variables=group["variables"])
        check_positive("BennaFusi", tau=group["tau"])
        super().add_param_group(param_group)
        for p in self.param_groups[-1]["params"]:
            self.state[p]["hidden"] = p.detach().expand(group["variables"] - 1, *p.shape).clone()

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Let the variables exchange their values for one step.

        Args:
            closure: Called first, if given; it may change the weights.

        Returns:
            What `closure` returned.
        """
        result = None
        if closure is not None:
            with torch.enable_grad():
                result = closure()
        for group in self.param_groups:
            matrix = exchange_matrix(group["variables"], group["tau"])
            for p in group["params"]:
                variables = torch.cat([p[None], self.state[p]["hidden"]])
                weight, *hidden = torch.tensordot(matrix.to(p.detach()), variables, 1)
                p.copy_(weight)
                self.state[p]["hidden"] = torch.stack(hidden)
        return result


@functools.lru_cache
def exchange_matrix(variables: int, tau: float) -> Tensor:
    """The matrix that takes a chain of variables from one step to the next, in float64."""
    capacity = 2.0 ** torch.arange(variables, dtype=torch.float64)
    coupling = 1 / (tau * capacity)  # to the next variable; that of the last leads to zero
    rates = torch.diag(-coupling) + torch.diag(coupling[:-1], 1)
    rates += torch.diag(coupling[:-1], -1) - torch.diag(torch.nn.functional.pad(coupling[:-1], (1, 0)))
    return torch.linalg.matrix_exp(rates / capacity[:, None])
