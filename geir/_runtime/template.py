"""Templates of generated source code."""

import re
from collections.abc import Mapping
from textwrap import indent


def render_template(template: str, regions: Mapping[str, str]) -> str:
    """Replace the regions of a template, ``{{name}}``, by text.

    The lines of a region that stands alone on its line are indented as the region is; if it is empty, its line
    is removed.

    Raises:
        KeyError: If the template has a region that is not given.
    """

    def fill_lines(match: re.Match[str]) -> str:
        text = regions[match[2]].strip("\n")
        return indent(text, match[1]) + "\n" if text else ""

    filled = re.sub(r"^( *)\{\{(\w+)\}\}\n", fill_lines, template, flags=re.MULTILINE)
    return re.sub(r"\{\{(\w+)\}\}", lambda match: regions[match[1]], filled)
