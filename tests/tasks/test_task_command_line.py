import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from geir.tasks import digits, mnist
from geir.tasks.command_line import build_parser, describe_run, main, MNIST_FILES, stop_on_interrupt

PARSER = build_parser("digits", digits.__doc__, digits.DEFAULTS)


def last_json(text):
    return json.loads(text.strip().splitlines()[-1])


def wait_for(text, log, process, seconds):
    """Wait until `text` is in the file `log`; fails if the process ends or the time is over."""
    deadline = time.monotonic() + seconds
    while text not in log.read_text():
        assert process.poll() is None, f"the process ended: {log.read_text()}"
        assert time.monotonic() < deadline, f"no {text!r} within {seconds} s: {log.read_text()}"
        time.sleep(0.05)


def test_ctrl_c_saves_explains_how_to_resume_and_exits_with_130(tmp_path, capsys):
    flags = ["--steps", "5", "--batch-size", "256", "--out", str(tmp_path)]
    command = [sys.executable, "-m", "geir.tasks.digits", *flags, "--epochs", "2000"]
    log = tmp_path / "stderr.txt"
    with (
        log.open("w") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        try:
            wait_for("test accuracy", log, process, seconds=90)
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "run the same command with --resume" in log.read_text().splitlines()[-1]
    result = last_json(output)
    assert result["interrupted"]
    epochs = result["epochs"] + 1
    assert main(PARSER, digits.run, [*flags, "--epochs", str(epochs), "--resume"]) == 0
    assert last_json(capsys.readouterr().out)["epochs"] == epochs


def test_second_ctrl_c_interrupts_at_once():
    with stop_on_interrupt() as stopped:
        assert not stopped()
        os.kill(os.getpid(), signal.SIGINT)
        assert stopped()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_run_in_another_thread_is_never_stopped():
    answers = []

    def ask():
        with stop_on_interrupt() as stopped:
            answers.append(stopped())

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout=10)
    assert answers == [False]


def test_help_describes_every_setting():
    text = PARSER.format_help()
    flags = re.findall(r"^  (--[a-z-]+)( [A-Z_]+)?\s+(\S.*)?", text, re.M)
    expected = "--epochs --batch-size --learning-rate --steps --seed --out --resume --device"
    assert {flag for flag, *_ in flags} >= set(expected.split())
    assert "default: 25" in text
    described = "Train a spiking convolutional network on scikit-learn's 8x8 handwritten digits. Prints the result as a"
    assert described in " ".join(text.split())


def ran(monkeypatch, capsys, arguments, result):
    monkeypatch.setattr("torch.get_num_threads", lambda: 3)
    code = main(PARSER, lambda **_: result, arguments)
    printed = capsys.readouterr().out
    return code, json.loads(printed) if printed else None


def test_result_has_the_command_without_what_does_not_change_it(monkeypatch, capsys, tmp_path):
    arguments = ["--epochs", "3", "--seed", "2", "--steps", "24", "--out", str(tmp_path), "--resume", "--device", "cpu"]
    code, result = ran(monkeypatch, capsys, arguments, {"task": "digits", "interrupted": False})
    assert code == 0
    assert result["task"] == "digits"
    # --steps 24 is the default.
    assert result["command"] == "python -m geir.tasks.digits --epochs 3 --seed 2"
    assert (result["seed"], result["threads"], result["torch"]) == (2, 3, str(torch.__version__))
    assert result["machine"].endswith(f"{os.cpu_count()} cores")


def test_command_of_a_result_names_files_without_their_folder():
    parser = build_parser("mnist", "", mnist.DEFAULTS, data=MNIST_FILES)
    settings = vars(parser.parse_args(["--data", "/home/somebody/my data.npz"]))
    assert describe_run(parser, settings)["command"] == "python -m geir.tasks.mnist --data 'my data.npz'"


def test_only_the_first_process_prints_the_result(monkeypatch, capsys):
    for name, value in {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert main(PARSER, lambda **_: {"interrupted": True}, [], several_processes=True) == 130
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_signals_ask_to_stop_and_handlers_are_restored(number):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with stop_on_interrupt() as stopped:
        os.kill(os.getpid(), number)
        assert stopped()
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_the_end_of_another_process_is_reported_and_other_errors_are_not_hidden(monkeypatch, capsys):
    def fail(message):
        def run(**_):
            raise RuntimeError(message)

        return run

    lost = fail("[/gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]:32993: Connection reset by peer.")
    with pytest.raises(RuntimeError, match="Connection reset"):
        main(PARSER, lost, [])
    for name, value in {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert main(PARSER, lost, [], several_processes=True) == 1
    assert "another process of this run has ended; to continue" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="shape"):
        main(PARSER, fail("shape mismatch"), [], several_processes=True)


def test_error_is_printed_without_a_traceback_and_exits_with_1(tmp_path, capsys):
    assert main(PARSER, digits.run, ["--out", str(tmp_path), "--resume"]) == 1
    assert re.fullmatch("error: There is no checkpoint .*\n", capsys.readouterr().err)
