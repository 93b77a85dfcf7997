"""Attention entropy (arXiv 2306.08645): over more tokens than in training softmax spreads; scaled logits mend it."""

from __future__ import annotations

import math


def entropy_scale(tokens: int, area_ratio: float) -> float:
    """Factor on the queries of a self-attention of `tokens` tokens: ``sqrt(log tokens / log training tokens)``.

    area_ratio: picture's area over the training area, by which the training tokens are fewer. 1.0 where either count
    is too small for a logarithm above 0.
    """
    trained = tokens / area_ratio
    if tokens <= 1 or trained <= math.e:
        return 1.0
    return math.sqrt(math.log(tokens) / math.log(trained))
