"""Call compiled functions on threads."""

import ctypes
import functools
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor

# A compiled function, as `ctypes` loads it.
Function = Any


class Split(NamedTuple):
    """How work is split over threads."""

    block: int  # items that a thread takes at a time
    threads: int


class Job(ctypes.Structure):
    """One call, shared by all its threads. `job` in native.h is the same struct.

    `arguments` points to the function's own struct of arguments. A function that takes a few arrays can do
    without a struct: `pointers` and `numbers` hold what was given to `call`, by position.
    """

    _fields_ = [
        ("arguments", ctypes.c_void_p),
        ("pointers", ctypes.c_void_p),
        ("numbers", ctypes.c_void_p),
        ("block", ctypes.c_int64),  # items that a thread takes at a time
        ("taken", ctypes.c_int64),  # items taken so far
        ("threads", ctypes.c_int64),  # threads that have asked for their number so far
    ]


def run(function: Function, arguments: ctypes.Structure, block: int, threads: int) -> None:
    """Call a compiled function on several threads at once, which take blocks of items until none is left.

    Args:
        function: The function. It takes a pointer to a `job`.
        arguments: The struct that ``job->arguments`` points to.
        block: Number of items that a thread takes at a time.
        threads: Number of threads.
    """
    _start(function, Job(arguments=ctypes.addressof(arguments), block=block), threads)


def run_packed(function: Function, packed: bytes, block: int, threads: int) -> None:
    """Like `run`, with the struct of arguments packed into bytes."""
    arguments = (ctypes.c_char * len(packed)).from_buffer_copy(packed)
    _start(function, Job(arguments=ctypes.addressof(arguments), block=block), threads)


def call(
    function: Function,
    tensors: Sequence[Tensor | NDArray[Any] | None],
    numbers: Sequence[int],
    block: int,
    threads: int,
) -> None:
    """Like `run`, with arguments by position.

    Args:
        function: The function. It takes a pointer to a `job`.
        tensors: Tensors or arrays that it gets pointers to, as ``job->a``; null for None.
        numbers: 64-bit integers that it gets as ``job->q``.
        block: Number of items that a thread takes at a time.
        threads: Number of threads.
    """
    addresses = [None if t is None else t.data_ptr() if isinstance(t, Tensor) else t.ctypes.data for t in tensors]
    pointers = (ctypes.c_void_p * len(tensors))(*addresses)
    integers = (ctypes.c_int64 * len(numbers))(*numbers)
    job = Job(pointers=ctypes.addressof(pointers), numbers=ctypes.addressof(integers), block=block)
    _start(function, job, threads)


def _start(function: Function, job: Job, threads: int) -> None:
    """Run a job on PyTorch's own OpenMP threads where possible, else on a pool of Python threads.

    The threads of OpenMP are preferred because they exist already and are pinned and awake between the
    operations of a network. They do not survive a fork, after which the child would wait for them forever; so a
    process that is not the one that imported this module uses the pool, and has its own.
    """
    if threads == 1:
        function(ctypes.byref(job))
    elif (openmp := _openmp()) and os.getpid() == _PROCESS:
        openmp.GOMP_parallel(function, ctypes.byref(job), ctypes.c_uint(threads), ctypes.c_uint(0))
    else:
        pool = _pool(os.getpid(), threads)
        others = [pool.submit(function, ctypes.byref(job)) for _ in range(threads - 1)]
        function(ctypes.byref(job))
        for other in others:
            other.result()


_PROCESS = os.getpid()


@functools.cache
def _openmp() -> ctypes.CDLL | None:
    """The OpenMP library that PyTorch uses, if it can be called.

    Its threads spin while they wait, so other threads beside them get less of the processor.
    """
    try:
        paths = set(re.findall(r"/\S*/lib(?:g|i)?omp\S*", Path("/proc/self/maps").read_text()))
        (path,) = {p for p in paths if p.startswith(str(Path(torch.__file__).parent))} or paths
        library = ctypes.CDLL(path)
        return library if hasattr(library, "GOMP_parallel") else None
    except (OSError, ValueError):  # not Linux, or several libraries to choose from
        return None


@functools.cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """The pool of a process; the key contains the process because threads do not survive a fork."""
    return ThreadPoolExecutor(threads)
