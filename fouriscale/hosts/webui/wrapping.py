"""Methods of the host's own objects, wrapped so that something is cleaned up however they end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Wrapping:
    """What was wrapped for one run, and puts it back without touching what other extensions wrapped before or after."""

    def __init__(self) -> None:
        self._wrapped: list[tuple[Any, str, Any, Any]] = []  # object, name, our function, what the object had itself

    def wrap(self, owner: Any, name: str, clean_up: Callable[[], None]) -> None:
        """Call `clean_up` after every call of the method `name` of `owner`, if there is one."""
        original = getattr(owner, name, None)
        if original is None:
            return

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            try:
                return original(*args, **kwargs)
            finally:
                clean_up()

        self._wrapped.append((owner, name, wrapped, vars(owner).get(name)))
        setattr(owner, name, wrapped)

    def unwrap(self, wanted: str) -> None:
        """Undo `wrap` for methods called so. Safe to call twice."""
        for owner, name, wrapped, before in self._wrapped:
            if name != wanted or vars(owner).get(name) is not wrapped:
                continue
            if before is None:
                delattr(owner, name)
            else:
                setattr(owner, name, before)
        self._wrapped = [entry for entry in self._wrapped if entry[1] != wanted]
