"""Datasets of spike trains in HDF5: the Spiking Heidelberg Digits and Spiking Speech Commands."""

import math
import os
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from .errors import EventFileError
from .formats.hdf5_heaps import check_heaps
from .formats.hdf5_storage import check_storage, H5PY_ERRORS, hard_member, load_h5py
from .formats.source import Source
from .recording import ErrorMode

# Spikes of a recording, and bins of its frames, at most.
_MAX_SPIKES = 1 << 24
_MAX_FRAME_NUMBERS = 1 << 28
# A time that is a multiple of dt up to rounding errors is in the bin that begins there.
_BIN_TOLERANCE = 1e-6


class SpikeTrain(NamedTuple):
    """The spikes of a recording.

    Attributes:
        times: Times in seconds, float64, shape (spikes,).
        units: Units that fired, int64, shape (spikes,).
        label: Label of the recording.
    """

    times: Tensor
    units: Tensor
    label: int

    def frames(self, dt: float, units: int, steps: int | None = None) -> Tensor:
        """Count the spikes of each unit in each time step.

        Args:
            dt: Time step in seconds.
            units: Number of units.
            steps: Number of time steps; later spikes are dropped. Default: up to the last spike.

        Returns:
            Counts, float32, shape (time, units).
        """
        bins = torch.floor(self.times / dt + _BIN_TOLERANCE).long()
        count = (int(bins.max()) + 1 if len(bins) else 0) if steps is None else steps
        if count * units > _MAX_FRAME_NUMBERS:
            raise ValueError(
                f"SpikeTrain.frames: {count:,} steps of {units:,} units are too many; pass steps or a larger dt."
            )
        inside = bins < count
        frames = torch.zeros(count * units)
        flat = bins[inside] * units + self.units[inside]
        return frames.index_add_(0, flat, torch.ones(len(flat))).view(count, units)


