"""Self-attention of a cond row and its weak row with one softmax, for diffusers' own attention.

The weak row uses its row's queries and keys, so the two differ in their values only: the values are put side by side,
and one attention of twice the width (queries and keys padded with zeros) gives both. Exact.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import AttnProcessor2_0

from ...hooks.adapter import CallAdapter
from ...hooks.convolution import CurrentCall
from ...hooks.rows import RowMap, take


class DiffusersCalls(CallAdapter):
    """What diffusers has to say about each call."""

    def join_attention(self, module: torch.nn.Module, current: CurrentCall) -> list[Any]:
        """Exchange the processor of a self-attention where it is the library's plain one."""
        attention: Any = module
        plain = (
            type(attention.processor) is AttnProcessor2_0
            and attention.spatial_norm is None
            and attention.group_norm is None
            and attention.norm_q is None
            and attention.norm_k is None
            and not attention.residual_connection
            and attention.rescale_output_factor == 1.0
        )
        return [JointProcessor(attention, current)] if plain else []


class JointProcessor:
    """Stands in for the processor of one attention module until `remove` is called."""

    def __init__(self, attention: Any, current: CurrentCall):
        self._attention, self._current, self._original = attention, current, attention.processor
        attention.processor = self

    def remove(self) -> None:
        """Put the processor back, unless somebody else exchanged it meanwhile."""
        if self._attention.processor is self:
            self._attention.processor = self._original

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> torch.Tensor:
        """As the original where there are no weak rows."""
        call = self._current.value
        rows = None if call is None else call.weak
        if rows is None or len(hidden_states) != rows.total or not (encoder_hidden_states is attention_mask is None):
            result: torch.Tensor = self._original(
                attn, hidden_states, encoder_hidden_states, attention_mask, *args, **kwargs
            )
            return result

        def heads(x: torch.Tensor) -> torch.Tensor:
            return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        hosts = hidden_states[: rows.batch]
        found = attend(heads(attn.to_q(hosts)), heads(attn.to_k(hosts)), heads(attn.to_v(hidden_states)), rows)
        result = attn.to_out[0](found.transpose(1, 2).flatten(2))
        return attn.to_out[1](result)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, rows: RowMap) -> torch.Tensor:
    """Attention of the host's rows and the weak rows, (total, heads, tokens, width).

    q, k: of the host's rows, (batch, heads, tokens, width). v: of all rows.
    """
    own, weak = take(v, rows.sources), v[rows.batch :]
    padding = [0, own.shape[-1]]
    both = F.scaled_dot_product_attention(
        F.pad(take(q, rows.sources), padding), F.pad(take(k, rows.sources), padding), torch.cat((own, weak), dim=-1),
        scale=q.shape[-1] ** -0.5,
    )  # fmt: skip
    result = torch.empty_like(v)
    result[rows.batch :] = both[..., own.shape[-1] :]
    result[list(rows.sources)] = both[..., : own.shape[-1]]
    rest = [row for row in range(rows.batch) if row not in rows.sources]
    if rest:
        result[rest] = F.scaled_dot_product_attention(take(q, rest), take(k, rest), take(v, rest))
    return result
