"""Which pictures a run makes: each one's request, file and record follow from its line and its number alone."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ..hosts.diffusers.pictures import slug
from ..hosts.diffusers.sampling import Request
from ..settings.settings import Settings
from .identity import Identity

# What changes how a picture is computed, but not the picture; and what is only for its text.
SAME_PICTURE = frozenset({"low_memory", "vae_tiles", "own"})


@dataclass(frozen=True)
class Picture:
    """One picture of a run. record: everything that it is made from, in plain values."""

    request: Request
    path: Path
    record: dict[str, Any]


@dataclass(frozen=True)
class Pictures:
    """The pictures of a run, in order; picture n of a prompt has the seed `request.seed` + n.

    Each is made up when it is asked for, since there may be very many. common: what their records have in common.
    indices: which of the run's these are.
    """

    request: Request
    prompts: list[str]
    count: int
    out: Path
    common: dict[str, Any]
    indices: range

    @classmethod
    def of(cls, request: Request, prompts: list[str], count: int, out: Path, more: dict[str, Any]) -> Pictures:
        """All pictures of a run. more: plain values for the records beside the request's, or in their place."""
        return cls(request, prompts, count, out, {**record(request), **more}, range(len(prompts) * count))

    def part(self, first: int, step: int) -> Pictures:
        """Every `step`-th from `first`."""
        return dataclasses.replace(self, indices=self.indices[first::step])

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, number: int) -> str:
        """The file's name."""
        line, text, seed = self._place(number)
        return f"{line:05d}-{seed}-{slug(text)}.png"

    def __getitem__(self, number: int) -> Picture:
        _, text, seed = self._place(number)
        one = dataclasses.replace(self.request, prompt=text, seed=seed)
        return Picture(one, self.out / self.name(number), {**self.common, "prompt": text, "seed": seed})

    def _place(self, number: int) -> tuple[int, str, int]:
        line, n = divmod(self.indices[number], self.count)
        return line + 1, self.prompts[line], self.request.seed + n


def record(request: Request) -> dict[str, Any]:
    """`request` in plain values, without what has its default, as JSON gives them back."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(request):
        value = getattr(request, field.name)
        if field.name == "settings" or (value != field.default and field.name not in SAME_PICTURE):
            values[field.name] = value
    return json.loads(json.dumps(values, default=_plain))


def identified(request: Request, identity: Identity) -> dict[str, Any]:
    """What stands in the record for the names of models, which others may have too."""
    found: dict[str, Any] = {"model": identity.model}
    values = record(request)
    for name, model in (("refiner", identity.refiner), ("control", identity.controlnet)):
        if name in values:
            found[name] = {**{k: v for k, v in values[name].items() if k != "file"}, "name": model}
    if identity.loras:
        weights = (weight for _, weight in request.loras)
        found["loras"] = [list(pair) for pair in zip(identity.loras, weights, strict=True)]
    if identity.embeddings:
        found["embeddings"] = [list(pair) for pair in zip(identity.embeddings, request.embeddings, strict=True)]
    if identity.config:
        found["config"] = identity.config
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Settings):
        return {k: v for k, v in value.non_defaults().items() if k not in SAME_PICTURE}
    if isinstance(value, Image.Image):
        return hashlib.sha256(value.mode.encode() + repr(value.size).encode() + value.tobytes()).hexdigest()
    if dataclasses.is_dataclass(value):
        # What cannot be told in plain values, such as a second pipeline, is told by its name beside it.
        return {f.name: v for f in dataclasses.fields(value) if not hasattr(v := getattr(value, f.name), "components")}
    return str(value)
