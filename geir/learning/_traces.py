"""Traces: what a rule of online learning keeps of the derivative of a layer's state by its weights and parameters.

Shapes: weights have the shape (neurons, inputs); `drive` is what they multiply, (batch, inputs), where batch stands for
any number of dimensions. A bias is the weight of an input of 1, recurrent weights are those of the output of the
previous step. Derivatives of a step (`Slopes`) have the neurons in the last dimension.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import einsum, Tensor

from .._runtime.eligibility import advance, gradient, Parts
from .._util.state import state_type
from ._linearize import Slopes


@state_type
class Traces(NamedTuple):
    """Derivatives by the weights of a layer and by the learnable parameters of its neurons.

    Parts of the state come first, after them those of a leaky readout that filters the derivatives of the output.
    """

    weights: Tensor  # (parts, batch, neurons, inputs)
    shared: Tensor  # the same of parts for which it is equal for all neurons, (parts, batch, inputs)
    parameters: Tensor  # (parameters, parts, batch, neurons)


class Output(NamedTuple):
    """Derivatives of an output of a step."""

    h: Tensor  # by the state, (parts, batch, neurons)
    d: Tensor  # by the input, (batch, neurons)
    by_parameter: Tensor  # (parameters, batch, neurons)

    def times(self, signal: Tensor) -> "Output":
        """Derivatives of a loss, given its derivative by the output."""
        return Output(*(signal * part for part in self))

    def plus(self, other: "Output") -> "Output":
        return Output(*(a + b for a, b in zip(self, other, strict=True)))


class Step(NamedTuple):
    """One step of a layer, for its traces."""

    slopes: Slopes  # of neurons and readout
    output: Output  # of the neurons
    drive: Tensor  # (batch, inputs)
    weights: list[Tensor]  # parts of the weights, (neurons, inputs); recurrent ones come last


Shape = tuple[int, ...]


class Layout(ABC):
    """How traces are stored. Abstract: a subclass defines `shapes`, `step` and `gradients`."""

    @abstractmethod
    def shapes(self, step: Step) -> tuple[Shape, Shape, Shape]:
        """The shapes of traces."""

    def start(self, rest: Tensor, step: Step) -> Traces:
        """Traces before the first step.

        Args:
            rest: Derivative of the resting state by the parameters, (parameters, parts, batch, neurons).
            step: The first step, for its shapes.
        """
        weights, shared, parameters = map(step.drive.new_zeros, self.shapes(step))
        if parameters.dim() > 1:
            parameters[:, : rest.shape[1]] = rest
        return Traces(weights, shared, parameters)

    @abstractmethod
    def step(self, step: Step, traces: Traces) -> tuple[tuple[Tensor, ...], Traces]:
        """The tensors of this step that `gradients` needs, and the traces after the step."""

    @abstractmethod
    def gradients(self, loss: Output, saved: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """The gradient of the weights, and that of the parameters, one value per neuron and sample.

        Args:
            loss: Derivatives of the loss of a step by state, input and parameters of the step.
            saved: What `step` returned.
        """


class Synaptic(Layout):
    r"""One trace for every synapse, :math:`\varepsilon \leftarrow J \varepsilon + b \, x`.

    Args:
        shared: Parts of the state whose traces are the same for all neurons: one trace for every presynaptic neuron.
    """

    def __init__(self, shared: Sequence[int] = ()):
        self.shared = list(shared)

    def shapes(self, step: Step) -> tuple[Shape, Shape, Shape]:
        parts, *places = step.slopes.b.shape
        inputs, count = step.drive.shape[-1], len(self.shared)
        parameters = tuple(step.slopes.state_by_parameter.shape)
        return (parts - count, *places, inputs), (count, *places[:-1], inputs), parameters

    def step(self, step: Step, traces: Traces) -> tuple[tuple[Tensor, ...], Traces]:
        slopes, (weights, shared, parameters) = step.slopes, traces
        x = step.drive.flatten(0, -2)
        rows, given = weights.flatten(1, -3), shared.flatten(1, -2)
        J, b = slopes.J.flatten(2, -2), slopes.b.flatten(1, -2)
        own, common = advance(self._parts(slopes.b), rows, given, x, J, b)
        after_parameters = advance_parameters(slopes, parameters)
        after = Traces(own.view(weights.shape), common.view(shared.shape), after_parameters)
        return (rows, given, x, parameters), after

    def gradients(self, loss: Output, saved: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        rows, given, x, parameters = saved
        weights = gradient(self._parts(loss.h), rows, given, x, loss.h.flatten(1, -2), loss.d.flatten(0, -2))
        if not len(parameters):
            return weights, loss.by_parameter
        return weights, einsum("k...n,pk...n->p...n", loss.h, parameters) + loss.by_parameter

    def _parts(self, of: Tensor) -> Parts:
        return Parts([k for k in range(len(of)) if k not in self.shared], self.shared)


class Instantaneous(Layout):
    """No trace."""

    def shapes(self, step: Step) -> tuple[Shape, Shape, Shape]:
        return (0,), (0,), (0,)

    def step(self, step: Step, traces: Traces) -> tuple[tuple[Tensor, ...], Traces]:
        return (step.drive,), traces

    def gradients(self, loss: Output, saved: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        (drive,) = saved
        return einsum("...n,...i->ni", loss.d, drive), loss.by_parameter


class Dense(Layout):
    r"""One trace for every synapse and every neuron of a recurrent layer, which the synapse reaches by feedback.

    :math:`G_k = \delta_{kj} x_i + \sum_m W_{km} e_m(t - 1)` is the derivative of the input of neuron :math:`k` by the
    weight :math:`w_{ji}`. The last part of the traces is the eligibility :math:`e(t - 1)`.
    """

    def shapes(self, step: Step) -> tuple[Shape, Shape, Shape]:
        parts, *places = step.slopes.b.shape
        parameters, weights = len(step.slopes.output_by_parameter), (places[-1], step.drive.shape[-1])
        return (parts + 1, *places, *weights), (0,), (parameters, parts + 1, *places, places[-1])

    def start(self, rest: Tensor, step: Step) -> Traces:
        return super().start(torch.diag_embed(rest), step)

    def step(self, step: Step, traces: Traces) -> tuple[tuple[Tensor, ...], Traces]:
        J, b, *_ = step.slopes
        h, d, _ = step.output
        feedback = step.weights[-1]
        eps, last = traces.weights[:-1], traces.weights[-1]
        G = einsum("km,...mni->...kni", feedback, last)
        G.diagonal(dim1=-3, dim2=-2).add_(step.drive[..., :, None])
        e = einsum("p...k,p...kni->...kni", h, eps) + d[..., None, None] * G
        after = einsum("qp...k,p...kni->q...kni", J, eps) + b[..., None, None] * G
        eps_p, last_p = traces.parameters[:, :-1], traces.parameters[:, -1]
        G_p = einsum("km,p...mn->p...kn", feedback, last_p)
        e_p = einsum("q...k,pq...kn->p...kn", h, eps_p) + d[..., None] * G_p
        e_p = e_p + torch.diag_embed(step.output.by_parameter)
        after_p = einsum("rq...k,pq...kn->pr...kn", J, eps_p) + b[..., None] * G_p[:, None]
        after_p = after_p + torch.diag_embed(step.slopes.state_by_parameter)
        after = Traces(torch.cat([after, e[None]]), traces.shared, torch.cat([after_p, e_p[:, None]], 1))
        return (eps, G, eps_p, G_p), after

    def gradients(self, loss: Output, saved: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        eps, G, eps_p, G_p = saved
        weights = einsum("p...k,p...kni->ni", loss.h, eps) + einsum("...k,...kni->ni", loss.d, G)
        parameters = einsum("q...k,pq...kn->p...n", loss.h, eps_p) + einsum("...k,p...kn->p...n", loss.d, G_p)
        return weights, parameters + loss.by_parameter


def advance_parameters(slopes: Slopes, eps_p: Tensor) -> Tensor:
    """The traces of parameters after a step, (parameters, parts, batch, neurons)."""
    return einsum("lk...n,pk...n->pl...n", slopes.J, eps_p) + slopes.state_by_parameter


class Filter(NamedTuple):
    """A linear readout, the same for all of its neurons, applied to the outputs of the neurons before its weights.

    As :math:`F(W z) = W F(z)` for the leaky integrator :math:`F`, its derivative by any weight below is the filtered
    eligibility of that weight.
    """

    J: Tensor  # (parts, parts)
    b: Tensor  # (parts,)
    h: Tensor  # (parts,)
    d: Tensor  # ()

    def __call__(self, value: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """The filtered value and the memory after the step, (parts, ...)."""
        filtered = torch.tensordot(self.h, memory, 1) + self.d * value
        wide = self.b.view(-1, *[1] * value.dim())
        return filtered, torch.tensordot(self.J, memory, 1) + wide * value

    def after(self, slopes: Slopes) -> Slopes:
        """Derivatives of neurons and, behind each, this filter: its parts come last, its output is the output."""
        parts = len(self.b)
        J_own, b, h, d = (t.view(*t.shape, *[1] * slopes.d.dim()) for t in self)
        J = slopes.J.new_zeros(*[len(slopes.b) + parts] * 2, *slopes.d.shape)
        J[:-parts, :-parts] = slopes.J
        J[-parts:, :-parts] = b[:, None] * slopes.h
        J[-parts:, -parts:] = J_own
        by_parameter = slopes.output_by_parameter
        return Slopes(
            J=J,
            b=torch.cat([slopes.b, b * slopes.d]),
            h=torch.cat([d * slopes.h, h.expand(parts, *slopes.d.shape)]),
            d=d * slopes.d,
            state_by_parameter=torch.cat([slopes.state_by_parameter, b * by_parameter[:, None]], 1),
            output_by_parameter=d * by_parameter,
        )
