"""Attention entropy (arXiv 2306.08645), to compare with: queries are scaled so that attention stays sharp."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ..maths.schedule import Progress
from ..settings.settings import Settings
from .base import Frame, Method


def entropy_scale(tokens: int, area_ratio: float) -> float:
    """Factor on the queries of a self-attention of `tokens` tokens: ``sqrt(log tokens / log training tokens)``.

    area_ratio: picture's area over the training area, by which the training tokens are fewer. 1.0 where either count
    is too small for a logarithm above 0.
    """
    trained = tokens / area_ratio
    if tokens <= 1 or trained <= math.e:
        return 1.0
    return math.sqrt(math.log(tokens) / math.log(trained))


@dataclass(frozen=True)
class AttentionEntropy(Method):
    """Dilates nothing; scales the queries of every self-attention in every step."""

    scales_queries: ClassVar[bool] = True

    @classmethod
    def decide(cls, frame: Frame, settings: Settings) -> AttentionEntropy:  # noqa: ARG003
        """Nothing is left to choose."""
        return cls(frame, (), 1.0, 1.0)

    def dilation_at(self, progress: Progress) -> float | None:
        """1.0: at work in every step."""
        return 1.0

    def query_scale(self, tokens: int) -> float:
        """See `entropy_scale`."""
        return entropy_scale(tokens, self.frame.area_ratio)

    def header(self) -> str:
        """It has no dilation to speak of."""
        return "queries scaled"

    def words(self) -> tuple[str, ...]:
        """One line."""
        return ("queries scaled in every step",)


METHOD = AttentionEntropy
