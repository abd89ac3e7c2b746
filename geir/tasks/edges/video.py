"""Videos of images, as GIF or MP4."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from torch import Tensor

from .image import PALETTE

SUFFIXES = (".gif", ".mp4")


def check_path(path: Path) -> None:
    """Check that a video can be written to a path.

    Raises:
        ValueError: If the suffix is unknown, the folder does not exist, or ffmpeg is required but
            missing.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"The suffix of a video must be {' or '.join(SUFFIXES)}, got {path}.")
    if not path.parent.is_dir():
        raise ValueError(f"Cannot write {path.name}: the folder {path.parent} does not exist.")
    if path.suffix.lower() == ".mp4" and shutil.which("ffmpeg") is None:
        raise ValueError("Writing .mp4 needs ffmpeg, which was not found; install it, or write a .gif.")


def write_video(path: Path, images: Iterator[Tensor], fps: float) -> int:
    """Write images as they arrive, without keeping them in memory.

    An existing file is replaced once the new one is complete.

    Args:
        path: The video, with the suffix .gif or .mp4.
        images: Color indices into `PALETTE`, uint8 of shape (height, width).
        fps: Images per second.

    Returns:
        The number of images.

    Raises:
        ValueError: If there are no images, or the video cannot be written.
    """
    check_path(path)
    first = next(images, None)
    if first is None:
        raise ValueError("The stream ended before the first image.")
    count = 1

    def remaining() -> Iterator[Image.Image]:
        nonlocal count
        for image in images:
            count += 1
            yield _to_pil(image)

    draft = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        if path.suffix.lower() == ".gif":
            _to_pil(first).save(
                draft,
                format="GIF",
                save_all=True,
                append_images=remaining(),
                duration=1e3 / fps,
                loop=0,
                optimize=False,
            )
        else:
            _write_mp4(draft, _to_pil(first), remaining(), fps)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return count


def _to_pil(image: Tensor) -> Image.Image:
    pil_image = Image.fromarray(image.numpy())
    pil_image.putpalette(PALETTE.tobytes())
    return pil_image


def _write_mp4(path: Path, first: Image.Image, remaining: Iterator[Image.Image], fps: float) -> None:
    # Scaled by 2, because the pixel format yuv420p halves the resolution of colors.
    scale = f"scale={2 * first.width}:{2 * first.height}:flags=neighbor"
    size = f"{first.width}x{first.height}"
    source = f"-f rawvideo -pix_fmt rgb24 -s {size} -r {fps} -i -"
    target = f"-vf {scale} -pix_fmt yuv420p -movflags +faststart"
    command = ["ffmpeg", "-v", "error", "-y", *source.split(), *target.split(), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        try:
            for image in (first, *remaining):
                process.stdin.write(image.convert("RGB").tobytes())
            process.stdin.close()
        except BrokenPipeError:  # ffmpeg has failed; its message follows
            pass
        message = process.stderr.read().decode(errors="replace").strip()
    if process.returncode:
        raise ValueError(f"ffmpeg could not write {path.name}: {message}")
