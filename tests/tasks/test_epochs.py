"""Training by updates that a task defines itself: `geir.tasks.epochs`."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from geir.tasks.checkpoint import load_checkpoint
from geir.tasks.epochs import descend, draw_batches, error_of, train_epochs, train_iterations
from geir.tasks.settings import out_setting, resume_setting, seed_setting, setting, TaskSettings


@dataclass(frozen=True)
class Settings(TaskSettings):
    out: Path = out_setting("line")
    seed: int = seed_setting("the batches")
    resume: bool = resume_setting()


@dataclass(frozen=True)
class IterationSettings(Settings):
    iterations: int = setting(5, "number of updates")
    learning_rate: float = setting(0.4, "learning rate of the first update")
    decay: float = setting(0.1, "learning rate of the last update, relative to the first")


def fit_line(settings, epochs=3, interrupt_at=None):
    """Fit a line to random points, five batches an epoch; returns the weight and the result."""
    torch.manual_seed(7)
    model = nn.Linear(1, 1)
    optimizer = torch.optim.Adam(model.parameters())
    count = 0

    def update(x):
        nonlocal count
        count += 1
        if count == interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        return descend(optimizer, (model(x) - 3 * x).square().mean())

    result = train_epochs(
        "line",
        settings,
        epochs,
        model,
        optimizer,
        learning_rate=lambda epoch: 0.1 * 0.5**epoch,
        batches=lambda _: torch.randn(5, 4, 1),
        update=update,
        evaluate=lambda: 1 - min(1.0, abs(model.weight.item() - 3)),
    )
    return model.weight.item(), result, count


def test_the_learning_rate_is_that_of_the_epoch(tmp_path):
    # The first step of Adam has the length of the learning rate.
    torch.manual_seed(7)
    start = nn.Linear(1, 1).weight.item()
    rates = []
    for epochs in (1, 2):
        fit_line(Settings(tmp_path / str(epochs)), epochs=epochs)
        model = nn.Linear(1, 1)
        optimizer = torch.optim.Adam(model.parameters())
        load_checkpoint(tmp_path / str(epochs) / "checkpoint.json", "line", {"seed": 0}, model, optimizer)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [0.1, 0.05]
    assert start != pytest.approx(3, abs=0.1)


@pytest.mark.parametrize("stop", [3, 5, 8])
def test_an_interrupted_and_resumed_run_equals_one_that_was_not(tmp_path, stop):
    expected, _, _ = fit_line(Settings(tmp_path / "whole"))
    _, stopped, count = fit_line(Settings(tmp_path / "parts"), interrupt_at=stop)
    assert stopped["interrupted"]
    assert count == stop
    weight, result, count = fit_line(Settings(tmp_path / "parts", resume=True))
    assert count == 15 - stop
    assert weight == expected
    assert not result["interrupted"]
    assert result["epochs"] == 3


def test_each_epoch_and_seed_draws_other_batches(tmp_path):
    weights = {fit_line(Settings(tmp_path / str(seed), seed=seed), epochs=1)[0] for seed in (0, 1)}
    assert len(weights) == 2
    drawn = []
    train_epochs(
        "draw",
        Settings(tmp_path),
        2,
        model := nn.Linear(1, 1),
        torch.optim.SGD(model.parameters(), lr=0.1),
        learning_rate=lambda _: 0.1,
        batches=lambda _: torch.randn(1, 1),
        update=lambda x: drawn.append(x.item()) or 0.0,
        evaluate=lambda: 0.0,
    )
    assert drawn[0] != drawn[1]


def test_an_epoch_may_have_several_results_which_finish_is_given(tmp_path, capsys):
    histories = []

    def finish(history):
        histories.append(list(history))
        return {"best": max(epoch["reward"] for epoch in history)}

    rewards = iter([3.0, 250.5, 7.0])
    result = train_epochs(
        "play",
        Settings(tmp_path),
        3,
        model := nn.Linear(1, 1),
        torch.optim.SGD(model.parameters(), lr=0.1),
        learning_rate=lambda _: 0.1,
        batches=lambda _: [1.0, 2.0],
        update=lambda loss: loss,
        evaluate=lambda: {"reward": next(rewards), "played": 4},
        finish=finish,
    )
    assert histories == [[{"loss": 1.5, "reward": reward, "played": 4} for reward in (3.0, 250.5, 7.0)]]
    assert (result["reward"], result["played"], result["best"]) == (7.0, 4, 250.5)
    assert "test_accuracy" not in result
    assert "epoch 2/3  loss 1.5000  reward 250.5  played 4" in capsys.readouterr().err


def test_resuming_needs_a_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match="start without --resume"):
        fit_line(Settings(tmp_path, resume=True))


def test_iterations_are_tested_in_parts_of_which_the_last_is_short(tmp_path):
    drawn, rates, model = [], [], nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters())
    result = train_iterations(
        "parts",
        IterationSettings(tmp_path),
        model,
        optimizer,
        every=2,
        draw=lambda generator: torch.rand((), generator=generator).item(),
        update=lambda x: drawn.append(x) or rates.append(optimizer.param_groups[0]["lr"]) or x,
        evaluate=lambda: 0.9,
    )
    assert (result["epochs"], len(set(drawn))) == (3, 5)
    # 2/5 and 4/5 of the way from 0.4 to 0.04.
    assert rates == pytest.approx([0.4, 0.4, 0.4 * 10**-0.4, 0.4 * 10**-0.4, 0.4 * 10**-0.8])
    # The epochs have the seeds 300,009 to 300,011 if that of the run is 3.
    expected = [torch.rand((), generator=torch.Generator().manual_seed(300_010)).item()]
    assert list(draw_batches(3, 1, 1, lambda generator: torch.rand((), generator=generator).item())) == expected
    assert error_of(result) == 0.1
    assert error_of({"test_accuracy": None}) is None


def test_a_step_descends_by_the_gradient_whose_norm_is_clipped():
    weight = nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    weight.grad = torch.ones(2)
    assert descend(optimizer, weight.square().sum()) == 25
    torch.testing.assert_close(weight.detach(), torch.tensor([2.4, 3.2]))
    descend(optimizer, weight.square().sum(), 1.0)
    torch.testing.assert_close(weight.detach(), torch.tensor([2.4 - 0.06, 3.2 - 0.08]))
