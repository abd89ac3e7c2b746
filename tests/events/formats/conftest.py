import pytest

from geir.events import _native
from geir.events.formats import decoder


def without_compiler(monkeypatch):
    """Decode in Python, without the warning."""
    monkeypatch.setattr(_native, "load", lambda *_, **__: None)
    monkeypatch.setattr(decoder, "_warn_about_reference", lambda: None)


@pytest.fixture(params=["C", "Python"])
def both_decoders(request, monkeypatch):
    """Run a test with the decoders in C and with the reference decoders in Python."""
    if request.param == "Python":
        without_compiler(monkeypatch)
    elif _native.load("formats/evt.c") is None:
        pytest.skip("no C compiler")
