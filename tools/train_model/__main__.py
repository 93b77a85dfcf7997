"""Command line of the training tool: `python -m tools.train_model unet|vae|export --help`."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch


def main() -> None:
    """Run one of the three stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=("unet", "vae", "export"))
    parser.add_argument("--work", type=Path, default=Path("build/train_model"), help="data and check-points")
    parser.add_argument("--minutes", type=float, default=120, help="CPU time of training in all, earlier runs included")
    parser.add_argument("--batch", type=int, help="default: 32 for unet, 4 for vae")
    parser.add_argument("--rate", type=float, help="peak learning rate; default: 6e-4 for unet, 7e-4 for vae")
    parser.add_argument("--out", type=Path, default=Path("fouriscale/model"), help="export: the model's folder")
    parser.add_argument("--from", dest="start", type=Path, help="an exported model: what training begins or began with")
    parser.add_argument("--below", type=int, default=400, help="unet: close-ups are learnt at timesteps below this")
    parser.add_argument("--late", type=float, default=0.7, help="unet: share of examples below it")
    parser.add_argument("--close", type=float, default=0.65, help="unet: share of close-ups among these")
    parser.add_argument("--threads", type=int, help="default: torch's")
    args = parser.parse_args()
    torch.set_flush_denormal(True)
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.stage == "unet":
        from .objects import Lessons
        from .unet import train

        lessons = Lessons(args.below, args.late, args.close)
        train(args.work, args.minutes, args.batch or 32, args.rate or 6e-4, lessons, args.start)
    elif args.stage == "vae":
        from .vae import train

        train(args.work, args.minutes, args.batch or 4, args.rate or 7e-4)
    else:
        from .export import export

        export(args.work, args.out, args.start)


if __name__ == "__main__":
    main()
