"""FouriScale on diffusers pipelines."""

from ...errors import MissingPackageError

try:
    import diffusers as _diffusers  # noqa: F401
except ImportError as error:
    raise MissingPackageError(error.name or "diffusers") from None
