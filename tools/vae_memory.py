"""What decoding in tiles costs, and how far tiled pictures are from untiled ones.

python -m tools.vae_memory memory --size 2048            # peak memory and time, a decoder as large as SDXL's
python -m tools.vae_memory memory --size 2048 --plain    # the same untiled
python -m tools.vae_memory errors                        # pictures of the bundled model against untiled decodes
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any

import torch
from torch import Tensor

from fouriscale.vae.tiled import TILE, TiledDecoder


def main() -> None:
    """Read the command line and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    memory = commands.add_parser("memory")
    memory.add_argument("--size", type=int, default=1024, help="side of the picture in pixels")
    memory.add_argument("--plain", action="store_true", help="untiled")
    memory.add_argument("--keep", type=float, default=4.0, help="GiB of activations that may be kept")
    memory.add_argument("--tile", type=int, default=TILE, help="side of a tile in latent pixels")
    memory.add_argument("--no-attention", action="store_true", help="leave out the attention, which takes long on CPUs")
    commands.add_parser("errors").add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    with torch.no_grad():
        if given.command == "memory":
            measure_memory(given)
        else:
            measure_errors(given.steps)


def measure_memory(given: argparse.Namespace) -> None:
    """Peak of the process's memory above what it has with the decoder loaded, and the time."""
    from diffusers.models.autoencoders.vae import Decoder

    decoder = Decoder(
        in_channels=4, out_channels=3, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2, mid_block_add_attention=not given.no_attention,
    ).eval()  # fmt: skip
    latents = torch.randn(1, 4, given.size // 8, given.size // 8)
    before = _peak()
    start = time.perf_counter()
    if given.plain:
        decoder(latents)
    else:
        with TiledDecoder(decoder, tile=given.tile, memory=int(given.keep * 2**30)):
            decoder(latents)
    seconds = time.perf_counter() - start
    kind = "untiled" if given.plain else f"tiles of {given.tile}, {given.keep:g} GiB kept"
    print(f"{given.size}² {kind}: {_peak() - before:.2f} GiB above {before:.2f} GiB, {seconds:.0f} s", flush=True)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure_errors(steps: int) -> None:
    """Mean and largest difference from the untiled decode, in 1/255, of these tiles and of tiles on their own."""
    from fouriscale import bundled
    from fouriscale.cli.sampling import Request, load, sample_latents
    from fouriscale.hosts.diffusers import set_scheduler
    from fouriscale.settings import Settings

    pipe = load(bundled.folder())
    set_scheduler(pipe, "ddim")
    print("picture        tile  these: mean  max    seam   on their own: mean  max    seam")
    for prompt, width, height in (("fox", 512, 512), ("rose", 768, 512), ("pizza", 1024, 768), ("owl", 1024, 1024)):
        request = Request(prompt, width, height, 1, Settings(), steps=steps)
        latents = sample_latents(pipe, request, [1])[0] / pipe.vae.config.scaling_factor
        whole = pipe.vae.decode(latents).sample
        for tile in (32, 64):
            if 8 * tile >= max(width, height):
                continue
            with TiledDecoder(pipe.vae.decoder, tile=tile):
                ours = pipe.vae.decode(latents).sample
            cells = [_figures(picture, whole, tile) for picture in (ours, alone(pipe.vae, latents, tile))]
            print(f"{prompt:6}{width}×{height}  {tile:3}   {cells[0]}    {cells[1]}", flush=True)


def alone(vae: Any, latents: Tensor, tile: int) -> Tensor:
    """Decoded by diffusers' own tiling: each tile by itself, with a quarter of it blended."""
    vae.tile_latent_min_size, vae.tile_sample_min_size, vae.tile_overlap_factor = tile, 8 * tile, 0.25
    return vae.tiled_decode(latents).sample


def seam(picture: Tensor, whole: Tensor, tile: int) -> float:
    """The error's mean step across tile borders (1/255), where blended tiles begin and end."""
    error = 127.5 * (picture - whole)
    cuts = range(6 * tile, error.shape[-1] - 1, 6 * tile)
    return float(torch.stack([(error[..., cut] - error[..., cut - 1]).abs().mean() for cut in cuts]).mean())


def _figures(picture: Tensor, whole: Tensor, tile: int) -> str:
    error = 127.5 * (picture.clamp(-1, 1) - whole.clamp(-1, 1)).abs()
    return f"{error.mean():9.5f} {error.max():9.5f} {seam(picture, whole, tile):9.5f}"


if __name__ == "__main__":
    main()
