"""`fouriscale presets` and `fouriscale plan`: what would be done, in words."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ..errors import SettingsError
from ..hosts.webui.args import parse
from ..hosts.webui.deciding import FIRST, Pass, Request, plan_for
from ..planning import plan_family
from ..settings import presets as preset_files
from ..settings.settings import FAMILIES
from ..unet.structure import blueprint_structure
from .settings_options import with_settings


def presets() -> None:
    """List the presets."""
    table = Table("preset", "family", "size", "dilation", "start", "stop", "estimated time", box=None)
    for preset in preset_files.load():
        if preset.size is None:
            table.add_row(preset.name, preset.family, "any")
            continue
        decided = plan_family(preset.family, *preset.size, preset.settings)
        table.add_row(
            preset.name, preset.family, f"{preset.size[0]}×{preset.size[1]}", f"{decided.dilation:g}",
            f"{decided.start:g}", f"{decided.stop:g}", f"{decided.cost:.2f} × plain",
        )  # fmt: skip
    Console().print(table)


@with_settings
def plan(
    width: Annotated[int, typer.Option(help="Pixels, a multiple of 8.")],
    height: Annotated[int, typer.Option(help="Pixels, a multiple of 8.")],
    family: Annotated[str, typer.Option(help=", ".join(FAMILIES))] = "sd15",
    preset: Annotated[str, typer.Option(help="A name from `fouriscale presets`, or Auto.")] = preset_files.AUTO,
    **chosen: Any,
) -> None:
    """Say what would be done for a size and a model family."""
    if family not in FAMILIES:
        raise SettingsError("family", family, "one of " + ", ".join(FAMILIES))
    given = {name: value for name, value in chosen.items() if value is not None}
    request = Request(parse([{"preset": preset, **given}]), tuple(preset_files.load()), (Pass(FIRST, (width, height)),))
    typer.echo(str(plan_for(blueprint_structure(family), request).passes[0].plan))
