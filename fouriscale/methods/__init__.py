"""The methods, one file each. `fouriscale/settings/fields.py` lists their names."""

from __future__ import annotations

from importlib import import_module

from .base import Frame, Method, Treatment

__all__ = ["Frame", "Method", "Treatment", "method_class"]


def method_class(name: str) -> type[Method]:
    """The class of the method called `name`: `METHOD` of the file of that name, hyphens as underscores."""
    found: type[Method] = import_module(f"{__name__}.{name.replace('-', '_')}").METHOD
    return found
