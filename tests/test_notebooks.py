"""The pages in docs/notebooks as Jupyter notebooks, which run without the documentation."""

import ast
import importlib.util
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="writes notebooks: pip install 'geir[docs]'")
pytest.importorskip("myst_nb", reason="reads the pages: pip install 'geir[docs]'")
DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(page for page in (DOCS / "notebooks").glob("*.md") if page.stem != "index")
pytestmark = pytest.mark.skipif(not PAGES, reason="the documentation is not part of the source distribution")


@pytest.fixture(scope="module")
def write():
    spec = importlib.util.spec_from_file_location("ipynb", DOCS / "ipynb.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.write


def names_read(code):
    names = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)]
    return {name.id for name in names if isinstance(name.ctx, ast.Load)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_notebook_is_valid_and_needs_nothing_of_the_documentation(page, write, tmp_path):
    path = tmp_path / "notebook.ipynb"
    write(page, path)
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) >= 3
    assert "pictures" not in set().union(*map(names_read, code))
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert text.startswith("# ")
    assert "{py:" not in text
    assert "{doc}" not in text


def test_the_first_notebook_runs(write, tmp_path, monkeypatch):
    import matplotlib

    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    write(DOCS / "notebooks" / "first_spikes.md", tmp_path / "notebook.ipynb")
    scope = {"__name__": "__main__"}
    for cell in nbformat.read(tmp_path / "notebook.ipynb", as_version=4).cells:
        if cell.cell_type == "code":
            exec(cell.source, scope)
    assert scope["zs"].sum() > 0
