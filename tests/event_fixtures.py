"""Fixtures for the tests of event streams. A pytest plugin, loaded by conftest.py; fixtures import what they need."""

import pytest


@pytest.fixture
def no_thread_is_left():
    """Fail if the test leaves a thread of an event input behind."""
    from event_streams import input_threads

    yield
    assert not input_threads()


@pytest.fixture
def clock(monkeypatch):
    """A fake clock for inputs.

    It advances only by sleeping or by setting `now`, so that the load of the machine does not matter.
    """
    from geir.events.inputs import base, clock as clock_module, live

    class Clock:
        now = 100.0

        def perf_counter(self):
            return self.now

        def sleep(self, seconds):
            assert seconds >= 0
            self.now += seconds + 1e-9  # never too early, like the real one

    fake = Clock()
    for module in (base, clock_module, live):
        monkeypatch.setattr(module, "time", fake)
    return fake


@pytest.fixture(params=["C", "PyTorch"])
def implementation(request, monkeypatch):
    """Both implementations of transforms on the CPU; other devices use the second."""
    from geir.events import _native

    if request.param == "PyTorch":
        for module in ("representations", "filters"):
            monkeypatch.setattr(f"geir.events.transforms.{module}.load_for", lambda events, filename, **values: None)
    elif _native.load("transforms/filters.c") is None:
        pytest.skip("no C compiler")


@pytest.fixture
def play():
    """Start players of the edge detector, and stop them after the test."""
    from geir.tasks.edges import Player

    players = []

    def start(*arguments, **settings):
        player = Player(*arguments, **settings)
        players.append(player)
        player.start()
        return player

    yield start
    for player in players:
        player.stop()
