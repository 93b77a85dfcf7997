"""Tiny ldm UNets as A1111 and Forge call them, what sampling with them should give, and ways to look inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

import fouriscale as fs
import unets
from ldm_unets import openaimodel, to_ldm
from unets import BASE, noise, traces
from webui_standin import CFG, COND, STEP, TIMESTEPS, Words, guide, join, text_and_vector


def three_rows(
    unet_at: nn.Module | Callable[[int], nn.Module], plan: fs.Plan | None, x: Tensor, prompts: Words,
    scale: float = CFG, vector: Callable[[Tensor], Tensor] = lambda y: y, without_uncond: Sequence[int] = (),
    stop: int | None = None,
) -> Tensor:  # fmt: skip
    """What sampling should give: every step one batched call of uncond and cond rows, under `fs.attach` itself.

    unet_at: the UNet, or a function from the step to it. plan: None for plain sampling. vector: what happens to SDXL's
    vector condition. without_uncond: steps in which uncond has no say. stop: only so many steps.
    """
    order = list(range(len(x))) + prompts.owners
    labels = ("uncond",) * len(x) + ("cond",) * len(prompts.owners)
    texts, vectors = zip(text_and_vector(prompts.uncond), text_and_vector(prompts.cond), strict=True)
    more = {} if vectors[0] is None else {"y": vector(join(vectors))}  # type: ignore[arg-type]
    with ExitStack() as attached, torch.no_grad():
        seen: list[nn.Module] = []
        for step, timestep in enumerate(TIMESTEPS[:stop]):
            unet = unet_at if isinstance(unet_at, nn.Module) else unet_at(step)
            if plan is not None and not any(unet is other for other in seen):
                seen.append(unet)
                attached.enter_context(fs.attach(unet, plan, rows=labels))
            rows = x[order]
            out = unet(rows, torch.full((len(rows),), timestep), context=join(texts), **more)
            uncond, cond = out[: len(x)], out[len(x) :]
            x = x - STEP * (cond if step in without_uncond else guide(cond, uncond, prompts.weights, scale))
    return x


def build_unet(family: str = "sd15", forge: bool = False, seed: int = 0) -> nn.Module:
    """A tiny ldm UNet whose training size is 64×64 pixels, as A1111 or as Forge calls it.

    The same one for the same arguments, unless a test left anything on it.
    """
    key = (family, forge, seed)
    if key not in _built or traces(_built[key][0]) != _built[key][1]:
        unet = _build(*key)
        _built[key] = (unet, traces(unet))
    return _built[key][0]


_built: dict[tuple[str, bool, int], tuple[nn.Module, dict[str, Any]]] = {}


def _build(family: str, forge: bool, seed: int) -> nn.Module:
    real = {"addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 1280 + 6 * 256}
    unet = to_ldm(unets.build(family, seed, **(real if family == "sdxl" else {})))
    unet.config = SimpleNamespace(sample_size=BASE // 8)
    if forge:
        unet.__class__ = ForgeUNet
        for block in (*unet.input_blocks, unet.middle_block, *unet.output_blocks):
            block.__class__ = ForgeBlock
    return unet


class ForgeBlock(openaimodel.TimestepEmbedSequential):
    """A block that shows its state to other extensions, with what is said about the rows."""

    def forward(self, x: Tensor, emb: Tensor, context: Tensor, options: dict[str, Any]) -> Tensor:
        for look in options.get("block_inner_modifiers", []):
            x = look(x, "before", self[0], 0, self, options)
        return super().forward(x, emb, context)


class ForgeUNet(openaimodel.UNetModel):
    """Takes ControlNet residuals, which it pops from their lists, and insists that everything counts the same rows."""

    def forward(
        self, x: Tensor, timesteps: Tensor, context: Tensor, y: Tensor | None = None,
        control: dict[str, list[Tensor]] | None = None, transformer_options: dict[str, Any] | None = None,
    ) -> Tensor:  # fmt: skip
        options = transformer_options or {}
        if options:
            check_rows(len(x), (timesteps, context, y), control, options)

        def residual(place: str) -> Any:
            stack = (control or {}).get(place)
            return stack.pop() if stack else 0

        emb = self.time_embed(openaimodel.timestep_embedding(timesteps, self.model_channels))
        if y is not None:
            emb = emb + self.label_emb(y)
        skips = []
        for block in self.input_blocks:
            x = block(x, emb, context, options) + residual("input")
            skips.append(x)
        x = self.middle_block(x, emb, context, options) + residual("middle")
        for block in self.output_blocks:
            x = block(torch.cat([x, skips.pop() + residual("output")], dim=1), emb, context, options)
        return self.out(x)


def check_rows(rows: int, tensors: Sequence[Tensor | None], control: Any, options: dict[str, Any]) -> None:
    """Everything that counts rows must count the same, and call the same rows cond."""
    chunk, rest = divmod(rows, len(options["cond_or_uncond"]))
    labels = [mark for mark in options["cond_or_uncond"] for _ in range(chunk)]
    assert not rest
    if "cond_mark" in options:  # tiling extensions leave these as they are
        assert options["cond_mark"].tolist() == labels
        assert sorted(options["cond_indices"] + options["uncond_indices"]) == list(range(rows))
        assert all(labels[row] == COND for row in options["cond_indices"])
    assert all(len(t) == rows for t in tensors if t is not None)
    assert all(len(t) == rows for stack in (control or {}).values() for t in stack)


class Control:
    """A ControlNet: residuals for every input block and the middle, which depend on the row's own latent."""

    def __init__(self, unet: nn.Module, latent: tuple[int, int]):
        shapes: list[torch.Size] = []
        hooks = [b.register_forward_hook(lambda m, a, out: shapes.append(out.shape)) for b in self._blocks(unet)]
        vector = torch.zeros(1, 2816) if unet.num_classes is not None else None
        with torch.no_grad():
            unet(torch.zeros(1, 4, *latent), torch.zeros(1), context=torch.zeros(1, 7, 8), y=vector)
        for hook in hooks:
            hook.remove()
        self.patterns = [noise(1, *shape[1:], seed=100 + i) for i, shape in enumerate(shapes)]

    @staticmethod
    def _blocks(unet: Any) -> list[nn.Module]:
        return [*unet.input_blocks, unet.middle_block]

    def residuals(self, x: Tensor) -> list[Tensor]:
        """One per input block, and the middle's."""
        return [x[:, :1, :1, :1] * pattern for pattern in self.patterns]

    def get_control(self, x: Tensor, timestep: Tensor, cond: Any, chunks: int) -> dict[str, list[Tensor]]:
        """As Forge asks for them: lists to be popped from the end."""
        *skips, middle = self.residuals(x)
        return {"input": [], "middle": [middle], "output": skips}

    @contextmanager
    def instead_of_forward(self, unet: Any) -> Iterator[None]:
        """As A1111's ControlNet extension does it: the UNet's `forward` is replaced on the object."""

        def forward(x: Tensor, timesteps: Tensor, context: Tensor, y: Tensor | None = None, **_: Any) -> Tensor:
            *extra, middle = self.residuals(x)
            emb = unet.time_embed(openaimodel.timestep_embedding(timesteps, unet.model_channels))
            emb = emb if y is None else emb + unet.label_emb(y)
            last = ({},) if isinstance(unet, ForgeUNet) else ()
            skips = []
            for block in unet.input_blocks:
                x = block(x, emb, context, *last)
                skips.append(x)
            x = unet.middle_block(x, emb, context, *last) + middle
            for block in unet.output_blocks:
                x = block(torch.cat([x, skips.pop() + extra.pop()], dim=1), emb, context, *last)
            return unet.out(x)

        unet.forward = forward
        yield
        del unet.forward


@contextmanager
def inner_rows(unet: nn.Module) -> Iterator[list[int]]:
    """How many rows each call had inside the UNet, where weak rows are counted."""
    rows: list[int] = []
    hook = unet.out.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))  # type: ignore[union-attr]
    yield rows
    hook.remove()


@contextmanager
def failing(unet: Any, error: BaseException, call: int = 2) -> Iterator[None]:
    """A convolution deep inside that raises at its n-th call, while it is dilated.

    Calls that try it out before the UNet is called do not count.
    """
    conv = unet.output_blocks[1][0].in_layers[2]
    real, calls, under_way = conv.forward, 0, False

    def begun(*_: Any) -> None:
        nonlocal under_way
        under_way = True

    def forward(x: Tensor) -> Tensor:
        nonlocal calls
        calls += under_way
        if calls == call:
            raise error
        return real(x)

    conv.forward, handle = forward, unet.register_forward_pre_hook(begun)
    try:
        yield
    finally:
        handle.remove()
        del conv.forward
