"""The filter's matrix products are full float32 whatever the host chose for its own, and fit into 16 bits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from fouriscale.filters import freeu, lowpass
from fouriscale.filters import grid as coarse
from fouriscale.filters.precision import full_precision
from fouriscale.lab import naive
from unets import largest, noise

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SPEC = lowpass.FilterSpec("strong", 2.0, 0.0, (64, 64), (64, 64))
HAS_OWN = hasattr(torch.backends.cuda.matmul, "fp32_precision")  # torch 2.9 and later: a switch for each device


def choose(common: str) -> Callable[[], None]:
    return lambda: torch.set_float32_matmul_precision(common)


def allow_tf32() -> None:
    torch.backends.cuda.matmul.allow_tf32 = True


def choose_own() -> None:
    torch.backends.cuda.matmul.fp32_precision = torch.backends.mkldnn.matmul.fp32_precision = "tf32"  # type: ignore[attr-defined]


def choose_for_all() -> None:
    torch.backends.fp32_precision = "tf32"  # type: ignore[attr-defined]


HOSTS = [
    pytest.param(choose("high"), id="high"),
    pytest.param(choose("medium"), id="medium"),
    pytest.param(allow_tf32, id="allow_tf32"),
    *(
        pytest.param(how, id=how.__name__, marks=pytest.mark.skipif(not HAS_OWN, reason="torch has no such switch"))
        for how in (choose_own, choose_for_all)
    ),
]


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    torch.set_float32_matmul_precision("highest")
    if HAS_OWN:
        torch.backends.fp32_precision = "none"  # type: ignore[attr-defined]
        torch.backends.cuda.matmul.fp32_precision = torch.backends.mkldnn.matmul.fp32_precision = "none"  # type: ignore[attr-defined]


def state() -> list[Any]:
    """All that torch says about float32 products."""
    found: list[Any] = []
    for read in (torch.get_float32_matmul_precision, lambda: torch.backends.cuda.matmul.allow_tf32):
        try:
            found.append(read())
        except RuntimeError:  # the old and the new switches disagree
            found.append("mixed")
    if HAS_OWN:
        found += [torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision]  # type: ignore[attr-defined]
        found += [torch.backends.fp32_precision, torch.backends.mkldnn.fp32_precision]  # type: ignore[attr-defined]
    return found


def short(device: torch.device) -> bool:
    """Whether torch would shorten float32 factors on `device` now."""
    if not HAS_OWN:
        return torch.get_float32_matmul_precision() != "highest"
    backend: Any = torch.backends.cuda if device == CUDA else torch.backends.mkldnn
    return backend.matmul.fp32_precision not in ("ieee", "none")


def rounded(x: Tensor) -> Tensor:
    """To the 10 bits of mantissa that TF32 keeps, to nearest."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


def test_the_emulation_keeps_ten_bits() -> None:
    x = torch.tensor([1.0, 1 + 2**-10, 1 + 2**-12, 1 + 3 * 2**-12, -3.0, 0.0])
    assert rounded(x).tolist() == [1.0, 1 + 2**-10, 1.0, 1 + 2**-10, -3.0, 0.0]


@pytest.mark.parametrize("choice", [HOSTS[0], *HOSTS[3:]])
def test_filters_are_exact_where_the_host_allows_short_factors(
    choice: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a device that multiplies as the switch says, here emulated: TF32 would cost more than the second term."""
    x = noise(2, 3, 64, 64)
    exact = naive.lowpass(x.double(), 32, 32, 2.0, 0.0, "strong").double()
    low, grid = lowpass.LowPass(SPEC, CPU), coarse.CoarseGrid(SPEC, 2, CPU)
    window, skip = freeu.lowest_window((64, 64), CPU), noise(1, 4, 64, 64)
    calls: list[Callable[[], Tensor]] = [
        lambda: low(x),
        lambda: grid.reduce(x),
        lambda: grid.enlarge(x[..., ::2, ::2]),
        lambda: freeu.apply(skip, 2, 1.2, 0.4, window),
    ]
    expected = [call() for call in calls]
    first, multiply = low._left, torch.matmul

    def emulated(a: Tensor, b: Tensor) -> Tensor:
        return multiply(rounded(a), rounded(b)) if short(CPU) else multiply(a, b)

    second = multiply(first[1], multiply(x, low._right[1]))
    tf32 = multiply(rounded(first[0]), rounded(multiply(rounded(x), rounded(low._right[0])))) + second
    assert largest(tf32 - exact) > 100 * largest(expected[0] - exact)
    choice()
    before = state()
    monkeypatch.setattr(torch, "matmul", emulated)
    assert largest(torch.matmul(x, x) - multiply(x, x)) > 1e-3
    for call, wanted in zip(calls, expected, strict=True):
        assert torch.equal(call(), wanted)
    assert largest(low(x) - exact) < 3e-6
    assert state() == before


@pytest.mark.parametrize("choice", HOSTS)
@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
def test_the_host_gets_its_choice_back(choice: Callable[[], None], device: torch.device) -> None:
    choice()
    before = state()
    with full_precision(device), full_precision(device):
        assert not short(device)
    assert state() == before

    def fail() -> None:
        with full_precision(device):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert state() == before
    if choice is choose_for_all:  # nor is what one device followed now a choice of its own
        torch.backends.fp32_precision = "ieee"  # type: ignore[attr-defined]
        assert not short(device)


def test_threads_do_not_take_each_others_switch_for_the_hosts() -> None:
    torch.set_float32_matmul_precision("high")
    before, inside, leave, seen = state(), threading.Event(), threading.Event(), []

    def other() -> None:
        with full_precision(CPU):
            inside.set()
            leave.wait(10)
            seen.append(short(CPU))

    thread = threading.Thread(target=other)
    with full_precision(CPU):
        thread.start()
        assert inside.wait(10)
    assert not short(CPU)  # the other still multiplies
    leave.set()
    thread.join(10)
    assert seen == [False]
    assert state() == before


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_overshoot_beyond_float16_stays_finite(sign: float) -> None:
    x = torch.full((1, 2, 64, 64), sign * 65504.0, dtype=torch.float16)
    x[..., 20:44, :] *= -1
    low, grid = lowpass.LowPass(SPEC, CPU), coarse.CoarseGrid(SPEC, 2, CPU)
    for made, exact in (
        (low(x), low(x.float())),
        (grid.reduce(x), grid.reduce(x.float())),
        (grid.enlarge(x[..., ::2, ::2]), grid.enlarge(x[..., ::2, ::2].float())),
    ):
        assert exact.abs().max() > 65520.0  # beyond what rounds to the largest number
        assert made.dtype == torch.float16
        torch.testing.assert_close(made, exact.clamp(-65504.0, 65504.0).half(), atol=0, rtol=1e-3)
