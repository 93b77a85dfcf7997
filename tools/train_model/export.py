"""Writes the trained model as a diffusers folder: averaged weights in float16, the configurations, a model card."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer

from . import vae
from .objects import LARGEST_CANVAS, NAMES, TEMPLATES, Lessons
from .unet import SCHEDULE, new_text_encoder, new_unet

LARGEST_BYTES = 24_000_000
TOKENIZER_FILES = ("vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json")

ROW = "| {} | {steps} | {hours:.2f} |"
COMMAND = "python -m tools.train_model {} --minutes {:.0f}"

CARD = """\
---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
---

# A small Stable Diffusion that draws one emoji

A text-to-image model in the architecture of Stable Diffusion 1.5, {megabytes:.0f} MB in float16, whose native picture
is 256×256. It draws one of {count} objects on a white background. It exists to show and to test what FouriScale does:
asked for pictures larger than it was trained on, a model repeats its object, and whether it did is easy to count here.

| part | what | parameters |
| --- | --- | --- |
| `unet` | `UNet2DConditionModel`, channels {unet_channels}, 32×32 latents | {unet_size:.2f} M |
| `text_encoder` | `CLIPTextModel`, {text_layers} layers, width {text_width} | {text_size:.2f} M |
| `vae` | `AutoencoderKL`, eightfold, 4 latent channels, scaling factor 1 | {vae_size:.2f} M |

The model predicts v; its schedule is `scaled_linear` from {beta_start} to {beta_end} (1000 steps). A latent is the
premultiplied RGBA picture at an eighth of the size, times 2: the empty background is 0, and channel 3 is how much an
object covers.

## Use

```python
from diffusers import StableDiffusionPipeline

pipe = StableDiffusionPipeline.from_pretrained("path/of/this/folder")
pipe("a cupcake", width=256, height=256, num_inference_steps=25, guidance_scale=4).images[0]
```

It knows these objects: {names}.

It knows them in these phrases (with “a”, never “an”): {templates}. The negative prompt is best left empty.

## Limits

- One object a picture, each always the same drawing, at varying size and place, sometimes mirrored. No styles,
  colours, counts, relations or backgrounds.
- The tokenizer has merges for the words above only. Other words become letters that the text encoder never saw, and
  what is then drawn is arbitrary. “small” and “large” were random in training and mean nothing.
- The autoencoder is made for these drawings on white. It does not reproduce photographs, nor pictures without any
  white in them.
- Pictures other than 256×256 are outside what the UNet was trained on; that is the purpose.

## Training

