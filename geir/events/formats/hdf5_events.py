"""Where an HDF5 file has events: columns, records or rows, in the layouts of several programs."""

import itertools
import re
from typing import NamedTuple

from .fields import FIELD_NAMES, find_fields, parse_columns, ReadOptions, TimeUnit
from .hdf5_storage import Dataset, follow, Found, Group, hard_member, load_h5py
from .source import Source

# Groups are searched for events this deep, and this many members at most.
_MAX_DEPTH = 4
_MAX_MEMBERS = 2000


class Location(NamedTuple):
    """Where a file has events.

    Attributes:
        path: Path of the group or dataset.
        data: The dataset of each column, or one dataset for all of them.
        fields: For one dataset, its field or column for each of t, x, y and p.
        time_unit: Unit of the times, if the layout states it.
    """

    path: str
    data: dict[str, Dataset]
    fields: dict[str, str | int] | None
    time_unit: TimeUnit | None


class EventFinder:
    """Finds the events of a file.

    Args:
        source: The file, for error messages.
        file: The file, opened with h5py.
        options: Options of the reader; it uses `stream` and `columns`.
    """

    def __init__(self, source: Source, file: Group, options: ReadOptions):
        self._source = source
        self._file = file
        self._options = options
        self._h5py = load_h5py()

    def find(self) -> Location:
        """Find the events: at the path that is given, in or at `events`, at the root, or anywhere."""
        if "stream" in self._options:
            path = str(self._options["stream"])
            found = follow(self._file, path)
            location = None if found is None else self._events_at(path, found)
            if location is None:
                raise self._source.error(f"stream={path!r} has no events; {self._describe_locations()}")
            return location
        for path in ("events", ""):
            found = follow(self._file, path)
            location = None if found is None else self._events_at(path, found)
            if location:
                return location
        if isinstance(follow(self._file, "spikes/units"), self._h5py.Dataset):
            raise self._source.error("it has spike trains instead of events; read it with geir.events.SpikeTrains")
        locations = self._search()
        if len(locations) != 1:
            raise self._source.error(self._describe_locations())
        return locations[0]

    def _describe_locations(self) -> str:
        paths = [location.path for location in self._search()]
        if not paths:
            return "it has no dataset events/t, or other events that geir knows"
        return "events are at " + ", ".join(f"stream={path!r}" for path in paths)

    def _search(self) -> list[Location]:
        """Find all groups and datasets that contain events."""
        locations: list[Location] = []
        waiting: list[tuple[str, Group, int]] = [("", self._file, 0)]
        left = _MAX_MEMBERS
        while waiting:
            path, group, depth = waiting.pop(0)
            for name in itertools.islice(group, left):
                left -= 1
                found = hard_member(group, name)
                if found is None:
                    continue
                below = f"{path}/{name}".lstrip("/")
                location = self._events_at(below, found)
                if location:
                    locations.append(location)
                elif isinstance(found, self._h5py.Group) and depth + 1 < _MAX_DEPTH:
                    waiting.append((below, found, depth + 1))
        return locations

    def _events_at(self, path: str, found: Found) -> Location | None:
        """Return the events of a group or dataset, or None if it has none."""
        if isinstance(found, self._h5py.Group):
            return self._columns_in(path, found)
        if not isinstance(found, self._h5py.Dataset):
            return None
        return self._records_in(path, found) if found.dtype.names else self._rows_in(path, found)

    def _columns_in(self, path: str, group: Group) -> Location | None:
        """Return the events of a group with a dataset for each of t, x, y and p."""
        data = {name: hard_member(group, name) for name in itertools.islice(group, _MAX_MEMBERS) if _is_field(name)}
        names = [name for name, member in data.items() if isinstance(member, self._h5py.Dataset)]
        fields = find_fields(names)
        if fields is None:
            return None
        unit = fields.time_unit
        if unit is None and names[fields.t] == "ts" and data["ts"].dtype.kind == "f":
            unit = "s"  # rpg's and event_utils' layout
        columns = {column: data[names[index]] for column, index in zip("txyp", fields.indices(), strict=True)}
        return Location(path, columns, None, unit)

    def _records_in(self, path: str, data: Dataset) -> Location | None:
        """Return the events of a dataset of records."""
        names = data.dtype.names
        fields = find_fields(names)
        if fields is None or data.ndim != 1:
            return None
        by_name: dict[str, str | int] = {
            column: names[index] for column, index in zip("txyp", fields.indices(), strict=True)
        }
        return Location(path, {"events": data}, by_name, fields.time_unit)

    def _rows_in(self, path: str, data: Dataset) -> Location | None:
        """Return the events of a dataset of rows, whose columns the options name, or MVSEC's layout."""
        if data.ndim != 2 or (path.rpartition("/")[2] != "events" and path != self._options.get("stream")):
            return None
        is_mvsec = bool(re.fullmatch("davis/(left|right)/events", path.strip("/"))) and data.shape[1] == 4
        if "columns" in self._options:
            fields = parse_columns(self._options["columns"])
        elif is_mvsec:
            fields = parse_columns("xytp")
        else:
            raise self._source.error(
                f"{path} has {data.shape[1]} columns without names; "
                'pass columns="txyp", in the order of the file, with _ for columns to skip'
            )
        if max(fields.indices()) >= data.shape[1]:
            raise self._source.error(f"{path} has only {data.shape[1]} columns")
        by_index: dict[str, str | int] = dict(zip("txyp", fields.indices(), strict=True))
        return Location(path, {"events": data}, by_index, "s" if is_mvsec else None)


def _is_field(name: str) -> bool:
    """Whether a name is that of t, x, y or p."""
    return any(name.lower().startswith(known) for names in FIELD_NAMES.values() for known in names)
