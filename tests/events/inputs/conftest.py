import pytest
from event_streams import input_threads

from geir.events.inputs import base, clock as clock_module, live


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not input_threads()


@pytest.fixture
def clock(monkeypatch):
    """A fake clock that advances only by sleeping or by setting `now`, so that the load of the machine does not matter."""

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
