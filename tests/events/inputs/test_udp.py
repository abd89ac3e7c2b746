"""Events through UDP sockets: nothing is lost silently, and nothing is left open."""

import errno
import os
import socket
import struct
import sys
import time

import pytest
from event_streams import expected_frames, HEIGHT, input_threads, LAYOUTS, random_events, SIZE, wait_until, WIDTH

from geir.events import Events, Overflow, SPIF, UDPInput, UDPOutput

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_sent_events_are_received(layout):
    events = random_events(3000)
    with UDPInput(SIZE, port=0, layout=layout) as source, UDPOutput(source.port, layout=layout) as output:
        parts, count = [], 0
        output.send(events[:0])
        for start in range(0, 3000, 1000):
            output.send(events[start : start + 1000])
            while count < start + 1000:
                parts.append(source.events(timeout=5))
                count += len(parts[-1])
        assert not source.done
    arrived = Events.cat(parts)
    assert all(a.equal(b) for a, b in zip(arrived.columns()[1:], events.columns()[1:], strict=True))
    if layout != SPIF():
        assert arrived.t.equal(events.t)
    size = layout.encode(events).nbytes // 3000
    assert output.stats[:2] == (3000, 3 * -(-1000 // (512 // size)))
    assert source.stats.events == 3000
    assert (source.stats.rejected, source.stats.malformed, source.stats.lost) == (0, 0, 0)


def test_invalid_datagrams_and_events_are_counted():
    with UDPInput(SIZE, port=0) as source, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        for data in (
            b"",
            b"123",
            struct.pack("<I", 1 << 31 | WIDTH << 16),
            struct.pack("<I", 1 << 31 | HEIGHT),
            struct.pack("<I", 1),
            b"\0" * 5,
        ):
            other.sendto(data, ("127.0.0.1", source.port))
        other.sendto(
            struct.pack("<2I", 1 << 31 | 1 << 16 | 1 << 15 | 2, 1 << 31 | 0x7FFF7FFF), ("127.0.0.1", source.port)
        )
        frame = source.read(timeout=5)
    assert frame.nonzero().tolist() == [[1, 2, 1]]
    assert source.stats.rejected == 3
    assert source.stats.malformed == 4


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux reports lost datagrams")
def test_no_datagram_is_lost_silently():
    events = Events.cat([random_events(128 * 200)] * 10)
    with UDPInput(SIZE, port=0, overflow=Overflow.BLOCK, capacity=1000) as source, UDPOutput(source.port) as output:
        # No one reads until the receive buffer of the operating system is full.
        while not source.stats.lost:
            output.send(events)
        while source.stats.events + 128 * source.stats.lost < output.stats.events:
            assert source.read(timeout=5).sum() > 0
        assert source.stats.events + 128 * source.stats.lost == output.stats.events
        assert source.read(timeout=0).sum() == 0
    assert source.stats.lost > 0  # available after closing


@pytest.mark.parametrize("overflow", [Overflow.DROP, Overflow.COALESCE])
def test_a_slow_reader_of_a_socket_loses_no_events_silently(overflow):
    events = random_events(128 * 20)
    with UDPInput(SIZE, port=0, overflow=overflow, capacity=500) as source, UDPOutput(source.port) as output:
        for _ in range(10):
            output.send(events)
            time.sleep(2e-3)
        total = 0
        while total + source.stats.dropped < output.stats.events and (frame := source.read(timeout=5)).any():
            total += int(frame.sum())
    assert source.stats.lost == 0
    assert total + source.stats.dropped == 128 * 200
    assert (source.stats.dropped > 0) == (overflow is Overflow.DROP)
    assert (source.stats.coalesced > 0) == (overflow is Overflow.COALESCE)


def test_bins_of_a_socket_follow_the_clock_and_elapsed_bins_are_merged(clock):
    def send(count):
        output.send(random_events(count))
        wait_until(lambda: source.stats.queue >= count)

    with UDPInput(SIZE, port=0, dt=5e-3) as source, UDPOutput(source.port) as output:
        frames = iter(source)
        for k in range(1, 5):
            assert not next(frames).any()
            assert clock.now == pytest.approx(100 + 5e-3 * k)
        send(1000)
        clock.now += 0.101
        assert next(frames).equal(expected_frames(random_events(1000))[0])
        assert clock.now == pytest.approx(100.121)
        assert source.stats.merged == 19
        assert not next(frames).any()
        assert clock.now == pytest.approx(100.125)
        send(10)
        assert len(next(source.slices())) == 10
    with pytest.raises(ValueError, match="UDPInput is not open"):
        next(frames)


def test_opening_and_closing_leaks_no_file_descriptors():
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no /proc")
    source = UDPInput(SIZE, port=0)
    events = random_events(10)
    with source:
        pass
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(200):
        with source, UDPOutput(source.port) as output:
            output.send(events)
            assert source.read(timeout=5).sum() == 10
    assert len(os.listdir("/proc/self/fd")) == before
    assert not input_threads()


def test_a_port_in_use_is_reported_and_leaks_nothing():
    with UDPInput(SIZE, port=0) as source:
        other = UDPInput(SIZE, port=source.port)
        with (
            pytest.raises(
                OSError, match=rf"UDPInput: port {source.port} of 127.0.0.1 is in use; .* \(port=0 selects a free one\)"
            ) as caught,
            other,
        ):
            pass
        assert caught.value.errno == errno.EADDRINUSE
        assert len(input_threads()) == 1
    with other, UDPOutput(other.port) as output:
        output.send(random_events(3))
        assert other.read(timeout=5).sum() == 3
    with (
        pytest.raises(OSError, match="UDPInput cannot listen on port 3333 of 192.0.2.1: "),
        UDPInput(SIZE, host="192.0.2.1"),
    ):
        pass


def test_refused_datagrams_are_counted():
    with UDPInput(SIZE, port=0) as source:
        port = source.port
    with UDPOutput(port) as output:
        output.send(random_events(1000))
    assert output.stats.events == 1000
    assert output.stats.refused > 0


def test_an_input_cannot_be_opened_twice_at_once():
    with UDPInput(SIZE, port=0) as source:
        with pytest.raises(
            ValueError, match="UDPInput is already open; create another UDPInput to read the source twice at once"
        ):
            source.__enter__()
        with UDPOutput(source.port) as output, pytest.raises(ValueError, match="UDPOutput is already open"):
            output.__enter__()
    assert source.stats.events == 0
