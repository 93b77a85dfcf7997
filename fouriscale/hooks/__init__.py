"""What acts on a UNet during sampling: hooks, rows, and the session that owns them."""

from .attach import attach, count_hooks
from .session import Session, session_on

__all__ = ["Session", "attach", "count_hooks", "session_on"]
