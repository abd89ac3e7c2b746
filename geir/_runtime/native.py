"""The way to compiled C: find a compiler, compile, keep the result in the user's cache, load it, call it on many threads."""

import ctypes
import functools
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

FLAGS = [
    "-O3",
    "-march=native",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-std=gnu11",
    "-fPIC",
    "-shared",
]
HEADER = Path(__file__).with_name("native.h")


class NoCompilerError(Exception):
    """There is no C compiler, or it failed; the message says what to do."""


@functools.cache
def compiler() -> list[str] | None:
    """The command of a C compiler: the system's, else that of the package ziglang."""
    found = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    if found:
        return [found]
    return [sys.executable, "-m", "ziglang", "cc"] if importlib.util.find_spec("ziglang") else None


@functools.cache
def _machine() -> str:
    """What a compiled file depends on besides its source: the compiler, its flags, and what `native` stands for."""
    command = compiler() or ["none"]
    version = (
        subprocess.run([*command, "--version"], capture_output=True, text=True, check=False).stdout
        if compiler()
        else ""
    )
    try:
        features = next(
            line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith(("flags", "Features"))
        )
    except (OSError, StopIteration):
        features = platform.processor()
    return "\0".join([version, features, platform.machine(), *command, *FLAGS])


@functools.cache
def cache_folder() -> Path:
    """Where compiled kernels are kept: the user's cache directory, or a temporary one if that cannot be written."""
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or "~/.cache"
    folder = Path(base).expanduser() / "geir"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Compiled code is run: nobody else may put a file there.
        if hasattr(os, "getuid") and (folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o022):
            raise PermissionError(f"{folder} belongs to somebody else, or others may write to it")
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        warnings.warn(
            f"Kernels are compiled anew in every process, for there is no cache: {error}.", RuntimeWarning, stacklevel=2
        )
        return Path(tempfile.mkdtemp(prefix="geir-"))
    return folder


def load(source: str) -> ctypes.CDLL:
    """The compiled source, from the cache if it is there.

    Raises:
        NoCompilerError: If it must be compiled and cannot be.
    """
    key = hashlib.sha256(f"{_machine()}\0{HEADER.read_text()}\0{source}".encode()).hexdigest()[:32]
    path = cache_folder() / f"{key}.so"
    if path.exists():
        try:
            return _opened(path, key)
        except OSError:  # cut short, or not ours
            path.unlink(missing_ok=True)
    _compile(source, key, path)
    return _opened(path, key)


def _opened(path: Path, key: str) -> ctypes.CDLL:
    # A damaged file can crash the loader or the kernel, so its digest is checked before it is loaded.
    content, digest = path.read_bytes()[:-32], path.read_bytes()[-32:]
    if hashlib.sha256(key.encode() + content).digest() != digest:
        raise OSError(f"{path} is damaged")
    return ctypes.CDLL(str(path))


def _compile(source: str, key: str, path: Path) -> None:
    command = compiler()
    if not command:
        raise NoCompilerError("there is no C compiler; install gcc or clang, or `pip install ziglang`")
    with tempfile.TemporaryDirectory(dir=path.parent) as work:
        Path(work, "kernel.c").write_text(source)
        done = subprocess.run(
            [*command, *FLAGS, f"-I{HEADER.parent}", "kernel.c", "-o", "kernel.so", "-lm"],
            cwd=work,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            kept = path.with_suffix(".c")
            kept.write_text(source)
            raise NoCompilerError(f"{' '.join(command)} failed on {kept}: {done.stderr.strip()}")
        # What follows the end of a library is not read by the loader.
        content = Path(work, "kernel.so").read_bytes()
        Path(work, "whole.so").write_bytes(content + hashlib.sha256(key.encode() + content).digest())
        # Another process may do the same; whoever is last wins, with the same content.
        os.replace(Path(work, "whole.so"), path)


class Job(ctypes.Structure):
    """What every thread of a call gets; the sources declare the same."""

    _fields_ = [
        ("pointers", ctypes.c_void_p),
        ("numbers", ctypes.c_void_p),
        ("block", ctypes.c_int64),
        ("taken", ctypes.c_int64),
        ("threads", ctypes.c_int64),
    ]


def call(
    function: Any, tensors: Sequence[Tensor | NDArray[Any] | None], numbers: Sequence[int], block: int, threads: int
) -> None:
    """Call a compiled function on several threads at once, which take blocks of what there is to do until nothing is left.

    Args:
        function: It takes a pointer to a `job`.
        tensors: Tensors or arrays that it gets pointers to; null for None.
        numbers: 64-bit integers for it.
        block: How much a thread takes at a time.
        threads: How many threads call it.
    """
    pointers = (ctypes.c_void_p * len(tensors))(
        *[None if t is None else t.data_ptr() if isinstance(t, Tensor) else t.ctypes.data for t in tensors]
    )
    integers = (ctypes.c_int64 * len(numbers))(*numbers)
    job = Job(ctypes.addressof(pointers), ctypes.addressof(integers), block, 0, 0)
    if threads == 1:
        function(ctypes.byref(job))
    elif (openmp := _openmp()) and os.getpid() == _PROCESS:
        openmp.GOMP_parallel(function, ctypes.byref(job), ctypes.c_uint(threads), ctypes.c_uint(0))
    else:
        others = [_pool(os.getpid(), threads).submit(function, ctypes.byref(job)) for _ in range(threads - 1)]
        function(ctypes.byref(job))
        for other in others:
            other.result()


# OpenMP's threads do not survive a fork.
_PROCESS = os.getpid()


@functools.cache
def _openmp() -> ctypes.CDLL | None:
    """PyTorch's own OpenMP, where it is one that can be called. Its threads wait by spinning, so that others beside them come off badly."""
    try:
        paths = set(re.findall(r"/\S*/lib(?:g|i)?omp\S*", Path("/proc/self/maps").read_text()))
        (path,) = {p for p in paths if p.startswith(str(Path(torch.__file__).parent))} or paths
        library = ctypes.CDLL(path)
        return library if hasattr(library, "GOMP_parallel") else None
    except (OSError, ValueError):  # another system, or nobody knows which of several
        return None


@functools.cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    # By process, for threads do not survive a fork.
    return ThreadPoolExecutor(threads)
