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


# ---- squared errors, steps and populations

LABELS = torch.tensor([2, 0])
SPIKES = torch.tensor(
    [[[0, 0, 1], [1, 0, 0]], [[1, 0, 1], [0, 0, 0]], [[1, 0, 1], [0, 0, 1]], [[0, 0, 1], [1, 0, 0]]], dtype=F64
)
POTENTIALS = torch.linspace(-1, 2, 24, dtype=F64).view(4, 2, 3)


def numbers(xs):
    """Every (time, batch, class, value)."""
    steps, batch, classes = xs.shape
    return [(t, b, c, xs[t, b, c].item()) for t in range(steps) for b in range(batch) for c in range(classes)]


def test_the_spike_count_loss_is_the_squared_error_of_counts_divided_by_the_steps():
    errors = []
    for b in range(2):
        for c in range(3):
            count = sum(value for _, sample, kind, value in numbers(SPIKES) if (sample, kind) == (b, c))
            errors.append((count - 4 * (0.75 if LABELS[b] == c else 0.1)) ** 2)
    assert decode.spike_count_loss(SPIKES, LABELS, 0.75, 0.1).item() == pytest.approx(sum(errors) / 6 / 4)


def test_the_potential_loss_is_the_mean_squared_error_at_every_step():
    errors = [(value - (1.5 if LABELS[b] == c else -0.5)) ** 2 for _, b, c, value in numbers(POTENTIALS)]
    assert decode.potential_loss(POTENTIALS, LABELS, 1.5, -0.5).item() == pytest.approx(sum(errors) / 24)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_step_loss_is_temporal_efficient_training(weight):
    entropies = [cross_entropy_by_hand(POTENTIALS[t, b].tolist(), LABELS[b]) for t in range(4) for b in range(2)]
    regularizer = sum((value - 0.7) ** 2 for *_, value in numbers(POTENTIALS)) / 24
    expected = (1 - weight) * sum(entropies) / 8 + weight * regularizer
    assert decode.step_loss(POTENTIALS, LABELS, 0.7, weight).item() == pytest.approx(expected)


def test_the_spike_time_loss_is_the_squared_error_of_first_spike_times_beyond_the_tolerance():
    # First spikes of the two samples, in steps; 4 stands for none.
    first = [[1, 4, 0], [0, 4, 2]]
    errors = []
    for b in range(2):
        for c in range(3):
            error = first[b][c] - (1 if LABELS[b] == c else 4)
            errors.append((error / 4) ** 2 if abs(error) >= 1.5 else 0.0)
    loss = decode.spike_time_loss(SPIKES, LABELS, correct=2e-3, incorrect=8e-3, tolerance=3e-3, dt=2e-3)
    assert loss.item() == pytest.approx(sum(errors) / 6)
    assert sum(errors) > 0


def test_votes_are_means_of_neighbors_and_accuracy_shares_ties():
    xs = torch.arange(12.0).view(1, 2, 6)
    assert decode.vote(xs, 3).tolist() == [[[0.5, 2.5, 4.5], [6.5, 8.5, 10.5]]]
    assert decode.vote(xs, 6).tolist() == xs.tolist()
    assert decode.accuracy(torch.tensor([[1.0, 2.0, 0.0], [5.0, 1.0, 5.0]]), torch.tensor([1, 1])).item() == 0.5
    assert decode.accuracy(torch.zeros(7, 4), torch.arange(7) % 4).item() == 0.25, "silence is guessing"


@pytest.mark.parametrize("seed", range(3))
def test_losses_are_those_of_snntorch(seed):
    snntorch = pytest.importorskip("snntorch.functional", reason="the oracle of this test is snnTorch")
    generator = torch.Generator().manual_seed(seed)
    zs = (torch.rand(20, 5, 6, generator=generator) < 0.3).float()
    vs = torch.randn(20, 5, 6, generator=generator)
    labels = torch.randint(6, (5,), generator=generator)
    pairs = [
        (decode.spike_count_loss(zs, labels, 0.8, 0.2), snntorch.mse_count_loss(0.8, 0.2)(zs, labels)),
        (decode.step_loss(zs, labels), snntorch.ce_rate_loss()(zs, labels)),
        (
            decode.potential_loss(vs, labels, 1.05, 0.2),
            snntorch.mse_membrane_loss(on_target=1.05, off_target=0.2)(vs, labels),
        ),
        (decode.rate_loss(zs, labels), snntorch.ce_count_loss()(zs, labels)),
        (decode.max_potential_loss(vs, labels), snntorch.ce_max_membrane_loss()(vs, labels)),
        (
            decode.accuracy(decode.spike_count(zs) + 1e-3 * torch.arange(6).flip(0), labels),
            snntorch.accuracy_rate(zs, labels),
        ),
    ]
    votes = torch.randint(3, (5,), generator=generator)
    population = snntorch.mse_count_loss(1.0, 0.0, population_code=True, num_classes=3)(zs, votes)
    # Sums of two neurons instead of means.
    pairs.append((4 * decode.spike_count_loss(decode.vote(zs, 3), votes, 1.0, 0.0), population))
    for ours, theirs in pairs:
        assert float(ours) == pytest.approx(float(theirs), rel=1e-5)


