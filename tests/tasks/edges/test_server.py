"""The web server of the page."""

import http.client
import json
import re
import time

import pytest
from edge_inputs import scene_input, wait_for_frames

from geir.tasks.edges.server import Server


@pytest.fixture
def served(play):
    player = play(scene_input)
    server = Server(player, "a scene")
    server.start()
    yield server
    server.stop()


def request(server, path="/", body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    try:
        connection.request("POST" if body is not None else "GET", path, body, headers)
        response = connection.getresponse()
        return response.status, response.read(), response.headers
    finally:
        connection.close()


def test_the_page_loads_nothing_from_other_hosts(served):
    status, page, headers = request(served)
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert not re.search(rb"https?://|//\w+\.|@import|\bsrc=", page)


def test_only_this_machine_can_connect(served):
    assert served.server_address[0] == "127.0.0.1"
    assert served.address == f"http://127.0.0.1:{served.server_port}/"


def test_frames_are_served_one_after_another_with_the_state(served):
    status, body, headers = request(served, "/frame?after=0")
    assert status == 200
    assert body.startswith(b"\x89PNG")
    state = json.loads(headers["X-State"])
    assert state["title"] == "a scene"
    assert state["controls"] == {"paused": False, "speed": 1.0, "threshold": 0.15}
    _, _, headers = request(served, f"/frame?after={state['number']}")
    assert json.loads(headers["X-State"])["number"] > state["number"]


def test_a_slow_client_skips_frames_and_delays_nothing(served):
    def number(after):
        return json.loads(request(served, f"/frame?after={after}")[2]["X-State"])["number"]

    first = number(0)
    wait_for_frames(served.player, 8)
    assert number(first) > first + 6


def test_a_request_that_times_out_returns_the_state_without_a_frame(served):
    wait_for_frames(served.player, 1)
    status, _, _ = request(served, "/controls", json.dumps({"paused": True}), **{"Content-Type": "application/json"})
    assert status == 200
    time.sleep(0.2)
    status, body, headers = request(served, f"/frame?after={served.player.frame.number}")
    assert (status, body) == (204, b"")
    state = json.loads(headers["X-State"])
    assert state["controls"]["paused"]
    assert state["stats"]["time"] > 0


@pytest.mark.parametrize(
    ("body", "kind", "status", "message"),
    [
        ('{"threshold": 0}', "application/json", 400, "threshold must be a positive number, got 0."),
        ("[1]", "application/json", 400, "Controls must be a JSON object, got [1]."),
        ("{", "application/json", 400, "Expecting property name"),
        ('{"paused": true}', "text/plain", 415, "Send controls as application/json."),
        (" " * 5000, "application/json", 400, "Send controls to /controls, as a small JSON object."),
    ],
)
def test_invalid_controls_are_rejected_and_change_nothing(served, body, kind, status, message):
    before = served.player.controls
    got, text, _ = request(served, "/controls", body, **{"Content-Type": kind})
    assert got == status
    assert text.decode().startswith(message)
    assert served.player.controls == before


def test_unknown_paths_and_other_host_names_are_rejected(served):
    assert request(served, "/../../etc/passwd")[0] == 404
    status, text, _ = request(served, "/frame", Host="somewhere.else:80")
    assert status == 403
    assert text.decode() == f"The address of this page is {served.address}."


def test_a_port_in_use_raises(served):
    with pytest.raises(
        OSError,
        match=rf"Cannot serve the page on port {served.server_port}: .* Choose another port, or 0 for a free one",
    ):
        Server(served.player, "", served.server_port)
