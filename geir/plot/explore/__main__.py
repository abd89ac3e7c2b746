"""Command line of the pages: ``python -m geir.plot.explore LIF``."""

import argparse
import difflib
import importlib
import inspect
import sys
import webbrowser
from pathlib import Path

import geir
from geir.core.neuron import Dynamics
from geir.plot import explore


def find(name: str) -> Dynamics:
    """The neuron of a name, with its default parameters.

    Args:
        name: The name of a model of geir, such as `LIF`, or `module:Class` for any other. A wrapper is put around LIF.

    Raises:
        ValueError: If there is no such model, or it needs arguments.
    """
    module_name, _, class_name = name.rpartition(":")
    if module_name:
        try:
            owners = [importlib.import_module(module_name)]
        except ImportError as error:
            raise ValueError(f"The module {module_name} cannot be imported: {error}.") from None
    else:
        owners = [geir, geir.neurons, geir.synapses]
    kind = next((getattr(owner, class_name) for owner in owners if hasattr(owner, class_name)), None)
    if not (isinstance(kind, type) and issubclass(kind, Dynamics)):
        known = {key for owner in owners for key, thing in vars(owner).items() if isinstance(thing, type)}
        close = difflib.get_close_matches(class_name, known, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise ValueError(f"There is no neuron {name}.{hint} For a neuron of your own, pass module:Class.")
    required = [p.name for p in inspect.signature(kind).parameters.values() if p.default is p.empty]
    if missing := [parameter for parameter in required if parameter != "neuron"]:
        raise ValueError(f"{class_name} needs {', '.join(missing)}; call geir.plot.explore in Python instead.")
    return kind(*(geir.LIF() for _ in required))


def main(arguments: list[str] | None = None) -> None:
    """Write the page of a neuron."""
    parser = argparse.ArgumentParser(
        prog="python -m geir.plot.explore", description="Write an interactive page of a neuron."
    )
    parser.add_argument("neuron", help="a neuron of geir, such as LIF, or module:Class for one of your own")
    parser.add_argument("path", nargs="?", type=Path, help="file to write; default: the neuron's name with .html")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    options = parser.parse_args(arguments)
    try:
        neuron = find(options.neuron)
        path = options.path or Path(f"{type(neuron).__name__}.html")
        explore(neuron, path)
    except (OSError, TypeError, ValueError) as error:
        sys.exit(f"Error: {error}")
    print(path)
    if options.open:
        webbrowser.open(path.resolve().as_uri())


if __name__ == "__main__":
    main()
