"""Where the session puts the call that is under way, and where the hooks look for it."""

from __future__ import annotations

from .call import Call


class CurrentCall:
    """value: None outside of calls. ran: the hooks on convolutions, or on attention where that is the method, that
    were reached in this call.
    """

    def __init__(self) -> None:
        self.value: Call | None = None
        self.ran: set[object] = set()

    @property
    def at_work(self) -> Call | None:
        """The call, if convolutions or attention are to be changed in it."""
        return self.value if self.value is not None and self.value.is_at_work else None

    def clear(self) -> None:
        """No call is under way."""
        self.value = None
        self.ran.clear()
