"""Connections to neurons with several receptors, and weights of one sign."""

from typing import Any

import torch
from torch import nn, Tensor
from torch.nn.utils import parametrize

from .._util.inputs import AnyInput, is_named_tuple


class Receptors(nn.Module):
    """Connections to the receptors of neurons, one module for each.

    Args:
        kind: The type of input that the neurons take, a named tuple such as `geir.ConductanceInput`.
        **modules: A stateless module for each of its fields, such as `torch.nn.Linear`.

    Raises:
        TypeError: If `kind` is not a type of named tuples, a field has no module, or a module has no field.

    A tensor goes to every module. A named tuple with the same fields gives each its own: here the spikes of two
    populations.

    >>> import geir
    >>> connections = Receptors(geir.ConductanceInput, exc=nn.Linear(80, 10), inh=nn.Linear(20, 10))
    >>> model = geir.SequentialState(connections, geir.CobaLIF(), lift=True)
    >>> spikes = torch.ones(50, 1, 100)
    >>> zs, state = model(geir.ConductanceInput(exc=spikes[..., :80], inh=spikes[..., 80:]))
    >>> zs.shape
    torch.Size([50, 1, 10])
    """

    def __init__(self, kind: type, **modules: nn.Module):
        super().__init__()
        if not (isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")):
            raise TypeError(
                f"Receptors expected a type of input with named receptors, such as geir.ConductanceInput, got {kind!r}."
            )
        self.kind: Any = kind
        fields = set(self.kind._fields)
        wrong = [name for name, module in modules.items() if name not in fields or not isinstance(module, nn.Module)]
        missing = [name for name in self.kind._fields if name not in modules]
        if wrong or missing:
            name = (missing or wrong)[0]
            if missing:
                problem = "is missing; where nothing arrives, use a torch.nn.Linear with weights 0"
            else:
                problem = "is not a receptor; leave it out" if name not in fields else "is not a module"
            raise TypeError(
                f"Receptors({kind.__name__}) needs a module for each of {', '.join(self.kind._fields)}; {name} "
                f"{problem}."
            )
        for name in self.kind._fields:
            self.add_module(name, modules[name])

    def forward(self, x: AnyInput) -> AnyInput:
        """Apply the modules.

        Args:
            x: A tensor, or a named tuple with one for each receptor, in the shape that the modules take.

        Returns:
            A `kind`.

        Raises:
            TypeError: If `x` is a tuple without these receptors, or a module does not return a tensor.
        """
        fields = self.kind._fields
        if isinstance(x, tuple) and not is_named_tuple(x):
            x = x[0]  # the `(output, state)` tuple of the previous module
        if not isinstance(x, Tensor) and getattr(x, "_fields", None) != fields:
            raise TypeError(
                f"Receptors expected a tensor or a {self.kind.__name__}({', '.join(fields)}), got {type(x).__name__}."
            )
        inputs = [x] * len(fields) if isinstance(x, Tensor) else x
        return self.kind(*(self._apply_to(name, part) for name, part in zip(fields, inputs, strict=True)))

    def _apply_to(self, name: str, x: Tensor) -> Tensor:
        y = self.get_submodule(name)(x)
        if not isinstance(y, Tensor):
            raise TypeError(
                f"Receptors.{name} must be a stateless module that returns a tensor, got a {type(y).__name__} from "
                f"{type(self.get_submodule(name)).__name__}; place modules with a state before Receptors."
            )
        return y

    def extra_repr(self) -> str:
        return self.kind.__name__


class _Signs(nn.Module):
    """A parametrization: weights of given signs, of any magnitude."""

    signs: Tensor

    def __init__(self, signs: Tensor):
        super().__init__()
        self.register_buffer("signs", signs)

    def forward(self, magnitudes: Tensor) -> Tensor:
        return self.signs * magnitudes.abs()

    def right_inverse(self, weights: Tensor) -> Tensor:
        if (weights * self.signs < 0).any():
            raise ValueError(
                "Weights under constrain_signs must be >= 0 from excitatory and <= 0 from inhibitory neurons, got "
                f"{int((weights * self.signs < 0).sum())} weights of the other sign."
            )
        return weights * self.signs


def constrain_signs(module: nn.Module, inhibitory: bool | Tensor = False, name: str = "weight") -> nn.Module:
    r"""Constrain the signs of weights: Dale's law.

    All outgoing weights of an excitatory neuron are >= 0, those of an inhibitory one <= 0:
    :math:`W_{ij} = s_j |M_{ij}|` with the sign :math:`s_j` of the presynaptic neuron, while :math:`M` is learned.
    The weights that the module has keep their magnitudes, and get these signs. It is a parametrization of PyTorch,
    which `torch.nn.utils.parametrize.remove_parametrizations` removes.

    Reference: H. F. Song, G. R. Yang & X.-J. Wang, *Training excitatory-inhibitory recurrent neural networks for
    cognitive tasks*, 2016, with the magnitude in place of the positive part, whose gradient vanishes at 0.

    Args:
        module: A module with weights, such as `torch.nn.Linear`, `torch.nn.Conv2d`, or a recurrent neuron.
        inhibitory: Which presynaptic neurons are inhibitory, boolean, shape (presynaptic,), for weights of shape
            (postsynaptic, presynaptic, ...); or one boolean for all. Default: none.
        name: Name of the weights, `recurrent_weights` of a recurrent neuron.

    Returns:
        The module.

    Raises:
        TypeError: If `inhibitory` is not boolean, or the module has no parameter of this name, or it is not of this
            shape.
        ValueError: If `inhibitory` has another shape; later, if weights of another sign are assigned.

    >>> linear = constrain_signs(nn.Linear(5, 3), torch.tensor([False, False, False, True, True]))
    >>> (linear.weight >= 0).all(0)
    tensor([ True,  True,  True, False, False])
    """
    weights = getattr(module, name, None)
    if not isinstance(weights, nn.Parameter):
        raise TypeError(
            f"constrain_signs expected a module with weights called {name!r}, got {type(module).__name__}; give their "
            "name, such as name='recurrent_weights'."
        )
    inhibitory = torch.as_tensor(inhibitory, device=weights.device)
    if inhibitory.dtype != torch.bool:
        raise TypeError(f"constrain_signs: inhibitory must be boolean, got {inhibitory.dtype}.")
    signs = torch.where(inhibitory, -1.0, 1.0).to(weights.dtype)
    if inhibitory.dim():
        if weights.dim() < 2 or getattr(module, "transposed", False) or getattr(module, "groups", 1) != 1:
            raise TypeError(
                f"constrain_signs: the weights of {type(module).__name__} do not have the shape (postsynaptic, "
                "presynaptic, ...); give inhibitory as one boolean, for all neurons."
            )
        if inhibitory.shape != weights.shape[1:2]:
            raise ValueError(
                f"constrain_signs: inhibitory must have shape ({weights.shape[1]},), one value for each presynaptic "
                f"neuron of {name}, got {tuple(inhibitory.shape)}."
            )
        signs = signs.reshape(-1, *[1] * (weights.dim() - 2))
    with torch.no_grad():
        weights.copy_(signs * weights.abs())
    parametrize.register_parametrization(module, name, _Signs(signs))
    return module
