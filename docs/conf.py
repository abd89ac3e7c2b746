"""Configuration of the documentation: Sphinx with the furo theme and MyST pages, whose code cells are executed.

The page of each neuron is generated from its class, and lists of public names are taken from the packages, so that
neither needs editing when a neuron or a function is added. The build fails if a public name is documented nowhere.
"""

import hashlib
import inspect
import os
import pydoc
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

HERE = Path(__file__).parent
# For this file, and for the Jupyter kernels that execute the pages.
PATHS = [str(HERE.parent), str(HERE)]
sys.path[:0] = PATHS
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [*PATHS, os.environ.get("PYTHONPATH")]))
# Pages are executed in parallel, one process per page.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import ipynb  # noqa: E402  (needs the path above)
import pictures  # noqa: E402  (needs the path above)
import torch  # noqa: E402  (needs the number of threads above)
from jupyter_cache import get_cache  # noqa: E402

import geir  # noqa: E402  (likewise)
from geir import (  # noqa: E402  (likewise)
    connections,
    decode,
    encode,
    events,
    hardware,
    learning,
    measures,
    models,
    neurons,
    nir,
    plasticity,
    plot,
    receptive_fields,
    surrogates,
    synapses,
    tensorboard,
    wrappers,
)
from geir.events import datasets  # noqa: E402  (likewise)


def digest(*files: Path) -> str:
    """A hash of the sources of geir and of further files. What was made from them is reused while it stays the same."""
    sources = sorted(path for path in (HERE.parent / "geir").rglob("*") if path.is_file() and path.suffix != ".pyc")
    return hashlib.sha256(b"".join(path.read_bytes() for path in [*sources, *files])).hexdigest()


project = "geir"
version = release = geir.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "mathml", "myst_nb", "versions"]
html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"geir {version}"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_js_files = ["explore.js"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
exclude_patterns = ["_build"]
# A name in single backticks is a link where it is documented, else code.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
myst_enable_extensions = ["dollarmath", "substitution"]
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / "executed" / digest(HERE / "pictures.py", HERE / "brian2.npz"))
nb_execution_show_tb = True
nb_execution_timeout = 120
nb_output_stderr = "warn"
nb_merge_streams = True
nb_render_markdown_format = "myst"

# Where public names live besides the top level.
NAMESPACES = (
    connections,
    datasets,
    decode,
    encode,
    events,
    hardware,
    learning,
    measures,
    models,
    neurons,
    nir,
    plasticity,
    plot,
    receptive_fields,
    surrogates,
    synapses,
    tensorboard,
    wrappers,
)
VARIANTS = {
    "": "over time",
    "Cell": "one step",
    "Recurrent": "recurrent, over time",
    "RecurrentCell": "recurrent, one step",
}


def public(module: ModuleType) -> dict[str, Any]:
    """The public names of a namespace that belong to geir: the exports of a package, the definitions of a module."""
    is_package = hasattr(module, "__path__")
    source = "geir" if is_package else module.__name__
    return {
        name: thing
        for name, thing in vars(module).items()
        if not name.startswith("_") and getattr(thing, "__module__", "").startswith(source)
    }


def path_of(name: str) -> str:
    """The path under which users find a neuron, a wrapper or a state: `geir.LIF`, `geir.neurons.LIFState`."""
    namespace = next(module for module in (geir, neurons, wrappers) if hasattr(module, name))
    return f"{namespace.__name__}.{name}"


def is_model(thing: object) -> bool:
    """Whether this is a neuron or wrapper in its basic variant: neither abstract, nor a cell, nor recurrent."""
    return (
        isinstance(thing, type)
        and issubclass(thing, geir.Dynamics)
        and not inspect.isabstract(thing)
        and not issubclass(thing, geir.CellMixin | geir.RecurrentMixin)
    )


# An alias, such as LSNN for ALIF, is not a model.
MODELS = {
    name: thing
    for name, thing in sorted((public(neurons) | public(wrappers)).items(), key=lambda item: item[0].lower())
    if is_model(thing) and thing.__name__ == name
}


def variants(name: str) -> dict[str, str]:
    """The variants of a model by name, and what each is."""
    available = public(neurons) | public(wrappers)
    return {name + suffix: meaning for suffix, meaning in VARIANTS.items() if name + suffix in available}


def is_variant(thing: type) -> bool:
    """Whether this is a variant of a model, such as `LIFCell`."""
    return thing.__name__ not in MODELS and any(thing.__name__ in variants(model) for model in MODELS)


