"""The command line: which cases, against which WebUI, with which checkpoints."""

from __future__ import annotations

import argparse
import json
import time
import urllib.error
from dataclasses import fields

from . import __doc__ as about
from . import basic, beside, models, page, trouble
from .client import Given, Skipped, Webui


def main() -> None:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:7860")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--base", default="512x512")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--only", default="", help="comma-separated parts of case names")
    parser.add_argument("--extra", default="{}", help="more fields of every request, JSON")
    for name in fields(Given):
        parser.add_argument("--" + name.name.replace("_", "-"), default="", metavar="NAME")
    given = parser.parse_args()
    named = Given(**{name.name: getattr(given, name.name) for name in fields(Given)})
    web = Webui(given.url, given.size, given.base, given.steps, json.loads(given.extra), named)
    print("| case | result | hooks left | seconds |\n|---|---|---|---|")
    for group in (basic, beside, models, trouble, page):
        for name, action in group.cases(web):
            if given.only and not any(part in name for part in given.only.split(",")):
                continue
            print(line_of(web, name, action), flush=True)


def line_of(web: Webui, name: str, action: basic.Action) -> str:
    """Run one case; its line of the table."""
    start = time.time()
    try:
        result = action()
    except Skipped as reason:
        result = f"not run: {reason}"
    except urllib.error.HTTPError as error:
        result = f"FAILED: HTTP {error.code}: {error.read().decode(errors='replace')[:200]}"
    except Exception as error:  # whatever goes wrong in one case, the others are still to be run
        result = f"FAILED: {type(error).__name__}: {error}"[:600]
    return f"| {name} | {result} | {web.hooks()} | {time.time() - start:.0f} |".replace("\n", " ")


if __name__ == "__main__":
    main()
