"""Proof that nothing has changed since a module was looked through."""

from collections.abc import Callable, Iterable, Mapping
from operator import is_
from typing import Any


class Watch:
    """The places that a walk read, and the objects that it found there.

    Objects are compared by identity. Equality would not do: 0.0 equals -0.0, and 1 equals True. The watch holds the
    objects, so that no new object can have the address of an old one.
    """

    def __init__(self) -> None:
        self._mappings: list[tuple[Mapping[Any, object], tuple[object, ...], tuple[object, ...]]] = []
        self._readers: list[tuple[Callable[[], Iterable[object]], tuple[object, ...]]] = []
        self._roots: tuple[object, ...] = ()
        self._objects: list[object] = []
        self._types: list[type] = []
        # Whether every place is watched. Arrays are not: their numbers change in place.
        self.complete = True

    def add_mapping(self, mapping: Mapping[Any, object]) -> None:
        """Watch the items of a mapping whose keys are strings."""
        self._mappings.append((mapping, tuple(mapping), tuple(mapping.values())))

    def add_reader(self, read: Callable[[], Iterable[object]]) -> None:
        """Watch the objects that a function returns."""
        self._readers.append((read, tuple(read())))

    def add_type(self, value: object) -> None:
        """Watch the type of an object."""
        self._objects.append(value)
        self._types.append(type(value))

    def add_roots(self, roots: tuple[object, ...]) -> None:
        """Set the objects where the walk begins."""
        self._roots = roots

    def is_of(self, *roots: object) -> bool:
        """Whether the walk began at these objects, and not at others, such as those of a shallow copy."""
        return len(roots) == len(self._roots) and all(map(is_, roots, self._roots))

    def unchanged(self) -> bool:
        """Whether the same objects are in all places."""
        if not self.complete or not all(map(is_, map(type, self._objects), self._types)):
            return False
        for mapping, keys, values in self._mappings:
            if tuple(mapping) != keys or not all(map(is_, mapping.values(), values)):
                return False
        return all(_same_objects(read(), found) for read, found in self._readers)


class NoWatch(Watch):
    """A watch over objects that are new in every call, which would be a waste of time."""

    def __init__(self) -> None:
        super().__init__()
        self.complete = False

    def add_mapping(self, mapping: Mapping[Any, object]) -> None: ...

    def add_reader(self, read: Callable[[], Iterable[object]]) -> None: ...

    def add_type(self, value: object) -> None: ...


def _same_objects(values: Iterable[object], others: tuple[object, ...]) -> bool:
    values = tuple(values)
    return len(values) == len(others) and all(map(is_, values, others))
