"""The programs of the page "Coming from Brian2": those of Brian2, whose outputs the page shows, and those of geir.

Run it by hand after a change of the page, in an environment with Brian2, which does not import with newer NumPy:

    pip install brian2==2.9.0 "numpy<2.4"
    python tests/interoperability/brian2_programs.py
"""

import re
import sys
from pathlib import Path

import numpy as np

DOCS = Path(__file__).parents[2] / "docs"
OUTPUTS = DOCS / "brian2.npz"
NAMES = ("current", "equations", "synapses")
PAGE = DOCS / "from_brian2.md"


def programs(pattern):
    """The programs on the page by name; none in the source distribution, which has no documentation."""
    text = PAGE.read_text().partition("## Side by side")[2] if PAGE.exists() else ""
    return dict(zip(NAMES, re.findall(pattern, text, re.S), strict=PAGE.exists()))


BRIAN2 = programs(r"```python\n(.*?)```")
GEIR = programs(r"```{code-cell} ipython3\n(?!:tags)(.*?)```")


def run_brian2(name):
    """The spikes of a program of Brian2, pairs of step and neuron in order, and its potentials, shape (time, neurons)."""
    import brian2

    brian2.prefs.codegen.target = "numpy"
    brian2.start_scope()
    scope = {}
    exec(BRIAN2[name], scope)
    spikes = scope["spikes"]
    steps = np.round(np.asarray(spikes.t / brian2.defaultclock.dt)).astype(int)
    pairs = np.array(sorted(zip(steps.tolist(), spikes.i, strict=True))).reshape(-1, 2)
    return {"spikes": pairs, "potentials": np.asarray(scope["monitor"].v).T}


def main():
    outputs = {f"{name}/{part}": values for name in NAMES for part, values in run_brian2(name).items()}
    np.savez_compressed(OUTPUTS, **outputs)
    for name in NAMES:
        print(name, len(outputs[f"{name}/spikes"]), "spikes", file=sys.stderr)


if __name__ == "__main__":
    main()
