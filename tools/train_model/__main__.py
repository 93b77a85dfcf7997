"""Command line of the training tool: `python -m tools.train_model unet|vae|export --help`."""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    """Run one of the three stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=("unet", "vae", "export"))
    parser.add_argument("--work", type=Path, default=Path("build/train_model"), help="data and check-points")
    parser.add_argument("--minutes", type=float, default=120, help="training time in all, earlier runs included")
    parser.add_argument("--batch", type=int, help="default: 32 for unet, 4 for vae")
    parser.add_argument("--rate", type=float, help="peak learning rate; default: 6e-4 for unet, 7e-4 for vae")
    parser.add_argument("--out", type=Path, default=Path("fouriscale/model"), help="export: the model's folder")
    args = parser.parse_args()
    if args.stage == "unet":
        from .unet import train

        train(args.work, args.minutes, args.batch or 32, args.rate or 6e-4)
    elif args.stage == "vae":
        from .vae import train

        train(args.work, args.minutes, args.batch or 4, args.rate or 7e-4)
    else:
        from .export import export

        export(args.work, args.out)


if __name__ == "__main__":
    main()
