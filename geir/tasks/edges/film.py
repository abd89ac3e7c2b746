"""Pictures as a film."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from torch import Tensor

from .picture import PALETTE

SUFFIXES = (".gif", ".mp4")


def check(path: Path) -> None:
    """Raise `ValueError` if no film can be written there."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"A film is written to {' or '.join(SUFFIXES)}, got {path}.")
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder {path.parent} to write {path.name} to.")
    if path.suffix.lower() == ".mp4" and shutil.which("ffmpeg") is None:
        raise ValueError("Films in .mp4 are written by ffmpeg, which is not there; install it, or write a .gif.")


def write(path: Path, pictures: Iterator[Tensor], per_second: float) -> int:
    """Write pictures as they come, none of which is kept, and say how many they were.

    Raises:
        ValueError: If there is no picture, or no film can be written there.
    """
    check(path)
    first = next(pictures, None)
    if first is None:
        raise ValueError("The stream ended before the first picture.")
    count = 1

    def images() -> Iterator[Image.Image]:
        nonlocal count
        for picture in pictures:
            count += 1
            yield _image(picture)

    # Only a whole film takes the place of another.
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        if path.suffix.lower() == ".gif":
            _image(first).save(
                part,
                format="GIF",
                save_all=True,
                append_images=images(),
                duration=1e3 / per_second,
                loop=0,
                optimize=False,
            )
        else:
            _mp4(part, _image(first), images(), per_second)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return count


def _image(picture: Tensor) -> Image.Image:
    image = Image.fromarray(picture.numpy())
    image.putpalette(PALETTE.tobytes())
    return image


def _mp4(path: Path, first: Image.Image, images: Iterator[Image.Image], per_second: float) -> None:
    # Twice as large, for this coding halves the resolution of colours.
    scale = f"scale={2 * first.width}:{2 * first.height}:flags=neighbor"
    source = [
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-s",
        f"{first.width}x{first.height}",
        "-r",
        f"{per_second}",
        "-i",
        "-",
    ]
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-y",
        *source,
        "-vf",
        scale,
        "-pix_fmt",
        "yuv420p",
        "-movflags",
        "+faststart",
        str(path),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        try:
            for image in (first, *images):
                process.stdin.write(image.convert("RGB").tobytes())
            process.stdin.close()
        except BrokenPipeError:
            pass
        complaint = process.stderr.read().decode(errors="replace").strip()
    if process.returncode:
        raise ValueError(f"ffmpeg did not write {path.name}: {complaint}")
