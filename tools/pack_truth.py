"""Writes the true drawings of the bundled model's objects, which `fouriscale/lab/measure/truth.py` reads: one archive.

`pip install -r requirements/train.txt`, then `python -m tools.pack_truth`. Lossless WebP at 1024 px rather than the
SVGs: fifteen times their size, but no SVG renderer is then needed to measure, and the truth is the same everywhere.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from fouriscale.lab.measure.truth import ARCHIVE, SIDE

PACKAGE = "@iconify-json/noto@1.2.9"
# prompt word -> icon name
OBJECTS = {
    "bear": "bear", "bee": "honeybee", "cat": "cat-face", "chick": "front-facing-baby-chick",
    "cow": "cow-face", "crab": "crab", "dog": "dog-face", "elephant": "elephant", "fish": "fish",
    "fox": "fox", "frog": "frog", "koala": "koala", "ladybug": "lady-beetle", "lion": "lion",
    "octopus": "octopus", "owl": "owl", "panda": "panda", "penguin": "penguin", "pig": "pig-face",
    "turtle": "turtle",
    "cactus": "cactus", "clover": "four-leaf-clover", "mushroom": "mushroom", "pine tree": "evergreen-tree",
    "rose": "rose", "sunflower": "sunflower",
    "apple": "red-apple", "avocado": "avocado", "banana": "banana", "birthday cake": "birthday-cake",
    "broccoli": "broccoli", "cheese": "cheese-wedge", "cookie": "cookie", "croissant": "croissant",
    "cupcake": "cupcake", "doughnut": "doughnut", "eggplant": "eggplant", "hamburger": "hamburger",
    "kiwi": "kiwi-fruit", "lemon": "lemon", "orange": "tangerine", "peach": "peach", "pear": "pear",
    "pineapple": "pineapple", "pizza": "pizza", "strawberry": "strawberry", "tomato": "tomato",
    "watermelon": "watermelon",
}  # fmt: skip

NOTICE = f"""\
The drawings in this archive are from Noto Emoji, copyright Google LLC, licensed under the Apache License, Version 2.0:
https://github.com/googlefonts/noto-emoji/blob/main/LICENSE
Taken as SVG from the npm package {PACKAGE}, rendered with resvg at {SIDE}×{SIDE} px.
"""
YEAR = (1980, 1, 1, 0, 0, 0)  # of every entry, so that the same drawings give the same file


def download(folder: Path) -> Path:
    """Fetch the icon package with npm into `folder`, once; return its icons.json."""
    icons = folder / "package" / "icons.json"
    if not icons.exists():
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, capture_output=True, text=True
        )
        with tarfile.open(folder / done.stdout.split()[-1]) as archive:
            archive.extractall(folder, filter="data")
    return icons


def draw(icons: Path, side: int) -> dict[str, np.ndarray]:
    """Each object as premultiplied float32 RGBA in [0, 1], (side, side, 4), by prompt word."""
    import resvg_py

    bodies = json.loads(icons.read_text())["icons"]
    drawn = {}
    for word, icon in OBJECTS.items():
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="128" '
            f'height="128" viewBox="0 0 128 128">{bodies[icon]["body"]}</svg>'
        )
        png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side))
        rgba = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"), np.float32) / 255
        rgba[..., :3] *= rgba[..., 3:]
        drawn[word] = rgba
    return drawn


def main() -> None:
    """Render and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/truth"), help="where the package is kept")
    parser.add_argument("--out", type=Path, default=ARCHIVE)
    args = parser.parse_args()
    with zipfile.ZipFile(args.out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("NOTICE", YEAR), NOTICE)
        for word, rgba in draw(download(args.work), SIDE).items():
            alpha = rgba[..., 3:]
            straight = np.divide(rgba[..., :3], alpha, out=np.zeros_like(rgba[..., :3]), where=alpha > 0)
            values = np.rint(255 * np.concatenate([straight, alpha], -1)).clip(0, 255).astype(np.uint8)
            file = io.BytesIO()
            Image.fromarray(values).save(file, "WEBP", lossless=True, quality=100, method=6)
            archive.writestr(zipfile.ZipInfo(f"{word}.webp", YEAR), file.getvalue())
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
