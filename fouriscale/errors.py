"""What can go wrong, as types. Every message names the field or module, the value seen, and what is allowed."""


class FouriScaleError(Exception):
    """Base of all errors that FouriScale raises on purpose."""


class SettingsError(FouriScaleError, ValueError):
    """A setting has a value that is not allowed."""

    def __init__(self, field: str, value: object, allowed: str):
        super().__init__(f"{field} = {value!r} is not allowed: {allowed}")
        self.field, self.value, self.allowed = field, value, allowed


class UnsupportedModelError(FouriScaleError, TypeError):
    """The module is not a UNet of Stable Diffusion 1.x, 2.x or XL, or runs in a form that hooks cannot reach."""


class RowsError(FouriScaleError, ValueError):
    """The row labels do not fit the batch that the UNet was called with."""
