"""Compile C: find a compiler, compile, cache the libraries in the user's cache folder, and load them."""

import ctypes
import functools
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from importlib.resources import files
from pathlib import Path

from .._util.atomic import atomic_write

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
# Of a source with more lines, gcc's time grows with the square of their number, to minutes; so it optimizes less.
_MAX_LINES = 1500
_FLAGS_OF_LONG_SOURCES = ["-O1", "-ftree-vectorize"]
# Read as a resource: the package may be in a zip file.
HEADER = files("geir._runtime") / "native.h"
_DIGEST_BYTES = 32


class NoCompilerError(Exception):
    """There is no C compiler, or it failed; the message says what to do."""


@functools.cache
def find_compiler() -> list[str] | None:
    """The command of a C compiler: the system's, or that of the package ziglang."""
    path = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    if path:
        return [path]
    return [sys.executable, "-m", "ziglang", "cc"] if importlib.util.find_spec("ziglang") else None


@functools.cache
def _machine() -> str:
    """A text of everything that a library depends on besides its source: the compiler, its flags, and the
    processor that `-march=native` stands for."""
    command = find_compiler()
    version = ""
    if command:
        version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False).stdout
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        features = platform.processor()
    return "\0".join([version, features, platform.machine(), *(command or ["none"]), *FLAGS])


@functools.cache
def cache_folder() -> Path:
    """The folder of compiled libraries: in the user's cache directory, or a temporary one if that cannot be
    written.

    Raises:
        NoCompilerError: If no folder can be written.
    """
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or "~/.cache"
    try:
        # Absolute: the loader does not find a library by a relative path, and the working directory may change.
        folder = Path(base).expanduser().absolute() / "geir"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The libraries are executed, so nobody else may be able to put one there.
        if hasattr(os, "getuid") and (folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o022):
            raise PermissionError(f"{folder} belongs to another user, or others may write to it")
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError) as error:  # the latter if the user has no home directory
        try:
            temporary = Path(tempfile.mkdtemp(prefix="geir-"))
        except OSError:
            raise NoCompilerError(
                f"there is no folder for compiled kernels ({error}); set XDG_CACHE_HOME to one that can be written"
            ) from None
        warnings.warn(
            f"Kernels are compiled again in every process, because there is no cache: {error}.",
            RuntimeWarning,
            stacklevel=2,
        )
        return temporary
    return folder


def load(source: str) -> ctypes.CDLL:
    """Compile C and load the library, or load it from the cache.

    The name of a library in the cache is a digest of its source, of the header and of all that `_machine`
    lists. So a library is compiled again when any of them changes, and two machines that share a home directory
    do not load each other's. Nothing is ever deleted but damaged files. A source that failed is not tried again
    in this process.

    Raises:
        NoCompilerError: If the source must be compiled, and there is no compiler, it fails, or its result
            cannot be stored.
    """
    key = hashlib.sha256(f"{_machine()}\0{HEADER.read_text()}\0{source}".encode()).hexdigest()[:32]
    if key in _failures:
        raise NoCompilerError(_failures[key])
    path = cache_folder() / f"{key}.so"
    try:
        if path.exists():
            try:
                return _open(path, key)
            except OSError:  # truncated, or not a library of this cache
                path.unlink(missing_ok=True)
        _compile(source, key, path)
        return _open(path, key)
    except OSError as error:
        failure = (
            f"the compiled kernel cannot be stored in {path.parent} ({error}); free some space or set XDG_CACHE_HOME"
        )
    except NoCompilerError as error:
        failure = str(error)
    _failures[key] = failure
    raise NoCompilerError(failure)


# Messages of sources that could not be compiled, by their key.
_failures: dict[str, str] = {}


def _open(path: Path, key: str) -> ctypes.CDLL:
    """Load a library after checking its digest: a damaged file can crash the loader or the kernel.

    Raises:
        OSError: If the file is damaged.
    """
    data = path.read_bytes()
    if _digest(key, data[:-_DIGEST_BYTES]) != data[-_DIGEST_BYTES:]:
        raise OSError(f"{path} is damaged")
    return ctypes.CDLL(str(path))


def _digest(key: str, library: bytes) -> bytes:
    return hashlib.sha256(key.encode() + library).digest()


def _compile(source: str, key: str, path: Path) -> None:
    """Compile a source to a library at `path`, followed by its digest, which loaders ignore."""
    command = find_compiler()
    if not command:
        raise NoCompilerError("there is no C compiler; install gcc or clang, or `pip install ziglang`")
    # The folder may have been deleted since it was chosen.
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        work = Path(folder)
        (work / "kernel.c").write_text(source)
        (work / HEADER.name).write_text(HEADER.read_text())
        flags = [*FLAGS, *(_FLAGS_OF_LONG_SOURCES if source.count("\n") > _MAX_LINES else ())]
        arguments = [*command, *flags, "-I.", "kernel.c", "-o", "kernel.so", "-lm"]
        result = subprocess.run(arguments, cwd=work, capture_output=True, text=True, check=False)
        if result.returncode:
            failed = path.with_suffix(".c")
            failed.write_text(source)
            raise NoCompilerError(f"{' '.join(command)} failed on {failed}: {result.stderr.strip()}")
        library = (work / "kernel.so").read_bytes()
        # Another process may write the same file, with the same content.
        with atomic_write(path) as draft:
            draft.write_bytes(library + _digest(key, library))
