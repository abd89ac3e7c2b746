"""Videos."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image, ImageSequence

from geir.events import EventFileError
from geir.tasks.edges import video
from geir.tasks.edges.__main__ import main


@pytest.mark.parametrize(("speed", "milliseconds", "images", "duration"), [(0.5, 400, 20, 40), (0.02, 40, 40, 50)])
def test_a_gif_shows_the_whole_stream_at_the_given_speed(speed, milliseconds, images, duration, tmp_path, capsys):
    path = tmp_path / "edges.gif"
    main(
        [
            "--synthetic",
            "--size",
            "64x48",
            "--seconds",
            f"{milliseconds / 1e3}",
            "--speed",
            f"{speed}",
            "--output",
            str(path),
            "--no-page",
        ]
    )
    done = json.loads(capsys.readouterr().out)
    assert (done["steps"], done["images"]) == (milliseconds, images)
    with Image.open(path) as image:
        frames = [frame.copy() for frame in ImageSequence.Iterator(image)]
        assert image.size == (128, 48)
        # An image that equals the previous one extends its duration.
        assert sum(frame.info["duration"] for frame in frames) == images * duration
    colors = numpy.asarray(frames[-1].convert("RGB")).astype(int)
    assert (colors[:, 64:].max(-1) > 100).sum() > 30
    assert os.listdir(tmp_path) == ["edges.gif"]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_an_mp4_is_written_by_ffmpeg(tmp_path):
    path = tmp_path / "edges.mp4"
    main(["--synthetic", "--size", "64x48", "--seconds", "0.2", "--output", str(path), "--no-page"])
    report = subprocess.run(["ffmpeg", "-i", str(path)], capture_output=True, text=True, check=False).stderr
    assert "256x96" in report
    assert "00:00:00.20" in report


def test_a_failed_video_leaves_the_existing_file_unchanged(tmp_path):
    path = tmp_path / "edges.gif"
    path.write_text("before")

    def images():
        yield torch.zeros(4, 8, dtype=torch.uint8)
        raise EventFileError("clip.raw", 3, "broken")

    with pytest.raises(EventFileError):
        video.write_video(path, images(), 25)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["edges.gif"]
    with pytest.raises(ValueError, match="The stream ended before the first image"):
        video.write_video(path, iter(()), 25)


def test_a_missing_ffmpeg_is_reported(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match="which was not found; install it, or write a .gif"):
        video.check_path(Path("a.mp4"))
