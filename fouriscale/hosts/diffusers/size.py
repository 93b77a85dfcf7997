"""The size of pictures that a pipeline makes where its call does not say one."""

from __future__ import annotations

import functools
import inspect
from types import TracebackType
from typing import Any

from ...maths.sizes import Size

# Methods of a pipeline that are given sizes -> their arguments, each with the size that it stands for.
TAKING: dict[str, dict[str, str]] = {
    "prepare_image": {"width": "width", "height": "height"},
    "prepare_latents": {"width": "width", "height": "height"},
    "_get_add_time_ids": {"original_size": "both", "target_size": "both"},
}


class DefaultSize:
    """Gives a pipeline another default size, (width, height) in pixels; a context manager.

    A pipeline fills in the size that its UNet was made for and hands it to methods of its own, which are shadowed on
    the instance: they get this size in its place, or in place of None. Any other size is the caller's and stays.
    """

    def __init__(self, pipe: Any, size: Size):
        self._pipe, self._size = pipe, size
        sample = pipe.unet.config.sample_size
        height, width = (sample, sample) if isinstance(sample, int) else sample
        self._own: Size = width * pipe.vae_scale_factor, height * pipe.vae_scale_factor

    def __enter__(self) -> DefaultSize:
        for name, arguments in TAKING.items():
            method = getattr(self._pipe, name, None)
            if method is not None and set(arguments) <= set(inspect.signature(method).parameters):
                vars(self._pipe)[name] = self._with_size(method, arguments)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in TAKING:
            vars(self._pipe).pop(name, None)

    def _with_size(self, method: Any, arguments: dict[str, str]) -> Any:
        signature = inspect.signature(method)
        size = {**dict(zip(("width", "height"), self._size, strict=True)), "both": self._size[::-1]}
        own = {**dict(zip(("width", "height"), self._own, strict=True)), "both": self._own[::-1]}

        @functools.wraps(method)
        def sized(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            if all(bound.arguments.get(name) in (None, own[kind]) for name, kind in arguments.items()):
                bound.arguments.update({name: size[kind] for name, kind in arguments.items()})
            return method(*bound.args, **bound.kwargs)

        return sized
