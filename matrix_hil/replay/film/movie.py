"""Files of moving pictures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image

from sim.errors import LunarError
from sim.output import writing

SUFFIXES = (".webp", ".gif", ".mp4")
_QUALITY = 60  # of WebP


def check_name(out: str) -> Path:
    """The file to write.

    Raises:
        LunarError: its name says no format that can be written.
    """
    path = Path(out)
    if path.suffix not in SUFFIXES:
        raise LunarError(f"--out {out}: a film ends in {', '.join(SUFFIXES)}")
    return path


def write_movie(path: Path, pictures: Iterable[np.ndarray], rate: float) -> None:
    """Write ``pictures``, each (height, width, 3) uint8, to be shown ``rate`` times a second.

    Raises:
        LunarError: the file cannot be written.
    """
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
        try:
            if path.suffix == ".mp4":
                _write_video(partial, pictures, rate)
            else:
                _write_loop(partial, [Image.fromarray(p) for p in pictures], rate)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def _write_video(path: Path, pictures: Iterable[np.ndarray], rate: float) -> None:
    writer = None
    try:
        for picture in pictures:
            if writer is None:
                height, width, _ = picture.shape
                writer = imageio_ffmpeg.write_frames(
                    str(path), (width, height), fps=rate, quality=8, macro_block_size=2, ffmpeg_log_level="error"
                )
                writer.send(None)
            writer.send(np.ascontiguousarray(picture))
    finally:
        if writer is not None:
            writer.close()


def _write_loop(path: Path, images: list[Image.Image], rate: float) -> None:
    wait = round(1000.0 / rate)  # ms
    if path.suffix == ".gif":
        few = images[:: max(1, len(images) // 8)]  # one palette for all, or the picture flickers
        width, height = few[0].size
        strip = Image.new("RGB", (width, height * len(few)))
        for k, image in enumerate(few):
            strip.paste(image, (0, k * height))
        palette = strip.quantize(256)
        images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    images[0].save(
        path, save_all=True, append_images=images[1:], duration=wait, loop=0, quality=_QUALITY, method=4, optimize=True
    )
