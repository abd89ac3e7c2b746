"""Exponential methods: the decay of each part of the state is exact, everything else of order 1."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..._util.inputs import AnyInput
from ..._util.state import AnyState, map_state, working_dtype
from ._phi import phi1
from .base import Coefficients, Flow, input_names, Integrator, make_input, parameter_device, parameter_shape


@dataclass(frozen=True)
class ExponentialEuler(Integrator):
    r"""Exponential Euler, :math:`s_k + \Delta t\, \varphi_1(\Delta t\, \lambda_k) f_k(x, s)`, with
    :math:`\varphi_1(z) = (e^z - 1) / z`.

    Here :math:`\lambda_k = \partial f_k / \partial s_k` at rest. Each part's decay at rest is exact,
    everything else of order 1; stable at any `dt` where the decay at rest dominates.

    Reference: S. Cox & P. Matthews, *Exponential time differencing for stiff systems*, 2002 (ETD1 with a
    diagonal linear part).
    """

    def prepare(self, flow: Flow) -> Coefficients:
        parameters = flow.declared_parameters().values()
        shape, dtype, device = parameter_shape(parameters), working_dtype(parameters), parameter_device(parameters)
        rest = map_state(lambda part: part.to(device=device, dtype=dtype).expand(shape), flow.rest())

        def gain(name: str) -> Tensor:
            # PyTorch cannot save what `vjp` leaves in an exported model.
            zero = torch.zeros_like(getattr(rest, name))
            no_input = make_input(flow, [zero] * len(input_names(flow)))
            _, decay = _slope_and_decay(flow, no_input, rest, name, forward_mode=torch.compiler.is_compiling())
            return flow.dt * phi1(flow.dt * decay)

        return type(rest)(*map(gain, rest._fields))

    def advance(self, flow: Flow, x: AnyInput, state: AnyState, coefficients: Coefficients) -> AnyState:
        return map_state(lambda s, gain, f: s + gain * f, state, coefficients, flow.derivative(x, state))


@dataclass(frozen=True)
class RushLarsen(Integrator):
    r"""`ExponentialEuler` with the decay at the present state, :math:`\lambda_k = \min(0, \partial f_k /
    \partial s_k)`.

    A part whose derivative is linear in itself, such as a gate or a potential driven through conductances, is
    exact while the others are constant; a decay that the state makes fast, however fast, is stable at any
    `dt`. Of order 1.

    Reference: S. Rush & H. Larsen, *A practical algorithm for solving dynamic membrane equations*, 1978.
    """

    def advance(self, flow: Flow, x: AnyInput, state: AnyState, coefficients: Coefficients) -> AnyState:
        def advance_part(name: str) -> Tensor:
            slope, growth = _slope_and_decay(flow, x, state, name)
            return getattr(state, name) + flow.dt * phi1(flow.dt * torch.clamp(growth, max=0)) * slope

        return type(state)(*map(advance_part, state._fields))


def _slope_and_decay(
    flow: Flow, x: AnyInput, state: AnyState, name: str, forward_mode: bool = False
) -> tuple[Tensor, Tensor]:
    r"""The derivative :math:`f_k` of one part of the state, and :math:`\partial f_k / \partial s_k`."""

    def derivative(part: Tensor) -> Tensor:
        return getattr(flow.derivative(x, state._replace(**{name: part})), name)

    part = getattr(state, name)
    if forward_mode:
        part = part.contiguous()  # forward mode refuses expanded tensors
        slope, decay, *_ = torch.func.jvp(derivative, (part,), (torch.ones_like(part),))
        return slope, decay
    slope, pull_back, *_ = torch.func.vjp(derivative, part)
    (decay,) = pull_back(torch.ones_like(part))
    return slope, decay
