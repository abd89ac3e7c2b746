import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from geir.tasks import digits
from geir.tasks.command_line import build_parser, main, stop_on_interrupt

PARSER = build_parser("digits", "", digits.DEFAULTS)


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


def test_error_is_printed_without_a_traceback_and_exits_with_1(tmp_path, capsys):
    assert main(PARSER, digits.run, ["--out", str(tmp_path), "--resume"]) == 1
    assert re.fullmatch("error: There is no checkpoint .*\n", capsys.readouterr().err)
