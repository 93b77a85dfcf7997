"""YAML from a file that anyone may have written: read in bounded time and memory, refused by name of the file."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import yaml

from ..errors import SettingsError

LARGEST = 64 * 1024  # bytes: some 600 presets; PyYAML takes about a second for as much
DEEPEST = 20  # collections in one another; presets have four
MOST_NODES = 20_000  # values, with everything that an alias stands for counted each time


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, plain values only.

    Raises SettingsError, naming the file, for whatever keeps it from being read: not a regular file (a folder, FIFO or
    device, also behind a link), larger than LARGEST, not UTF-8, not YAML, values that YAML has but Python has not (the
    30th of February), nesting beyond DEEPEST, aliases that multiply to more than MOST_NODES. Nothing else is raised.
    """
    try:
        loader = _Loader(_regular_file(path).decode("utf-8-sig"))
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except SettingsError:
        raise
    except Exception as error:  # what PyYAML's constructors raise depends on the value: ValueError, KeyError, …
        raise SettingsError(path.name, " ".join(str(error).split()), "a readable YAML file") from None


def _regular_file(path: Path) -> bytes:
    """Its bytes. Never waits for the other end of a FIFO, and never starts to read a device."""
    _check_kind(path, os.stat(path))
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        _check_kind(path, os.fstat(file.fileno()))  # what was opened may be another one than what was looked at
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise SettingsError(path.name, f"more than {LARGEST} bytes", f"a file of at most {LARGEST} bytes")
    return content


def _check_kind(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise SettingsError(path.name, stat.filemode(found.st_mode), "a readable YAML file: a regular file")
    if found.st_size > LARGEST:
        raise SettingsError(path.name, f"{found.st_size} bytes", f"a file of at most {LARGEST} bytes")


class _Loader(yaml.SafeLoader):
    """SafeLoader that counts while it composes, before anything is built from the nodes."""

    def __init__(self, text: str):
        super().__init__(text)
        self._depth = 0
        self._sizes: dict[int, int] = {}  # of finished nodes, by id: an anchor's is missing while it is being read

    def compose_node(self, parent: Any, index: Any) -> Any:
        """One node with all below it."""
        is_alias = self.check_event(yaml.AliasEvent)
        self._depth += 1
        if self._depth > DEEPEST:
            raise yaml.YAMLError(f"nested deeper than {DEEPEST}")
        node = super().compose_node(parent, index)
        self._depth -= 1
        if is_alias and id(node) not in self._sizes:
            raise yaml.YAMLError("an alias within what it stands for")
        if not is_alias:
            self._sizes[id(node)] = 1 + sum(self._sizes[id(child)] for child in _children(node))
        if self._sizes[id(node)] > MOST_NODES:
            raise yaml.YAMLError(f"more than {MOST_NODES} values, counting what aliases stand for")
        return node


def _children(node: Any) -> list[Any]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
