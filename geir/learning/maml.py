"""Model-agnostic meta-learning: gradient steps that can be differentiated."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor

from .._runtime.kernels import second_derivatives
from .._util.validation import check_integer

Parameters = dict[str, Tensor]


def adapt(
    loss_function: Callable[[Parameters], Tensor],
    parameters: Mapping[str, Tensor],
    lr: float | Tensor | Mapping[str, Tensor],
    steps: int = 1,
    first_order: bool = False,
) -> Parameters:
    r"""Take steps of gradient descent on a loss, differentiable with respect to where they start.

    .. math:: \theta' = \theta - \eta\, \nabla \ell(\theta), \qquad
        \frac{d L(\theta')}{d \theta} = \left( I - \eta\, \nabla^2 \ell(\theta) \right) \nabla L(\theta')

    This is the inner loop of MAML: the loss of the adapted parameters on other samples of the same task, averaged over
    tasks, is the loss that :math:`\theta` is trained on. The first-order variant, FOMAML, leaves the second derivative
    out. It runs on the kernels; with second derivatives, the inner loss runs on the reference loop
    (`second_derivatives`).

    The second derivative of a spike is the derivative of its surrogate derivative, so smooth surrogates such as
    `geir.surrogates.Gaussian` suit best. Under `torch.vmap`, PyTorch's batch, layer and instance normalization with a
    learned scale have wrong second derivatives (issue 534 of pytorch/functorch, seen in PyTorch 2.13).

    References: C. Finn, P. Abbeel & S. Levine, *Model-agnostic meta-learning for fast adaptation of deep networks*,
    2017; K. Stewart & E. Neftci, *Meta-learning spiking neural networks with surrogate gradient descent*, 2022.

    Args:
        loss_function: From parameters by name to the loss, a scalar; it calls the model with
            `torch.func.functional_call`.
        parameters: The parameters that are adapted, by name: ``dict(model.named_parameters())``, or some of them.
        lr: Learning rate :math:`\eta`: a number, a tensor, which may be learned itself, or one for each name.
        steps: Number of steps, at least 0.
        first_order: Whether to treat gradients as constants.

    Returns:
        The adapted parameters by name. Those given are not changed.

    Raises:
        ValueError: If `steps` is negative, the loss is not a scalar, or `lr` has no entry for a parameter.
        TypeError: If the parameters are no mapping of tensors.

    >>> from torch.func import functional_call
    >>> model = torch.nn.Linear(2, 1)
    >>> x, y = torch.randn(8, 2), torch.randn(8, 1)
    >>> def loss(parameters):
    ...     return torch.nn.functional.mse_loss(functional_call(model, parameters, (x,)), y)
    >>> adapted = adapt(loss, dict(model.named_parameters()), lr=0.1)
    >>> loss(adapted).backward()  # through the step
    """
    check_integer("adapt", steps=steps)
    if not isinstance(parameters, Mapping) or not all(isinstance(p, Tensor) for p in parameters.values()):
        raise TypeError(f"adapt expected parameters by name, dict(model.named_parameters()), got {parameters!r}.")
    if isinstance(lr, Mapping) and (missing := [name for name in parameters if name not in lr]):
        raise ValueError(f"adapt: lr has no entry for {', '.join(missing)}.")

    def checked_loss(current: Parameters) -> Tensor:
        loss = loss_function(current)
        if not isinstance(loss, Tensor) or loss.dim():
            got = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise ValueError(f"adapt expected loss_function to return a scalar tensor, got {got}.")
        return loss

    current = dict(parameters)
    with nullcontext() if first_order else second_derivatives():
        for _ in range(steps):
            gradients = cast(Parameters, torch.func.grad(checked_loss)(current))
            if first_order:
                gradients = {name: gradient.detach() for name, gradient in gradients.items()}
            rates = lr if isinstance(lr, Mapping) else dict.fromkeys(current, lr)
            current = {name: p - rates[name] * gradients[name] for name, p in current.items()}
    return current
