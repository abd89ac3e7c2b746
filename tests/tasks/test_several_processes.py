"""Training in several processes: `geir.tasks.processes` and `geir.tasks.training`, started by torchrun."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.distributed.run import get_args_parser

from geir.tasks import digits, nmnist, training, yin_yang
from geir.tasks.command_line import build_parser, flag_name, main
from geir.tasks.processes import Processes, started_processes

# Programs start slowly on a busy machine.
pytestmark = pytest.mark.timeout(600)

# In float64 and at a low learning rate, rounding changes no spike in 50 steps of training.
# The last batch of an epoch has 29 samples: 15 for the first and 14 for the second process.
SETTINGS = {"epochs": 2, "batch_size": 32, "learning_rate": 1e-3, "decay": 0.1, "precision": "64-true", "device": "cpu"}
SECONDS = 250


@contextmanager
def torchrun(out, log, **settings):
    """Start the task `digits` in two processes."""
    flags = [f"{flag_name(name)}={value}" for name, value in settings.items()]
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    with log.open("w") as file:
        process = subprocess.Popen(
            [*start, "-m", "geir.tasks.digits", f"--out={out}", *flags], stdout=file, stderr=file
        )
        try:
            yield process
        finally:
            # The processes that it started end with it.
            process.terminate()
            process.wait(SECONDS)


def wait_for(text, log, process):
    deadline = time.monotonic() + SECONDS
    while text not in log.read_text():
        assert process.poll() is None, f"the run ended: {log.read_text()}"
        assert time.monotonic() < deadline, f"no {text!r}: {log.read_text()}"
        time.sleep(0.05)


def workers(process):
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        pytest.skip("needs Linux to find the processes that torchrun started")
    return [int(number) for number in children.read_text().split()]


def result(log):
    (line,) = [line for line in log.read_text().splitlines() if line.startswith('{"task"')]
    return json.loads(line)


def losses(out):
    with (out / "log" / "version_0" / "metrics.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file) if row["loss"]]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A run in two processes that was not interrupted: its folder and result."""
    out = tmp_path_factory.mktemp("two")
    with torchrun(out, out / "stderr.txt", **SETTINGS, logger="csv") as process:
        assert process.wait(SECONDS) == 0, (out / "stderr.txt").read_text()
    return SimpleNamespace(out=out, result=result(out / "stderr.txt"))


def test_two_processes_have_the_loss_curve_of_one(tmp_path, two):
    one = digits.run(**SETTINGS, logger="csv", out=tmp_path)
    assert (one["processes"], two.result["processes"]) == (1, 2)
    expected, actual = losses(tmp_path)[:50], losses(two.out)[:50]
    assert expected[-1] < expected[0] - 0.05
    assert actual == pytest.approx(expected, abs=1e-4)


def test_a_run_of_two_processes_that_is_killed_continues_on_one(tmp_path, two):
    log = tmp_path / "stderr.txt"
    with torchrun(tmp_path, log, **SETTINGS) as process:
        wait_for("epoch 1/2", log, process)
        deadline = time.monotonic() + SECONDS
        while not (tmp_path / "checkpoint.json").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(workers(process)[0], signal.SIGKILL)
        assert process.wait(SECONDS) != 0
    assert "to continue from the last checkpoint, run the same command with --resume" in log.read_text()
    assert json.loads((tmp_path / "checkpoint.json").read_text())["progress"]["epoch"] == 1
    resumed = digits.run(**SETTINGS, resume=True, out=tmp_path)
    assert resumed["epochs"] == 2
    assert resumed["test_accuracy"] == two.result["test_accuracy"] > 0.3


