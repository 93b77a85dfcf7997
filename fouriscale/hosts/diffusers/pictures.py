"""Writing pictures: PNG files that carry their settings, and labelled sheets of several pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from .files import write_whole

GAP, LABEL = 12, 40
RECORD = "fouriscale"  # name of the PNG text that holds what a picture was made from, as JSON


def save_png(image: Image.Image, path: Path, parameters: str, record: str = "") -> None:
    """Write `image` with `parameters` as the WebUI's PNG text, whole or not at all, whatever ends the run."""
    info = PngInfo()
    info.add_text("parameters", parameters)
    if record:
        info.add_text(RECORD, record)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: image.save(file, format="PNG", pnginfo=info))


def slug(text: str, longest: int = 48) -> str:
    """`text` as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:longest].rstrip("-") or "picture"


def sheet(rows: Sequence[Sequence[tuple[str, Image.Image]]], title: str, scale: float = 1.0) -> Image.Image:
    """Rows of (label, picture) on white, each column as wide as its widest picture."""
    shown = [[(label, image.resize(_scaled(image, scale))) for label, image in row] for row in rows]
    columns = max(len(row) for row in shown)
    widths = [max(row[c][1].width for row in shown if c < len(row)) for c in range(columns)]
    heights = [max(image.height for _, image in row) for row in shown]
    width = sum(widths) + GAP * (columns + 1)
    page = Image.new("RGB", (width, LABEL + sum(heights) + (LABEL + GAP) * len(shown)), "white")
    draw = ImageDraw.Draw(page)
    draw.text((GAP, GAP), title, fill="black", font=ImageFont.load_default(18))
    top = LABEL
    for row, height in zip(shown, heights, strict=True):
        left = GAP
        for column, (label, image) in enumerate(row):
            draw.multiline_text((left, top + 6), label, fill="black", font=ImageFont.load_default(12), spacing=2)
            page.paste(image, (left, top + LABEL))
            draw.rectangle(
                (left - 1, top + LABEL - 1, left + image.width, top + LABEL + image.height), outline="#bbbbbb"
            )
            left += widths[column] + GAP
        top += height + LABEL + GAP
    return page


def _scaled(image: Image.Image, scale: float) -> tuple[int, int]:
    return max(1, round(image.width * scale)), max(1, round(image.height * scale))
