"""Routes under /fouriscale/v1: presets, schema, plan, status. There where the host's API is, behind its credentials."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from ...errors import FouriScaleError, UnsupportedModelError
from ...hooks import count_hooks
from ...settings.fields import FAMILIES
from ...settings.settings import ARGUMENTS
from .args import DEFAULTS, TITLE, parse
from .deciding import Page
from .describe import NOT_LOADED, decide, sentence
from .rows import find_unet
from .run import Environment

ROOT = "/fouriscale/v1"
OR_NAMES = "or comma-separated names, * allowed"


def serves_api(options: Any) -> bool:
    """Whether the host serves its own API. The page's login does not guard routes, so without the API there are none.

    options: the host's command line. --nowebui means the API and nothing else.
    """
    return bool(getattr(options, "api", False) or getattr(options, "nowebui", False))


def credentials_of(api_auth: str | None) -> dict[str, str]:
    """The host's --api-auth, "user:password,user:password", as a mapping."""
    pairs = (entry.partition(":") for entry in (api_auth or "").split(",") if ":" in entry)
    return {user: password for user, _, password in pairs}


def add_routes(
    app: FastAPI, environment: Callable[[], Environment], model: Callable[[], Any], api_auth: str | None
) -> None:
    """Add the routes to the host's application. `model` gives the host's current model."""
    known = credentials_of(api_auth)

    def check(given: HTTPBasicCredentials = Depends(HTTPBasic())) -> None:  # noqa: B008
        password = known.get(given.username, "")
        if not (password and secrets.compare_digest(given.password.encode(), password.encode())):
            raise HTTPException(401, "Incorrect username or password", {"WWW-Authenticate": "Basic"})

    guards = [Depends(check)] if known else []

    @app.get(ROOT + "/presets", dependencies=guards)
    def presets() -> Any:
        return [
            {"name": p.name, "family": p.family, "size": p.size and list(p.size), "settings": p.settings.non_defaults()}
            for p in environment().presets
        ]

    @app.get(ROOT + "/schema", dependencies=guards)
    def schema() -> Any:
        return schema_of_arguments()

    @app.get(ROOT + "/plan", dependencies=guards)
    def plan(asked: PlanQuery = Depends()) -> Any:  # noqa: B008
        try:
            return answer(asked, environment(), model())
        except FouriScaleError as error:
            raise HTTPException(422, str(error)) from None

    @app.get(ROOT + "/status", dependencies=guards)
    def status() -> Any:
        try:
            hooks = count_hooks(find_unet(model()))
        except FouriScaleError:
            hooks = 0
        report = environment().report
        return {"hooks": hooks, "running": report.running(), "last": report.last}


@dataclass
class PlanQuery:
    """What `/plan` may be asked: a size, a preset, the page's other values that decide about passes."""

    width: int
    height: int
    preset: str = DEFAULTS.preset
    family: str = "auto"
    passes: str = DEFAULTS.passes
    img2img: bool = False
    enable_hr: bool = False
    hr_scale: float = 2.0
    hr_resize_x: int = 0
    hr_resize_y: int = 0
    denoising_strength: float = 0.75


def answer(asked: PlanQuery, environment: Environment, sd_model: Any) -> dict[str, Any]:
    """The plan of the first pass, with `preset`, `text` (the header's sentence) and `passes`, one entry each.

    Raises FouriScaleError, also while no model is loaded and no family is named.
    """
    parsed = parse([{"preset": asked.preset, "passes": asked.passes}])
    values = {f.name: getattr(asked, f.name) for f in dataclasses.fields(Page) if hasattr(asked, f.name)}
    decisions = decide(sd_model, parsed, Page(**values), environment.presets, environment.state(), asked.family)
    if len(decisions) > 1:
        raise UnsupportedModelError(f"{NOT_LOADED}: load one, or ask for a family: {', '.join(FAMILIES)}")
    passes = [{"pass": p.of.kind, **p.plan.to_dict(), "preset": p.preset} for p in decisions[0].passes]
    first = {key: value for key, value in passes[0].items() if key != "pass"}
    return {**first, "text": sentence(decisions[0]), "passes": passes}


def schema_of_arguments() -> dict[str, Any]:
    """The script's arguments in positional order, with default, kind and what is allowed."""
    arguments = []
    for field in ARGUMENTS:
        entry: dict[str, Any] = {"position": field.position, "name": field.name, "type": field.argument_type}
        entry["default"] = field.argument_default
        if field.choices:
            entry["choices"] = [*field.choices, *([OR_NAMES] if field.kind == "names" else [])]
        if field.argument_range is not None:
            entry["minimum"], entry["maximum"] = field.argument_range
        if field.custom:
            entry["used"] = 'with the preset "Custom", or when given by name'
        arguments.append(entry)
    example = {"alwayson_scripts": {TITLE: {"args": [{"enabled": True, "preset": DEFAULTS.preset}]}}}
    return {"title": TITLE, "arguments": arguments, "example": example}
