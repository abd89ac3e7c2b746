import pytest
import torch
from torch import nn

from geir.tasks.checkpoint import load_checkpoint, Progress, save_checkpoint

FIXED = {"steps": 10, "seed": 0}


def model_and_optimizer(size=3):
    model = nn.Linear(2, size)
    return model, torch.optim.Adam(model.parameters(), lr=0.1)


def load(path, task="digits", fixed=FIXED, size=3):
    return load_checkpoint(path, task, fixed, *model_and_optimizer(size))


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, "digits", FIXED, *model_and_optimizer(), Progress(epoch=2, batch=3, seconds=4.5))
    return path


def test_checkpoint_restores_model_optimizer_and_progress(tmp_path):
    path = tmp_path / "checkpoint.pt"
    model, optimizer = model_and_optimizer()
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    progress = Progress(epoch=1, batch=2, loss=0.5, seconds=3.0, history=[{"loss": 0.1, "test_accuracy": 0.9}])
    save_checkpoint(path, "digits", FIXED, model, optimizer, progress)
    restored, restored_optimizer = model_and_optimizer()
    assert load_checkpoint(path, "digits", FIXED, restored, restored_optimizer) == progress
    torch.testing.assert_close(restored.state_dict(), model.state_dict())
    torch.testing.assert_close(restored_optimizer.state_dict()["state"], optimizer.state_dict()["state"])


def test_missing_checkpoint_raises(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint .* to resume from; start without --resume"):
        load(tmp_path / "checkpoint.pt")


def test_checkpoint_with_other_settings_raises(checkpoint):
    message = "was written with --steps 10, but this run has --steps 11; use --steps 10 or choose another --out"
    with pytest.raises(ValueError, match=message):
        load(checkpoint, fixed=FIXED | {"steps": 11})


def test_checkpoint_of_another_task_raises(checkpoint):
    with pytest.raises(ValueError, match="a checkpoint of the task 'digits', not of 'mnist'; choose another --out"):
        load(checkpoint, task="mnist")


def test_checkpoint_of_another_network_raises(checkpoint):
    with pytest.raises(ValueError, match=r"(?s)a checkpoint of another network: .*size mismatch"):
        load(checkpoint, size=4)


@pytest.mark.parametrize("length", [0, 20, 500, -1])
def test_truncated_checkpoint_raises(checkpoint, length):
    checkpoint.write_bytes(checkpoint.read_bytes()[:length])
    with pytest.raises(ValueError, match="is not a readable checkpoint .* delete it and start without --resume"):
        load(checkpoint)


def test_file_that_is_no_checkpoint_raises(checkpoint):
    checkpoint.write_bytes(b"no checkpoint at all")
    with pytest.raises(ValueError, match="is not a readable checkpoint .* delete it and start without --resume"):
        load(checkpoint)
