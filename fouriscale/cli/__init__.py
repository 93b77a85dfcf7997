"""The `fouriscale` command."""

from __future__ import annotations

import sys
import warnings
from typing import NoReturn

import typer

from ..errors import FouriScaleError
from . import bench, demo, evaluate, generate, show, ui

# The base of what typer raises for wrong options. Newer versions carry click inside, so it is taken from typer.
CommandLineError: type[Exception] = typer.BadParameter.__mro__[1]
INTERRUPTED = 130

app = typer.Typer(
    name="fouriscale",
    help="Pictures far above a diffusion model's training size, without training.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.command("generate")(generate.generate)
app.command("evaluate")(evaluate.evaluate)
app.command("bench")(bench.bench)
app.command("presets")(show.presets)
app.command("plan")(show.plan)
app.command("ui")(ui.ui)


def main() -> None:
    """Run the command line. Exit code 2 and one line for what the user can mend, 130 after an interrupt."""
    # Advice from the libraries below is for their developers, not for those who make pictures.
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except CommandLineError as error:
        _fail(error.format_message())  # type: ignore[attr-defined]
    except (FouriScaleError, OSError) as error:
        _fail(str(error))
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED  # newer versions of typer return it themselves
    if code == INTERRUPTED:
        print("interrupted; the finished pictures are kept", file=sys.stderr)
    sys.exit(code or 0)


def _fail(message: str) -> NoReturn:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)
