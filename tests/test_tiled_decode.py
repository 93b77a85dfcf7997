"""Tiled decoding: equal to the untiled decode, in bounded memory, and nothing left behind."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from diffusers.models.autoencoders.vae import Decoder
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import fouriscale.vae.tiled as tiled_module
from fouriscale import model as bundled
from fouriscale.errors import SettingsError, UnsupportedModelError
from fouriscale.hosts.diffusers import sampling
from fouriscale.vae.tiled import TiledDecoder, decode_tiled, tiles_on
from tools.vae_memory import alone, seam
from webui_standin import Host, Processing
from webui_unets import build_unet

HOSTS = pytest.mark.parametrize("forge", [False, True], ids=["a1111", "forge"])
UNLIMITED = 2**40


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def scatter(module: nn.Module) -> nn.Module:
    """Give every parameter a random value, so that no GroupNorm is the plain one."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in module.named_parameters():
        spread = 0.3 if "norm" in name or name.endswith("bias") else parameter[0].numel() ** -0.5
        parameter.data = torch.randn(parameter.shape, generator=generator) * spread + float("norm" in name)
    return module.eval().requires_grad_(False)


def diffusers_decoder(channels: tuple[int, ...] = (8, 16, 24), layers: int = 2, attention: bool = True) -> nn.Module:
    return scatter(
        Decoder(
            in_channels=4, out_channels=3, up_block_types=("UpDecoderBlock2D",) * len(channels),
            block_out_channels=channels, layers_per_block=layers, norm_num_groups=4, mid_block_add_attention=attention,
        )
    )  # fmt: skip


def ldm_decoder(attention_at: tuple[int, ...] = (), tanh: bool = False) -> nn.Module:
    model = pytest.importorskip("ldm.modules.diffusionmodules.model")
    decoder = model.Decoder(
        ch=32, out_ch=3, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=attention_at, in_channels=3, resolution=16,
        z_channels=4, tanh_out=tanh,
    )  # fmt: skip
    return scatter(decoder)


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    return AutoencoderKL.from_pretrained(bundled.folder(), subfolder="vae").eval().requires_grad_(False)


def picture_latents(height: int, width: int) -> Tensor:
    """A latent of the bundled model's kind: coloured discs on an empty background, unevenly spread."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    latent = torch.zeros(1, 4, height, width)
    for cy, cx, radius, colour in ((0.25, 0.2, 0.18, (0.9, 0.3, 0.1)), (0.7, 0.6, 0.25, (0.2, 0.5, 0.9))):
        shade = 0.7 + 0.3 * torch.sin(40 * x) * torch.cos(31 * y)
        inside = ((y - cy) ** 2 + (x - cx) ** 2 < radius**2).float() * shade
        latent[0] = torch.maximum(latent[0], torch.stack([*(c * inside for c in colour), (inside > 0).float()]))
    return bundled.LATENT_GAIN * latent


# --- the same picture ------------------------------------------------------------------------------------------------

DECODERS = {
    "diffusers": diffusers_decoder,
    "no attention": lambda: diffusers_decoder((8, 8, 16, 16), 1, attention=False),
    "ldm": ldm_decoder,
    "ldm, attention above": lambda: ldm_decoder((8, 16), tanh=True),
}


@pytest.mark.parametrize("memory", [0, 60_000, UNLIMITED], ids=["computed again", "some kept", "kept"])
@pytest.mark.parametrize(("size", "tile"), [((12, 17), 5), ((9, 8), 4), ((6, 6), 1), ((5, 7), 64)])
@pytest.mark.parametrize("kind", DECODERS)
def test_equals_the_untiled_decode(kind: str, size: tuple[int, int], tile: int, memory: int) -> None:
    """To the last digits of float64: whatever the tiles, their number, and what is kept."""
    decoder = DECODERS[kind]().double()
    latents = noise(2, 4, *size).double()
    whole = decoder(latents)
    torch.testing.assert_close(decode_tiled(decoder, latents, tile, memory), whole, rtol=0, atol=1e-11)
    assert whole.std() > 0.1


def test_attention_is_cut_by_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fouriscale.vae.steps.SCORES", 1000)  # 7 of 132 queries at a time
    decoder, latents = diffusers_decoder().double(), noise(1, 4, 11, 12).double()
    torch.testing.assert_close(decode_tiled(decoder, latents, 5), decoder(latents), rtol=0, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_as_near_as_untiled(dtype: torch.dtype) -> None:
    decoder, latents = diffusers_decoder(), noise(1, 4, 16, 16)
    exact = decoder.double()(latents.to(dtype).double())
    decoder.to(dtype)
    whole, tiles = decoder(latents.to(dtype)), decode_tiled(decoder, latents.to(dtype), 6, 0)
    assert tiles.dtype == dtype
    assert (tiles - exact).abs().mean() < 1.2 * (whole - exact).abs().mean()


@pytest.mark.parametrize(("size", "tile"), [((24, 32), 12), ((32, 32), 16)])
def test_no_seam_where_tiles_on_their_own_have_one(vae: AutoencoderKL, size: tuple[int, int], tile: int) -> None:
    """Against diffusers' own tiling: mean and largest error far below half, and no step at the borders."""
    latents = picture_latents(*size)
    with torch.no_grad():
        whole = vae.decode(latents).sample
        with TiledDecoder(vae.decoder, tile=tile):
            tiles = vae.decode(latents).sample
        blended = alone(vae, latents, tile)
    ours, theirs = (127.5 * (picture - whole).abs() for picture in (tiles, blended))
    assert ours.mean() < 0.01
    assert ours.max() < 0.1
    assert theirs.mean() > 100 * ours.mean()
    assert theirs.max() > 100 * ours.max()
    assert seam(blended, whole, tile) > 100 * seam(tiles, whole, tile)


