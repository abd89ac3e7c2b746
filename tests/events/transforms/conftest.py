import pytest

from geir.events import _native


@pytest.fixture(params=["C", "PyTorch"])
def implementation(request, monkeypatch):
    """Both implementations on the CPU; other devices use the second."""
    if request.param == "PyTorch":
        for module in ("representations", "filters"):
            monkeypatch.setattr(f"geir.events.transforms.{module}.load_for", lambda events, filename, **values: None)
    elif _native.load("transforms/filters.c") is None:
        pytest.skip("no C compiler")
