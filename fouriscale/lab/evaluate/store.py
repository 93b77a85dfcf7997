"""Finished pictures on disk: a PNG and its numbers each, and a line in records.jsonl that says that they are whole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import SettingsError
from ...hosts.diffusers.files import write_whole

Key = tuple[str, str, int]


@dataclass(frozen=True)
class Record:
    """One picture. index: which sample; the same index has the same prompt and seed in every method and size.

    seconds: its share of the batch's time. metrics: by name, None where undefined. file: without its ending,
    relative to the folder; .png is the picture, .npz holds latents and features.
    """

    method: str
    size: str
    index: int
    prompt: str
    seed: int
    width: int
    height: int
    seconds: float
    file: str
    definition: dict[str, Any] | None
    metrics: dict[str, float | None] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """What a picture is known by."""
        return self.method, self.size, self.index


class Store:
    """The folder of a run. A run that goes on must have been started with the same `run` values."""

    def __init__(self, folder: Path, run: dict[str, Any] | None):
        """run: None opens what is there. Raises SettingsError for a folder of another run."""
        self.folder = folder
        path = folder / "run.json"
        if run is None:
            if not path.is_file():
                raise SettingsError("out", str(folder), "a folder that an evaluation wrote to")
            self.run = _read_run(path)
        else:
            self.run = json.loads(json.dumps(run))
            self._check(path)
        self.records = self._read()

    def start(self) -> None:
        """Make the folder. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / "run.json", lambda f: f.write(json.dumps(self.run, indent=1).encode()))

    def _check(self, path: Path) -> None:
        if not path.is_file():
            return
        before = _read_run(path)
        other = sorted(k for k in {*before, *self.run} if before.get(k) != self.run.get(k))
        if other:
            raise SettingsError(
                "out", str(self.folder), "a new folder, as this one's run differs in " + ", ".join(other)
            )

    def check_definition(self, method: str, definition: dict[str, Any] | None) -> None:
        """Raise SettingsError where pictures of a method of this name, but of other settings, are kept."""
        for record in self.records.values():
            if record.method == method and record.definition != definition:
                kept = json.dumps(record.definition)
                raise SettingsError(
                    "methods", method, f"a new name, as {self.folder} has pictures of {method} = {kept}"
                )

    def _read(self) -> dict[Key, Record]:
        found: dict[Key, Record] = {}
        path = self.folder / "records.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        for line in lines:
            try:
                record = Record(**json.loads(line))
            except (json.JSONDecodeError, TypeError):
                continue  # the line that a killed run was writing
            if all((self.folder / (record.file + ending)).is_file() for ending in (".png", ".npz")):
                found[record.key] = record
        return found

    def add(self, records: Iterable[Record]) -> None:
        """Note finished pictures, whose files are in place, in one write."""
        records = list(records)
        # A line that a killed run broke off is ended first.
        text = "\n" + "".join(json.dumps(asdict(record)) + "\n" for record in records)
        with (self.folder / "records.jsonl").open("a", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        self.records.update({record.key: record for record in records})

    def save_arrays(self, file: str, arrays: dict[str, np.ndarray]) -> None:
        """Write `file`.npz, whole or not at all."""
        path = self.folder / (file + ".npz")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda f: np.savez(f, **arrays))  # type: ignore[arg-type]

    def arrays(self, record: Record, name: str) -> np.ndarray:
        """An array of a picture: "latents" (4, h, w), "structure" (64,) or "patches" (8, 32)."""
        with np.load(self.folder / (record.file + ".npz")) as held:
            return held[name]

    def group(self, method: str, size: str) -> dict[int, Record]:
        """Finished pictures of a method and size by index, in order."""
        found = [r for r in self.records.values() if (r.method, r.size) == (method, size)]
        return {r.index: r for r in sorted(found, key=lambda r: r.index)}


def _read_run(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise SettingsError("out", str(path.parent), f"a folder whose {path.name} can be read")
    return found
