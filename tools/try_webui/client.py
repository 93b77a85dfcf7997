"""A running WebUI by its API, and the comparisons that the cases are made of."""

from __future__ import annotations

import base64
import io
import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

Made = dict[str, Any]  # arrays: pictures as float arrays; info: the API's info; png: the first picture, base64
LEAST = 0.1  # pictures that differ by less than this, in 1/255 on average, count as unchanged


class Skipped(Exception):  # noqa: N818
    """The WebUI lacks what the case needs; the message says what."""


@dataclass
class Given:
    """What the command line names: other checkpoints, a LoRA and a ControlNet model that the WebUI has, or ""."""

    checkpoint: str = ""
    checkpoint_same: str = ""
    checkpoint_other: str = ""
    checkpoint_xl: str = ""
    checkpoint_control: str = ""
    lora: str = ""
    control_model: str = ""

    def need(self, name: str) -> str:
        """One of the names; raises Skipped where the command line gave none."""
        value = getattr(self, name)
        if not value:
            raise Skipped(f"no --{name.replace('_', '-')}")
        return str(value)


@dataclass
class Webui:
    """A WebUI's API, and the request that the cases vary. base: FouriScale's, "WIDTHxHEIGHT"."""

    url: str
    size: int
    base: str
    steps: int
    extra: dict[str, Any] = field(default_factory=dict)
    given: Given = field(default_factory=Given)

    def __post_init__(self) -> None:
        self.url = self.url.rstrip("/")
        self.body: dict[str, Any] = {
            "prompt": "hamburger", "negative_prompt": "", "width": self.size, "height": self.size,
            "steps": self.steps, "seed": 1, "cfg_scale": 5, "sampler_name": "Euler", **self.extra,
        }  # fmt: skip

    def call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """One request; raises urllib.error.HTTPError for other answers than 200."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=3600) as answer:
            return json.load(answer)

    def args(self, **changes: Any) -> dict[str, Any]:
        """FouriScale's arguments for a case."""
        return {"enabled": True, "base": self.base, **changes}

    def pictures(self, args: dict[str, Any] | list[Any] | None, path: str = "txt2img", **changes: Any) -> Made:
        """Pictures as arrays and the info text. args: FouriScale's, or None for plain. scripts: other scripts' args."""
        scripts = {name: {"args": values} for name, values in changes.pop("scripts", {}).items()}
        body = {**self.body, **changes}
        if args is not None:
            scripts["FouriScale"] = {"args": args if isinstance(args, list) else [args]}
        body["alwayson_scripts"] = {**body.get("alwayson_scripts", {}), **scripts}
        if self.given.checkpoint:
            body["override_settings"] = {
                "sd_model_checkpoint": self.given.checkpoint,
                **body.get("override_settings", {}),
            }
        answer = self.call(f"/sdapi/v1/{path}", body)
        images = [Image.open(io.BytesIO(base64.b64decode(i.split(",")[-1]))) for i in answer["images"]]
        return {
            "arrays": [np.asarray(i.convert("RGB"), np.float32) for i in images],
            "info": json.loads(answer["info"]),
            "png": answer["images"][0],
        }

    def hooks(self) -> int:
        """FouriScale's hooks that are on the UNet now."""
        return int(self.call("/fouriscale/v1/status")["hooks"])

    def last(self) -> dict[str, Any]:
        """The last run's report."""
        return self.call("/fouriscale/v1/status")["last"] or {}

    def state(self) -> dict[str, str]:
        """For each of the UNet's modules its hooks and attributes; raises Skipped without the extension that tells."""
        try:
            return dict(self.call("/fouriscale_faults/v1/state"))
        except urllib.error.HTTPError:
            raise Skipped("tools/try_webui/extension is not among the WebUI's extensions") from None

    def script(self, part: str, is_img2img: bool = False) -> dict[str, Any]:
        """Name and arguments of the first script whose name has `part`; raises Skipped if there is none."""
        for script in self.call("/sdapi/v1/script-info"):
            if part in script["name"] and script["is_img2img"] == is_img2img:
                return dict(script)
        raise Skipped(f"the WebUI has no script named {part}")

    def needs_script(self, name: str) -> None:
        """Raises Skipped without an always-on script of this name; for those that have no arguments."""
        if name not in [known.lower() for known in self.call("/sdapi/v1/scripts")["txt2img"]]:
            raise Skipped(f"the WebUI has no script named {name}")


def differences(one: Made, other: Made) -> list[float]:
    """Mean absolute difference of each pair of pictures, in 1/255."""
    return [float(abs(a - b).mean()) for a, b in zip(one["arrays"], other["arrays"], strict=True)]


def shown(found: list[float]) -> str:
    """Differences as the table has them."""
    return ", ".join(f"{d:.1f}" if d >= LEAST else f"{d:.2g}" for d in found)


def must_differ(one: Made, other: Made, what: str, least: float = LEAST) -> str:
    """Raises AssertionError unless every pair of pictures differs by more than `least`."""
    found = differences(one, other)
    assert min(found) > least, f"{what}: no effect: {found}"
    return f"{what} differs by {shown(found)}"


def must_equal(one: Made, other: Made, what: str) -> str:
    """Raises AssertionError unless the pictures are the same, bit for bit."""
    found = differences(one, other)
    assert max(found) == 0.0, f"{what}: differs by {found}"
    return f"{what}: same picture"


def must_be_as_before(web: Webui, before: dict[str, str]) -> None:
    """Raises AssertionError, with the first module that changed, unless the UNet's modules are as in `before`."""
    now = web.state()
    assert now.keys() == before.keys(), f"{len(now)} modules instead of {len(before)}"
    changed = [name for name in now if now[name] != before[name]]
    first = "".join(f"{name}: {before[name]} -> {now[name]}" for name in changed[:1])
    assert not changed, f"{len(changed)} of the UNet's modules are not as they were; {first}"


def compared(web: Webui, args: Any = None, least: float = LEAST, **changes: Any) -> str:
    """Plain against FouriScale; raises AssertionError unless every picture differs by more than `least`."""
    args = web.args() if args is None else args
    found = differences(web.pictures(None, **changes), web.pictures(args, **changes))
    assert min(found) > least, f"no effect: {found}; {web.last().get('reason')}"
    return f"differs by {shown(found)}; {web.last()['unet_calls']} UNet calls at work"


def unchanged(web: Webui, args: Any, **changes: Any) -> str:
    """Plain against arguments that must have no effect; returns the reason or comment."""
    made = web.pictures(args, **changes)
    found = differences(web.pictures(None, **changes), made)
    assert max(found) == 0.0, f"differs by {found}"
    comments = json.dumps(made["info"].get("comments") or made["info"]["infotexts"][0])
    return "plain; " + (web.last().get("reason") or "") + (" (in comments)" if "FouriScale skipped" in comments else "")
