"""The base class of the models, weight initialization, loading of pretrained weights, and dropout."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypedDict

import torch
from torch import nn, Tensor

from ..containers import Network, StateThread, threshold_weight
from .normalization import ThresholdDependentBatchNorm

# Returns a new module at each call: the neurons of one layer, or the readout.
ModuleFactory = Callable[[], nn.Module]

# Returns the normalization of a given number of channels, such as `nn.BatchNorm2d`.
NormFactory = Callable[[int], nn.Module]


class ImageSettings(TypedDict, total=False):
    """Keyword arguments that all models for images take."""

    num_classes: int
    in_channels: int
    neuron: ModuleFactory
    readout: ModuleFactory


class ImageNetwork(Network):
    """Base class of networks for images over time that run their child modules in the order of their definition.

    A subclass defines its child modules and calls `reset_parameters` at the end of its constructor.

    Args:
        in_channels: Number of channels of the images.
        num_classes: Number of outputs.
        neuron: Returns a new module of neurons for each layer.
        readout: Returns the module that follows the last weights.

    Attributes:
        unit_weight: The `threshold_weight` of the neurons, the unit of the initial weights.

    Raises:
        TypeError: If `neuron` or `readout` is a module or is not callable.
        ValueError: If a number is not a positive integer, or one input spike cannot make the neuron
            spike.
    """

    min_size: int = 1  # minimum height and width of the images

    def __init__(self, in_channels: int, num_classes: int, neuron: ModuleFactory, readout: ModuleFactory):
        super().__init__()
        name = type(self).__name__
        for argument, factory in (("neuron", neuron), ("readout", readout)):
            if isinstance(factory, nn.Module) or not callable(factory):
                raise TypeError(
                    f"{name}.{argument} must be a class or a function that returns a new module, "
                    f"such as LIF or partial(LIF, tau_mem=20e-3), got {factory!r}."
                )
        for argument, number in (("in_channels", in_channels), ("num_classes", num_classes)):
            if not isinstance(number, int) or number < 1:
                raise ValueError(f"{name}.{argument} must be a positive integer, got {number!r}.")
        self.in_channels = in_channels
        self.unit_weight = threshold_weight(neuron)

    def reset_parameters(self) -> None:
        r"""Draw new initial weights.

        Let :math:`u` be the weight with which a single input spike makes a neuron spike (`threshold_weight`).
        Convolutions and linear layers draw their weights from :math:`N(0, (2 u)^2 / \text{fan-in})` and have zero
        bias. The scale of batch normalization is :math:`u / 2`, so the normalized input is proportional to the
        threshold, as in H. Zheng et al., *Going deeper with directly-trained larger spiking neural networks*, 2021.
        The last convolution or linear layer, which feeds the readout, keeps PyTorch's initial values.

        `geir.init_weights` draws weights for longer runs, in which neurons fire at realistic rates.
        """
        _scale_to_threshold(self, self.unit_weight)

    def forward_over_time(self, xs: Tensor, run: StateThread) -> Tensor:
        """Run the child modules in sequence.

        Args:
            xs: Images, shape (time, batch, channels, height, width).
            run: Calls modules and passes them their state.

        Returns:
            Output of the last child module, shape (time, batch, classes).

        Raises:
            ValueError: If `xs` does not have this shape.
        """
        self._check_images(xs)
        return run(xs, *self.children())

    def _check_images(self, xs: object) -> None:
        if isinstance(xs, Tensor):
            if xs.dim() == 5 and xs.shape[2] == self.in_channels and min(xs.shape[3:]) >= self.min_size:
                return
            given = f"shape {tuple(xs.shape)}"
        else:
            given = type(xs).__name__
        size = f" and height and width of at least {self.min_size}" if self.min_size > 1 else ""
        raise ValueError(
            f"{type(self).__name__} expected input of shape (time, batch, channels, height, width) "
            f"with {self.in_channels} channels{size}, got {given}. "
            "To show the images x, shape (batch, channels, height, width), for 20 steps: x.expand(20, *x.shape)."
        )


def _scale_to_threshold(model: nn.Module, unit: float) -> None:
    """Draw initial weights in units of the threshold weight; see `ImageNetwork.reset_parameters`."""
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    for layer in layers[:-1]:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
        with torch.no_grad():
            layer.weight.mul_(2 * unit)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    for module in model.modules():
        if isinstance(module, ThresholdDependentBatchNorm):
            nn.init.ones_(module.weight)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.constant_(module.weight, unit / 2)


class LoadedWeights(NamedTuple):
    """Result of `load_weights`: names of parameters and buffers."""

    loaded: list[str]  # copied into the model
    mismatched: list[str]  # in both, but with different shapes; the model keeps its own
    missing: list[str]  # in the model only; the model keeps its own
    unexpected: list[str]  # in the state dictionary only; ignored


def load_weights(model: nn.Module, state_dict: Mapping[str, Tensor]) -> LoadedWeights:
    """Load pretrained weights where names and shapes agree.

    Unlike `torch.nn.Module.load_state_dict`, this accepts the weights of a network that differs in its
    neurons, in its number of classes or in some of its layers. VGG, ResNet and MobileNetV2 name their
    weights as torchvision does, so the weights of torchvision's network of the same name can be loaded.

    Args:
        model: The network to load into; its weights are changed in place.
        state_dict: State dictionary of the pretrained network.

    Returns:
        The names that were loaded, and those that were not, with the reason.

    Raises:
        TypeError: If `state_dict` is not a dictionary of tensors.
        ValueError: If no name and shape agree.
    """
    if not isinstance(state_dict, Mapping) or not all(isinstance(value, Tensor) for value in state_dict.values()):
        raise TypeError(
            "load_weights expected a state dictionary of tensors, such as model.state_dict(), "
            f"got {type(state_dict).__name__}."
        )
    model_state = model.state_dict()
    shared = [name for name in model_state if name in state_dict]
    loaded = [name for name in shared if model_state[name].shape == state_dict[name].shape]
    if not loaded:
        given = f"{', '.join(list(state_dict)[:2])}, ..." if state_dict else "no names"
        raise ValueError(
            f"None of the {len(state_dict)} weights agrees in name and shape with those of {type(model).__name__}: "
            f"the model has {', '.join(list(model_state)[:2])}, ..., the state dictionary has {given}."
        )
    model.load_state_dict({name: state_dict[name] for name in loaded}, strict=False)
    return LoadedWeights(
        loaded,
        mismatched=[name for name in shared if name not in loaded],
        missing=[name for name in model_state if name not in state_dict],
        unexpected=[name for name in state_dict if name not in model_state],
    )


class DropoutOverTime(nn.Module):
    """Dropout with one mask for all time steps.

    A new mask at every step would let a dropped neuron pass on its spikes one step later. The mask is
    the module's state, so it stays the same when a run is continued in training mode. Surviving values
    are scaled by ``1 / (1 - p)``.

    Reference: C. Lee et al., *Enabling spike-based backpropagation for training deep neural network
    architectures*, 2020.

    Args:
        p: Probability that a neuron is dropped, in [0, 1).

    Raises:
        ValueError: If `p` is out of range.
    """

    def __init__(self, p: float = 0.5):
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"DropoutOverTime.p must be in [0, 1), got {p!r}.")
        self.p = p

    def forward(self, xs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor | tuple[()]]:
        """Run over time.

        Args:
            xs: Input, shape (time, ...).
            state: The mask to continue with, shape (...). Default: a new mask.

        Returns:
            Output, shape (time, ...), and the mask. In evaluation mode, the input and `()`.

        Raises:
            ValueError: If the mask does not have the shape of one step of `xs`.
        """
        if not self.training:
            return xs, ()
        mask = nn.functional.dropout(xs.new_ones(xs.shape[1:]), self.p) if state is None else state
        if mask.shape != xs.shape[1:]:
            raise ValueError(
                f"DropoutOverTime expected a mask with the shape of one step of input, {tuple(xs.shape[1:])}, "
                f"got {tuple(mask.shape)}."
            )
        return xs * mask, mask

    def extra_repr(self) -> str:
        return f"p={self.p}"
