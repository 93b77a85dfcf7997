"""The command's parts put together, and what becomes of errors: one line, and an exit code."""

from __future__ import annotations

import sys
import warnings

import typer

from ..errors import FouriScaleError, NotFiniteError, SettingsError
from . import bench, demo, evaluate, generate, show, ui
from .errors import INTERRUPTED, ProcessError
from .team import is_first

try:
    from typer import TyperException as CommandLineError  # what typer raises for wrong options
except ImportError:  # versions that stand on click
    from click import ClickException as CommandLineError  # type: ignore[assignment]

LONGEST = 1000  # characters of a message
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


def run(args: list[str]) -> int:
    """Run the command line; the exit code. What the user can mend is said in one line.

    Of several processes that were launched together, all see a mistake of the user's, and the first speaks of it.
    """
    # Advice from the libraries below is for their developers, not for those who make pictures.
    warnings.filterwarnings("ignore", category=FutureWarning)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal without the character × is no reason to fail
            stream.reconfigure(errors="replace")
    try:
        _check_text(args)
        return app(args or ["--help"], standalone_mode=False) or 0
    except CommandLineError as error:
        return _say(error.format_message(), everywhere=False)
    except ProcessError as error:
        return _say(str(error), everywhere=True)
    except NotFiniteError as error:
        return _say(str(error), everywhere=True, code=1)
    except FouriScaleError as error:
        return _say(str(error), everywhere=False)
    except OSError as error:
        return _say(str(error), everywhere=True)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED  # newer versions of typer return it themselves


def _check_text(args: list[str]) -> None:
    """Python passes bytes that are no text on as lone surrogates, which nothing below can write or print."""
    for arg in args:
        try:
            arg.encode()
        except UnicodeEncodeError:
            raise SettingsError("argument", arg, "text in UTF-8") from None


def _say(message: str, everywhere: bool, code: int = 2) -> int:
    if everywhere or is_first():
        line = " ".join(message.split())
        if len(line) > LONGEST:  # what is allowed stands at the end
            line = f"{line[: LONGEST // 2]} … {line[-LONGEST // 2 :]}"
        print(f"error: {line}", file=sys.stderr)
    return code
