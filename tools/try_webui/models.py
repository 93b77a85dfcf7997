"""Cases about what else is loaded: other checkpoints, SDXL, the refiner, LoRA, ControlNet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .basic import Case, as_url
from .client import Made, Skipped, Webui, compared, differences, must_be_as_before, must_differ, must_equal

CONTROL_NETWORK = "controlnet"  # the script's name, on A1111 by its extension, on Forge built in


def on(web: Webui, checkpoint: str, **more: Any) -> dict[str, Any]:
    """Request fields that make the pictures with another checkpoint, and other settings besides."""
    settings = {**web.body.get("override_settings", {}), "sd_model_checkpoint": checkpoint, **more}
    return {"override_settings": settings}


def hires_fields(web: Webui) -> dict[str, Any]:
    """A first pass of half the size, then the hires pass."""
    half = {"width": web.body["width"] // 2, "height": web.body["height"] // 2}
    return {"enable_hr": True, "hr_scale": 2, "denoising_strength": 0.8, "hr_upscaler": "Latent", **half}


def swapped(web: Webui, name: str) -> str:
    """To another checkpoint and back, FouriScale on each; the first one's pictures come again, bit for bit."""
    own, other = on(web, web.given.need("checkpoint")), on(web, web.given.need(name))
    before_plain, before = web.pictures(None, **own), web.pictures(web.args(), **own)
    state = web.state()
    result = compared(web, **other)
    must_differ(web.pictures(web.args(), **other), before, "checkpoint")
    must_equal(web.pictures(web.args(), **own), before, "back again")
    must_equal(web.pictures(None, **own), before_plain, "back again, plain")
    must_be_as_before(web, state)
    return f"{result}; back again the same pictures"


def switched(web: Webui, fields: dict[str, Any], what: str) -> str:
    """A checkpoint taking over in the middle: FouriScale acts, and goes on acting after the switch."""
    own = on(web, web.given.need("checkpoint"))
    plain, made = web.pictures(None, **own, **fields), web.pictures(web.args(), **own, **fields)
    calls = web.last().get("unet_calls")
    result = must_differ(plain, made, "FouriScale")
    without = {k: v for k, v in fields.items() if not k.startswith(("refiner", "hr_checkpoint"))}
    acts = must_differ(made, web.pictures(web.args(), **own, **without), what)
    return f"{result}; {acts}; {calls} UNet calls at work after the switch"


def refined(web: Webui, name: str) -> str:
    """The refiner takes over at 0.4, which is within the steps that FouriScale acts in."""
    fields = {"refiner_checkpoint": web.given.need(name), "refiner_switch_at": 0.4, "steps": max(web.steps, 8)}
    own = on(web, web.given.need("checkpoint"))
    result = switched(web, fields, "refiner")
    assert web.last()["unet_calls"] > 0, "nothing after the switch"
    late = {**fields, "refiner_switch_at": 0.9}
    apart = differences(web.pictures(web.args(), **own, **fields), web.pictures(web.args(), **own, **late))
    assert min(apart) > 0, f"the moment of the switch has no effect: {apart}"
    return result


def sized(web: Webui) -> str:
    """SDXL's size conditioning, overridden or not."""
    big = on(web, web.given.need("checkpoint_xl"))
    told, real = web.pictures(web.args(), **big), web.pictures(web.args(size_conditioning=False), **big)
    return must_differ(told, real, "size conditioning on against off")


def with_lora(web: Webui, weight: float, **fields: Any) -> str:
    """A LoRA with attention and convolution weights, plain and with FouriScale, and gone again afterwards."""
    prompt = f"{web.body['prompt']} <lora:{web.given.need('lora')}:{weight:g}>"
    bare_plain, bare = web.pictures(None, **fields), web.pictures(web.args(), **fields)
    plain, made = web.pictures(None, prompt=prompt, **fields), web.pictures(web.args(), prompt=prompt, **fields)
    result = must_differ(plain, made, "FouriScale")
    if weight:
        result += "; " + must_differ(bare, made, "LoRA")
        must_differ(bare_plain, plain, "LoRA without FouriScale")
    else:
        result += "; " + must_equal(bare, made, "without LoRA")
    must_equal(web.pictures(web.args(), **fields), bare, "LoRA gone again")
    must_equal(web.pictures(None, **fields), bare_plain, "LoRA gone again, plain")
    return result + "; afterwards as before"