def autodoc(*paths: str) -> str:
    """reStructuredText that documents public names of geir, functions first, as a block of MyST."""
    things = {path: pydoc.locate(path) for path in paths}
    functions = [f".. autofunction:: {path}" for path, thing in things.items() if not isinstance(thing, type)]
    classes = [f".. autoclass:: {path}" for path, thing in things.items() if isinstance(thing, type)]
    return "\n\n".join(["```{eval-rst}", *functions, *classes, "```"]) if things else ""


def autodoc_all(module: ModuleType, submodule: str = "") -> str:
    """`autodoc` for all names of a namespace, or for those that one of its submodules defines."""
    source = f"{module.__name__}.{submodule}".rstrip(".")
    found = {name: thing for name, thing in public(module).items() if thing.__module__.startswith(source)}
    return autodoc(*(f"{module.__name__}.{name}" for name, thing in found.items() if thing.__name__ == name))


def table(*lines: tuple[str, ...]) -> str:
    """A table in Markdown, the first line its header."""
    header, *rows = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


def summary(name: str) -> str:
    """The first paragraph of a model's docstring in MyST."""
    paragraph = " ".join(inspect.getdoc(MODELS[name]).split("\n\n")[0].split()).replace("``", "`")
    return re.sub(r":([\w:]+):`", r"{\1}`", paragraph)


