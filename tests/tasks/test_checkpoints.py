import json

import pytest
import torch
from torch import nn

from geir.tasks.checkpoint import load_checkpoint, Progress, save_checkpoint

FIXED = {"steps": 10, "seed": 0}


def model_and_optimizer(size=3):
    model = nn.Linear(2, size)
    return model, torch.optim.Adam(model.parameters(), lr=0.1)


def load(folder, task="digits", fixed=FIXED, size=3):
    return load_checkpoint(folder / "checkpoint.json", task, fixed, *model_and_optimizer(size))


@pytest.fixture
def folder(tmp_path):
    progress = Progress(epoch=2, batch=3, seconds=4.5)
    save_checkpoint(tmp_path / "checkpoint.json", "digits", FIXED, *model_and_optimizer(), progress)
    return tmp_path


def test_checkpoint_restores_model_optimizer_and_progress(tmp_path):
    path = tmp_path / "checkpoint.json"
    model, optimizer = model_and_optimizer()
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    progress = Progress(epoch=1, batch=2, loss=0.5, seconds=3.0, history=[{"loss": 0.1, "test_accuracy": 0.9}])
    save_checkpoint(path, "digits", FIXED, model, optimizer, progress)
    restored, restored_optimizer = model_and_optimizer()
    assert load_checkpoint(path, "digits", FIXED, restored, restored_optimizer) == progress
    torch.testing.assert_close(restored.state_dict(), model.state_dict())
    torch.testing.assert_close(restored_optimizer.state_dict()["state"], optimizer.state_dict()["state"])


def test_only_the_last_checkpoint_is_kept(folder):
    save_checkpoint(folder / "checkpoint.json", "digits", FIXED, *model_and_optimizer(), Progress(epoch=3))
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-3-0", "checkpoint.json"]


def test_a_checkpoint_that_is_not_complete_does_not_replace_the_last_one(folder, monkeypatch):
    def fail(_, checkpoint_id):
        checkpoint_id.mkdir()
        raise OSError("no space left on device")

    monkeypatch.setattr("geir.tasks.checkpoint.save_state", fail)
    with pytest.raises(OSError, match="no space left"):
        save_checkpoint(folder / "checkpoint.json", "digits", FIXED, *model_and_optimizer(), Progress(epoch=3))
    assert load(folder).epoch == 2


def test_missing_checkpoint_raises(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint .* to resume from; start without --resume"):
        load(tmp_path)


def test_checkpoint_with_other_settings_raises(folder):
    message = "was written with --steps 10, but this run has --steps 11; use --steps 10 or choose another --out"
    with pytest.raises(ValueError, match=message):
        load(folder, fixed=FIXED | {"steps": 11})


def test_checkpoint_of_another_task_raises(folder):
    with pytest.raises(ValueError, match="a checkpoint of the task 'digits', not of 'mnist'; choose another --out"):
        load(folder, task="mnist")


def test_checkpoint_of_another_network_raises(folder):
    with pytest.raises(ValueError, match=r"of another network: bias has shape \(3,\) there and \(4,\) here"):
        load(folder, size=4)


UNREADABLE = "is not a readable checkpoint .* delete it and start without --resume"


FILES = ["checkpoint.json", "checkpoint-2-3/.metadata", "checkpoint-2-3/__0_0.distcp"]


def truncated(content):
    return [content[: len(content) * k // 4] for k in range(4)] + [content[:-1]]


@pytest.mark.parametrize("name", FILES)
def test_truncated_checkpoint_raises(folder, name):
    content = (folder / name).read_bytes()
    for part in truncated(content):
        (folder / name).write_bytes(part)
        with pytest.raises(ValueError, match=UNREADABLE):
            load(folder)


@pytest.mark.parametrize("name", FILES)
def test_other_content_raises(folder, name):
    (folder / name).write_bytes(b"no checkpoint at all")
    with pytest.raises(ValueError, match=UNREADABLE):
        load(folder)


@pytest.mark.parametrize("name", FILES[1:])
def test_a_changed_byte_raises(folder, name):
    content = (folder / name).read_bytes()
    for position in range(0, len(content), 997):
        (folder / name).write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(ValueError, match=UNREADABLE):
            load(folder)


@pytest.mark.parametrize("name", FILES[1:])
def test_missing_parts_raise(folder, name):
    (folder / name).unlink()
    with pytest.raises(ValueError, match=UNREADABLE):
        load(folder)


def test_progress_of_another_version_raises(folder):
    path = folder / "checkpoint.json"
    content = json.loads(path.read_text())
    content["progress"]["phase"] = "moon"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=UNREADABLE):
        load(folder)
