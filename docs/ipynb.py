"""Write the pages in `notebooks` as Jupyter notebooks: python docs/ipynb.py FOLDER."""

import re
import sys
from pathlib import Path

import nbformat
from myst_nb.core.read import read_myst_markdown_notebook
from myst_parser.config.main import MdParserConfig

NOTEBOOKS = Path(__file__).parent / "notebooks"


def write(page: Path, notebook: Path) -> None:
    """Write a page as a notebook, without the cells that only the documentation needs."""
    found = read_myst_markdown_notebook(page.read_text(), MdParserConfig(enable_extensions={"dollarmath"}))
    found.cells = [cell for cell in found.cells if "remove-cell" not in cell.metadata.get("tags", [])]
    for cell in found.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"```{math}\n(.*?)```", r"$$\n\1$$", cell.source, flags=re.DOTALL)
            cell.source = re.sub(r"\{[\w:]+\}`([^`]*)`", _name_of_link, cell.source)
    nbformat.write(found, notebook)


def _name_of_link(link: re.Match[str]) -> str:
    """The text that replaces a cross-reference in a notebook, where it cannot be followed."""
    text = re.sub(r" <.*>$", "", link[1])
    return f"`{text.rsplit('.', 1)[-1] if text.startswith('~') else text.rsplit('/', 1)[-1]}`"


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for page in sorted(NOTEBOOKS.glob("*.md")):
        if page.stem != "index":
            write(page, folder / f"{page.stem}.ipynb")
            print(folder / f"{page.stem}.ipynb")


if __name__ == "__main__":
    main()
