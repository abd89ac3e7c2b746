"""Proof that nothing has changed since a module was looked through."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import is_
from typing import Any, NamedTuple

from torch import Tensor

from ..._util.class_edits import Edits
from .same_items import find_items, Items

_NO_ROOT = object()


class _Setting(NamedTuple):
    """A module, or a setting in it, whose numbers may change."""

    owner: object
    kind: type
    keys: tuple[str, ...]  # of its attributes
    values: tuple[object, ...]
    parent: int  # index of the setting that holds it; -1 of a module
    name: str  # in its parent
    children: set[str]  # names of the settings that it holds


class Found(NamedTuple):
    """All that watches found, arranged for a fast comparison."""

    edits: int  # of classes of geir
    objects: list[object]
    types: list[type]  # of the objects
    owners: list[object]
    mappings: list[Mapping[Any, object]]
    items: Items  # of the attributes of the owners, and of the mappings
    readers: list[tuple[Callable[[], Iterable[object]], tuple[object, ...]]]
    root: object  # where the walk of the first watch began; of no module if there are several or if not all is watched

    def holds(self, root: object) -> bool:
        """Whether this is the root, and the same objects are in all places."""
        edits, objects, types, owners, mappings, (compare, number, items, _), readers, only_root = self
        return (
            edits == Edits.count
            and root is only_root
            and all(map(is_, map(type, objects), types))
            # Of an owner the attributes, because its `__dict__` may be another object now.
            and bool(compare((*map(vars, owners), *mappings), number, items))
            and (not readers or all(_same_objects(read(), before) for read, before in readers))
        )


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
        self._settings: list[_Setting] = []
        self._numbers: list[tuple[int, int]] = []  # indices of a setting and of its attribute
        self._found: Found | None = None  # made when it is asked for
        # Whether every place is watched. Arrays are not: their numbers change in place.
        self.complete = True
        # Classes of geir are not watched one by one.
        self._edits = Edits.count

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

    def add_setting(self, owner: object, parent: int = -1, name: str = "") -> int:
        """Watch the attributes of a module or of a setting, except for numbers; returns the index of the setting."""
        if parent >= 0:
            self._settings[parent].children.add(name)
        attributes = vars(owner)
        setting = _Setting(owner, type(owner), tuple(attributes), tuple(attributes.values()), parent, name, set())
        self._settings.append(setting)
        return len(self._settings) - 1

    def add_number(self, setting: int, name: str) -> None:
        """List a number that is an attribute of a setting."""
        self._numbers.append((setting, self._settings[setting].keys.index(name)))

    def numbers(self) -> list[Any]:
        """The numbers that were found, in the order in which they were listed."""
        return [self._settings[setting].values[attribute] for setting, attribute in self._numbers]

    def add_roots(self, roots: tuple[object, ...]) -> None:
        """Set the objects where the walk begins."""
        self._roots = roots

    def is_of(self, *roots: object) -> bool:
        """Whether the walk began at these objects, and not at others, such as those of a shallow copy."""
        return len(roots) == len(self._roots) and all(map(is_, roots, self._roots))

    def unchanged(self) -> bool:
        """Whether the same objects are in all places."""
        return self.renewed() is self

    def renewed(self) -> "Watch | None":
        """This watch if nothing has changed, a watch over what is there now if only numbers and tensors have.

        Otherwise None.
        """
        if self._edits != Edits.count:
            return None
        if not self.complete or not all(map(is_, map(type, self._objects), self._types)):
            return None
        for mapping, keys, values in self._mappings:
            if tuple(mapping) != keys or not all(map(is_, mapping.values(), values)):
                return None
        if not all(_same_objects(read(), found) for read, found in self._readers):
            return None
        settings: list[_Setting] = []
        for setting in self._settings:
            owner = setting.owner if setting.parent < 0 else vars(settings[setting.parent].owner)[setting.name]
            renewed = _renew(setting, owner)
            if renewed is None:
                return None
            settings.append(renewed)
        if all(map(is_, settings, self._settings)):
            return self
        watch = copy.copy(self)
        watch._settings, watch._found = settings, None
        return watch

    def holds(self, root: object) -> bool:
        """Whether the walk began at this object alone, and the same objects are in all places.

        As `is_of` and `unchanged`, in less time; but False may also mean that it is unknown.
        """
        if self._found is None:
            self._found = arrange([self])
        return self._found.holds(root)


def arrange(watches: Sequence[Watch]) -> Found:
    """Arrange what watches found for one comparison.

    Only the root of the first is compared; that the others have their roots must follow from what the first watches.
    """
    settings = [setting for watch in watches for setting in watch._settings]
    watched = [mapping for watch in watches for mapping in watch._mappings]
    mappings = [mapping for mapping, _, _ in watched]
    owners = [setting.owner for setting in settings]
    keys = [*(setting.keys for setting in settings), *(keys for _, keys, _ in watched)]
    values = [*(setting.values for setting in settings), *(values for _, _, values in watched)]
    first = watches[0]
    proved = all(watch.complete and watch._edits == first._edits for watch in watches) and len(first._roots) == 1
    return Found(
        first._edits,
        [*(value for watch in watches for value in watch._objects), *owners],
        [*(kind for watch in watches for kind in watch._types), *(setting.kind for setting in settings)],
        owners,
        mappings,
        find_items(keys, values, all(isinstance(mapping, dict) for mapping in mappings)),
        [reader for watch in watches for reader in watch._readers],
        first._roots[0] if proved else _NO_ROOT,
    )


def _renew(setting: _Setting, owner: object) -> _Setting | None:
    """The setting as it is now; None if anything but numbers has changed. Its children are not looked into."""
    if type(owner) is not setting.kind:
        return None
    attributes = vars(owner)
    values = tuple(attributes.values())
    if tuple(attributes) != setting.keys:
        return None
    if owner is setting.owner and all(map(is_, values, setting.values)):
        return setting
    for name, old, new in zip(setting.keys, setting.values, values, strict=True):
        if old is new:
            continue
        # Tensors that are no parameters or buffers do not matter: a step that reads them has no program. Hooks such as
        # that of pruning set them in every call.
        if isinstance(old, Tensor) and isinstance(new, Tensor):
            continue
        if type(old) is not type(new) or not (type(old) in (int, float) or name in setting.children):
            return None
    return setting._replace(owner=owner, values=values)


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