class SpikeTrains(Dataset[Any]):
    """Recordings of spike trains and their labels, in the layout of SHD and SSC.

    The file is HDF5 with the datasets `spikes/times` (seconds) and `spikes/units`, each an array of
    any length per recording, and `labels`. A recording is read when it is accessed, also in the
    workers of a `DataLoader`. `geir.events.collate` combines frames into batches with time first.

    Args:
        path: The file.
        dt: Time step of the frames in seconds. Default: no frames, but spikes.
        steps: Number of time steps of the frames; later spikes are dropped. Default: up to the last
            spike of each recording.
        units: Number of units.
        errors: What happens where a recording is invalid: ``"strict"`` raises an error, ``"truncate"``
            warns and returns the spikes before.

    Raises:
        EventFileError: If the file is not of this layout, or damaged; on access, if the recording is
            damaged, or a spike has an invalid time or unit.
        ImportError: If h5py is not installed.
        OSError: If the file cannot be opened.
        ValueError: If an argument is invalid.

    Attributes:
        labels: Labels of all recordings, int64, shape (recordings,).
        classes: Names of the classes in the order of the labels; None if the file has none.
        speakers: Number of the speaker of each recording, int64, shape (recordings,); None if the
            file does not have them.

    Returns:
        By index, a `SpikeTrain`; or, with `dt`, the frames, shape (time, units), and the label.

    Reference:
        Cramer, Stradmann, Schemmel & Zenke, "The Heidelberg spiking data sets for the systematic
        evaluation of spiking neural networks" (2020).
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        dt: float | None = None,
        steps: int | None = None,
        units: int = 700,
        errors: ErrorMode = "strict",
    ):
        if errors not in ("strict", "truncate"):
            raise ValueError(f'SpikeTrains: errors must be "strict" or "truncate", got {errors!r}.')
        if dt is not None and not (math.isfinite(dt) and dt > 0):
            raise ValueError(f"SpikeTrains: dt must be > 0 s, got {dt}.")
        if units < 1 or (steps is not None and steps < 1):
            raise ValueError(f"SpikeTrains: units and steps must be > 0, got units={units} and steps={steps}.")
        if steps is not None and dt is None:
            raise ValueError(f"SpikeTrains: steps is the number of time steps, so it needs dt, got steps={steps}.")
        self.path = path
        self.dt = dt
        self.steps = steps
        self.units = units
        self._errors: ErrorMode = errors
        self._opened: _OpenFile | None = None
        opened = self._open()
        self.labels = opened.labels
        self.classes = opened.classes
        self.speakers = opened.speakers

    def _open(self) -> "_OpenFile":
        # A file that was opened before a fork shares its position with the parent process.
        if self._opened is None or self._opened.process != os.getpid():
            self._opened = _OpenFile(self.path)
        return self._opened

    def __getstate__(self) -> dict[str, Any]:
        # An open file cannot be sent to another process.
        return self.__dict__ | {"_opened": None}

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(f"SpikeTrains has {len(self)} recordings, got index {index}.")
        train = self._read(index % len(self))
        if self.dt is None:
            return train
        try:
            return train.frames(self.dt, self.units, self.steps), train.label
        except ValueError as error:
            raise EventFileError(self.path, None, f"recording {index}: {error}") from None

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def _read(self, index: int) -> SpikeTrain:
        label = int(self.labels[index])
        try:
            times, units = self._open().read(index)
            fault = _find_fault(times, units, self.units)
            end = len(times) if fault is None else fault.spike
            reason = None if fault is None else fault.reason
        except EventFileError as error:
            times, units, end, reason = numpy.empty(0), numpy.empty(0, numpy.int64), 0, error.reason
        if reason is not None:
            reason = f"recording {index:,} {reason}"
            if self._errors == "strict":
                raise EventFileError(self.path, None, reason)
            message = f"{self.path}: {reason}; only the {end:,} spikes before it were read."
            warnings.warn(message, RuntimeWarning, stacklevel=3)
        return SpikeTrain(
            torch.from_numpy(times[:end].astype(numpy.float64)),
            torch.from_numpy(units[:end].astype(numpy.int64)),
            label,
        )


class _Fault(NamedTuple):
    spike: int
    reason: str


def _find_fault(times: NDArray[Any], units: NDArray[Any], unit_count: int) -> _Fault | None:
    """Find the first spike with an invalid time or unit."""
    count = min(len(times), len(units))
    valid = (times[:count] >= 0) & numpy.isfinite(times[:count]) & (units[:count] >= 0) & (units[:count] < unit_count)
    if valid.all():
        different = len(times) != len(units)
        return _Fault(count, f"has {len(times):,} times, but {len(units):,} units") if different else None
    spike = int(valid.argmin())
    return _Fault(
        spike,
        f"has an invalid spike {spike:,}: time {times[spike].item()} s, unit {units[spike].item()}; "
        f"times must be >= 0 s, and units 0 to {unit_count - 1}",
    )


class _OpenFile:
    """The opened file of one process."""

    def __init__(self, path: str | os.PathLike[str]):
        self.process = os.getpid()
        h5py = load_h5py()
        self.source = Source(path)
        try:
            self.file = h5py.File(self.source.file, "r")
            check_heaps(self.source)
            spikes = hard_member(self.file, "spikes")
            self.times, self.units = (self._spikes(h5py, spikes, name) for name in ("times", "units"))
            labels = hard_member(self.file, "labels")
            if not isinstance(labels, h5py.Dataset) or labels.ndim != 1 or labels.dtype.kind not in "iu":
                raise self.source.error("labels must be a one-dimensional dataset of integers")
            if not len(labels) == len(self.times) == len(self.units):
                lengths = f"{len(self.times):,}, {len(self.units):,} and {len(labels):,}"
                raise self.source.error(f"spikes/times, spikes/units and labels differ in length: {lengths}")
            check_storage(self.source, "labels", labels)
            self.labels = torch.from_numpy(labels[:].astype(numpy.int64))
            extra = hard_member(self.file, "extra")
            has_extra = isinstance(extra, h5py.Group)
            self.classes = self._read_classes(h5py, extra) if has_extra else None
            self.speakers = self._read_speakers(h5py, extra) if has_extra else None
        except H5PY_ERRORS as error:
            self.close()
            raise (
                error if isinstance(error, EventFileError) else self.source.error(f"the file is damaged: {error}")
            ) from None

    def _spikes(self, h5py: Any, group: Any, name: str) -> Any:
        data = hard_member(group, name) if isinstance(group, h5py.Group) else None
        if data is None:
            raise self.source.error(f"it has no dataset spikes/{name}")
        dtype = h5py.check_vlen_dtype(data.dtype) if isinstance(data, h5py.Dataset) and data.ndim == 1 else None
        if dtype is None or numpy.dtype(dtype).kind not in ("iuf" if name == "times" else "iu"):
            raise self.source.error(f"spikes/{name} must contain an array of numbers for each recording")
        check_storage(self.source, f"spikes/{name}", data)
        return data

    def _read_classes(self, h5py: Any, extra: Any) -> list[str] | None:
        keys = hard_member(extra, "keys")
        if not isinstance(keys, h5py.Dataset) or keys.ndim != 1 or not 0 < len(keys) <= 10_000:
            return None
        return [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in keys[:]]

    def _read_speakers(self, h5py: Any, extra: Any) -> Tensor | None:
        data = hard_member(extra, "speaker")
        if not isinstance(data, h5py.Dataset) or data.shape != self.labels.shape or data.dtype.kind not in "iu":
            return None
        check_storage(self.source, "extra/speaker", data)
        return torch.from_numpy(data[:].astype(numpy.int64))

    def read(self, index: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Read times and units of a recording.

        Raises:
            EventFileError: If they cannot be read.
        """
        try:
            times, units = (numpy.atleast_1d(data[index]) for data in (self.times, self.units))
        except (*H5PY_ERRORS, MemoryError) as error:
            raise self.source.error(f"is damaged: {error}") from None
        if max(len(times), len(units)) > _MAX_SPIKES:
            raise self.source.error(f"has {max(len(times), len(units)):,} spikes, more than {_MAX_SPIKES:,}")
        return times, units

    def close(self) -> None:
        """Close the file."""
        if hasattr(self, "file"):
            self.file.close()
        self.source.close()

    def __del__(self):
        if hasattr(self, "source") and self.process == os.getpid():
            self.close()
