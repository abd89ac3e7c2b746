"""Whether dictionaries hold the same objects as before is told by identity, in compiled code and in Python."""

from collections import OrderedDict

import pytest

from geir._runtime.compiler import find_compiler
from geir._runtime.kernels import same_items
from geir._runtime.kernels.same_items import find_items


@pytest.fixture(params=["compiled", "Python"])
def way(request, monkeypatch):
    if request.param == "Python":
        monkeypatch.setattr(same_items, "_compiled", lambda: None)
    elif find_compiler() is None:
        pytest.skip("there is no C compiler")


class EqualToAll:
    def __eq__(self, other):
        return True

    __hash__ = object.__hash__


def make():
    return {"a": 0.0, "b": object(), "c": (1,)}, {}, {"d": True}


def assign(key, value):
    return lambda first, second, third: first.update({key: value})


CHANGES = {
    "another object": assign("b", object()),
    "negative zero": assign("a", -0.0),
    "an equal number": assign("a", float("0")),
    "an object that equals all": assign("b", EqualToAll()),
    "a further item": assign("e", 0.0),
    "a further item in an empty one": lambda first, second, third: second.update(a=0.0),
    "one item less": lambda first, second, third: first.popitem(),
    "no item": lambda first, second, third: third.clear(),
    "another key": lambda first, second, third: first.update(e=first.pop("c")),
    "another order": lambda first, second, third: first.update(a=first.pop("a")),
    "an item that moved to the next": lambda first, second, third: second.update(c=first.pop("c")),
    "True and 1": lambda first, second, third: third.update(d=1),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_is_noticed(name, way):
    dicts = make()
    items = find_items([tuple(d) for d in dicts], [tuple(d.values()) for d in dicts], plain=True)
    assert items.compare(dicts, items.number, items.found)
    assert items.compare(tuple(dict(d) for d in dicts), items.number, items.found)
    CHANGES[name](*dicts)
    assert not items.compare(dicts, items.number, items.found)


def test_no_dictionaries_are_the_same(way):
    items = find_items([], [], plain=True)
    assert items.compare((), items.number, items.found)


def test_ordered_dictionaries_and_other_mappings_are_compared_too(way):
    ordered, attributes = OrderedDict(a=object(), b=object()), vars(EqualToAll)
    keys, values = [tuple(ordered), tuple(attributes)], [tuple(ordered.values()), tuple(attributes.values())]
    items = find_items(keys, values, plain=False)
    assert items.compare((ordered, attributes), items.number, items.found)
    ordered["b"] = object()
    assert not items.compare((ordered, attributes), items.number, items.found)


def test_the_objects_are_held(way):
    dicts = make()
    items = find_items([tuple(d) for d in dicts], [tuple(d.values()) for d in dicts], plain=True)
    assert all(any(value is held for held in items.objects) for d in dicts for value in d.values())
