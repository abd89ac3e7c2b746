"""The table of common mistakes: geir says what the page says that it says."""

import builtins
import re
import traceback
from pathlib import Path

import pytest

import geir

PAGE = Path(__file__).parents[1] / "docs" / "mistakes.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not part of the source distribution")
ROWS = re.findall(r"^\| `(.+?)` \| (\w+): (.+?)(?: \| [^|]+)? \|$", PAGE.read_text(), re.M) if PAGE.exists() else []


def scope():
    (setting,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    names = {}
    exec(compile(setting, str(PAGE), "exec"), names)
    return names | {"diagnose": geir.diagnose}


def test_the_page_has_at_least_twenty_five_mistakes():
    assert len(ROWS) >= 25
    assert len(ROWS) == len(re.findall(r"^\| `", PAGE.read_text(), re.M)), "a row of the page was not understood"


@pytest.mark.parametrize(("code", "kind", "message"), ROWS, ids=[code for code, _, _ in ROWS])
def test_geir_says_what_the_page_says(code, kind, message):
    if kind == "UserWarning":
        with pytest.warns(UserWarning, match=re.escape(message)):
            eval(code, scope())
        return
    elif kind == "diagnose":
        said = "; ".join(finding.problem for finding in eval(code, scope()).findings)
    else:
        with pytest.raises(getattr(builtins, kind)) as error:
            eval(code, scope())
        said = "".join(traceback.format_exception_only(error.value))
    assert message in said