CROSS_ENTROPIES = [
    decode.rate_loss,
    decode.max_potential_loss,
    decode.last_potential_loss,
    decode.first_spike_loss,
    decode.step_loss,
]
SQUARED = [
    decode.spike_count_loss,
    decode.potential_loss,
    lambda zs, labels: decode.spike_time_loss(zs, labels, 1e-3, 3e-3),
]


@pytest.mark.parametrize("loss", [*CROSS_ENTROPIES, *SQUARED, lambda zs, y: decode.accuracy(decode.rate(zs), y)])
def test_wrong_labels_are_errors_that_say_how_to_fix_them(loss):
    for labels, error, message in (
        (torch.tensor([2, 3]), ValueError, "labels from 0 to 2 for 3 classes, got 3; count classes from 0"),
        (torch.tensor([-1, 1]), ValueError, "got -1"),
        (torch.arange(4), ValueError, r"expected labels of shape \(2,\), .* got \(4,\).* xs.transpose\(0, 1\)"),
        (torch.tensor([[2], [0]]), ValueError, r"got \(2, 1\)"),
        (torch.tensor([2.0, 0.0]), TypeError, r"got torch.float32 of shape \(2,\); convert them with .long\(\)"),
        ([2, 0], TypeError, "a tensor of class labels, got list"),
    ):
        with pytest.raises(error, match=message):
            loss(SPIKES, labels)
    assert loss(SPIKES, LABELS.int()).isfinite()


@pytest.mark.parametrize("loss", CROSS_ENTROPIES)
def test_cross_entropies_take_probabilities(loss):
    one_hot = torch.nn.functional.one_hot(LABELS, 3).double()
    torch.testing.assert_close(loss(SPIKES, one_hot), loss(SPIKES, LABELS))


@pytest.mark.parametrize("loss", [*CROSS_ENTROPIES, *SQUARED])
def test_the_output_of_a_network_with_its_state_is_an_error(loss):
    with pytest.raises(TypeError, match="got a tuple; pass the output without its state"):
        loss((SPIKES, None), LABELS)


@pytest.mark.parametrize("loss", [*CROSS_ENTROPIES, *SQUARED])
def test_losses_run_in_vmap_and_train(loss):
    xs = torch.rand(3, 5, 2, 3, dtype=F64, requires_grad=True)
    batched = torch.vmap(loss, in_dims=(0, None))(xs, LABELS)
    torch.testing.assert_close(batched, torch.stack([loss(x, LABELS) for x in xs]))
    batched.sum().backward()
    assert xs.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: decode.step_loss(SPIKES, LABELS, weight=1.5), ValueError, "weight must be in .0, 1., got 1.5"),
        (
            lambda: decode.spike_time_loss(SPIKES, LABELS, 5, 20),
            ValueError,
            "correct must be a time within the run, from 0 to 0.004 s, got 5; times are in seconds",
        ),
        (lambda: decode.spike_time_loss(SPIKES, LABELS, 1e-3, -1e-3), ValueError, "incorrect must be a time"),
        (
            lambda: decode.potential_loss(SPIKES[:, 0], torch.tensor(0)),
            ValueError,
            r"\(time, batch, classes\), got one step of shape \(3,\)",
        ),
        (lambda: decode.vote(SPIKES, 2), ValueError, "last dimension must be a multiple of 2"),
        (lambda: decode.vote(SPIKES, 0), ValueError, "classes must be an integer >= 1"),
        (lambda: decode.vote((SPIKES, None), 3), TypeError, "got tuple"),
        (lambda: decode.accuracy(SPIKES, LABELS), ValueError, "reduce outputs over time with a decoder"),
        (lambda: decode.accuracy(LABELS, LABELS), TypeError, "floating-point tensor .batch, classes., got torch.int64"),
    ],
)
def test_bad_arguments_are_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
