"""One softmax for a cond row and its weak row: the same numbers as two attentions, and nothing left behind."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

import fouriscale as fs
from fouriscale.hooks.rows import RowMap
from fouriscale.hosts.diffusers.attention import DiffusersCalls, JointProcessor, attend
from unets import build, inputs, run


@pytest.mark.parametrize("rows", [RowMap(2, (1,)), RowMap(4, (0, 2)), RowMap(2, (0, 1)), RowMap(1, (0,))])
def test_attention_of_two_values_is_two_attentions(rows: RowMap) -> None:
    torch.manual_seed(0)
    q, k = (torch.randn(rows.batch, 3, 11, 8) for _ in range(2))
    v = torch.randn(rows.total, 3, 11, 8)
    order = [*range(rows.batch), *rows.sources]
    expected = F.scaled_dot_product_attention(q[order], k[order], v)
    torch.testing.assert_close(attend(q, k, v, rows), expected, atol=1e-6, rtol=1e-5)


def _processors(unet: torch.nn.Module) -> list[object]:
    return [m.processor for m in unet.modules() if hasattr(m, "processor")]


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
@pytest.mark.parametrize("labels", [("uncond", "cond"), ("cond", "uncond"), ("cond", "cond")])
def test_unet_gives_the_same_as_with_two_attentions(family: str, labels: tuple[str, ...]) -> None:
    unet = build(family)
    before = _processors(unet)
    x = inputs(family, 2, 20, 20)
    plan = fs.plan(unet, 160, 160)
    outputs = []
    for adapter in (None, DiffusersCalls()):
        with fs.attach(unet, plan, labels, adapter) as session:
            session.progress = 0.1
            joint = sum(isinstance(p, JointProcessor) for p in _processors(unet))
            assert joint == (len(plan.attention) if adapter else 0)
            outputs.append(run(unet, x))
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-5, rtol=0)
    assert _processors(unet) == before


def test_other_processors_are_left_alone_and_come_back_after_an_exception() -> None:
    unet = build("sd15")
    unet.set_attn_processor(AttnProcessor())
    before = _processors(unet)
    with fs.attach(unet, fs.plan(unet, 160, 160), ("uncond", "cond"), DiffusersCalls()):
        assert _processors(unet) == before
    unet.set_attn_processor(AttnProcessor2_0())
    before = _processors(unet)

    def interrupted() -> None:
        with fs.attach(unet, fs.plan(unet, 160, 160), None, DiffusersCalls()):
            assert _processors(unet) != before
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert _processors(unet) == before