def page(name: str) -> str:
    """The page of one model, generated from its class."""
    state = pictures.example(MODELS[name]).initial_state(torch.zeros(2))
    kind = type(state).__name__
    others = [variant for variant in variants(name) if variant != name]
    blocks = [
        f"# {name}",
        autodoc(path_of(name)),
        "## State",
        table(("part", "meaning"), *((f"`{part}`", meaning) for part, meaning, _ in pictures.state_variables(state))),
        autodoc(path_of(kind)) if kind == f"{name}State" else f"It is a {{py:class}}`~{path_of(kind)}`.",
        "## Try it" if is_interactive(name) else "",
        frame(name) if is_interactive(name) else "",
        "## Variants" if others else "",
        autodoc(*map(path_of, others)),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def is_interactive(name: str) -> bool:
    """Whether a model has an interactive page: its neurons do not influence each other, and it has one input."""
    neuron = pictures.example(MODELS[name])
    return neuron.elementwise and torch.Tensor in neuron.input_types


def frame(name: str) -> str:
    """The interactive page of a model as a part of its page. `_static/explore.js` sets its height and its colors."""
    return (
        f'<iframe class="geir-explore" src="explore/{name.lower()}.html#embedded" title="{name}, interactive" '
        'loading="lazy"></iframe>'
    )


def write_interactive_pages(app: Sphinx, exception: Exception | None) -> None:
    """Write the interactive pages of all models that have one."""
    if exception or app.builder.format != "html":
        return
    folder = Path(app.outdir) / "neurons" / "explore"
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in MODELS.items():
        if is_interactive(name):
            plot.explore(pictures.example(model), folder / f"{name.lower()}.html")


def make_cache(app: Sphinx) -> None:
    """Make the cache of executed pages before processes read them in parallel: only one of them may make it."""
    _ = get_cache(app.config.nb_execution_cache_path).db


def write_neuron_pages(app: Sphinx) -> None:
    """Write the pages of all models, unless they are up to date."""
    folder = HERE / "neurons"
    stamp = folder / "digest.txt"
    current = digest(HERE / "pictures.py", HERE / "conf.py")
    if stamp.exists() and stamp.read_text() == current:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in MODELS:
        (folder / f"{name.lower()}.md").write_text(page(name))
    rows = [
        (
            f"{{doc}}`{name} <{name.lower()}>`",
            summary(name),
            ", ".join(f"`{variant}`" for variant in variants(name) if variant != name),
        )
        for name in MODELS
    ]
    contents = "\n".join(["```{toctree}", ":hidden:", "", *(name.lower() for name in MODELS), "```"])
    (folder / "index.md").write_text(
        "\n\n".join(["# Neurons", table(("model", "description", "variants"), *rows), contents]) + "\n"
    )
    stamp.write_text(current)


def draw_response(app: Sphinx, document: str, source: list[str]) -> None:
    """Draw the picture of a model when its page is read: pages are read in parallel processes."""
    picture = HERE / f"{document}.svg"
    for name, model in MODELS.items():
        if document == f"neurons/{name.lower()}" and not picture.exists():
            pictures.draw_response(model, picture)


def add_download(app: Sphinx, document: str, source: list[str]) -> None:
    """Put a link to the Jupyter notebook below the title of a page in `notebooks`."""
    if is_notebook(document):
        name = Path(document).name
        link = f'<a class="geir-download" href="{name}.ipynb" download>Download this notebook</a>'
        source[0] = re.sub(r"^(# .*)$", rf"\1\n\n{link}", source[0], count=1, flags=re.MULTILINE)


def is_notebook(document: str) -> bool:
    """Whether a page is written as a Jupyter notebook too."""
    return document.startswith("notebooks/") and document != "notebooks/index"


def write_notebooks(app: Sphinx, exception: Exception | None) -> None:
    """Write the pages in `notebooks` as Jupyter notebooks, which the pages link to."""
    if exception or app.builder.format != "html":
        return
    for document in filter(is_notebook, app.env.found_docs):
        ipynb.write(HERE / f"{document}.md", Path(app.outdir) / f"{document}.ipynb")


# Before napoleon, which has priority 500, turns the sections of a docstring into fields.
BEFORE_NAPOLEON = 400


def edit_docstring(app: Sphinx, what: str, path: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Put the picture of a model above its arguments, and shorten what would repeat the page."""
    if what != "class":
        return
    # Descriptions of parameters are shown by plots and tables too, which write formulas between dollars.
    lines[:] = [re.sub(r"\$([^$]+)\$", r":math:`\1`", line) for line in lines]
    name = thing.__name__
    if thing is MODELS.get(name):
        image = [
            f".. image:: {name.lower()}.svg",
            f"   :alt: Response of {name}: input, membrane potential with spikes, other parts of the state",
        ]
        end = lines.index("Args:") if "Args:" in lines else len(lines)
        lines[end:end] = [*image, ""]
    elif is_variant(thing):
        # The first paragraph says which variant of which model it is.
        del lines[lines.index("") :]
    elif issubclass(thing, tuple) and lines and lines[0].startswith(f"{name}("):
        # The docstring that Python gives to a named tuple repeats its signature.
        lines.clear()


def shorten_signature(
    app: Sphinx, what: str, path: str, thing: Any, options: Any, signature: str, returns: str
) -> tuple[str, str] | None:
    """Show only the required arguments of a variant: the others are those of its model."""
    if what != "class" or not is_variant(thing):
        return None
    required = [p.name for p in inspect.signature(thing).parameters.values() if p.default is p.empty]
    return f"({', '.join([*required, '...'])})", ""


def check_inventory(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn, which fails a strict build, if a public name of geir is documented nowhere."""
    documented = {id(pydoc.locate(path)) for path, *_ in env.get_domain("py").get_objects()}
    missing = [
        f"{module.__name__}.{name}"
        for module in (geir, *NAMESPACES)
        for name, thing in public(module).items()
        if id(thing) not in documented
    ]
    if missing:
        logging.getLogger(__name__).warning("No page documents %s.", ", ".join(sorted(missing)))


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", make_cache)
    app.connect("builder-inited", write_neuron_pages)
    app.connect("source-read", draw_response)
    app.connect("source-read", add_download)
    app.connect("autodoc-process-docstring", edit_docstring, priority=BEFORE_NAPOLEON)
    app.connect("autodoc-process-signature", shorten_signature)
    app.connect("env-check-consistency", check_inventory)
    app.connect("build-finished", write_interactive_pages)
    app.connect("build-finished", write_notebooks)


# {{ surrogates }} on a page documents all of geir.surrogates.
myst_substitutions = {
    "surrogates": autodoc_all(surrogates),
    "encoders": autodoc_all(encode),
    "decoders": autodoc_all(decode),
    "models": autodoc_all(models),
    "receptive_fields": autodoc_all(receptive_fields),
    "online": "\n\n".join(autodoc_all(learning, part) for part in ("online", "rules", "reward", "_state", "_traces")),
    "nir": autodoc_all(nir),
    "continual": "\n\n".join(autodoc_all(learning, part) for part in ("metaplastic", "consolidation", "benna_fusi")),
    "learning_to_learn": "\n\n".join(
        [*(autodoc_all(learning, part) for part in ("maml", "hebbian")), autodoc("geir.learning.second_derivatives")]
    ),
    "fptt": autodoc_all(learning, "fptt"),
    "spike_times": autodoc_all(learning, "spike_time"),
    "hardware": "\n\n".join(
        autodoc_all(hardware, part)
        for part in ("checker", "report", "quantization", "integer", "loihi", "xylo", "mismatch")
    ),
    "targets": autodoc("geir.hardware.Target", "geir.hardware.Limit"),
    "plasticity": autodoc_all(plasticity),
    "conversion": "\n\n".join(
        autodoc_all(hardware, part) for part in ("conversion", "activations", "converted_network")
    ),
    "counting": "\n\n".join(autodoc_all(hardware, part) for part in ("counting", "energy", "neurobench")),
    "filters": autodoc_all(measures, "filters"),
    "logic": autodoc_all(measures, "logic"),
    "distances": autodoc_all(measures, "distances"),
    "statistics": autodoc_all(measures, "statistics"),
    "operations": autodoc_all(measures, "operations"),
    "penalties": autodoc_all(measures, "penalties"),
}
