"""Attach gradients that were computed going forward to the outputs of a step."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ._traces import Layout, Output

# Its type does not fit that of `torch.autograd.Function`.
_once_differentiable: Any = once_differentiable


class Signals(NamedTuple):
    """Non-tensor arguments of the backward pass of a layer."""

    layout: Layout
    channel: int  # dimension of the output that holds the neurons which share no weights: -1, or -3 of a convolution
    shapes: list[torch.Size]  # of the parameters of the neurons
    widths: list[int]  # number of inputs of each part of the weights


class AttachLayer(torch.autograd.Function):
    """Two outputs of the same step: the gradient of the first passes to the layer below, as if nothing came before
    this step; that of the second is the learning signal, which the traces turn into gradients of this layer.
    """

    @staticmethod
    # `ctx` is what autograd makes of it, and `apply` takes any arguments.
    def forward(
        ctx: Any,
        signals: Signals,
        z: Tensor,
        own: Tensor,
        drive: Tensor,
        own_drive: Tensor | None,
        plain: Output,
        filtered: Output,
        penalty: Tensor | None,
        saved: tuple[Tensor, ...],
        *weights_and_parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            signals: Non-tensor arguments.
            z: Output of the neurons.
            own: Output that the learning signal belongs to: the same, or filtered by a readout.
            drive: Factors of the weights.
            own_drive: The same of the filtered output of the layer below, if there is one.
            plain: Derivatives of `z`.
            filtered: Derivatives of `own`.
            penalty: Gradient of a penalty by `z`, if there is one.
            saved: What the traces need of this step.
            *weights_and_parameters: Parts of the weights, each (neurons, inputs), and learnable parameters of the
                neurons.
        """
        weights = weights_and_parameters[: len(signals.widths)]
        ctx.save_for_backward(penalty, *weights, *plain, *filtered, *saved)
        ctx.signals, ctx.has_own = signals, own_drive is not None
        ctx.set_materialize_grads(False)
        return z.view_as(z), own.view_as(own)

    @staticmethod
    @_once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        below, learn = grad_outputs
        layout, channel, shapes, widths = ctx.signals
        penalty, *tensors = ctx.saved_tensors
        weights, tensors = tensors[: len(widths)], tensors[len(widths) :]
        count = len(Output._fields)
        plain, filtered = Output(*tensors[:count]), Output(*tensors[count : 2 * count])

        def rows(signal: Tensor) -> Tensor:
            return signal.to(plain.d.dtype).movedim(channel, -1)

        def by_drive(signal: Tensor) -> Tensor:
            return signal @ torch.cat(weights, 1)

        drive = None if below is None or not ctx.needs_input_grad[3] else by_drive(rows(below) * plain.d)
        own_drive = None if learn is None or not ctx.has_own else by_drive(rows(learn))
        terms = [(learn, filtered), (penalty, plain)]
        losses = [output.times(rows(signal)) for signal, output in terms if signal is not None]
        gradients: Sequence[Tensor | None] = [None] * len(widths)
        shared: list[Tensor | None] = [None] * len(shapes)
        if losses:
            loss = losses[0] if len(losses) == 1 else losses[0].plus(losses[1])
            gradient, per_neuron = layout.gradients(loss, tuple(tensors[2 * count :]))
            gradients = gradient.split(widths, 1)
            moved = per_neuron.movedim(-1, channel)
            shared = [value.sum_to_size(shape) for value, shape in zip(moved, shapes, strict=True)]
        return None, None, None, drive, own_drive, None, None, None, None, *gradients, *shared


class Join(torch.autograd.Function):
    """One output of two equal ones: both receive its gradient."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, own: Tensor) -> Tensor:
        return z.view_as(z)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, Tensor]:
        (gradient,) = grad_outputs
        return gradient, gradient


class Broadcast(torch.autograd.Function):
    """The output of the network, whose gradient also reaches the outputs of layers by feedback weights.

    With outputs of layers :math:`z` and feedback weights :math:`B`, (outputs, neurons), the gradient :math:`g` of the
    output gives :math:`g B` for :math:`z`, and :math:`g^T z`, that of readout weights, for :math:`B`.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, count: int, *owns_and_weights: Tensor) -> Tensor:
        ctx.save_for_backward(*owns_and_weights)
        ctx.count = count
        return y.view_as(y)

    @staticmethod
    @_once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:
        (gradient,) = grad_outputs
        owns, weights = ctx.saved_tensors[: ctx.count], ctx.saved_tensors[ctx.count :]
        signals = [gradient.to(weight.dtype) @ weight for weight in weights]
        changes = [
            torch.einsum("...k,...n->kn", gradient.to(weight.dtype), own.to(weight.dtype)) if needed else None
            for own, weight, needed in zip(owns, weights, ctx.needs_input_grad[2 + ctx.count :], strict=True)
        ]
        return gradient, None, *[signal.to(own.dtype) for signal, own in zip(signals, owns, strict=True)], *changes
