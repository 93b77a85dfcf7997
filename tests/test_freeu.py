"""FreeU against the definition by full Fourier transforms, and where it acts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fouriscale as fs
from fouriscale.filters.freeu import PUBLISHED, FreeU, apply, lowest_window
from fouriscale.unet.structure import describe
from unets import build


def by_transform(skip: torch.Tensor, scale: float) -> torch.Tensor:
    """The skip filter as the paper's code has it: a 2×2 window in the centre of the shifted spectrum."""
    height, width = skip.shape[-2:]
    spectrum = torch.fft.fftshift(torch.fft.fftn(skip.double(), dim=(-2, -1)), dim=(-2, -1))
    spectrum[..., height // 2 - 1 : height // 2 + 1, width // 2 - 1 : width // 2 + 1] *= scale
    return torch.fft.ifftn(torch.fft.ifftshift(spectrum, dim=(-2, -1)), dim=(-2, -1)).real


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(2, 40), st.integers(2, 40), st.floats(0, 2))
def test_skip_filter_equals_the_transform(height: int, width: int, scale: float) -> None:
    x = torch.randn(2, 6, height, width, generator=torch.Generator().manual_seed(height * width))
    out = apply(x, 4, 1.5, scale, lowest_window((height, width), x.device))
    assert torch.equal(out[:, :2], x[:, :2] * 1.5)
    assert torch.equal(out[:, 2:4], x[:, 2:4])
    assert (out[:, 4:].double() - by_transform(x[:, 4:], scale)).abs().max() < 1e-5


@pytest.mark.parametrize(("backbone", "expected"), [(1280, (1.2, 0.9)), (640, (1.4, 0.2)), (320, None)])
def test_acts_by_backbone_width(backbone: int, expected: tuple[float, float] | None) -> None:
    assert PUBLISHED["sd15"].factors(backbone) == expected


def test_published_widths_by_block() -> None:
    """SD 1.5 has b1 for the first seven up-block resnets and b2 for the next three."""
    unet = build("sd15", block_out_channels=(4, 8, 16, 16))
    widths = [width for _, width in describe(unet).up_resnets]
    channels = unet.config.block_out_channels
    wide, middle = channels[3], channels[1]
    assert widths[:7] == [wide] * 7
    assert widths[7:10] == [middle] * 3
    assert widths[10:] == [channels[0]] * 2


def test_session_changes_the_input_of_resnets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unit factors change nothing; others do, at every step, and nothing is left."""
    unet = build("sd15").eval()
    wide = unet.config.block_out_channels[3]
    monkeypatch.setattr(FreeU, "factors", lambda self, backbone: (self.b1, self.s1) if backbone == wide else None)
    x, context = torch.randn(2, 4, 16, 16), torch.randn(2, 7, unet.config.cross_attention_dim)

    def run(freeu: tuple[float, float, float, float] | bool) -> torch.Tensor:
        plan = fs.plan(unet, 128, 128, fs.Settings(base=(64, 64), freeu=freeu))
        with torch.no_grad(), fs.attach(unet, plan) as session:
            session.progress = 0.9
            return unet(x, 10, encoder_hidden_states=context).sample

    plain = run(False)
    assert (run((1.0, 1.0, 1.0, 1.0)) - plain).abs().max() < 1e-5
    assert (run((1.3, 1.0, 0.5, 1.0)) - plain).abs().max() > 1e-3
    assert not any(m._forward_pre_hooks for m in unet.modules())


def test_amp_guidance_equals_a_larger_cfg_scale() -> None:
    """Before start the cond rows move away from uncond by the factor, in one batch of two samples."""
    unet = build("sd15").eval()
    x, context = torch.randn(4, 4, 16, 16), torch.randn(4, 7, unet.config.cross_attention_dim)

    def run(amp: float, progress: float, rows: tuple[str, ...]) -> torch.Tensor:
        plan = fs.plan(unet, 128, 128, fs.Settings(base=(64, 64), amp_guidance=amp))
        with torch.no_grad(), fs.attach(unet, plan, rows) as session:
            session.progress = progress
            return unet(x, 10, encoder_hidden_states=context).sample

    for rows, uncond, cond in (
        (("uncond", "cond"), [0, 1], [2, 3]),
        (("cond", "cond", "uncond", "uncond"), [2, 3], [0, 1]),
    ):
        once, twice = run(1.0, 0.1, rows), run(2.4, 0.1, rows)
        assert torch.equal(twice[uncond], once[uncond])
        assert (twice[cond] - (once[uncond] + 2.4 * (once[cond] - once[uncond]))).abs().max() < 1e-5
        assert torch.equal(run(2.4, 0.3, rows), run(1.0, 0.3, rows))


def test_amp_guidance_counts_the_calls_it_cannot_act_on() -> None:
    unet = build("sd15").eval()
    x, context = torch.randn(1, 4, 16, 16), torch.randn(1, 7, unet.config.cross_attention_dim)
    plan = fs.plan(unet, 128, 128, fs.Settings(base=(64, 64), amp_guidance=2.4))
    with torch.no_grad(), fs.attach(unet, plan, ("cond",)) as session:
        session.progress = 0.0
        unet(x, 10, encoder_hidden_states=context)
        assert session.unamplified == 1
