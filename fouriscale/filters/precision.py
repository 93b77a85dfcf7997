"""Full float32 for matrix products whose rounding matters, whatever the host allows for its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch


class _Switch:
    """Torch's choice of how exactly it multiplies float32 matrices on one kind of device, as long as someone holds it.

    The choice belongs to the whole process, and so does this: what other threads multiply meanwhile is the more exact,
    and the last one to let go puts the host's choice back.
    """

    def __init__(self, own: Any = None, followed: Any = None):
        self._own, self._followed = own, followed
        self._lock, self._holders = threading.Lock(), 0
        self._before: str | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Full float32 within."""
        with self._lock:
            if self._holders == 0:
                self._before = self._off()
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if self._holders == 0 and self._before is not None:
                    self._set(self._before)

    def _off(self) -> str | None:
        """Switch to full float32; what it was before, or None where that it was."""
        before = torch.get_float32_matmul_precision() if self._own is None else self._own.fp32_precision
        if before in ("highest", "ieee", "none"):
            return None
        # A switch that says the same as the one it follows has most likely no choice of its own.
        inherits = self._own is not None and before == self._followed.fp32_precision
        self._set("highest" if self._own is None else "ieee")
        return "none" if inherits else before

    def _set(self, value: str) -> None:
        if self._own is None:
            torch.set_float32_matmul_precision(value)
        else:
            self._own.fp32_precision = value


def _switches() -> dict[str, _Switch]:
    """By type of device: each has its own from torch 2.9 on, where reading the common one may raise."""
    own = {
        "cuda": (torch.backends.cuda.matmul, torch.backends.cudnn),
        "cpu": (getattr(torch.backends.mkldnn, "matmul", None), torch.backends.mkldnn),
    }
    if all(hasattr(switch, "fp32_precision") for pair in own.values() for switch in pair):
        return {device: _Switch(*pair) for device, pair in own.items()}
    common = _Switch()
    return dict.fromkeys(own, common)


_SWITCHES = _switches()


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Without autocast, and without the short mantissas that a host may have chosen for its own speed.

    TF32 keeps 10 bits of each factor's mantissa (A1111 switches it on), which costs the filter as much as its second
    term is worth. The host's choice is as before afterwards, also after an exception.
    """
    try:
        exact: Any = torch.autocast(device.type, enabled=False)
    except RuntimeError:  # older torch knows no autocast on some devices and refuses to switch it off
        exact = nullcontext()
    switch = _SWITCHES.get(device.type)
    with exact, nullcontext() if switch is None else switch.held():
        yield
