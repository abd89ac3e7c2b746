"""The range of a parameter, and the transform that keeps a learnable parameter inside it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Range:
    """An interval of the real numbers.

    A learnable parameter is stored as an unconstrained number: as it is if the range is unbounded, as the
    logarithm of its distance from the lower bound if there is only that, and as a logit if there are two
    bounds; both relative to the initial value, which has zero. Optimizers can then do as they like, and weight
    decay, which pulls the stored number to zero, pulls the value to where it started.

    Args:
        above: Lower bound, excluded.
        at_least: Lower bound, included.
        below: Upper bound, excluded; needs a lower bound.
        at_most: Upper bound, included; needs a lower bound.
    """

    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        if self.above is not None and self.at_least is not None:
            raise ValueError("a parameter takes `above` or `at_least`, not both.")
        if self.below is not None and self.at_most is not None:
            raise ValueError("a parameter takes `below` or `at_most`, not both.")
        if self.upper is not None and self.lower is None:
            name = "below" if self.below is not None else "at_most"
            raise ValueError(f"a parameter with `{name}` needs a lower bound too: pass `above` or `at_least`.")

    @property
    def lower(self) -> float | None:
        """The lower bound, excluded or included."""
        return self.above if self.above is not None else self.at_least

    @property
    def upper(self) -> float | None:
        """The upper bound, excluded or included."""
        return self.below if self.below is not None else self.at_most

    @property
    def transform(self) -> str | None:
        """Name of the transform under which a learnable value is stored: `log`, `logit` or None."""
        if self.upper is not None:
            return "logit"
        return None if self.lower is None else "log"

    def describe(self, unit: str = "") -> str:
        """The range in words, such as `Must be > 0.0 s.`; empty if unbounded."""
        words = [f"{sign} {bound}{unit}" for sign, bound, _ in self._bounds()]
        return f"Must be {' and '.join(words)}." if words else ""

    def find_violation(self, values: Tensor) -> tuple[str, float] | None:
        """The first violated bound in words, such as `> 0.0`, and an offending value; None if all values are inside."""
        for sign, bound, violates in self._bounds():
            outside = violates(values, bound)
            if bool(outside.any()):
                return f"{sign} {bound}", float(f"{values[outside].flatten()[0].item():.6g}")
        return None

    def _bounds(self) -> list[tuple[str, float, Callable[[Tensor, float], Tensor]]]:
        bounds = [
            (">", self.above, torch.le),
            (">=", self.at_least, torch.lt),
            ("<", self.below, torch.ge),
            ("<=", self.at_most, torch.gt),
        ]
        return [(sign, bound, violates) for sign, bound, violates in bounds if bound is not None]

    def from_unconstrained(self, stored: Tensor, initial: Tensor) -> Tensor:
        """The value of a number stored relative to an initial value, for a range with a lower bound."""
        assert self.lower is not None
        if self.upper is not None:
            # Not a quotient of exponentials, which overflows where the sigmoid saturates.
            logit = torch.log((initial - self.lower) / (self.upper - initial))
            return self.lower + (self.upper - self.lower) * torch.sigmoid(logit + stored)
        if self.lower == 0:
            return initial * torch.exp(stored)
        return self.lower + (initial - self.lower) * torch.exp(stored)