def test_one_process_continues_with_a_network_that_was_sharded_over_two(tmp_path):
    log = tmp_path / "stderr.txt"
    settings = {"epochs": 1, "steps": 12, "device": "cpu"}
    with torchrun(tmp_path, log, **settings, strategy="fsdp") as process:
        assert process.wait(SECONDS) == 0, log.read_text()
    weights = torch.load(tmp_path / "weights.pt", weights_only=True)
    torch.manual_seed(0)
    initial = digits.network().state_dict()
    assert not torch.equal(weights["0.module.weight"], initial["0.module.weight"])
    (tmp_path / "weights.pt").unlink()
    one = digits.run(**settings, resume=True, out=tmp_path)
    assert (one["processes"], one["test_accuracy"]) == (1, result(log)["test_accuracy"])
    torch.testing.assert_close(torch.load(tmp_path / "weights.pt", weights_only=True), weights, rtol=0, atol=0)


def test_ctrl_c_stops_all_processes_at_the_same_batch_and_saves(tmp_path):
    log = tmp_path / "stderr.txt"
    with torchrun(tmp_path, log, **SETTINGS | {"epochs": 500}) as process:
        wait_for("epoch 1/500", log, process)
        process.send_signal(signal.SIGINT)
        process.wait(SECONDS)
    assert "run the same command with --resume" in log.read_text()
    assert result(log)["interrupted"]
    position = json.loads((tmp_path / "checkpoint.json").read_text())["progress"]
    assert position["epoch"] * 45 + position["batch"] >= 45


def test_a_port_in_use_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        environment = {"RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        environment |= {"TORCHELASTIC_RUN_ID": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        command = [sys.executable, "-m", "geir.tasks.digits", "--out", str(tmp_path)]
        done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 1
    expected = f"error: port {port} is in use; choose another with MASTER_PORT, or a free one by torchrun --standalone."
    assert done.stderr.splitlines()[-1] == expected


def test_a_batch_that_cannot_be_shared_equally_is_refused(monkeypatch):
    monkeypatch.setattr(training, "launch", lambda *_: SimpleNamespace(world_size=3))
    with pytest.raises(ValueError, match="must be a multiple of their number, got 32 for 3 processes"):
        digits.run()


def test_tasks_that_run_in_one_process_refuse_several(monkeypatch, capsys):
    for name, value in {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert main(build_parser("yin_yang", "", yin_yang.Settings()), yin_yang.run, []) == 1
    assert "python -m geir.tasks.yin_yang runs in one process, but 2 were started" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Processes(0, 1, 1)),
        ({"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "RANK": "5"}, Processes(5, 8, 2)),
        ({"SLURM_STEP_ID": "0", "SLURM_NTASKS": "6", "SLURM_PROCID": "4", "SLURM_NNODES": "3"}, Processes(4, 6, 3)),
        # The script of a job, and a shell in one.
        ({"SLURM_NTASKS": "6", "SLURM_PROCID": "0", "SLURM_NNODES": "3"}, Processes(0, 1, 1)),
        (
            {"SLURM_STEP_ID": "0", "SLURM_JOB_NAME": "bash", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"},
            Processes(0, 1, 1),
        ),
        # torchrun in a job.
        (
            {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "2", "WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8", "RANK": "9"},
            Processes(9, 16, 2),
        ),
    ],
)
def test_processes_are_those_that_torchrun_or_slurm_announces(environment, expected, monkeypatch):
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK", *(n for n in os.environ if n.startswith("SLURM_"))):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert started_processes() == expected


def test_torchrun_leaves_the_flags_to_the_task():
    # It takes abbreviations of its own options from the command of the task, too.
    options = [option for action in get_args_parser()._actions for option in action.option_strings]
    for setting in (*fields(nmnist.DEFAULTS), SimpleNamespace(name="data")):
        flag = flag_name(setting.name)
        assert not [option for option in options if option.startswith(flag)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "ring"}, "--strategy must be one of ddp, fsdp, got 'ring'"),
        ({"logger": "paper"}, "--logger must be one of none, csv, tensorboard, got 'paper'"),
        ({"precision": "7-bit"}, "7-bit"),
        ({"device": "abacus"}, "abacus"),
    ],
)
def test_unknown_choices_raise(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        digits.run(**settings, out=tmp_path)
