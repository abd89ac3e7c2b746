"""Compiling C and caching the libraries."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import geir
from geir._runtime import compiler
from geir._runtime.kernels import cpu
from geir.testing import close

pytestmark = pytest.mark.skipif(compiler.find_compiler() is None, reason="there is no C compiler")


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    """An empty cache directory, which the test may damage."""

    def forget():
        for cached in (compiler.cache_folder, compiler.find_compiler, compiler._machine, cpu.kernel):
            cached.cache_clear()

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    forget()
    yield tmp_path
    monkeypatch.undo()
    forget()


@pytest.mark.usefixtures("empty_cache")
def test_without_a_compiler_the_warning_says_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.warns(
        RuntimeWarning,
        match="LIF runs on the reference loop: there is no C compiler; install gcc or clang, or `pip install ziglang`",
    ):
        actual = geir.LIF(dt=1.25e-3)(torch.full((5, 3), 9.0))
    close(actual, geir.LIF(dt=1.25e-3, unroll=geir.reference)(torch.full((5, 3), 9.0)))


@pytest.mark.usefixtures("empty_cache")
@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="ziglang is not installed")
def test_ziglang_is_used_if_there_is_no_other_compiler(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    xs = torch.rand(40, 3, 50) * 2
    expected = geir.AdEx(unroll=geir.reference)(xs)[0]
    assert (geir.AdEx()(xs)[0] != expected).float().mean() < 1e-3


@pytest.mark.parametrize(
    "damage",
    [lambda path: path.write_bytes(b"not a library"), lambda path: path.write_bytes(path.read_bytes()[:-100])],
    ids=["foreign", "truncated"],
)
def test_a_damaged_cache_is_repaired(empty_cache, damage):
    text = "int number(void) { return 7; }"
    assert compiler.load(text).number() == 7
    (path,) = (empty_cache / "geir").glob("*.so")
    assert path.parent.stat().st_mode & 0o077 == 0
    whole = path.read_bytes()
    path.unlink()  # a new file, because the loaded one is still mapped
    path.write_bytes(whole)
    damage(path)
    assert compiler.load(text).number() == 7
    assert path.read_bytes() == whole


def test_without_a_writable_cache_libraries_are_temporary(empty_cache):
    (empty_cache / "geir").write_text("a file where the folder should be")
    with pytest.warns(RuntimeWarning, match="there is no cache"):
        assert compiler.load("int number(void) { return 8; }").number() == 8


def test_a_cache_folder_that_others_can_write_to_is_not_used(empty_cache):
    (empty_cache / "geir").mkdir()
    (empty_cache / "geir").chmod(0o777)
    with pytest.warns(RuntimeWarning, match="others may write to it"):
        assert compiler.load("int number(void) { return 9; }").number() == 9


@pytest.mark.usefixtures("empty_cache")
def test_the_message_of_a_failing_compiler_is_quoted():
    with pytest.raises(compiler.NoCompilerError, match=r"(?s)failed on .*\.c: .*error"):
        compiler.load("this is not C")


RUN_IN_PROCESS = """
import os, shutil, sys, warnings
import torch, geir
from geir._runtime import compiler
{before}
warnings.simplefilter("always")
with warnings.catch_warnings(record=True) as caught:
    xs = 5 * torch.ones(20, 3)
    for dt in (1e-3, 1e-3, 2e-3):
        layer = geir.LIF(dt=dt)
        zs, _ = layer(xs)
        assert torch.equal(zs, geir.LIF(dt=dt, unroll=geir.reference)(xs)[0])
print(sum("reference loop" in str(w.message) for w in caught), *(str(w.message) for w in caught))
"""
BROKEN_COMPILER = '#!/bin/sh\necho called >> "$(dirname $0)/calls.txt"\nexit 1\n'


def run_in_process(before, folder, **environment):
    command = [sys.executable, "-c", RUN_IN_PROCESS.format(before=before)]
    environment = os.environ | {"PYTHONPATH": str(Path(geir.__file__).parents[1])} | environment
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_relative_cache_folder_works(tmp_path):
    assert run_in_process("", tmp_path, XDG_CACHE_HOME="cache").startswith("0")
    assert list((tmp_path / "cache" / "geir").glob("*.so"))


NO_HOME = """
import os, pwd
def fail(*arguments, **keywords):
    raise KeyError
pwd.getpwuid = fail
for name in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
    os.environ.pop(name, None)
"""


def test_a_user_without_a_home_directory_has_kernels(tmp_path):
    pytest.importorskip("pwd", reason="for systems with users of Unix")
    output = run_in_process(NO_HOME, tmp_path)
    assert output.startswith(
        "0 Kernels are compiled again in every process, because there is no cache: Could not determ"
    )


def test_without_any_folder_to_write_the_reference_loop_runs(tmp_path):
    (tmp_path / "file").touch()
    before = """
def fail(*arguments, **keywords):
    raise FileNotFoundError("No usable temporary directory found")
compiler.tempfile.mkdtemp = fail
"""
    output = run_in_process(before, tmp_path, XDG_CACHE_HOME=str(tmp_path / "file"))
    assert output.startswith("1 LIF runs on the reference loop: there is no folder for compiled kernels (")
    assert "set XDG_CACHE_HOME to one that can be written" in output


def test_a_cache_folder_that_is_deleted_is_created_again(tmp_path):
    before = "shutil.rmtree(compiler.cache_folder())"
    assert run_in_process(before, tmp_path, XDG_CACHE_HOME=str(tmp_path)).startswith("0")


def test_a_full_disk_falls_back_to_the_reference_loop_with_one_warning(tmp_path):
    before = """
def fail(*arguments, **keywords):
    raise OSError(28, "No space left on device")
compiler.cache_folder()
compiler.tempfile.TemporaryDirectory = fail
"""
    output = run_in_process(before, tmp_path, XDG_CACHE_HOME=str(tmp_path))
    assert output.startswith("1 LIF runs on the reference loop: the compiled kernel cannot be stored in")
    assert "free some space" in output


def test_a_broken_compiler_is_called_once_for_a_kernel_and_gives_one_warning(tmp_path):
    broken = tmp_path / "cc"
    broken.write_text(BROKEN_COMPILER)
    broken.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    output = run_in_process("", tmp_path, XDG_CACHE_HOME=str(tmp_path), PATH=path)
    assert output.startswith("1 LIF runs on the reference loop")
    # Once for its version, once for the kernel.
    assert (tmp_path / "calls.txt").read_text().count("called") == 2
