"""A layer of neurons that is simulated from event to event, with exact gradients of its spike times."""

import math
import warnings
from typing import Any, NamedTuple

import torch
from torch import nn, Tensor

from ..._runtime.native import NoCompilerError
from ..._util.state import AnyState
from ..._util.validation import check_broadcastable, check_integer
from ...core.ode import ODENeuron
from ...neurons import LIF
from .compiled import simulate_compiled
from .equations import check_neuron, Equations, read_equations
from .network import most_counted, Outcome, Setup, Wiring
from .reference import simulate_reference
from .times import check_spikes, SpikeTimes

_NAME = "SpikeTimeLayer"


class SpikeTimeRun(NamedTuple):
    """All that a run of a `SpikeTimeLayer` returns."""

    spikes: SpikeTimes
    totals: Tensor  # (batch,): number of spikes of the layer, those beyond `max_spikes` included
    grazing: Tensor  # (batch,): number of spikes at which the potential hardly crossed its threshold
    states: AnyState  # states at the times `at`, each part of shape (batch, times, n_out); None without


class SpikeTimeLayer(nn.Module):
    r"""A layer of neurons in continuous time whose spike times have exact gradients (EventProp).

    With :math:`S = (s, 1)`, the state and a constant, :math:`\dot S = M S` between events. Where :math:`\alpha \cdot
    S` becomes positive, the neuron spikes and :math:`S \leftarrow D S`; a spike that arrives makes :math:`S
    \leftarrow S + w R`. :math:`M, \alpha, D, R` are found by evaluating the neuron's own functions. The gradient
    :math:`\lambda = \partial L / \partial S` obeys

    .. math:: \dot \lambda = -M^\top \lambda, \qquad
        \lambda^- = D^\top \lambda^+ + \frac{\lambda^+ \cdot (\dot S^+ - D \dot S^-) - \partial L / \partial t}
        {\alpha \cdot \dot S^-} \alpha

    backward in time: between events, and at a spike at time :math:`t`. There are no time steps, no surrogate and
    nothing to keep but the spikes: the cost is proportional to the number of events. A gradient knows where spikes
    move, not where they arise or vanish. A silent neuron has none, so start with weights at which neurons spike.

    - `LIF` and other neurons whose input makes the state jump: an arrival is an input of the weight.
    - `LIFBox`, `CubaLIF` and others whose input is a current during a step: an arrival is a current of the weight for
      one step `dt` of the neuron, whose charge arrives at once.

    A potential that an arrival lifts above the threshold spikes at the time of the arrival. Spikes that arrive at the
    same time do so one after the other.

    Reference: T. Wunderlich & C. Pehle, *Event-based backpropagation can compute exact gradients for spiking neural
    networks*, 2021.

    Args:
        n_in: Number of input units.
        n_out: Number of neurons.
        neuron: The neuron: declared affine, with a threshold, a reset and an input that are affine in the state. Its
            parameters are scalars or of shape (n_out,). Its surrogate and integrator are not used. Default: `LIF()`.
        recurrent: Whether the neurons are connected with one another, all to all.
        delay: Delays of the input in seconds, a number or of shape (n_out, n_in). An `nn.Parameter` is learned.
        recurrent_delay: Delays of the recurrent connections, a number or of shape (n_out, n_out).
        max_spikes: Length of the output: the first spikes of the layer in each sample.
        duration: End of the simulation in seconds.
        use_reference: Whether to run the definition in plain PyTorch, slow, instead of compiled code. It also runs,
            with a warning, where there is no C compiler.

    Raises:
        TypeError: If the neuron is not declared affine, or its step is more than its equations.
        ValueError: If its threshold, reset or input is not affine, or another argument is out of range.

    >>> import geir
    >>> _ = torch.manual_seed(0)
    >>> layer = geir.learning.SpikeTimeLayer(3, 2)
    >>> _ = nn.init.constant_(layer.weight, 3.0)
    >>> times = torch.tensor([[1e-3, 2e-3, torch.inf]])
    >>> spikes = layer(times, torch.tensor([[0, 2, -1]]))
    >>> spikes.times[0, :3], spikes.units[0, :3]
    (tensor([0.0039, 0.0039,    inf], grad_fn=<SliceBackward0>), tensor([ 0,  1, -1]))
    """

    weight: nn.Parameter
    recurrent_weight: nn.Parameter | None

    def __init__(
        self,
        n_in: int,
        n_out: int,
        neuron: ODENeuron[Any] | None = None,
        recurrent: bool = False,
        *,
        delay: float | Tensor | None = None,
        recurrent_delay: float | Tensor | None = None,
        max_spikes: int = 1024,
        duration: float = math.inf,
        use_reference: bool = False,
    ):
        super().__init__()
        check_integer(_NAME, minimum=1, n_in=n_in, n_out=n_out, max_spikes=max_spikes)
        if not duration > 0:
            raise ValueError(f"{_NAME}: duration must be positive, got {duration}.")
        neuron = LIF() if neuron is None else neuron
        check_neuron(_NAME, neuron)
        if recurrent_delay is not None and not recurrent:
            raise ValueError(f"{_NAME}: recurrent_delay needs recurrent=True.")
        self.n_in, self.n_out, self.recurrent = n_in, n_out, recurrent
        self.max_spikes, self.duration, self.use_reference = max_spikes, float(duration), use_reference
        self.neuron = neuron
        self.weight = nn.Parameter(torch.empty(n_out, n_in))
        self.recurrent_weight = nn.Parameter(torch.empty(n_out, n_out)) if recurrent else None
        self._register_delay("delay", delay)
        self._register_delay("recurrent_delay", recurrent_delay)
        self.reset_parameters()
        self._equations()

    def reset_parameters(self) -> None:
        """Draw weights as `nn.Linear` does: uniform within one over the root of the number of inputs."""
        for weight in (self.weight, self.recurrent_weight):
            if weight is not None:
                bound = 1 / math.sqrt(weight.shape[1])
                nn.init.uniform_(weight, -bound, bound)

    def _register_delay(self, name: str, delay: float | Tensor | None) -> None:
        if delay is not None and not isinstance(delay, Tensor):
            delay = torch.tensor(float(delay))
        if isinstance(delay, nn.Parameter):
            self.register_parameter(name, delay)
        else:
            self.register_buffer(name, delay)

    def extra_repr(self) -> str:
        return f"{self.n_in}, {self.n_out}, recurrent={self.recurrent}, max_spikes={self.max_spikes}"

    def forward(self, times: Tensor, units: Tensor, state: AnyState = None) -> SpikeTimes:
        """Run from time 0 until nothing happens any more, or until `duration`.

        Args:
            times: Times of input spikes in seconds, shape (batch, spikes), ascending, padded with infinity.
            units: Their units, from 0 to ``n_in - 1``, shape (batch, spikes); anything for padding.
            state: State at time 0, each part of shape (batch, n_out). Default: the resting state.

        Returns:
            The spikes of the layer, shape (batch, max_spikes), padded with infinity and -1, in the dtype of `times`.
            With a `RuntimeWarning` that counts them if there are more than `max_spikes`.

        Raises:
            TypeError: If `times` or `units` has the wrong dtype, or `state` is not one of the neuron.
            ValueError: If times are negative, NaN or not in order; a unit is out of range; shapes do not fit; a
                delay is negative; or a parameter is not finite.
        """
        return self.run(times, units, state).spikes

    def run(
        self, times: Tensor, units: Tensor, state: AnyState = None, at: Tensor | list[float] | None = None
    ) -> SpikeTimeRun:
        """Like `forward`, with counts, and with the states at given times.

        Args:
            times: Times of input spikes in seconds, shape (batch, spikes), ascending, padded with infinity.
            units: Their units, shape (batch, spikes).
            state: State at time 0, each part of shape (batch, n_out). Default: the resting state.
            at: Times at which the states are read, in seconds, shape (readings,), ascending; differentiable. A state
                is read before spikes that arrive at the same time.

        Raises:
            TypeError: As `forward`.
            ValueError: As `forward`; also if `at` is not ascending within 0 and `duration`, or is given while there
                are more than `max_spikes` spikes.
        """
        check_spikes(_NAME, times, units, self.n_in)
        at = self._check_at(at)
        equations = self._equations()
        setup = Setup(
            owner=_NAME,
            times=times.double(),
            units=torch.where(times.isfinite(), units, 0).int().contiguous(),
            wiring=self._wiring(),
            equations=equations,
            initial=self._initial(state, len(times), equations),
            at=at,
            duration=self.duration,
            max_spikes=self.max_spikes,
        )
        outcome = self._simulate(setup)
        self._report(outcome, at)
        states = None
        if outcome.states is not None:
            kind = type(self.neuron.rest())
            states = kind(*(part.to(times.dtype) for part in outcome.states[..., :-1].unbind(-1)))
        spikes = SpikeTimes(outcome.times.to(times.dtype), outcome.units)
        return SpikeTimeRun(spikes, outcome.totals, outcome.grazing, states)

    def _simulate(self, setup: Setup) -> Outcome:
        if self.use_reference:
            return simulate_reference(setup)
        try:
            return simulate_compiled(setup)
        except NoCompilerError as error:
            warnings.warn(f"{_NAME} runs on the slow definition: {error}.", RuntimeWarning, stacklevel=4)
            return simulate_reference(setup)

    def _report(self, outcome: Outcome, at: Tensor | None) -> None:
        """Say how many spikes are beyond the end of the output."""
        beyond = outcome.totals - self.max_spikes
        if not bool((beyond > 0).any()):
            return
        least = "at least " if bool((outcome.totals >= most_counted(self.max_spikes)).any()) else ""
        message = (
            f"{_NAME}: {least}{int(beyond.clamp(min=0).sum())} spikes in {int((beyond > 0).sum())} of {len(beyond)} "
            f"samples are beyond max_spikes={self.max_spikes}; a sample has up to {int(outcome.totals.max())}. The "
            "first spikes and their gradients are exact. Give a larger max_spikes, or weaken the weights."
        )
        if at is not None:
            raise ValueError(f"{message} States can only be read if all spikes fit.")
        warnings.warn(message, RuntimeWarning, stacklevel=4)

    def _equations(self) -> Equations:
        equations = read_equations(_NAME, self.neuron, self.n_out)
        for name, tensor in equations._asdict().items():
            if not bool(tensor.isfinite().all()):
                raise ValueError(f"{_NAME}: the neuron's {name} is not finite; check its parameters.")
        return equations

    def _check_at(self, at: Tensor | list[float] | None) -> Tensor | None:
        if at is None:
            return None
        # A list in full precision, not in that of PyTorch's default.
        at = at if isinstance(at, Tensor) else torch.tensor(at, dtype=torch.float64)
        if not at.is_floating_point():
            raise TypeError(f"{_NAME} expected at as floating-point times in seconds, got {at.dtype}.")
        if at.dim() != 1:
            raise ValueError(f"{_NAME} expected at of shape (readings,), got {tuple(at.shape)}.")
        at = at.double()
        if not bool(((at >= 0) & at.isfinite() & (at <= self.duration)).all()) or bool((at[1:] < at[:-1]).any()):
            raise ValueError(
                f"{_NAME} expected at as ascending times from 0 to {self.duration} s, finite, got {at.tolist()}."
            )
        return at

    def _wiring(self) -> Wiring:
        """Weights and delays, checked, presynaptic unit first."""
        sizes = {"weight": self.n_in, "delay": self.n_in, "recurrent_weight": self.n_out, "recurrent_delay": self.n_out}
        found: dict[str, Tensor | None] = {}
        for name, size in sizes.items():
            tensor = getattr(self, name)
            found[name] = None
            if tensor is None:
                continue
            check_broadcastable(_NAME, name, tensor, torch.Size([self.n_out, size]), "the connections")
            if not bool(tensor.isfinite().all()):
                raise ValueError(f"{_NAME}.{name} must be finite, got {tensor.detach()[~tensor.isfinite()][0]}.")
            if "delay" in name and bool((tensor < 0).any()):
                raise ValueError(
                    f"{_NAME}.{name} must be >= 0 s, got {float(tensor.detach().min())}; clamp it after each step of "
                    "the optimizer."
                )
            found[name] = tensor.double().expand(self.n_out, size).t()
        assert found["weight"] is not None
        return Wiring(found["weight"], found["delay"], found["recurrent_weight"], found["recurrent_delay"])

    def _initial(self, state: AnyState, batch: int, equations: Equations) -> Tensor:
        """S at time 0, shape (batch, neurons, n + 1)."""
        shape = torch.Size([batch, self.n_out])
        if state is None:
            return equations.rest.expand(*shape, -1)
        self.neuron.check_state_type(state)
        for name, part in zip(state._fields, state, strict=True):
            if part.shape != shape:
                raise ValueError(
                    f"{type(state).__name__}.{name} has shape {tuple(part.shape)}, but the layer has "
                    f"(batch, n_out) = {tuple(shape)}."
                )
            if not bool(part.isfinite().all()):
                raise ValueError(f"{type(state).__name__}.{name} must be finite.")
        parts = [part.double() for part in state]
        return torch.stack([*parts, torch.ones_like(parts[0])], -1)