def online_lora(web: Webui) -> str:
    """Forge's LoRA that is added while the layers run instead of being merged."""
    name = "forge_unet_storage_dtype"
    if name not in web.call("/sdapi/v1/options"):
        raise Skipped("the WebUI merges LoRA only")
    try:
        web.call("/sdapi/v1/options", {name: "Automatic (fp16 LoRA)"})
        return with_lora(web, 1)
    finally:
        web.call("/sdapi/v1/options", {name: "Automatic"})


def controlled(web: Webui, **changes: Any) -> str:
    """A ControlNet, plain and with FouriScale; it acts on both."""
    script = web.script(CONTROL_NETWORK)["name"]
    wanted = web.given.need("control_model")
    known = web.call("/controlnet/model_list")["model_list"]
    model = next((name for name in known if name.startswith(wanted)), None)
    assert model is not None, f"{wanted} is not among {known}"
    checkpoint = web.given.checkpoint_control or web.given.checkpoint
    fields: dict[str, Any] = {**(on(web, checkpoint) if checkpoint else {}), **changes}
    hint = as_url(web.pictures(None, seed=77, **{k: v for k, v in fields.items() if k != "scripts"})["png"])
    modules = web.call("/controlnet/module_list")["module_list"]
    no_module = next(name for name in modules if name.lower() == "none")
    unit = {"enabled": True, "image": hint, "module": no_module, "model": model, "weight": 1.0}
    plain = web.pictures(None, scripts={script: [unit]}, **fields)
    made = web.pictures(web.args(), scripts={script: [unit]}, **fields)
    calls = web.last().get("unet_calls")
    bare: Made = web.pictures(web.args(), **fields)
    plain, made = (cut(one, len(bare["arrays"])) for one in (plain, made))
    parts = [must_differ(plain, made, "FouriScale"), must_differ(bare, made, "ControlNet")]
    return "; ".join([*parts, f"{calls} UNet calls at work"])


def cut(made: Made, count: int) -> Made:
    """The first `count` pictures; ControlNet adds its hint at the end."""
    return {**made, "arrays": made["arrays"][:count]}


def cases(web: Webui) -> Iterator[Case]:
    """Name and action of every case, in order."""
    given = web.given
    yield "LoRA, weight 1", lambda: with_lora(web, 1)
    yield "LoRA, weight 0", lambda: with_lora(web, 0)
    yield "LoRA, added while running", lambda: online_lora(web)
    yield "ControlNet", lambda: controlled(web)
    yield "ControlNet, batch 2", lambda: controlled(web, batch_size=2)
    yield "ControlNet, hires", lambda: controlled(web, **hires_fields(web))
    yield "swap, same configuration", lambda: swapped(web, "checkpoint_same")
    yield "swap, another configuration", lambda: swapped(web, "checkpoint_other")
    yield "refiner, same configuration", lambda: refined(web, "checkpoint_same")
    yield "refiner, another configuration", lambda: refined(web, "checkpoint_other")
    for name in ("checkpoint_same", "checkpoint_other"):
        kind = "same" if name.endswith("same") else "another"
        yield (
            f"hires checkpoint, {kind} configuration",
            lambda name=name: switched(
                web, {"hr_checkpoint_name": given.need(name), **hires_fields(web)}, "hires checkpoint"
            ),
        )
    yield "SDXL txt2img", lambda: compared(web, **on(web, given.need("checkpoint_xl")))
    yield "SDXL batch 2, AND", lambda: compared(
        web, prompt="hamburger AND pizza :0.5", batch_size=2, **on(web, given.need("checkpoint_xl"))
    )  # fmt: skip
    yield "SDXL hires", lambda: compared(web, **hires_fields(web), **on(web, given.need("checkpoint_xl")))
    yield "SDXL size conditioning", lambda: sized(web)
    yield "SDXL and back", lambda: swapped(web, "checkpoint_xl")
