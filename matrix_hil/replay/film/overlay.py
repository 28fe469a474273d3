"""Titles and strip charts over a picture."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from matrix_hil.replay.film.footage import DT, Footage, Trace
from sim.errors import LunarError

OVERLAYS = ("height", "forces", "estimates")
_SPAN = 4.0  # s that a chart shows
_COLORS = ("#ffb03b", "#5ec8f2", "#9be37f", "#f28fb1")
_INK, _FAINT = "#f2f0ea", "#8c8a85"


def chosen(words: str) -> tuple[str, ...]:
    """The names in ``words``, separated by commas.

    Raises:
        LunarError: one is no overlay.
    """
    names = tuple(word.strip() for word in words.split(",") if word.strip())
    for name in names:
        if name not in OVERLAYS:
            raise LunarError(f"overlay '{name}' is unknown; choose from {', '.join(OVERLAYS)}")
    return names


def overlaid(picture: np.ndarray, footage: Footage, time: float, names: tuple[str, ...], speed: float) -> np.ndarray:
    """(height, width, 3) uint8 with the title and the charts that the footage has, up to ``time`` s."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image, "RGBA")
    unit = image.height / 24
    title = footage.title if speed == 1.0 else f"{footage.title}, {speed:g} × speed"
    draw.text((0.6 * unit, 0.5 * unit), title, fill=_INK, font=ImageFont.load_default(0.95 * unit))
    top = image.height - 0.5 * unit
    for name in names:
        if (trace := footage.traces.get(name)) is not None:
            top -= 4.8 * unit
            _chart(draw, trace, time, (0.6 * unit, top), (0.36 * image.width, 4.2 * unit), unit)
    return np.asarray(image)


def _chart(
    draw: ImageDraw.ImageDraw, trace: Trace, time: float, corner: tuple[float, float], size: tuple[float, float],
    unit: float,
) -> None:  # fmt: skip
    x, y = corner
    width, height = size
    draw.rectangle((x, y, x + width, y + height), fill=(8, 9, 12, 150))
    low, high = float(np.nanmin(trace.values)), float(np.nanmax(trace.values))
    low, high = min(low, 0.0), max(high, low + 1e-3)
    font = ImageFont.load_default(0.62 * unit)
    last = int(np.clip(round(time / DT), 0, len(trace.values) - 1))
    first = max(0, last - round(_SPAN / DT))
    count = len(trace.names)
    spacing = 2.0 * unit if count > 2 else 0.82 * width / count
    for column, (values, color) in enumerate(zip(trace.values.T, _COLORS, strict=False)):
        part = values[first : last + 1]
        px = x + width * (np.arange(first, last + 1) * DT - (time - _SPAN)) / _SPAN
        py = y + height - height * (part - low) / (high - low)
        line = [(float(a), float(b)) for a, b in zip(px, py, strict=True) if a >= x and np.isfinite(b)]
        if len(line) > 1:
            draw.line(line, fill=color, width=max(1, round(unit / 12)))
        left = x + 0.3 * unit + column * spacing
        draw.text((left, y + 0.1 * unit), trace.names[column], fill=color, font=font)
    draw.text((x + 0.3 * unit, y + 0.9 * unit), f"up to {high:.3g} {trace.unit}", fill=_FAINT, font=font)
