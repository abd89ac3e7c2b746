"""The docstring of a model as HTML, its formulas as MathML, which browsers display without scripts."""

import html
import inspect
import re
from collections.abc import Iterator

from torch import nn

from ...core.neuron import Dynamics

# Where the arguments and the examples of a docstring begin.
_END = re.compile(r"^(Args|Returns|Raises|Examples?|Attributes):|^>>>|^Abstract:", re.MULTILINE)
_MATH = re.compile(r":math:`([^`]+)`|\$([^$]+)\$")


def describe(neuron: nn.Module) -> str:
    """The description of a model, and of those that it wraps, without the first line of the outermost."""
    parts: list[str] = []
    kinds = list(dict.fromkeys(type(module) for module in neuron.modules() if isinstance(module, Dynamics)))
    for kind in kinds:
        blocks = list(_blocks(kind))
        parts += blocks[1:] if kind is kinds[0] else blocks
    return "\n".join(parts)


def summarize(kind: type) -> str:
    """The first paragraph of a docstring as HTML; empty if there is none."""
    return next(_blocks(kind), "").removeprefix("<p>").removesuffix("</p>")


def _blocks(kind: type) -> Iterator[str]:
    text = inspect.getdoc(kind) or ""
    end = _END.search(text)
    is_math = False
    for block in re.split(r"\n\s*\n", text[: end.start()] if end else text):
        # An indented block after a formula is another formula.
        is_math = block.startswith(".. math::") or (is_math and block.startswith(" "))
        if is_math:
            yield display_math(block.removeprefix(".. math::").strip().rstrip(";.,"))
        elif block.startswith("Reference"):
            yield f'<p class="reference">{inline(block)}</p>'
        elif block.strip():
            yield f"<p>{inline(block)}</p>"


def inline(text: str) -> str:
    """A piece of reStructuredText as HTML: formulas, code and emphasis."""
    found = []
    end = 0
    for match in _MATH.finditer(text):
        found += [_words(text[end : match.start()]), inline_math(match[1] or match[2])]
        end = match.end()
    return "".join([*found, _words(text[end:])])


def inline_math(source: str) -> str:
    """LaTeX as a formula in a sentence."""
    return _convert(source, "inline")


def display_math(source: str) -> str:
    """LaTeX as a displayed formula, aligned at its `&` if it has several lines."""
    return _convert(rf"\begin{{split}}{source}\end{{split}}" if r"\\" in source else source, "block")


def symbol(name: str) -> str:
    """The name of a variable as a mathematical symbol: `tau_mem` as a Greek letter with an index."""
    if name == "dt":
        return "Δ<i>t</i>"
    first, _, index = name.partition("_")
    letter = html.unescape(f"&{first};")
    letter = html.escape(first) if letter.startswith("&") or len(letter) > 1 else letter
    letter = f"<i>{letter}</i>" if len(letter) == 1 else letter
    return letter + (f"<sub>{html.escape(index.replace('_', ', '))}</sub>" if index else "")


def _words(text: str) -> str:
    text = html.escape(re.sub(r"\s+", " ", text), quote=False)
    text = re.sub(r":\w[\w:]*:(?=`)", "", text)
    return re.sub(r"`+([^`]+)`+", r"<code>\1</code>", re.sub(r"\*([^*\s][^*]*)\*", r"<em>\1</em>", text))


def _convert(source: str, display: str) -> str:
    try:
        from latex2mathml.converter import convert
    except ImportError:
        raise ImportError(
            "geir.plot.explore needs latex2mathml, which is not installed; install it with: pip install 'geir[plot]'"
        ) from None
    source = " ".join(source.split())
    try:
        return convert(source, display=display)
    # A formula that the library does not understand, by any of its errors, is shown as its source.
    except Exception:
        return f"<code>{html.escape(source)}</code>"
