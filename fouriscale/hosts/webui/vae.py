"""Tiled decoding in a WebUI: on the current checkpoint's decoder while a generation is under way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import FouriScaleError
from ...vae.tiled import TiledDecoder, tiles_on
from .log import get_logger


class VaeTiles:
    """The tiles of one generation. smallest: the longer side from which on they act, in pixels; 0: never."""

    def __init__(self, smallest: int, note: Callable[[str], None]):
        self._smallest, self._note = smallest, note
        self._attached: TiledDecoder | None = None
        self._refused: Any = None  # the decoder that could not be tiled

    def attach(self, model: Any) -> None:
        """Make the decoder of `model` decode in tiles, and no other one. Never raises; says why it could not.

        It may be called often, and is to be called when the checkpoint may have changed.
        """
        decoder = decoder_of(model)
        if self._smallest <= 0 or decoder is None or decoder is self._refused:
            return
        if self._attached is not None and tiles_on(decoder) is self._attached:
            return
        self.remove()
        self._refused = decoder
        try:
            self._attached = TiledDecoder(decoder, -(-self._smallest // 8)).attach()
        except FouriScaleError as error:
            self._note(f"leaves decoding to the host: {error}")
        except Exception as error:
            get_logger().exception("unexpected error while preparing the decoder")
            self._note(f"leaves decoding to the host: unexpected {type(error).__name__}: {error}")
        else:
            self._refused = None

    def remove(self) -> None:
        """Give the decoder its own forward back. Safe to call at any time, and twice."""
        attached, self._attached = self._attached, None
        if attached is not None:
            attached.remove()


def decoder_of(model: Any) -> Any:
    """The VAE decoder of a WebUI's checkpoint, or None. Forge holds it apart, behind its patcher."""
    forge = getattr(model, "forge_objects", None)
    owner = model if forge is None else getattr(forge, "vae", None)
    return getattr(getattr(owner, "first_stage_model", None), "decoder", None)


def remove_leftovers(model: Any) -> None:
    """Undo what an earlier generation left on the decoder of `model`."""
    decoder = decoder_of(model)
    attached = None if decoder is None else tiles_on(decoder)
    if attached is not None:
        attached.remove()
