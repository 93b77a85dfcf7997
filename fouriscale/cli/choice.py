"""Which settings are meant: a preset's, Auto's or those of a configuration of the authors', and what overrules them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from ..hosts.diffusers.sampling import METHODS
from ..lab import published_config
from ..lab.published_config import ReferenceConfig
from ..maths.sizes import Size, check_picture_size
from ..methods import method_class
from ..planning import plan
from ..planning.plans import Plan
from ..settings import presets as preset_files
from ..settings.presets import Preset
from ..settings.settings import Settings
from ..unet.structure import describe


@dataclass(frozen=True)
class Choice:
    """What the options say of the method.

    preset: the one that was named; None: Auto. config: what a configuration of the authors says, with the size that
    was asked for; without such a file, its `file` is "". changes: settings that were given one by one.
    """

    method: str
    preset: Preset | None
    config: ReferenceConfig
    changes: Mapping[str, Any]

    @classmethod
    def of(
        cls, method: str, preset: str, file: Path | None, size: tuple[int | None, int | None], given: Mapping[str, Any]
    ) -> Choice:
        """From the options. size: (width, height); None: the preset's or configuration's. Raises SettingsError."""
        named = preset_files.find(preset)
        config = ReferenceConfig("", (named.size if named else None) or (512, 512), 0)
        if file is not None:
            if named is not None:
                raise SettingsError("preset", named.name, "Auto beside --config, which says what presets say")
            config = published_config.read(file)
        width, height = (own if asked is None else asked for own, asked in zip(config.size, size, strict=True))
        check_picture_size(width, height)
        others = {} if method in METHODS[:2] else {"method": method}
        made = cls(method, named, dataclasses.replace(config, size=(width, height)), {**given, **others})
        made._basis.replace(**made.changes)  # what is wrong with them is said before a model is loaded
        return made

    @property
    def size(self) -> Size:
        """(width, height) in pixels."""
        return self.config.size

    @property
    def _basis(self) -> Settings:
        return self.preset.settings if self.preset else preset_files.AUTO_SETTINGS

    @property
    def name(self) -> str | None:
        """Of the preset, for the picture's text; None with a configuration of the authors'."""
        return None if self.config.file else self.preset.name if self.preset else preset_files.AUTO

    @property
    def own(self) -> Settings | None:
        """What the preset means by itself; None with a configuration of the authors'."""
        return None if self.config.file else self._basis

    def plan(self, unet: Any) -> Plan:
        """For a model. Raises SettingsError for a preset of another family, and what planning raises."""
        basis = self.config.settings(describe(unet)) if self.config.file else self._basis
        settings = basis.replace(**self.changes)
        if "freeu" not in self.changes and method_class(settings.method).published_with_freeu:
            settings = with_freeu(settings, unet)
        made = plan(unet, *self.size, settings)
        if self.preset is not None and not self.preset.fits(made.family):
            allowed = f"one for {made.family}, which this model is, or Auto"
            raise SettingsError("preset", self.preset.name, allowed)
        return made


def with_freeu(settings: Settings, unet: Any) -> Settings:
    """`settings` with FreeU on, as in the authors' runs, if the UNet has layers on which it acts."""
    if settings.freeu is not False:
        return settings
    changed = settings.replace(freeu=True)
    made = plan(unet, 512, 512, changed)
    acts = made.freeu is not None and any(made.freeu.factors(backbone) for _, backbone in made.up_resnets)
    return changed if acts else settings
