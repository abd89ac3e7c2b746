"""What the models share: their input, how their weights start, how the weights of another network are loaded."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn, Tensor

from ..containers.network import Run, Stateful

Factory = Callable[[], nn.Module]  # makes one neuron (or readout): one for every place


class ImageNetwork(Stateful):
    """A network that runs its children in order on images over time.

    Abstract: a subclass adds its children, then calls `start`.
    """

    smallest: int = 1  # height and width of images, at least

    def __init__(self, in_channels: int, num_classes: int, neuron: Factory, readout: Factory):
        super().__init__()
        name = type(self).__name__
        for key, factory in (("neuron", neuron), ("readout", readout)):
            if isinstance(factory, nn.Module) or not callable(factory):
                raise TypeError(
                    f"{name} takes as {key} what makes a new one, such as LIF or partial(LIF, tau_mem=20e-3), got {factory!r}."
                )
        for key, size in (("in_channels", in_channels), ("num_classes", num_classes)):
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"{name}.{key} must be a positive whole number, got {size!r}.")
        self.in_channels = in_channels

    def start(self, neuron: Factory) -> None:
        """Give all weights their initial values."""
        init_weights(self, threshold_weight(neuron))

    def connect(self, xs: Any, run: Run) -> Any:
        if (
            not isinstance(xs, Tensor)
            or xs.dim() != 5
            or xs.shape[2] != self.in_channels
            or min(xs.shape[3:]) < self.smallest
        ):
            got = f"shape {tuple(xs.shape)}" if isinstance(xs, Tensor) else type(xs).__name__
            sides = f", height and width at least {self.smallest}" if self.smallest > 1 else ""
            raise ValueError(
                f"{type(self).__name__} takes (time, batch, channels, height, width) with {self.in_channels} channels{sides}, got {got}; "
                "to show one image for 20 steps: x.expand(20, *x.shape)."
            )
        return run(xs, *self.children())


# From weights too small for any neuron to notice to weights too large for any to ignore, 2 % apart.
WEIGHTS = torch.arange(-10 * 32, 14 * 32) / 32


@torch.no_grad()
def threshold_weight(neuron: Factory, steps: int = 200) -> float:
    """The least weight with which one input spike makes the neuron spike, found by trying; 1 for what does not spike, such as `nn.ReLU`.

    Args:
        neuron: Makes the neuron.
        steps: How long to wait for its spike.

    Raises:
        ValueError: If it spikes at no weight up to 16,000.

    >>> from geir import IAF, LIF
    >>> round(threshold_weight(IAF)), round(threshold_weight(LIF))
    (1, 4)
    """
    # A model made on the meta device needs to know, too.
    with torch.device("cpu"):
        made = neuron()
        if not hasattr(made, "surrogate"):
            return 1.0
        impulses = torch.zeros(steps, len(WEIGHTS))
        impulses[0] = 2**WEIGHTS
        zs, _ = made.float()(impulses)
    fires = (zs > 0).any(0)
    if not fires.any():
        raise ValueError(
            f"{type(made).__name__} spikes at no weight of one input spike up to {impulses.max():.0f}, so no weights fit it."
        )
    return impulses[0, fires].min().item()


def init_weights(model: nn.Module, unit: float) -> None:
    r"""Initial weights with which activity neither dies out nor fills the network.

    Convolutions and linear layers get :math:`N(0, (2 u)^2 / \text{fan-in})` and no bias, batch normalisation the scale :math:`u / 2`, where
    :math:`u` is the weight with which one spike makes a neuron spike (`threshold_weight`). So normalisation depends on the threshold, as in
    H. Zheng et al., *Going deeper with directly-trained larger spiking neural networks*, 2021. The last linear layer, which no neuron
    follows, keeps PyTorch's.

    Args:
        model: The network.
        unit: The weight :math:`u`.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    for layer in layers[:-1]:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
        with torch.no_grad():
            layer.weight.mul_(2 * unit)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, unit / 2)


class LoadedWeights(NamedTuple):
    """What `load_weights` did, as names of parameters and buffers."""

    loaded: list[str]  # copied into the model
    other_shape: list[str]  # in both, but of another shape: kept as they were
    missing: list[str]  # in the model only: kept as they were
    unexpected: list[str]  # in the dictionary only: not used


def load_weights(model: nn.Module, state_dict: Mapping[str, Tensor]) -> LoadedWeights:
    """Load the weights of another network, such as torchvision's of the same name, where names and shapes agree.

    Args:
        model: The network to load into.
        state_dict: State dictionary of the other.

    Returns:
        What was loaded and what was not.

    Raises:
        TypeError: If `state_dict` is not a dictionary of tensors.
        ValueError: If nothing agrees.
    """
    if not isinstance(state_dict, Mapping) or not all(isinstance(value, Tensor) for value in state_dict.values()):
        raise TypeError(
            f"load_weights takes a state dictionary, as of model.state_dict(), got {type(state_dict).__name__}."
        )
    own = model.state_dict()
    both = [name for name in own if name in state_dict]
    loaded = [name for name in both if own[name].shape == state_dict[name].shape]
    if not loaded:
        raise ValueError(
            f"None of the {len(state_dict)} weights agrees in name and shape with {type(model).__name__}: "
            f"it has {', '.join(list(own)[:2])}, ..., the dictionary {', '.join(list(state_dict)[:2]) or 'nothing'}, ...."
        )
    model.load_state_dict({name: state_dict[name] for name in loaded}, strict=False)
    return LoadedWeights(
        loaded,
        other_shape=[name for name in both if name not in loaded],
        missing=[name for name in own if name not in state_dict],
        unexpected=[name for name in state_dict if name not in own],
    )


class DropoutOverTime(nn.Module):
    """Dropout that silences the same neurons at every step, so that what is dropped is not seen a step later.

    The mask is its state, so that a stream in training keeps it. Reference: C. Lee et al., *Enabling spike-based backpropagation for training
    deep neural network architectures*, 2020.

    Args:
        p: Probability that a neuron is dropped.
    """

    def __init__(self, p: float = 0.5):
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"DropoutOverTime.p must be in [0, 1), got {p!r}.")
        self.p = p

    def forward(self, xs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Any]:
        """Run over time.

        Args:
            xs: Input, shape (time, ...).
            state: The mask, shape (...). Default: a new one.
        """
        if not self.training:
            return xs, ()
        mask = nn.functional.dropout(xs.new_ones(xs.shape[1:]), self.p) if state is None else state
        if mask.shape != xs.shape[1:]:
            raise ValueError(
                f"DropoutOverTime continues with a mask of shape {tuple(mask.shape)}, but one step has {tuple(xs.shape[1:])}."
            )
        return xs * mask, mask

    def extra_repr(self) -> str:
        return f"p={self.p}"
