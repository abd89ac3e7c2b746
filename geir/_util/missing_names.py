"""The error for a name that geir does not have at its top level."""

from collections.abc import Iterable
from types import ModuleType

# Neurons of other libraries.
_FOREIGN_NAMES = {
    "Alpha": "AlphaLIF",
    "Lapicque": "LIFBox",
    "RLeaky": "LeakyRecurrent",
    "Synaptic": "SynapticLeaky",
    "IFNode": "IAF",
    "LIFNode": "LIFBox",
    "ParametricLIFNode": "ParametricLIF",
    "ExpLeak": "LIBox",
    "NeuronGroup": "ODENeuron",
}


def missing_name(name: str, namespaces: Iterable[ModuleType]) -> AttributeError:
    """An error that says where else this name is: in a namespace, in another case, or under the name of geir's."""
    plain = name.lower().replace("_", "")
    places = [
        f"{namespace.__name__}.{found}"
        for namespace in namespaces
        for found, value in vars(namespace).items()
        if not found.startswith("_") and not isinstance(value, ModuleType) and found.lower().replace("_", "") == plain
    ]
    if name in _FOREIGN_NAMES:
        places.insert(0, f"geir.{_FOREIGN_NAMES[name]}")
    hint = f"; did you mean {' or '.join(dict.fromkeys(places))}?" if places else ""
    return AttributeError(f"module 'geir' has no attribute {name!r}{hint}")
