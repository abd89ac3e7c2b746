import math

import pytest
import torch

from geir import decode

F64 = torch.float64
# Shape (time, batch, classes).
ZS = torch.tensor([[0, 0, 1], [1, 0, 0], [1, 0, 1], [0, 0, 1]], dtype=F64)[:, None]
VS = torch.tensor([[0.1, 3.0], [2.0, -1.0], [0.5, 0.0]], dtype=F64)[:, None]


def cross_entropy_by_hand(scores, label):
    return math.log(sum(math.exp(score) for score in scores)) - scores[label]


@pytest.mark.parametrize(
    ("loss", "scores"),
    [
        (lambda label: decode.rate_loss(ZS, label), [2, 0, 3]),
        (lambda label: decode.max_potential_loss(VS, label), [2, 3]),
        (lambda label: decode.last_potential_loss(VS, label), [0.5, 0]),
        (lambda label: decode.first_spike_loss(ZS, label, dt=2e-3, tau=4e-3), [-0.5, -2.0, 0.0]),
    ],
    ids=["rate", "max_potential", "last_potential", "first_spike"],
)
def test_losses_are_cross_entropies_of_decoded_scores(loss, scores):
    assert loss(torch.tensor([1])).item() == pytest.approx(cross_entropy_by_hand(scores, 1))


@pytest.mark.parametrize(
    "loss", [decode.rate_loss, decode.max_potential_loss, decode.last_potential_loss, decode.first_spike_loss]
)
def test_losses_of_no_steps_raise(loss):
    with pytest.raises(ValueError, match=r"with at least one step, got shape \(0, 1, 2\)"):
        loss(torch.zeros(0, 1, 2), torch.tensor([1]))
