"""Writes the true drawings of the bundled model's objects, which `fouriscale/measure/truth.py` reads: one archive.

`pip install -r requirements/train.txt`, then `python -m tools.pack_truth`. Lossless WebP at 1024 px rather than the
SVGs: fifteen times their size, but no SVG renderer is then needed to measure, and the truth is the same everywhere.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from fouriscale.measure.truth import ARCHIVE, SIDE

from .train_model.objects import PACKAGE, download, draw

NOTICE = f"""\
The drawings in this archive are from Noto Emoji, copyright Google LLC, licensed under the Apache License, Version 2.0:
https://github.com/googlefonts/noto-emoji/blob/main/LICENSE
Taken as SVG from the npm package {PACKAGE}, rendered with resvg at {SIDE}×{SIDE} px.
"""
YEAR = (1980, 1, 1, 0, 0, 0)  # of every entry, so that the same drawings give the same file


def main() -> None:
    """Render and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/train_model"), help="where the package is kept")
    parser.add_argument("--out", type=Path, default=ARCHIVE)
    args = parser.parse_args()
    with zipfile.ZipFile(args.out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("NOTICE", YEAR), NOTICE)
        for word, rgba in draw(download(args.work / "data"), SIDE).items():
            alpha = rgba[..., 3:]
            straight = np.divide(rgba[..., :3], alpha, out=np.zeros_like(rgba[..., :3]), where=alpha > 0)
            values = np.rint(255 * np.concatenate([straight, alpha], -1)).clip(0, 255).astype(np.uint8)
            file = io.BytesIO()
            Image.fromarray(values).save(file, "WEBP", lossless=True, quality=100, method=6)
            archive.writestr(zipfile.ZipInfo(f"{word}.webp", YEAR), file.getvalue())
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
