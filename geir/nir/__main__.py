"""Inspect, run, check and convert NIR files: `python -m geir.nir`."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.integrators import Euler, Exact, Integrator
from . import discretizations
from ._report import differences, graph_picture, node_table
from .discretizations import Discretization
from .errors import errors_of
from .files import read, write
from .importing import from_nir
from .network import NIRNetwork

AS: dict[str, Integrator | Discretization] = {
    "exact": discretizations.ExactSolution(),
    "exact-reset-at-step": Exact(),
    "euler": Euler(),
    "norse": discretizations.Norse(),
    "snntorch": discretizations.SnnTorch(),
    "snntorch-subtract": discretizations.SnnTorch(reset=discretizations.SnnTorchSubtraction()),
    "sinabs": discretizations.Sinabs(),
    "rockpool": discretizations.Rockpool(),
    "lava": discretizations.Lava(),
}


class Options(argparse.Namespace):
    """Parsed arguments; which ones exist depends on the command."""

    run: Callable[["Options"], int]
    file: str
    files: list[str]
    other: str | None
    target: str
    input: str | None
    output: str | None
    dt: float | None
    run_as: str | None
    max_bytes: int


def show_info(options: Options) -> int:
    """Print a table of the nodes of every file."""
    for path in options.files:
        with errors_of(file=path):
            table = node_table(read(path, options.max_bytes))
        print(f"{path}:\n{table}" if len(options.files) > 1 else table)
    return 0


def load_network(path: str, options: Options) -> NIRNetwork:
    """The network of a file, as the options say."""
    integrator = None if options.run_as is None else AS[options.run_as]
    with errors_of(file=path):
        return from_nir(read(path, options.max_bytes), dt=options.dt, integrator=integrator)


def run_network(network: NIRNetwork, path: str) -> dict[str, Tensor]:
    """Run on an array, shape (time, ..., *shape of the input), and return the outputs by name."""
    values = np.load(path, allow_pickle=False)
    if values.dtype.kind not in "iufb":
        raise ValueError(f"{path}: expected an array of numbers, got {values.dtype}.")
    with torch.no_grad():
        outputs, _ = network(torch.tensor(values, dtype=torch.get_default_dtype()))
    return outputs if isinstance(outputs, dict) else {network.graph.outputs[0]: outputs}


def run(options: Options) -> int:
    """Run a network on an array and print, or save, its output."""
    assert options.input is not None  # a positional argument of the command
    outputs = run_network(load_network(options.file, options), options.input)
    for name, ys in outputs.items():
        total = ys.flatten(1).sum(1) if ys.dim() > 1 else ys
        print(f"{name}: shape {tuple(ys.shape)}, sum {ys.sum().item():g}, largest sum in a step {total.max().item():g}")
        if options.output:
            folder, file = os.path.split(options.output)
            path = options.output if len(outputs) == 1 else os.path.join(folder, f"{name}-{file}")
            np.save(path, ys.numpy(), allow_pickle=False)
    return 0


def check(options: Options) -> int:
    """Check that a file can be run, or compare two; differences are printed and make the exit status 1."""
    network = load_network(options.file, options)
    if options.other is None:
        print(f"{options.file}: {len(network)} nodes")
        return 0
    other = load_network(options.other, options)
    found = differences(read(options.file, options.max_bytes), read(options.other, options.max_bytes))
    if options.input:
        first, second = run_network(network, options.input), run_network(other, options.input)
        for name in sorted(first.keys() | second.keys()):
            found += compare_outputs(name, first.get(name), second.get(name))
    print("\n".join(found) if found else "no difference")
    return int(bool(found))


def compare_outputs(name: str, first: Tensor | None, second: Tensor | None) -> list[str]:
    """Differences between two outputs."""
    if first is None or second is None:
        return [f"output {name!r} is only in the {'second' if first is None else 'first'}"]
    if first.shape != second.shape:
        return [f"output {name!r} has shape {tuple(first.shape)} and {tuple(second.shape)}"]
    distinct = int((first != second).sum())
    worst = (first - second).abs().max().item() if distinct else 0.0
    return [f"output {name!r} differs in {distinct:,} of {first.numel():,} values, by up to {worst:.4g}"] * bool(
        distinct
    )


def convert(options: Options) -> int:
    """Write a file anew, in the layout of the installed `nir` package, or its picture for Graphviz."""
    graph = read(options.file, options.max_bytes)
    if options.target.endswith((".dot", ".gv")):
        with open(options.target, "w") as file:
            file.write(graph_picture(graph) + "\n")
    else:
        write(options.target, graph)
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m geir.nir", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add_command(name: str, function: Callable[[Options], int]) -> argparse.ArgumentParser:
        text = (function.__doc__ or "").splitlines()[0]
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=function)
        command.add_argument(
            "--max-bytes", type=int, default=1 << 31, help="size of the content of a file (default: 2 GiB)"
        )
        return command

    def add_running(command: argparse.ArgumentParser) -> None:
        command.add_argument("--dt", type=float, help="step size in seconds (default: that of the file, or 1e-4)")
        command.add_argument("--as", dest="run_as", choices=AS, help="how to advance it in steps")

    info = add_command("info", show_info)
    info.add_argument("files", nargs="+", metavar="FILE")
    running = add_command("run", run)
    running.add_argument("file", metavar="FILE")
    running.add_argument("input", metavar="INPUT.npy", help="input, shape (time, ..., *shape of the Input node)")
    running.add_argument(
        "--output", metavar="OUTPUT.npy", help="where to save the output; several outputs have their names before it"
    )
    add_running(running)
    checking = add_command("check", check)
    checking.add_argument("file", metavar="FILE")
    checking.add_argument("other", metavar="OTHER", nargs="?", help="a file to compare with")
    checking.add_argument("--input", metavar="INPUT.npy", help="compare outputs for this input, too")
    add_running(checking)
    converting = add_command("convert", convert)
    converting.add_argument("file", metavar="FILE")
    converting.add_argument("target", metavar="TARGET", help="a NIR file, or .dot for a picture")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a command line. Returns the exit status; errors are printed to stderr."""
    try:
        options: Any = build_parser().parse_args(argv, namespace=Options())
        return options.run(options)
    except KeyboardInterrupt:
        return 130
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
