"""A Sphinx extension: a list of versions in the sidebar, which leads to the same page of another version.

Versions are folders beside each other on any web server, and versions.json lists them; `publish.py` writes both.
"""

from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config

HERE = Path(__file__).parent
# The sidebar of Furo, with the list below the name.
SIDEBAR = ["brand", "versions", "search", "scroll-start", "navigation", "scroll-end"]


def add_list(app: Sphinx, config: Config) -> None:
    config.templates_path.append(str(HERE / "_templates"))
    config.html_sidebars = {"**": [f"sidebar/{part}.html" for part in SIDEBAR]}


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", add_list)
    app.add_js_file("versions.js")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
