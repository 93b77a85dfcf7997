"""What an interrupt says: nothing, unless there is something to keep."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .team import is_first


@contextmanager
def finished_pictures_are_kept() -> Iterator[None]:
    """Around the making of pictures: an interrupt says that those which are finished stay."""
    try:
        yield
    except KeyboardInterrupt:
        if is_first():
            print("interrupted; the finished pictures are kept", file=sys.stderr)
        raise
