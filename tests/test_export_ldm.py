"""The exported ldm checkpoint computes what the diffusers model computes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from diffusers import AutoencoderKL, UNet2DConditionModel

from fouriscale import model as bundled
from ldm_unets import to_ldm
from tools.export_ldm import export, ldm_config, state_dict

model = pytest.importorskip("ldm.modules.diffusionmodules.model")
pytestmark = pytest.mark.skipif(not bundled.folder().is_dir(), reason="the bundled model is not in this checkout")


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    """The exported weights."""
    return state_dict(bundled.folder())


def part(weights: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The weights under a prefix, without it."""
    return {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)}


def test_unet_is_the_same(weights: dict[str, torch.Tensor]) -> None:
    ours = UNet2DConditionModel.from_pretrained(bundled.folder() / "unet").eval()
    twin = to_ldm(ours)
    twin.load_state_dict(part(weights, "model.diffusion_model."))
    x, context = torch.randn(1, 4, 32, 32), torch.randn(1, 77, 64)
    with torch.no_grad():
        difference = ours(x, 500, context).sample - twin(x, torch.tensor([500]), context=context)
    assert difference.abs().max() < 1e-4


def test_autoencoder_is_the_same(weights: dict[str, torch.Tensor]) -> None:
    folder = bundled.folder() / "vae"
    ours = AutoencoderKL.from_pretrained(folder).eval()
    stage = ldm_config(bundled.folder(), Path("clip"))["model"]["params"]["first_stage_config"]["params"]
    settings = {**stage["ddconfig"], "attn_resolutions": []}
    encoder, decoder = model.Encoder(**settings).eval(), model.Decoder(**settings).eval()
    encoder.load_state_dict(part(weights, "first_stage_model.encoder."))
    decoder.load_state_dict(part(weights, "first_stage_model.decoder."))
    quant, post = (torch.nn.Conv2d(n, n, 1) for n in (8, 4))
    quant.load_state_dict(part(weights, "first_stage_model.quant_conv."))
    post.load_state_dict(part(weights, "first_stage_model.post_quant_conv."))
    z, picture = torch.randn(1, 4, 16, 16), torch.rand(1, 3, 128, 128)
    with torch.no_grad():
        assert (ours.decode(z).sample - decoder(post(z))).abs().max() < 1e-3
        moments = quant(encoder(picture))
        assert (ours.encode(picture).latent_dist.mean - moments[:, :4]).abs().max() < 1e-3


def test_export_writes_what_a_webui_looks_for(tmp_path: Path) -> None:
    out = tmp_path / "bundled.safetensors"
    export(bundled.folder(), out)
    params = yaml.safe_load(out.with_suffix(".yaml").read_text())["model"]["params"]
    config = json.loads((bundled.folder() / "scheduler" / "scheduler_config.json").read_text())
    assert params["parameterization"] == {"v_prediction": "v", "epsilon": "eps"}[config["prediction_type"]]
    clip = Path(params["cond_stage_config"]["params"]["version"])
    assert {"config.json", "vocab.json", "merges.txt"} <= {p.name for p in clip.iterdir()}
