"""The extension's one logger."""

from __future__ import annotations

import logging

from ...errors import one_line

LEVELS = ("ERROR", "WARNING", "INFO", "DEBUG")


class OneLine(logging.Formatter):
    """A message is one line, whatever was put into it; a traceback below it keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The record's line without its traceback."""
        return one_line(super().formatMessage(record))


def get_logger() -> logging.Logger:
    """The logger "fouriscale.webui": its own handler, nothing passed on, INFO unless the settings say otherwise."""
    logger = logging.getLogger("fouriscale.webui")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(OneLine("[FouriScale] %(levelname)s: %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    return logger


def set_level(name: str) -> None:
    """Show messages from `name` on; an unknown name changes nothing."""
    if name in LEVELS:
        get_logger().setLevel(name)
