"""Measures against the true drawings: closed forms for the distance, and what the recogniser takes drawings for."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image

from fouriscale import model as bundled
from fouriscale.lab.evaluate.true import knows, true_patches
from fouriscale.lab.measure import features, likeness, recognition, truth
from fouriscale.lab.measure.distance import frechet_distance


def test_each_word_has_a_drawing() -> None:
    assert truth.words() == bundled.PROMPTS
    assert knows(bundled.PROMPTS[:3])
    assert not knows(["bear", "a bear"])
    assert truth.drawing("bee").size == (truth.SIDE, truth.SIDE)
    with pytest.raises(KeyError):
        truth.drawing("zebra")


@pytest.mark.parametrize("flip", [False, True])
def test_the_drawing_itself_is_at_no_distance(flip: bool) -> None:
    picture = truth.placed("banana", 1100, 1060, truth.SIDE, 30, 70, flip)
    assert picture.shape == (1060, 1100, 3)
    assert_allclose(list(likeness.distances(picture, "banana").values()), 0, atol=1e-6)
    # At another size it is the same but for what few pixels cannot show.
    small = likeness.distances(truth.placed("banana", 256, 300, 200, 80, 9, flip), "banana")
    assert max(small[s] for s in (16, 32, 64)) < 0.03
    assert likeness.distances(picture, "tomato")[64] > 0.2


def test_darker_by_a_factor_is_at_that_distance() -> None:
    picture = truth.placed("lemon", truth.SIDE, truth.SIDE, truth.SIDE, 0, 0)
    top, left, bottom, right = likeness.object_box(picture)
    box = picture[top:bottom, left:right].copy()
    picture[top:bottom, left:right] *= 0.8  # white falls below what counts as background, so that the box stays
    assert likeness.object_box(picture) == (top, left, bottom, right)
    squeezed = [Image.fromarray(box[..., c]).resize((64, 64), Image.Resampling.BICUBIC) for c in range(3)]
    expected = 0.2 * np.sqrt(np.mean([np.square(np.clip(plane, 0, 1)) for plane in squeezed]))
    assert likeness.distances(picture, "lemon")[64] == pytest.approx(expected, rel=0.01)


def test_a_blank_picture_is_compared_as_a_whole() -> None:
    assert likeness.object_box(np.ones((50, 60, 3))) is None
    blank = likeness.distances(np.ones((50, 60, 3)), "pear", (16,))[16]
    drawn = truth.placed("pear", truth.SIDE, truth.SIDE, truth.SIDE, 0, 0)
    top, left, bottom, right = likeness.object_box(drawn)
    box = drawn[top:bottom, left:right].copy()
    planes = [Image.fromarray(box[..., c]).resize((16, 16), Image.Resampling.BICUBIC) for c in range(3)]
    assert blank == pytest.approx(np.sqrt(np.mean([np.square(1 - np.clip(p, 0, 1)) for p in planes])), rel=1e-4)


def test_specks_and_small_parts_do_not_move_the_box() -> None:
    picture = np.ones((200, 240, 3))
    picture[50:150, 60:160] = 0.5
    assert likeness.object_box(picture) == (50, 60, 150, 160)
    picture[:, 238:] = 0.0  # a line two pixels wide
    picture[5, 5:50] = 0.0
    picture[180:193, 10:25] = 0.2  # 195 pixels of 10000
    assert likeness.object_box(picture) == (50, 60, 150, 160)
    picture[180:194, 10:25] = 0.2  # 210
    assert likeness.object_box(picture) == (50, 10, 194, 160)
    picture[180:194, 10:25] = 0.95  # as light as background is
    assert likeness.object_box(picture) == (50, 60, 150, 160)


def test_drawings_are_recognised() -> None:
    found = {w: recognition.probability(truth.placed(w, 384, 256, 180, 40, 120, True), w) for w in truth.words()}
    assert sum(right for right, _ in found.values()) >= 47
    assert np.mean([chance for _, chance in found.values()]) > 0.9
    assert recognition.probability(truth.placed("cow", 256, 256, 180, 40, 40), "kiwi")[1] < 0.05
    with pytest.raises(ValueError):
        recognition.probability(np.ones((64, 64, 3)), "zebra")
    assert recognition.WEIGHTS.stat().st_size < 1_000_000


def test_patches_see_an_enlarged_drawing() -> None:
    words = bundled.PROMPTS[:12]
    sharp = true_patches(320, 256, list(words), 24)
    assert sharp.shape == (24, 8, 32)
    enlarged = []
    for index, word in enumerate(words):
        small = Image.fromarray((255 * truth.placed(word, 96, 80, 50, 9, 20)).astype(np.uint8))
        large = np.asarray(small.resize((384, 320), Image.Resampling.LANCZOS)) / 255
        enlarged.append(features.patches(large, index))
    reference, same, other = (x.reshape(-1, 32) for x in (sharp[:12], sharp[12:], np.stack(enlarged)))
    assert frechet_distance(other, reference) > 2 * frechet_distance(same, reference)
