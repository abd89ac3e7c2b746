"""How the documentation is built: Sphinx with the furo theme; MyST pages, whose code is run; neuron pages written from the classes."""

import inspect
import os
import re
import shutil
import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

HERE = Path(__file__).parent
# For this file, and for the kernels that run the pages.
PATHS = [str(HERE.parent), str(HERE)]
sys.path[:0] = PATHS
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [*PATHS, os.environ.get("PYTHONPATH")]))

import pictures  # noqa: E402

import geir  # noqa: E402
from geir import encode, models, neurons, plasticity, receptive_fields, surrogates  # noqa: E402
from geir.core.parameters import Declared  # noqa: E402
from geir.decode import decoders as decode
from geir.measures import distances, filters, logic, operations, penalties, statistics
from geir.neurons import parametric
from geir.wrappers import noise, refractory

project = "geir"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax", "myst_nb"]
html_theme = "furo"
html_title = "geir"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
exclude_patterns = ["_build"]
# A name in single backticks is a link where it is documented, else code.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
myst_enable_extensions = ["dollarmath", "substitution"]
nb_execution_mode = "force"
nb_execution_show_tb = True
nb_execution_timeout = 120
nb_output_stderr = "warn"
nb_merge_streams = True
nb_render_markdown_format = "myst"


def is_model(thing: object) -> bool:
    """Whether it is a neuron in its base form: it says how it rests, and is neither one step nor recurrent."""
    if not (isinstance(thing, type) and issubclass(thing, geir.Dynamics)) or issubclass(
        thing, geir.CellMixin | geir.RecurrentMixin
    ):
        return False
    return thing.rest is not geir.Dynamics.rest


NAMES = [name for module in (neurons, refractory, noise, compartments, parametric) for name in module.__all__]
MODELS = {name: getattr(geir, name) for name in sorted(NAMES, key=str.lower) if is_model(getattr(geir, name))}
FORMS = {
    "": "over time",
    "Cell": "one step",
    "Recurrent": "recurrent, over time",
    "RecurrentCell": "recurrent, one step",
}


def directives(*names: str) -> str:
    """RST that documents public names of geir, functions first, as a block of MyST."""
    functions = [f".. autofunction:: geir.{name}" for name in names if not isinstance(getattr(geir, name), type)]
    classes = [f".. autoclass:: geir.{name}" for name in names if isinstance(getattr(geir, name), type)]
    return "\n\n".join(["```{eval-rst}", *functions, *classes, "```"]) if names else ""


def table(*lines: tuple[str, ...]) -> str:
    """A table in Markdown, the first line its header."""
    header, *rows = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


def forms(name: str) -> dict[str, str]:
    """The forms of a model that there are, and what each is."""
    return {name + suffix: meaning for suffix, meaning in FORMS.items() if hasattr(geir, name + suffix)}


def summary(name: str) -> str:
    """The first sentence of a model's docstring; one made refractory by a mixin has none."""
    model = MODELS[name]
    text = (
        model.__doc__
        or f"A refractory {{py:class}}`~geir.{model.__bases__[-1].__name__}`, see {{py:class}}`~geir.{model.__bases__[0].__name__}`."
    )
    sentence = " ".join(text.split("\n\n")[0].split()).replace("``", "`")
    # From roles of RST to those of MyST.
    return re.sub(r":([\w:]+):`", r"{\1}`", sentence)


def parameters(model: type[Declared]) -> str:
    """The table of a model's parameters; nothing if it has none."""
    declared = [
        (
            f"`{key}`",
            p.doc,
            p.unit or "1",
            f"{p.default:g}",
            p.range.removeprefix("Must be ").removesuffix(".") or "any",
        )
        for key, p in model.declarations().items()
    ]
    return table(("name", "meaning", "unit", "default", "range"), *declared) if declared else ""


def rules(names: list[str]) -> str:
    """What `geir.plasticity` lists, each class that declares parameters with their table."""
    things = {name: getattr(geir, name) for name in names}
    blocks = [
        f"{directives(name)}\n\n{parameters(thing) if issubclass(thing, Declared) else ''}"
        for name, thing in things.items()
        if isinstance(thing, type)
    ]
    return "\n\n".join([directives(*(name for name, thing in things.items() if not isinstance(thing, type))), *blocks])


def page(name: str) -> str:
    """The page of one model, all from its class."""
    model = MODELS[name]
    rest = pictures.example(model).resting_state()
    state = type(rest).__name__
    blocks = [
        f"# {name}",
        "" if model.__doc__ else summary(name),
        directives(name),
        f"![Response of {name}: input, membrane potential with spikes, and the rest of its state over time]({name.lower()}.svg)",
        "## Parameters",
        parameters(model),
        "Give each as a number, as a tensor with one value per neuron, or as {py:func}`~geir.learnable`. "
        "What every model takes besides is in {doc}`/contract`.",
        "## State",
        table(("part", "meaning"), *((f"`{part}`", meaning) for part, meaning, _ in pictures.state_variables(rest))),
        directives(state) if state == f"{name}State" else f"It is a {{py:class}}`~geir.{state}`.",
        "## Forms",
        table(
            ("form", "what it is"), *((f"{{py:class}}`~geir.{form}`", meaning) for form, meaning in forms(name).items())
        ),
        directives(*(form for form in forms(name) if form != name)),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def write_neuron_pages(app: Sphinx) -> None:
    folder = HERE / "neurons"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, model in MODELS.items():
        (folder / f"{name.lower()}.md").write_text(page(name))
        pictures.draw_response(model, folder / f"{name.lower()}.svg")
    rows = [
        (
            f"{{doc}}`{name} <{name.lower()}>`",
            summary(name),
            ", ".join(f"`{form}`" for form in forms(name) if form != name),
        )
        for name in MODELS
    ]
    listed = "\n".join(["```{toctree}", ":hidden:", "", *(name.lower() for name in MODELS), "```"])
    (folder / "index.md").write_text(
        "\n\n".join(["# Neurons", table(("model", "what it is", "forms"), *rows), listed]) + "\n"
    )


def check_inventory(app: Sphinx, env: BuildEnvironment) -> None:
    """Fail if a public name of geir is documented nowhere."""
    documented = {name for name, *_ in env.get_domain("py").get_objects()}
    public = {name for name, thing in vars(geir).items() if not name.startswith("_") and not inspect.ismodule(thing)}
    if missing := sorted(name for name in public if f"geir.{name}" not in documented):
        logging.getLogger(__name__).warning("No page documents %s.", ", ".join(f"geir.{name}" for name in missing))


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", write_neuron_pages)
    app.connect("env-check-consistency", check_inventory)


# Written from what the modules list: {{ surrogates }} on a page.
myst_substitutions = {
    "surrogates": directives(*surrogates.__all__),
    "encoders": directives(*encode.__all__),
    "decoders": directives(*decode.__all__),
    "models": directives(*models.__all__),
    "receptive_fields": directives(*receptive_fields.__all__),
    "filters": directives(*filters.__all__),
    "logic": directives(*logic.__all__),
    "distances": directives(*distances.__all__),
    "statistics": directives(*statistics.__all__),
    "operations": directives(*operations.__all__),
    "penalties": directives(*penalties.__all__),
    "plasticity": rules(plasticity.__all__),
}
