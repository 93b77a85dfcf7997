"""The trial of a running WebUI: its verdicts, against a WebUI that answers from a list."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tools.try_webui import basic, beside, models, page, trouble
from tools.try_webui.__main__ import line_of
from tools.try_webui.client import (
    Given,
    Skipped,
    Webui,
    compared,
    must_be_as_before,
    must_differ,
    must_equal,
    unchanged,
)


def made(*levels: float) -> dict[str, Any]:
    return {"arrays": [np.full((4, 4, 3), level, np.float32) for level in levels], "info": {"infotexts": [""]}}


class Answers(Webui):
    """Plain pictures of one brightness, FouriScale's of another."""

    def __init__(self, plain: float, fouriscale: float, left: int = 0, state: dict[str, str] | None = None):
        super().__init__("http://127.0.0.1:1/", 64, "32x32", 2, given=Given(lora="one"))
        self._levels, self._left, self._state = (plain, fouriscale), left, state or {}

    def pictures(self, args: Any, path: str = "txt2img", **changes: Any) -> dict[str, Any]:
        return made(self._levels[args is not None])

    def hooks(self) -> int:
        return self._left

    def last(self) -> dict[str, Any]:
        return {"unet_calls": 7, "reason": "because"}

    def state(self) -> dict[str, str]:
        return self._state


def test_pictures_that_must_differ_and_must_not() -> None:
    assert must_differ(made(1.0, 3.0), made(2.0, 5.0), "it") == "it differs by 1.0, 2.0"
    assert must_equal(made(1.0), made(1.0), "it") == "it: same picture"
    with pytest.raises(AssertionError, match=r"it: no effect: \[1\.0, 0\.0"):
        must_differ(made(1.0, 3.0), made(2.0, 3.05), "it")
    with pytest.raises(AssertionError, match="differs by"):
        must_equal(made(1.0, 1.0), made(1.0, 1.25), "it")
    assert compared(Answers(1.0, 3.5)) == "differs by 2.5; 7 UNet calls at work"
    assert unchanged(Answers(1.0, 1.0), {}) == "plain; because"
    with pytest.raises(AssertionError):
        compared(Answers(1.0, 1.0))
    with pytest.raises(AssertionError):
        unchanged(Answers(1.0, 1.5), {})


def test_a_module_that_changed_is_named() -> None:
    before = {"input_blocks.0": "0 hooks; (1, 1)", "out": "0 hooks"}
    must_be_as_before(Answers(0.0, 0.0, state=dict(before)), before)
    with pytest.raises(AssertionError, match=r"1 of the UNet's modules.*input_blocks\.0: 0 hooks; \(1, 1\) -> 1 hooks"):
        must_be_as_before(Answers(0.0, 0.0, state={**before, "input_blocks.0": "1 hooks; (2, 2)"}), before)


def test_lines_of_the_table() -> None:
    web = Answers(0.0, 0.0, left=3)

    def missing() -> str:
        return web.given.need("checkpoint_xl")

    def wrong() -> str:
        raise TypeError("first\nsecond")

    assert line_of(web, "a", lambda: "well").startswith("| a | well | 3 | ")
    assert line_of(web, "b", missing).startswith("| b | not run: no --checkpoint-xl | 3 | ")
    assert line_of(web, "c", wrong).startswith("| c | FAILED: TypeError: first second | 3 | ")
    assert web.given.need("lora") == "one"
    with pytest.raises(Skipped):
        missing()


def test_names_of_cases_are_unique() -> None:
    names = [name for group in (basic, beside, models, trouble, page) for name, _ in group.cases(Answers(0.0, 0.0))]
    assert len(names) > 70
    assert len(set(names)) == len(names)
