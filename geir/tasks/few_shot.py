"""Networks that learn characters from one labeled drawing of each: by gradient descent, or by plastic weights."""

import torch
from torch import nn, Tensor
from torch.func import functional_call, vmap
from torch.nn.functional import cross_entropy, one_hot
from torch.utils import _pytree as pytree

from ..containers import Lift, SequentialState
from ..learning import adapt, hebb, HebbianLayer
from ..neurons import LIBox, LIFBox
from ..surrogates import Gaussian
from .omniglot_data import Episodes, WAYS

# In seconds.
DT, TAU_MEM = 1e-3, 4e-3
V_TH = 0.3
# Learning rate of gradient descent within an episode, and its steps in training and in testing.
INNER_RATE, INNER_STEPS, TEST_INNER_STEPS = 0.4, 1, 3
# Of the plastic layer before training: rate of the trace, plastic weights, and current of a label.
ETA, ALPHA, LABEL_CURRENT = 0.01, 3.0, 3.0


class BatchNorm(nn.BatchNorm2d):
    """Batch normalization without running statistics, with the right second derivative.

    Under `torch.vmap`, that of `torch.nn.BatchNorm2d` is wrong (issue 534 of pytorch/functorch, seen in PyTorch 2.13).
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, track_running_stats=False)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize images, shape (batch, channels, height, width)."""
        variance, mean = torch.var_mean(input, (0, 2, 3), correction=0, keepdim=True)
        scale, shift = self.weight[:, None, None], self.bias[:, None, None]
        return (input - mean) * torch.rsqrt(variance + self.eps) * scale + shift


def _block(inputs: int, channels: int, running_stats: bool) -> list[nn.Module]:
    return [
        Lift(nn.Conv2d(inputs, channels, 3, stride=2, padding=1, bias=False)),
        Lift(nn.BatchNorm2d(channels) if running_stats else BatchNorm(channels)),
    ]


def _activation(neuron: str) -> nn.Module:
    if neuron == "relu":
        return Lift(nn.ReLU())
    # Where the gradient is differentiated again, a smooth surrogate is needed.
    return LIFBox(dt=DT, tau_mem=TAU_MEM, v_th=V_TH, surrogate=Gaussian())


def _blocks(number: int, neuron: str, channels: int, running_stats: bool = False) -> list[nn.Module]:
    """Convolutional blocks that halve the image; without `running_stats`, they normalize by each batch."""
    modules: list[nn.Module] = []
    for k in range(number):
        modules += [*_block(channels if k else 1, channels, running_stats), _activation(neuron)]
    return modules


class GradientLearner(nn.Module):
    """MAML: all weights take steps of gradient descent on the labeled drawings, from a start that is learned.

    Four convolutional blocks and a linear readout, whose mean over time are the logits. Batch normalization has the
    statistics of the drawings that are processed together, those with labels or those without.

    Args:
        neuron: ``lif``, or ``relu``.
        channels: Channels of each block.
        steps: Time steps for which a drawing is shown.
    """

    def __init__(self, neuron: str, channels: int, steps: int) -> None:
        super().__init__()
        # The mean over time of rectifiers is that of one step.
        self.steps = steps if neuron == "lif" else 1
        readout = nn.Linear(4 * channels, WAYS)
        self.network = SequentialState(*_blocks(4, neuron, channels), Lift(nn.Flatten()), Lift(readout))

    def forward(self, episodes: Episodes) -> Tensor:
        """Logits of the drawings without label, shape (episodes, drawings, 5)."""
        start = dict(self.network.named_parameters())
        inner_steps = INNER_STEPS if self.training else TEST_INNER_STEPS

        def recognize(support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
            adapted = adapt(
                lambda parameters: cross_entropy(self._logits(parameters, support), labels),
                start,
                INNER_RATE,
                inner_steps,
                first_order=not torch.is_grad_enabled(),
            )
            return self._logits(adapted, queries)

        return vmap(recognize)(episodes.support, episodes.labels, episodes.queries)

    def _logits(self, parameters: dict[str, Tensor], images: Tensor) -> Tensor:
        xs = images.expand(self.steps, *images.shape)
        ys, _ = functional_call(self.network, parameters, (xs,))
        return ys.mean(0)


class PlasticLearner(nn.Module):
    """Differentiable plasticity: the weights of the last layer follow the activity; no gradient within an episode.

    Four convolutional blocks, the last of them without neurons, make features. A plastic layer of leaky integrators
    receives them and, while labeled drawings are shown, a current for the label. The trace is Hebb's product of
    features and softmax of the potentials. Between drawings the layer rests until nothing but its trace remains.

    Args:
        neuron: ``lif``, or ``relu``.
        channels: Channels of each block.
        steps: Time steps for which a drawing is shown.
    """

    def __init__(self, neuron: str, channels: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        # Features of rectifiers are the same in all steps, and computed once.
        self.embedding_steps = steps if neuron == "lif" else 1
        self.embedding = SequentialState(
            *_blocks(3, neuron, channels, running_stats=True),
            *_block(channels, channels, running_stats=True),
            Lift(nn.Flatten()),
        )
        features = 4 * channels
        connection = nn.Linear(features + WAYS, WAYS, bias=False)
        nn.init.zeros_(connection.weight)
        nn.init.eye_(connection.weight.data[:, features:]).mul_(LABEL_CURRENT)
        readout = LIBox(dt=DT, tau_mem=TAU_MEM)
        self.layer = HebbianLayer(connection, readout, eta=ETA, tau=0.0, rule=_rule)
        nn.init.constant_(self.layer.alpha, ALPHA)

    def forward(self, episodes: Episodes) -> Tensor:
        """Logits of the drawings without label, shape (episodes, drawings, 5)."""
        images = torch.cat([episodes.support, episodes.queries], 1)
        count, number = images.shape[:2]
        flat = images.flatten(0, 1)
        features, _ = self.embedding(flat.expand(self.embedding_steps, *flat.shape))
        features = features.expand(self.steps, -1, -1)
        shown = episodes.support.shape[1]
        currents = one_hot(episodes.labels, WAYS).to(features)
        currents = torch.cat([currents, currents.new_zeros(count, number - shown, WAYS)], 1)
        xs = features.unflatten(1, (count, number))
        xs = torch.cat([xs, currents.expand(self.steps, *currents.shape)], -1)

        rest = state = self.layer.initial_state(xs[0, :, 0])
        for k in range(shown):
            _, state = self.layer(xs[:, :, k], rest._replace(trace=state.trace))
        learned = rest._replace(trace=state.trace)
        # Every drawing without label finds the network in the same state.
        start = pytree.tree_map(lambda part: part.unsqueeze(1).expand(-1, number - shown, *part.shape[1:]), learned)
        vs, _ = self.layer(xs[:, :, shown:], start)
        return vs.mean(0)


def _rule(trace: Tensor, pre: Tensor, post: Tensor, eta: Tensor) -> Tensor:
    return hebb(trace, pre, post.softmax(-1), eta)
