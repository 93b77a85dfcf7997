"""What decoding in tiles costs, and how far tiled pictures are from untiled ones.

Peak memory and time of a decoder of the published models' size; --plain for the same untiled:
python -m tools.vae_memory memory --size 1024
The bytes of the tensors alone, and the work, counted without computing anything:
python -m tools.vae_memory count --size 4096
Pictures of the bundled model against untiled decodes:
python -m tools.vae_memory errors
"""

from __future__ import annotations

import argparse
import resource
import time
import weakref
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fouriscale.vae.tiled import TILE, TiledDecoder


def main() -> None:
    """Read the command line and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("memory", "count"):
        memory = commands.add_parser(name)
        memory.add_argument("--size", type=int, default=1024, help="side of the picture in pixels")
        memory.add_argument("--plain", action="store_true", help="untiled")
        memory.add_argument("--keep", type=float, default=4.0, help="GiB of activations that may be kept")
        memory.add_argument("--tile", type=int, default=TILE, help="side of a tile in latent pixels")
        memory.add_argument("--half", action="store_true", help="16 bits a number")
    commands.add_parser("errors").add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    with torch.no_grad():
        if given.command == "memory":
            measure_memory(given)
        elif given.command == "count":
            count_memory(given)
        else:
            measure_errors(given.steps)


def new_decoder(half: bool) -> nn.Module:
    """A decoder of the published models' size, with random weights."""
    from diffusers.models.autoencoders.vae import Decoder

    torch.set_default_dtype(torch.bfloat16 if half else torch.float32)
    decoder = Decoder(
        in_channels=4, out_channels=3, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512), layers_per_block=2,
    )  # fmt: skip
    return decoder.eval()


def decode(decoder: nn.Module, given: argparse.Namespace) -> None:
    """Decode once, as the command line says."""
    side = given.size // 8
    latents = torch.ones(1, 4, side, side)
    with nullcontext() if given.plain else TiledDecoder(decoder, tile=given.tile, memory=int(given.keep * 2**30)):
        decoder(latents)


def told(given: argparse.Namespace) -> str:
    """What was decoded, and how."""
    kind = "untiled" if given.plain else f"tiles of {given.tile}, {given.keep:g} GiB kept"
    return f"{given.size}², {16 if given.half else 32} bits, {kind}"


def measure_memory(given: argparse.Namespace) -> None:
    """Peak of the process's memory above what it has with the decoder loaded, and the time."""
    decoder = new_decoder(given.half)
    before, start = _peak(), time.perf_counter()
    decode(decoder, given)
    seconds = time.perf_counter() - start
    print(f"{told(given)}: {_peak() - before:.2f} GiB above {before:.2f} GiB, {seconds:.0f} s", flush=True)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


class Count(TorchDispatchMode):
    """Bytes of all tensors that live at a time, at most, and multiplications in convolutions and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = self.work = 0
        self._tensors: dict[int, weakref.ref[Tensor]] = {}
        self._storages: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            self.work += result.numel() * args[1][0].numel()
        elif "scaled_dot_product" in str(func) and "math" not in str(func):
            self.work += 2 * args[0].numel() * args[1].shape[-2]
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and id(leaf) not in self._tensors:
                self._keep(leaf)
        return result

    def _keep(self, tensor: Tensor) -> None:
        storage, key = tensor.untyped_storage(), id(tensor)
        where, size = storage._cdata, storage.nbytes()
        self._storages[where] = self._storages.get(where, 0) + 1
        if self._storages[where] == 1:
            self.bytes += size
            self.peak = max(self.peak, self.bytes)

        def drop(_: Any) -> None:
            del self._tensors[key]
            self._storages[where] -= 1
            if self._storages[where] == 0:
                del self._storages[where]
                self.bytes -= size

        self._tensors[key] = weakref.ref(tensor, drop)


def count_memory(given: argparse.Namespace) -> None:
    """Bytes of tensors at the peak: what a decode needs besides the weights and the libraries' work space."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        decoder = new_decoder(given.half)
        with Count() as count:
            decode(decoder, given)
    print(f"{told(given)}: {count.peak / 2**30:.2f} GiB of tensors, {2 * count.work / 1e12:.1f} TFLOP", flush=True)


def measure_errors(steps: int) -> None:
    """Mean and largest difference from the untiled decode, in 1/255, of these tiles and of tiles on their own."""
    from fouriscale import model as bundled
    from fouriscale.hosts.diffusers.pipeline import set_scheduler
    from fouriscale.hosts.diffusers.sampling import Request, load, sample_latents
    from fouriscale.settings.settings import Settings

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
