import pytest

from geir.tasks.edges import Player


@pytest.fixture
def play():
    """Start players, and stop them after the test."""
    players = []

    def start(*arguments, **settings):
        player = Player(*arguments, **settings)
        players.append(player)
        player.start()
        return player

    yield start
    for player in players:
        player.stop()
