"""What a user says: the table of choices, presets, and settings as text in a picture."""

from .fields import FAMILIES, LAYER_SETS, METHODS, ROUNDINGS, Field
from .settings import ARGUMENTS, BY_NAME, FIELDS, SETTINGS_FIELDS, PanelChoices, Settings

__all__ = [
    "ARGUMENTS", "BY_NAME", "FAMILIES", "FIELDS", "LAYER_SETS", "METHODS", "ROUNDINGS", "SETTINGS_FIELDS", "Field",
    "PanelChoices", "Settings",
]  # fmt: skip
