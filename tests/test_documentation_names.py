"""The documentation names only what exists."""

import pydoc
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [path for path in (ROOT / "docs").rglob("*.md") if not {"_build", "neurons"} & {*path.parts}]
pytestmark = pytest.mark.skipif(not PAGES, reason="the documentation is not part of the source distribution")
# Mistakes, and the function of a page in JavaScript.
MISSING = {"geir.SuperSpike", "geir.Synaptic", "geir.run"}


def names(text):
    return set(re.findall(r"(?<![\w.\"'/-])geir(?:\.[A-Za-z_]\w*)+", text))


def exists(name):
    return pydoc.locate(name) is not None


@pytest.mark.parametrize("path", [ROOT / "README.md", *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_name_of_geir_on_a_page_exists(path):
    assert {name for name in names(path.read_text()) - MISSING if not exists(name)} == set()


def test_names_are_found_and_missing_ones_are_noticed():
    found = names("`geir.encode.latency(x)`, geir.LIF. See window.geir.run, ../geir/x.py and geir/neurons/lif.py.")
    assert found == {"geir.encode.latency", "geir.LIF"}
    assert [exists(name) for name in sorted(found)] == [True, False]
    assert exists("geir.connections.DelayedLinear")
    assert not any(map(exists, MISSING))
