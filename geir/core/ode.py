"""Models given by differential equations with jumps: they define only these, and an integrator makes the step."""

from abc import ABC, abstractmethod
from typing import Any, cast, ClassVar

from torch import Tensor

from .._runtime.stepper import Prepared
from .._util.inputs import AnyInput
from .._util.state import potential, with_potential
from ._coefficients import cached_coefficients
from .integrators import Coefficients, Exact, ExponentialEuler, Integrator
from .integrators._affine import find_structure
from .neuron import Dynamics, Neuron, State
from .resets import Reset, ResetToValue


class ODE(Dynamics[State], ABC):
    """A model given by a differential equation between jumps.

    Abstract: a subclass defines `rest`, `derivative` and, if input makes the state jump, `receive`. A
    subclass declared affine, ``class LIF(ODENeuron[LIFState], affine=True)``, promises that its derivative is
    affine in state and input, and is integrated exactly.

    Args:
        integrator: Numerical method that advances the state by `dt`. Default: `Exact()` for models declared
            affine, else `ExponentialEuler()`.
    """

    affine: ClassVar[bool] = False
    # Names of weights of connections, which the equations do not read.
    weight_names: ClassVar[tuple[str, ...]] = ()
    integrator: Integrator = ExponentialEuler()

    def __init_subclass__(cls, affine: bool | None = None, **keywords: Any) -> None:
        if affine is not None:
            cls.affine = affine
            if "integrator" not in vars(cls):
                cls.integrator = Exact() if affine else ExponentialEuler()
        super().__init_subclass__(**keywords)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.integrator, Exact) and not self.affine:
            raise ValueError(
                f"{type(self).__name__} is not declared affine, so Exact() cannot integrate it; use ExponentialEuler()."
            )
        if isinstance(self.integrator, Exact) and len(self.input_types) > 1:
            raise ValueError(
                f"{type(self).__name__} takes {' or '.join(kind.__name__ for kind in self.input_types)}, but Exact() "
                "integrates models with one type of input; declare one in `input_types`, or use ExponentialEuler()."
            )
        self.structure = find_structure(self) if self.affine else frozenset()

    def receive(self, x: AnyInput, state: State) -> State:
        """The jump of the state when input arrives."""
        return state

    @abstractmethod
    def derivative(self, x: AnyInput, state: State) -> State:
        """The time derivative of each part of the state, per second; `x` is constant during a step."""

    def prepare(self) -> Prepared:
        return (cached_coefficients(self),)

    def advance(self, x: AnyInput, state: State, coefficients: Coefficients) -> State:
        """Receive the input, then integrate over `dt`."""
        return self.integrator.advance(self, x, self.receive(x, state), coefficients)


class ODENeuron(ODE[State], Neuron[State], ABC):
    """A spiking neuron given by a differential equation, a threshold and a reset.

    Every step does in this order: receive, integrate, compare with the threshold, reset.

    Abstract: a subclass defines `rest`, `derivative`, `threshold`, `reset` and, if input makes the state
    jump, `receive`.
    """

    @abstractmethod
    def threshold(self, before: State, after: State) -> Tensor:
        """Distance to threshold; the neuron spikes where it is > 0.

        Args:
            before: State before the step.
            after: State after integration.
        """

    @abstractmethod
    def reset(self, z: Tensor, state: State) -> State:
        """The state after spikes `z`."""

    def step(self, x: AnyInput, state: State, coefficients: Coefficients) -> tuple[Tensor, State]:
        after = self.advance(x, state, coefficients)
        z = self.surrogate(self.threshold(state, after))
        return z, self.reset(z, after)


class IntegrateAndFire(ODENeuron[State], ABC):
    """An `ODENeuron` whose spikes reset its membrane potential, the part `v` of its state.

    Abstract: a subclass declares the parameters `v_th` and `v_reset`, or defines `reset_levels`. It overrides
    `reset` only if a spike has further effects.

    Args:
        reset_mechanism: Effect of a spike on the membrane potential.

    Raises:
        TypeError: When a subclass is defined that has neither `v_th` and `v_reset` nor `reset_levels`.
    """

    reset_mechanism: Reset = ResetToValue()

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        missing = [name for name in ("v_reset", "v_th") if not hasattr(cls, name)]
        if missing and cls.reset_levels is IntegrateAndFire.reset_levels and ABC not in cls.__bases__:
            raise TypeError(
                f"{cls.__name__} has no parameter {' and no parameter '.join(missing)}; declare them, or define "
                "`reset_levels`, which returns the potentials of the reset and of the threshold."
            )

    def reset_levels(self) -> tuple[Tensor, Tensor]:
        """The potential after a spike, and the threshold potential: arguments of the reset mechanism."""
        model = cast(Any, self)  # these parameters exist, as checked when the class was defined
        return model.v_reset, model.v_th

    def reset(self, z: Tensor, state: State) -> State:
        return with_potential(state, self.reset_mechanism(z, potential(state), *self.reset_levels()))
