"""The input of a chip: spikes."""

import torch
from torch import nn, Tensor


class EventInput(nn.Module):
    """Checks that the input of a chip is spikes: integers, of which some chips accept only a few in one step.

    Args:
        most: The most spikes of one input in one step, or None.
    """

    def __init__(self, most: int | None = None):
        super().__init__()
        self.most = most

    def forward(self, x: Tensor) -> Tensor:
        """The same input in float64.

        Raises:
            ValueError: If it has other numbers.
        """
        if x.numel() and not torch.compiler.is_compiling():
            wrong = x[x != torch.round(x)]
            if wrong.numel():
                raise ValueError(
                    f"The input of a chip is spikes, or integers; got {wrong.flatten()[0].item():g}. "
                    "Encode it, for example with geir.encode.poisson."
                )
            if self.most is not None and not 0 <= x.min().item() <= x.max().item() <= self.most:
                raise ValueError(
                    f"The chip accepts 0 to {self.most} spikes of an input in one step, got {x.min().item():g} to "
                    f"{x.max().item():g}."
                )
        return x.double()

    def extra_repr(self) -> str:
        return "" if self.most is None else f"most={self.most}"
