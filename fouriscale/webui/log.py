"""The extension's one logger."""

from __future__ import annotations

import logging

LEVELS = ("ERROR", "WARNING", "INFO", "DEBUG")


def get_logger() -> logging.Logger:
    """The logger "fouriscale.webui": its own handler, nothing passed on, WARNING unless the settings say otherwise."""
    logger = logging.getLogger("fouriscale.webui")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("[FouriScale] %(levelname)s: %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    return logger


def set_level(name: str) -> None:
    """Show messages from `name` on; an unknown name changes nothing."""
    if name in LEVELS:
        get_logger().setLevel(name)