# --- memory ----------------------------------------------------------------------------------------------------------


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.elements = max(self.elements, leaf.numel())
        return result


def test_what_is_too_large_is_not_kept() -> None:
    """Without room nothing as large as an activation of the picture's own size is made, and with room it is."""
    decoder, latents = diffusers_decoder((16, 16, 16), 1, attention=False), noise(1, 4, 32, 32)
    found = {}
    for memory in (None, 0, UNLIMITED):
        with Largest() as largest:
            decoder(latents) if memory is None else decode_tiled(decoder, latents, 8, memory)
        found[memory] = largest.elements
    full = 16 * 128 * 128
    assert found[None] == found[UNLIMITED] == full
    assert found[0] == full // 4  # the last activation before it becomes four times as large; the picture is smaller


# --- attached and removed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [None, RuntimeError(), KeyboardInterrupt()], ids=["success", "error", "ctrl-c"])
def test_nothing_left(error: BaseException | None) -> None:
    decoder, latents = diffusers_decoder(), noise(1, 4, 8, 8)
    before, whole = set(vars(decoder)), decoder(latents)
    tiles = TiledDecoder(decoder, tile=4)
    with suppress(RuntimeError, KeyboardInterrupt), tiles:
        assert tiles_on(decoder) is tiles.attach()
        torch.testing.assert_close(decoder(latents), whole, rtol=1e-4, atol=1e-4)
        if error is not None:
            raise error
    tiles.remove()
    assert set(vars(decoder)) == before
    assert tiles_on(decoder) is None
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in decoder.modules())
    assert torch.equal(decoder(latents), whole)


