"""Faults on demand, for `python -m tools.try_webui`: link this extension's folder into a WebUI's `extensions`.

A word in the prompt raises once, in the middle of a generation: "fault-in-conv" inside a convolution's forward,
"fault-in-hook" inside FouriScale's own hook. GET /fouriscale_faults/v1/state describes the UNet's modules, so that
what a generation leaves behind can be seen. Never install it where pictures are made in earnest.
"""

import sys

from modules import script_callbacks, scripts, sd_models

WORDS = ("fault-in-conv", "fault-in-hook")
ATTRIBUTES = ("stride", "padding", "dilation", "padding_mode", "_reversed_padding_repeated_twice")
HOOKS = ("_forward_pre_hooks", "_forward_hooks")


def unet_of(model):
    """The UNet of A1111's or Forge's model, or None."""
    objects = getattr(model, "forge_objects", None)
    owner = objects.unet.model if objects is not None else getattr(model, "model", None)
    return getattr(owner, "diffusion_model", None)


def once(owner, name, message):
    """Replace a method by one that puts itself out of the way and raises."""

    def raising(*_args, **_kwargs):
        put_back()
        raise RuntimeError(message)

    before = vars(owner).get(name)

    def put_back():
        if before is None:
            delattr(owner, name)
        else:
            setattr(owner, name, before)

    setattr(owner, name, raising)


class Faults(scripts.Script):
    """Reads the prompt."""

    def title(self):
        """Its name in the API."""
        return "FouriScale faults"

    def show(self, is_img2img):
        """Always there; no controls."""
        return scripts.AlwaysVisible

    def process_before_every_sampling(self, p, *args, **kwargs):
        """Lay the trap for this pass."""
        unet = unet_of(p.sd_model)
        if WORDS[0] in p.prompt and unet is not None:
            once(unet.middle_block[0].in_layers[2], "forward", "a fault inside a convolution, on demand")
        if WORDS[1] in p.prompt:
            once(sys.modules["fouriscale.planning.plans"].Plan, "dilation_at", "a fault inside the hook, on demand")


def state():
    """For each of the UNet's modules: hooks of any kind, and what a convolution's forward depends on."""
    unet = unet_of(sd_models.model_data.sd_model)
    if unet is None:
        return {}
    modules = {}
    for name, module in unet.named_modules():
        hooks = sum(len(getattr(module, kind)) for kind in HOOKS)
        values = [repr(getattr(module, attribute, None)) for attribute in ATTRIBUTES]
        # A1111's LoRA and token merging keep notes on the modules after their use.
        keys = sorted(k for k in vars(module) if "hooks" not in k and not k.startswith(("network_", "_tome_info")))
        modules[name] = f"{hooks} hooks; {' '.join(values)}; {' '.join(keys)}"
    return modules


script_callbacks.on_app_started(lambda _demo, app: app.add_api_route("/fouriscale_faults/v1/state", state))
