"""How the command ends: after an interrupt, and by errors that are not the same in all of its processes."""

from __future__ import annotations

from ..errors import FouriScaleError

INTERRUPTED = 130  # exit code


class ProcessError(FouriScaleError):
    """Something that befell this process alone, so that it says so whatever the others say."""