def test_small_latents_and_removed_tiles_are_the_decoders_own(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, calls = diffusers_decoder(), []
    monkeypatch.setattr(tiled_module, "decode_tiled", lambda *args: calls.append(args[1].shape[-1]))
    with TiledDecoder(decoder, smallest=9):
        kept = decoder.forward
        decoder(noise(1, 4, 8, 8))
        decoder(noise(1, 4, 8, 9))
    assert calls == [9]
    assert kept(noise(1, 4, 8, 9)) is not None  # as an extension that put our forward aside would do
    assert calls == [9]


def broken(change: Any) -> nn.Module:
    decoder = diffusers_decoder()
    change(decoder)
    return decoder


UNSUPPORTED = {
    "circular": lambda: broken(lambda d: setattr(d.up_blocks[0].resnets[0].conv1, "padding_mode", "circular")),
    "replaced": lambda: broken(lambda d: setattr(d, "forward", lambda x: x)),
    "norm": lambda: broken(lambda d: setattr(d, "conv_norm_out", nn.BatchNorm2d(8))),
    "activation": lambda: broken(lambda d: setattr(d.mid_block.resnets[0], "nonlinearity", nn.GELU())),
    "offloaded": lambda: broken(lambda d: d.mid_block.to("meta")),
    "strange": lambda: nn.Sequential(nn.Conv2d(4, 4, 3)),
    "tiny": lambda: AutoencoderTiny(encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4).decoder,
}


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_unsupported_decoders_are_left_alone(kind: str) -> None:
    decoder = UNSUPPORTED[kind]()
    before = dict(vars(decoder))
    with pytest.raises(UnsupportedModelError):
        TiledDecoder(decoder).attach()
    assert vars(decoder) == before


def test_bad_tile() -> None:
    with pytest.raises(SettingsError, match="tile = 0"):
        decode_tiled(diffusers_decoder(), noise(1, 4, 4, 4), tile=0)


# --- the command line ------------------------------------------------------------------------------------------------


def pipe_of(vae: Any) -> Any:
    processor = SimpleNamespace(postprocess=lambda pictures, output_type: list(pictures))
    return SimpleNamespace(vae=vae, image_processor=processor)


@pytest.fixture
def tiled_sizes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The latents' sizes of all tiled decodes."""
    found: list[tuple[int, ...]] = []

    def spy(decoder: nn.Module, latents: Tensor, *args: Any) -> Tensor:
        found.append(tuple(latents.shape[-2:]))
        return decode_tiled(decoder, latents, *args)

    monkeypatch.setattr(tiled_module, "decode_tiled", spy)
    return found


def test_cli_decodes_large_pictures_in_tiles(
    monkeypatch: pytest.MonkeyPatch, vae: AutoencoderKL, tiled_sizes: list[tuple[int, ...]]
) -> None:
    assert sampling.TILES_FROM == (2048 // 8) ** 2
    monkeypatch.setattr(sampling, "TILES_FROM", 100)
    small, large = picture_latents(9, 11), picture_latents(10, 10)
    pictures = [sampling.decode(pipe_of(vae), z, t)[0] for z in (small, large) for t in ("auto", "on", "off")]
    assert tiled_sizes == [(9, 11), (10, 10), (10, 10)]
    for picture, other in ((0, 2), (1, 2), (3, 5), (4, 5)):
        torch.testing.assert_close(pictures[picture], pictures[other], rtol=0, atol=1e-3)
    assert tiles_on(vae.decoder) is None


def test_cli_upcasts_float16_in_tiles(vae: AutoencoderKL, tiled_sizes: list[tuple[int, ...]]) -> None:
    half = AutoencoderKL.from_config(vae.config).eval().half()
    (picture,) = sampling.decode(pipe_of(half), noise(1, 4, 8, 8).half(), "on")
    assert picture.dtype == torch.float32
    assert picture.isfinite().all()
    assert half.dtype == torch.float16
    assert tiled_sizes == [(8, 8)]


def test_cli_with_a_decoder_that_cannot_be_tiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "TILES_FROM", 0)
    tiny = AutoencoderKL(block_out_channels=(32,), latent_channels=4).eval()
    tiny.decoder.conv_out.padding_mode = "circular"
    pipe = pipe_of(tiny)
    assert len(sampling.decode(pipe, noise(1, 4, 8, 8), "auto")) == 1
    with pytest.raises(UnsupportedModelError, match="circular"):
        sampling.decode(pipe, noise(1, 4, 8, 8), "on")


def test_cli_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from fouriscale.cli import main

    argv = ["fouriscale", "generate", "--prompt", "x", "--vae-tiles", "some", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", argv)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "vae_tiles" in capsys.readouterr().err


# --- WebUIs ----------------------------------------------------------------------------------------------------------


class FirstStage(nn.Module):
    """A checkpoint's VAE, as far as decoding goes."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = diffusers_decoder((8, 8), 1)

    def decode(self, latents: Tensor) -> Tensor:
        return self.decoder(latents)


class VaeHost(Host):
    """A host whose checkpoints have a VAE, and that decodes when the latents are there."""

    def __init__(self, patch: pytest.MonkeyPatch, forge: bool):
        self.vaes: list[FirstStage] = []
        self.pictures: list[Tensor] = []
        self.decode_error: BaseException | None = None
        super().__init__(patch, forge=forge)
        self.options |= {"fouriscale_tiled_decode": True, "fouriscale_tiled_from": 256}

    def make_model(self, unet: nn.Module) -> Any:
        model = super().make_model(unet)
        self.vaes.append(FirstStage())
        if self.forge:
            model.original.vae = SimpleNamespace(first_stage_model=self.vaes[-1])
            model.reset()
        else:
            model.first_stage_model = self.vaes[-1]
        return model

    def event(self, name: str, p: Processing, *first: Any, **named: Any) -> None:
        super().event(name, p, *first, **named)
        if name == "post_sample":
            if self.decode_error is not None:
                raise self.decode_error
            model = self.model_data.sd_model
            stage = model.forge_objects.vae.first_stage_model if self.forge else model.first_stage_model
            self.pictures.append(stage.decode(first[0].samples))
            self.latents = first[0].samples

    def check(self) -> None:
        """No decoder is changed, and the script raised nothing."""
        assert self.errors == []
        assert [tiles_on(stage.decoder) for stage in self.vaes] == [None] * len(self.vaes)
        assert all("forward" not in vars(stage.decoder) for stage in self.vaes)


@HOSTS
def test_webui_decodes_in_tiles(
    monkeypatch: pytest.MonkeyPatch, forge: bool, tiled_sizes: list[tuple[int, ...]]
) -> None:
    host = VaeHost(monkeypatch, forge)
    p, _ = host.request(True, n_iter=2)
    host.check()
    assert p.comments == {}
    assert tiled_sizes == [(8, 32)] * 2
    torch.testing.assert_close(host.pictures[-1], host.vaes[0].decode(host.latents), rtol=1e-4, atol=1e-4)


@HOSTS
@pytest.mark.parametrize(
    ("args", "options"),
    [
        ((False,), {}),
        ((True,), {"fouriscale_tiled_decode": False}),
        ((True,), {"fouriscale_tiled_from": 257}),
        ((True,), {"fouriscale_tiled_from": "none"}),
    ],
)
def test_webui_decodes_as_ever(
    monkeypatch: pytest.MonkeyPatch, forge: bool, tiled_sizes: list[Any], args: Any, options: dict[str, Any]
) -> None:
    host = VaeHost(monkeypatch, forge)
    host.options |= options
    host.request(*args)
    host.check()
    assert len(host.pictures) == 1
    assert tiled_sizes == []


@HOSTS
@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
def test_webui_after_an_error_while_decoding(monkeypatch: pytest.MonkeyPatch, forge: bool, error: Any) -> None:
    host = VaeHost(monkeypatch, forge)
    host.decode_error = error
    with pytest.raises(type(error)):
        host.request(True)
    host.check()


@HOSTS
def test_webui_after_an_interrupt(
    monkeypatch: pytest.MonkeyPatch, forge: bool, tiled_sizes: list[tuple[int, ...]]
) -> None:
    host = VaeHost(monkeypatch, forge)
    host.interrupt_at = 1
    host.request(True)
    host.check()
    assert tiled_sizes == [(8, 32)]


@HOSTS
@pytest.mark.parametrize("args", [(True,), (False,)])
def test_webui_leftovers_go_with_the_next_generation(monkeypatch: pytest.MonkeyPatch, forge: bool, args: Any) -> None:
    """What a request that is never closed left on the decoder."""
    host = VaeHost(monkeypatch, forge)
    host.decode_error = RuntimeError()
    with pytest.raises(RuntimeError):
        host.process_images(Processing(host, [True]))
    assert tiles_on(host.vaes[0].decoder) is not None
    host.decode_error = None
    host.request(*args)
    host.check()


@HOSTS
@pytest.mark.parametrize("seed", [0, 1], ids=["same UNet", "other UNet"])
def test_webui_follows_the_refiner(
    monkeypatch: pytest.MonkeyPatch, forge: bool, seed: int, tiled_sizes: list[tuple[int, ...]]
) -> None:
    host = VaeHost(monkeypatch, forge)
    host.refiner = (1, host.make_model(build_unet("sd15", forge, seed)))
    host.request(True)
    assert host.model_data.sd_model is host.refiner[1]
    host.check()
    assert tiled_sizes == [(8, 32)]


@HOSTS
def test_webui_says_why_it_could_not(monkeypatch: pytest.MonkeyPatch, forge: bool) -> None:
    host = VaeHost(monkeypatch, forge)
    host.vaes[0].decoder.conv_out.padding_mode = "circular"
    p, _ = host.request(True)
    host.check()
    assert [text for text in p.comments if "decod" in text and "circular" in text] == list(p.comments)
