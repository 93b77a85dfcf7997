"""Training sizes, scales and FFT periods: SDXL's examples, every size a user can ask for, and what is refused."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fouriscale as fs
from fouriscale.lab import naive
from fouriscale.maths.sizes import (
    SDXL_BUCKETS,
    bucket_of_shape,
    ceil_scale,
    check_picture_size,
    nearest_bucket,
    padded_period,
)

# Width × height of the picture, width × height of the bucket, dilation.
SDXL_EXAMPLES = [
    ((2048, 2048), (1024, 1024), 2),
    ((4096, 4096), (1024, 1024), 4),
    ((2560, 2560), (1088, 896), 3),
    ((4096, 2048), (1408, 704), 3),
    ((1536, 1536), (1152, 832), 2),
    ((2560, 1440), (1280, 768), 2),
    ((1920, 1080), (1152, 832), 2),
]
SIDES = range(512, 4097, 64)


@pytest.mark.parametrize(("size", "base", "dilation"), SDXL_EXAMPLES)
def test_sdxl_examples(size: tuple[int, int], base: tuple[int, int], dilation: int) -> None:
    plan = fs.plan_family("sdxl", *size)
    assert (plan.base, plan.dilation, plan.method.frame.scale) == (base, float(dilation), dilation)
    assert plan.active


def test_every_multiple_of_64_has_the_naive_implementations_bucket_or_a_larger_scale() -> None:
    holes = 0
    for width in SIDES:
        for height in SIDES:
            bucket = nearest_bucket((width, height))
            scale = ceil_scale((width, height), bucket)
            assert bucket in SDXL_BUCKETS
            assert scale * bucket[0] >= width
            assert scale * bucket[1] >= height
            try:
                base_h, base_w, dilation = naive.sdxl_base(height, width)
            except ValueError:
                holes += 1
                assert scale == min(ceil_scale((width, height), b) for b in SDXL_BUCKETS)
            else:
                assert (bucket, scale) == ((base_w, base_h), dilation)
    assert 0 < holes < 0.05 * len(SIDES) ** 2


@pytest.mark.parametrize("family", ["sd15", "sd21", "sdxl"])
def test_a_sample_of_the_multiples_of_64_gives_plans(family: str) -> None:
    chosen = random.Random(0).sample([(w, h) for w in SIDES for h in SIDES], 120)
    for size in [*chosen, (512, 512), (4096, 4096), (512, 4096), (4096, 512)]:
        plan = fs.plan_family(family, *size)
        larger = any(side > base for side, base in zip(size, plan.base, strict=True))
        assert plan.active == larger
        assert plan.active == (plan.reason is None)
        assert plan.dilation == plan.method.frame.scale == (ceil_scale(size, plan.base))
        assert plan.cost > 1.0 if larger else plan.cost == 1.0
        assert str(plan).startswith(f"FouriScale for {family}, {size[0]}×{size[1]}, base ")


@pytest.mark.parametrize("multiple", [8, 16, 32])
def test_any_sdxl_size_has_defined_filters(multiple: int) -> None:
    """Every filtered layer's period is even and holds the feature, at sizes whose features are odd."""
    chosen = random.Random(multiple)
    for _ in range(60):
        width, height = (chosen.randrange(1024, 4097, multiple) for _ in range(2))
        plan = fs.plan_family("sdxl", width, height)
        for level in (1, 2):
            layer = next(c for c in plan.layers if c.level == level and c.role == "resnet")
            size = tuple(-(-side // (8 * 2**level)) for side in (height, width))
            spec = plan.method.filter_spec("strong", layer, size, 1.5)
            assert spec is not None
            for period, feature in zip(spec.periods, size, strict=True):
                assert period % 2 == 0
                assert period >= feature


@given(feature=st.integers(1, 600), base=st.floats(1.0, 300.0), scale=st.integers(1, 16))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_padded_period_is_even_never_shorter_and_minimal(feature: int, base: float, scale: int) -> None:
    period = padded_period(feature, base, scale)
    wanted = int(scale * base)
    assert period % 2 == 0
    assert period >= feature
    assert period - max(wanted, feature) in (0, 1)


@pytest.mark.parametrize(
    ("feature", "base", "scale", "expected"),
    [(32, 16.0, 2, 32), (20, 8.0, 3, 24), (64, 52.384, 2, 104), (33, 16.5, 2, 34), (17, 8.25, 2, 18), (1, 0.5, 2, 2)],
)
def test_padded_periods(feature: int, base: float, scale: int, expected: int) -> None:
    assert padded_period(feature, base, scale) == expected


def test_buckets_scale_with_the_training_size() -> None:
    assert nearest_bucket((1024, 1024), 512) == (512, 512)
    assert nearest_bucket((128, 128), 64) == (64, 64)
    for size, bucket, _ in SDXL_EXAMPLES[:2]:
        assert nearest_bucket((size[0] // 2, size[1] // 2), 512) == (bucket[0] // 2, bucket[1] // 2)


@pytest.mark.parametrize(
    ("width", "height", "field", "value"),
    [
        (1020, 1024, "width", "1020"),
        (1024, 1028, "height", "1028"),
        (56, 1024, "width", "56"),
        (0, 1024, "width", "0"),
        (1024, -64, "height", "-64"),
        (16392, 1024, "width", "16392"),
        (1024.0, 1024, "width", "1024.0"),
        ("1024", 1024, "width", "'1024'"),
        (True, 1024, "width", "True"),
    ],
)
def test_refused_sizes(width: int, height: int, field: str, value: str) -> None:
    message = f"^{field} = {value} is not allowed: a multiple of 8 from 64 to 16384 pixels$"
    with pytest.raises(ValueError, match=message):
        check_picture_size(width, height)
    with pytest.raises(ValueError, match=message):
        fs.plan_family("sd15", width, height)


@pytest.mark.parametrize("size", [(64, 64), (16384, 16384), (72, 1032)])
def test_accepted_sizes(size: tuple[int, int]) -> None:
    assert check_picture_size(*size) is None
    assert fs.plan_family("sdxl", *size).size == size


@pytest.mark.parametrize(
    ("size", "bucket"),
    [
        ((1280, 1280), (1024, 1024)),
        ((1536, 1536), (1024, 1024)),
        ((1152, 832), (1152, 832)),
        ((1920, 1080), (1344, 768)),
    ],
)
def test_bucket_of_the_same_shape(size: tuple[int, int], bucket: tuple[int, int]) -> None:
    assert bucket_of_shape(size) == bucket
