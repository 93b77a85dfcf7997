"""Full float32 for matrix products whose rounding matters, whatever the host allows for its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

# The switch belongs to the whole process. What another thread computes meanwhile is the more exact for it; the lock
# only keeps two threads from taking each other's "off" for the host's own choice.
_SWITCHING = threading.Lock()
FULL = ("ieee", "none")


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Without autocast, and without the short mantissas that a host may have chosen for its own speed.

    TF32 keeps 10 bits of a factor's mantissa (A1111 switches it on), which costs the filter 5·10⁻⁴, as much as its
    second term is worth. The host's choice is as before afterwards, also after an exception.
    """
    try:
        plain = torch.autocast(device.type, enabled=False)
    except RuntimeError:  # older torch knows no autocast on some devices and refuses to switch it off
        plain = None
    with _full_float32(device):
        if plain is None:
            yield
        else:
            with plain:
                yield


@contextmanager
def _full_float32(device: torch.device) -> Iterator[None]:
    switch, parent = _switches(device)
    if switch is None:
        if torch.get_float32_matmul_precision() == "highest":
            yield
            return
        with _SWITCHING:
            before = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision("highest")
            try:
                yield
            finally:
                torch.set_float32_matmul_precision(before)
        return
    if switch.fp32_precision in FULL:
        yield
        return
    with _SWITCHING:
        # An own value that equals the parent's is most likely none: reading follows the parent, as kernels do.
        before = switch.fp32_precision
        before = "none" if before == parent.fp32_precision else before
        switch.fp32_precision = "ieee"
        try:
            yield
        finally:
            switch.fp32_precision = before


def _switches(device: torch.device) -> tuple[Any, Any]:
    """The switch of `device`'s matrix products and the one it follows; (None, None) where torch has one for all.

    Torch from 2.9 on has a switch for each device, and reading the old common one raises once a host used the new.
    """
    found: tuple[Any, Any]
    if device.type == "cuda":
        found = torch.backends.cuda.matmul, torch.backends.cudnn
    else:
        found = getattr(torch.backends.mkldnn, "matmul", None), torch.backends.mkldnn
    return found if all(hasattr(one, "fp32_precision") for one in found) else (None, None)
