"""Traces: what a rule of online learning keeps of the derivative of a layer's state by its weights and parameters.

Shapes: weights have the shape (neurons, inputs); `drive` is what they multiply, (batch, inputs), where batch stands for
any number of dimensions. A bias is the weight of an input of 1, recurrent weights are those of the output of the
previous step. Derivatives of a step (`Slopes`) have the neurons in the last dimension.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import einsum, Tensor

from .._runtime.memory import empty
from .._util.state import state_type
from ._linearize import Slopes


@state_type
class Traces(NamedTuple):
    """Derivatives by the weights of a layer and by the learnable parameters of its neurons."""

    weights: Tensor
    parameters: Tensor


class Step(NamedTuple):
    """What traces see of one step of a layer."""

    slopes: Slopes
    flow: Slopes | None  # without threshold and reset, for layouts that need it
    drive: Tensor  # (batch, inputs)
    weight: Tensor  # (neurons, inputs)


Shape = tuple[int, ...]


class Layout(ABC):
    """How traces are stored. Abstract: a subclass defines `shapes`, `step` and `gradients`."""

    needs_flow = False

    @abstractmethod
    def shapes(self, step: Step) -> tuple[Shape, Shape]:
        """The shapes of the traces of weights and of parameters."""

    def start(self, rest: Tensor, step: Step) -> Traces:
        """Traces before the first step.

        Args:
            rest: Derivative of the resting state by the parameters, (parameters, parts, batch, neurons).
            step: The first step, for its shapes.
        """
        return Traces(step.drive.new_zeros(self.shapes(step)[0]), rest.clone())

    @abstractmethod
    def step(self, step: Step, traces: Traces) -> tuple[tuple[Tensor, ...], Traces]:
        """The eligibility, which is the derivative of this step's output, and the traces after the step."""

    @abstractmethod
    def gradients(self, signal: Tensor, eligibility: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """The gradient of the weights, and that of the parameters, one value per neuron and sample.

        Args:
            signal: Learning signal, (batch, neurons).
            eligibility: That of the step.
        """


class Synaptic(Layout):
    r"""One trace for every synapse, :math:`\varepsilon \leftarrow J \varepsilon + b \, x`."""

    def shapes(self, step: Step) -> tuple[Shape, Shape]:
        return (*step.slopes.b.shape, step.drive.shape[-1]), tuple(step.slopes.state_by_parameter.shape)

    def step(self, step: Step, traces: Traces) -> tuple[tuple[Tensor, ...], Traces]:
        (J, b, h, d, *_), drive = step.slopes, step.drive[..., None, :]
        eps = traces.weights
        e, after = empty(eps.shape[1:], eps), empty(eps.shape, eps)
        weighted_sum([*h[..., None], d[..., None]], [*eps, drive], e)
        for out, slopes, slope in zip(after, J, b, strict=True):
            weighted_sum([*slopes[..., None], slope[..., None]], [*eps, drive], out)
        e_p = output_by_parameter(step.slopes, traces.parameters)
        return (e, e_p), Traces(after, advance_parameters(step.slopes, traces.parameters))

    def gradients(self, signal: Tensor, eligibility: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        e, e_p = eligibility
        return _sum_over_batch(signal.flatten(0, -2), e.flatten(0, -3)), signal * e_p


class Presynaptic(Layout):
    """One trace for every presynaptic neuron: the state follows its flow, which is the same for all neurons."""

    needs_flow = True

    def shapes(self, step: Step) -> tuple[Shape, Shape]:
        return (len(step.slopes.b), *step.drive.shape), tuple(step.slopes.state_by_parameter.shape)

    def step(self, step: Step, traces: Traces) -> tuple[tuple[Tensor, ...], Traces]:
        flow, eps = step.flow, traces.weights
        assert flow is not None  # as `needs_flow` says
        J, b = flow.J.flatten(2)[..., 0], flow.b.flatten(1)[..., 0]
        after = torch.tensordot(J, eps, 1) + torch.tensordot(b[:, None], step.drive[None], 1)
        e_p = output_by_parameter(step.slopes, traces.parameters)
        after_p = advance_parameters(flow, traces.parameters)
        return (step.slopes.h, step.slopes.d, eps, step.drive, e_p), Traces(after, after_p)

    def gradients(self, signal: Tensor, eligibility: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        h, d, eps, drive, e_p = eligibility
        gradient = einsum("...n,...i->ni", signal * d, drive)
        for slope, trace in zip(h, eps, strict=True):
            gradient = gradient + einsum("...n,...i->ni", signal * slope, trace)
        return gradient, signal * e_p


class Instantaneous(Layout):
    """No trace."""

    def shapes(self, step: Step) -> tuple[Shape, Shape]:
        return (0,), (0,)

    def start(self, rest: Tensor, step: Step) -> Traces:
        return Traces(rest.new_zeros(0), rest.new_zeros(0))

    def step(self, step: Step, traces: Traces) -> tuple[tuple[Tensor, ...], Traces]:
        return (step.slopes.d, step.drive, step.slopes.output_by_parameter), traces

    def gradients(self, signal: Tensor, eligibility: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        d, drive, e_p = eligibility
        return einsum("...n,...i->ni", signal * d, drive), signal * e_p


class Dense(Layout):
    r"""One trace for every synapse and every neuron of a recurrent layer, which the synapse reaches by feedback.

    :math:`G_k = \delta_{kj} x_i + \sum_m W_{km} e_m(t - 1)` is the derivative of the input of neuron :math:`k` by the
    weight :math:`w_{ji}`. The last part of the traces is the eligibility :math:`e(t - 1)`.
    """

    def shapes(self, step: Step) -> tuple[Shape, Shape]:
        parts, *places = step.slopes.b.shape
        parameters = len(step.slopes.output_by_parameter)
        return (parts + 1, *places, *step.weight.shape), (parameters, parts + 1, *places, places[-1])

    def start(self, rest: Tensor, step: Step) -> Traces:
        rest = torch.cat([rest, rest.new_zeros(len(rest), 1, *rest.shape[2:])], 1)
        return super().start(torch.diag_embed(rest), step)

    def step(self, step: Step, traces: Traces) -> tuple[tuple[Tensor, ...], Traces]:
        J, b, h, d, *_ = step.slopes
        feedback = step.weight[:, -step.weight.shape[0] :]
        eps, last = traces.weights[:-1], traces.weights[-1]
        G = einsum("km,...mni->...kni", feedback, last)
        G.diagonal(dim1=-3, dim2=-2).add_(step.drive[..., :, None])
        e = einsum("p...k,p...kni->...kni", h, eps) + d[..., None, None] * G
        after = einsum("qp...k,p...kni->q...kni", J, eps) + b[..., None, None] * G
        eps_p, last_p = traces.parameters[:, :-1], traces.parameters[:, -1]
        G_p = einsum("km,p...mn->p...kn", feedback, last_p)
        e_p = einsum("q...k,pq...kn->p...kn", h, eps_p) + d[..., None] * G_p
        e_p = e_p + torch.diag_embed(step.slopes.output_by_parameter)
        after_p = einsum("rq...k,pq...kn->pr...kn", J, eps_p) + b[..., None] * G_p[:, None]
        after_p = after_p + torch.diag_embed(step.slopes.state_by_parameter)
        return (e, e_p), Traces(torch.cat([after, e[None]]), torch.cat([after_p, e_p[:, None]], 1))

    def gradients(self, signal: Tensor, eligibility: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        e, e_p = eligibility
        return einsum("...k,...kni->ni", signal, e), einsum("...k,p...kn->p...n", signal, e_p)


def _sum_over_batch(signal: Tensor, e: Tensor) -> Tensor:
    if e[:1].numel() < _LARGE:
        return einsum("bn,bni->ni", signal, e)
    # Faster than a batch of matrix products, because each sample is read in one piece.
    total = signal[0][:, None] * e[0]
    for one, eligibility in zip(signal[1:], e[1:], strict=True):
        total.addcmul_(one[:, None], eligibility)
    return total


# From this many elements on, looking for factors that are all zero is faster than multiplying by them.
_LARGE = 2**14


def weighted_sum(factors: list[Tensor], values: list[Tensor], out: Tensor) -> None:
    """Write the sum of products to `out`. Many factors are zero, such as the derivative of a current by a potential."""
    written = False
    for factor, value in zip(factors, values, strict=True):
        if out.numel() >= _LARGE and not factor.any():
            continue
        if written:
            out.addcmul_(factor, value)
        else:
            torch.mul(factor, value, out=out)
        written = True
    if not written:
        out.zero_()


def output_by_parameter(slopes: Slopes, eps_p: Tensor) -> Tensor:
    """The eligibility of parameters, (parameters, batch, neurons)."""
    return einsum("k...n,pk...n->p...n", slopes.h, eps_p) + slopes.output_by_parameter


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

    def start(self, value: Tensor) -> Tensor:
        return value.new_zeros(len(self.b), *value.shape)

    def __call__(self, value: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """The filtered value and the memory after the step, (parts, ...)."""
        filtered, after = empty(value.shape, value), empty(memory.shape, memory)
        weighted_sum([*self.h, self.d], [*memory, value], filtered)
        for out, slopes, slope in zip(after, self.J, self.b, strict=True):
            weighted_sum([*slopes, slope], [*memory, value], out)
        return filtered, after
