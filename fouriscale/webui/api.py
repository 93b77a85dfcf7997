"""Routes under /fouriscale/v1: presets, schema, plan, status. There where the host's API is, behind its credentials."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable
from typing import Any

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from ..errors import FouriScaleError
from ..hosts.webui import find_unet
from ..session import count_hooks
from ..settings import FAMILIES, LAYER_SETS, METHODS, ROUNDINGS
from .args import CUSTOM_FIELDS, DEFAULTS, FIELDS, PASSES, RANGES, TITLE, parse
from .describe import plan_for_family, plan_now
from .run import Environment

ROOT = "/fouriscale/v1"


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
    def plan(width: int, height: int, preset: str = DEFAULTS.preset, family: str = "auto") -> Any:
        presets = environment().presets
        try:
            parsed = parse([{"preset": preset}])
            if family == "auto":
                decided, name = plan_now(model(), parsed, width, height, presets)
            elif family in FAMILIES:
                decided, name = plan_for_family(family, parsed, width, height, presets)
            else:
                raise HTTPException(422, f"family = {family!r} is not allowed: auto, {', '.join(FAMILIES)}")
        except FouriScaleError as error:
            raise HTTPException(422, str(error)) from None
        return {**decided.to_dict(), "preset": name}

    @app.get(ROOT + "/status", dependencies=guards)
    def status() -> Any:
        try:
            hooks = count_hooks(find_unet(model()))
        except FouriScaleError:
            hooks = 0
        report = environment().report
        return {"hooks": hooks, "running": report.running(), "last": report.last}


def schema_of_arguments() -> dict[str, Any]:
    """The script's arguments in positional order, with default, kind and what is allowed."""
    layers = [*LAYER_SETS, "or comma-separated names, * allowed"]
    choices = {"passes": list(PASSES), "layers": layers, "method": list(METHODS)}
    choices["rounding"] = list(ROUNDINGS)
    arguments = []
    for position, field in enumerate(dataclasses.fields(DEFAULTS)):
        entry: dict[str, Any] = {"position": position, "name": field.name, "type": str(field.type)}
        entry["default"] = getattr(DEFAULTS, field.name)
        if field.name in choices:
            entry["choices"] = choices[field.name]
        if field.name in RANGES:
            entry["minimum"], entry["maximum"] = RANGES[field.name]
        if field.name in CUSTOM_FIELDS:
            entry["used"] = 'with the preset "Custom", or when given by name'
        arguments.append(entry)
    example = {"alwayson_scripts": {TITLE: {"args": [{"enabled": True, "preset": DEFAULTS.preset}]}}}
    assert tuple(a["name"] for a in arguments) == FIELDS
    return {"title": TITLE, "arguments": arguments, "example": example}
