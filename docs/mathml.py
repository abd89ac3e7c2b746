"""A Sphinx extension that renders formulas as MathML, which browsers display without scripts or network access."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from geir.plot.explore.description import display_math, inline_math


def visit_inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(inline_math(node.astext()))
    raise nodes.SkipNode


def visit_display(translator: HTML5Translator, node: nodes.math_block) -> None:
    translator.body.append(translator.starttag(node, "div", CLASS="math"))
    for equation in filter(str.strip, node.astext().split("\n\n")):
        translator.body.append(display_math(equation))
    translator.body.append("</div>")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