From scratch, on a CPU, on the drawings of [Noto Emoji](https://github.com/googlefonts/noto-emoji), © Google,
Apache-2.0. No other pictures, no pretrained weights.

- **Whole objects**, at every timestep: one object in the frame, its side half to nearly all of the frame's.
- **Close-ups**, at timesteps below {below} only, where they are {close:.0%} of the examples: the frame is a window on a
  drawing for a canvas of 1 to {canvas:.0f} times its side, under the same words. So the model lays out one whole object
  in a frame of its size, asked for more it repeats it, and yet it can finish the parts of a larger picture, as models
  can that were trained on photographs.

| | steps | hours |
| --- | --- | --- |
{rows}

The weights are exponential averages over the training steps. The commands, in the repository that holds this folder:

```sh
{commands}
python -m tools.train_model export
```

## License

Apache-2.0, as the drawings are: Noto Emoji, copyright Google LLC,
<https://github.com/googlefonts/noto-emoji/blob/main/LICENSE>.
"""


def load_unet(folder: Path) -> tuple[torch.nn.Module, CLIPTextModel, CLIPTokenizer]:
    """The averaged UNet and text encoder, and the tokenizer."""
    state = torch.load(folder / "unet.ckpt", weights_only=True)
    tok = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    unet, text = new_unet(), new_text_encoder(tok)
    with torch.no_grad():
        for parameter, mean in zip([*unet.parameters(), *text.parameters()], state["ema"], strict=True):
            parameter.copy_(mean)
    return unet.eval(), text.eval(), tok


def _save_text_encoder(text: CLIPTextModel, folder: Path) -> None:
    """Save under the classical keys, `text_model.…`: transformers 5 drops the prefix, and the releases that WebUIs
    pin do not find the weights without it (5 does with it)."""
    text.save_pretrained(folder)
    prefix = "text_model."
    weights = {prefix + k.removeprefix(prefix): v.contiguous() for k, v in text.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    path = folder / "config.json"
    config = json.loads(path.read_text())
    # transformers takes this over diffusers' default, float32, and the parts of a pipeline must agree;
    # the name is the one from before transformers 5, which reads it too
    del config["dtype"]
    config["torch_dtype"] = "float32"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _millions(module: torch.nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


def _trained(work: Path, start: Path | None) -> tuple[AutoencoderKL, list[str], list[str]]:
    """The autoencoder, and the rows and commands of the card's training: those of `start`, then those of `work`."""
    card = (start / "README.md").read_text(encoding="utf-8") if start else ""
    rows = re.findall(r"^\| [^|]+ \| \d+ \| \d+\.\d+ \|$", card, re.M)
    commands = re.findall(r"^python -m tools.train_model (?:unet|vae) .*$", card, re.M)
    unet_state = torch.load(work / "unet.ckpt", weights_only=True)
    # the batch as the optimiser saw it is not kept; what differs from the defaults is for the card's author to add
    rows.append(ROW.format("UNet and text encoder" + ", continued" * bool(start), **_time(unet_state)))
    commands.append(COMMAND.format("unet", _time(unet_state)["minutes"]) + " --from fouriscale/model" * bool(start))
    if not (work / "vae.ckpt").exists() and start:
        auto = vae.new_vae()  # rather than from_pretrained, which would note where it was
        auto.load_state_dict(load_file(start / "vae/diffusion_pytorch_model.safetensors"))
        return auto, rows, commands
    state = torch.load(work / "vae.ckpt", weights_only=True)
    rows.append(ROW.format("autoencoder", **_time(state)))
    commands.append(COMMAND.format("vae", _time(state)["minutes"]))
    return vae.load_ema(work / "vae.ckpt"), rows, commands


def _time(state: dict) -> dict:
    return {"steps": state["step"], "hours": state["seconds"] / 3600, "minutes": state["seconds"] / 60}


def export(work: Path, out: Path, start: Path | None = None) -> None:
    """Write the model trained in `work` to the folder `out`. start: the model that training began with, if any."""
    unet, text, tok = load_unet(work)
    auto, rows, commands = _trained(work, start)
    scheduler = DDIMScheduler(**SCHEDULE, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    pipe = StableDiffusionPipeline(
        auto, text, tok, unet, scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    ).to(torch.float16)

    for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        shutil.rmtree(out / part, ignore_errors=True)
    pipe.save_config(out)
    pipe.unet.save_pretrained(out / "unet")
    pipe.vae.save_pretrained(out / "vae")
    pipe.scheduler.save_pretrained(out / "scheduler")
    _save_text_encoder(pipe.text_encoder, out / "text_encoder")
    # as trained: transformers 5 would save a tokenizer.json alone, and older releases need these four
    (out / "tokenizer").mkdir()
    for name in TOKENIZER_FILES:
        shutil.copyfile(work / "tokenizer" / name, out / "tokenizer" / name)

    size = sum(p.stat().st_size for p in out.rglob("*.safetensors"))
    (out / "README.md").write_text(
        CARD.format(
            megabytes=size / 1e6, count=len(NAMES), names=", ".join(sorted(NAMES)),
            templates=", ".join(f"“{t.format('…')}”" for t in TEMPLATES),
            unet_channels=list(unet.config.block_out_channels), unet_size=_millions(unet),
            text_layers=text.config.num_hidden_layers, text_width=text.config.hidden_size, text_size=_millions(text),
            vae_size=_millions(auto), beta_start=SCHEDULE["beta_start"], beta_end=SCHEDULE["beta_end"],
            below=Lessons.below, close=Lessons.close, canvas=LARGEST_CANVAS,
            rows="\n".join(rows), commands="\n".join(commands),
        ),
        encoding="utf-8",
    )  # fmt: skip
    total = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    if total > LARGEST_BYTES:
        raise RuntimeError(f"{out} has {total} bytes, more than the {LARGEST_BYTES} that the repository takes")
    print(f"{out}: {total / 1e6:.1f} MB")
