"""The content of objects, functions and classes of Python, from which their fingerprints are computed."""

import collections
import types
from typing import Final

import numpy

# Functions of C code that are attributes of classes, or NumPy's; their names identify them.
C_FUNCTIONS: Final = (
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
    numpy.ufunc,
)
# Descriptors of C code that read an attribute or a slot.
C_DESCRIPTORS: Final = (types.GetSetDescriptorType, types.MemberDescriptorType)
# The descriptors of the fields of named tuples.
TUPLE_GETTER: Final = type(vars(collections.namedtuple("_Example", "field"))["field"])
# Flag of classes that are created while a program runs, as those written in Python are.
HEAP_TYPE: Final = 1 << 9
# Attributes of classes that hold no behavior: documentation, annotations and what Python derives from the others.
BOOKKEEPING_ATTRIBUTES: Final = frozenset(
    {
        "__abstractmethods__",
        "__annotate__",
        "__annotate_func__",
        "__annotations__",
        "__annotations_cache__",
        "__conditional_annotations__",
        "__dataclass_fields__",
        "__dataclass_params__",
        "__dict__",
        "__doc__",
        "__firstlineno__",
        "__module__",
        "__orig_bases__",
        "__parameters__",
        "__static_attributes__",
        "__weakref__",
        "_abc_impl",
    }
)


class UnknownContentError(ValueError):
    """An object has content that cannot be found out, so it has no fingerprint."""


def slots_of(cls: type) -> tuple[str, ...]:
    """Return the slots that a class itself defines."""
    slots = vars(cls).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def cell_content(cell: types.CellType) -> object:
    """Return the value of a variable that a function closes over; None if it has none yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None
