"""Counting objects on drawn alpha channels whose number of objects is known."""

from __future__ import annotations

import numpy as np

from fouriscale.lab.measure.objects import count_objects


def drawn(*discs: tuple[int, int, int], side: int = 64) -> np.ndarray:
    """Opaque discs (row, column, radius) on a clear square."""
    rows, columns = np.mgrid[:side, :side]
    alpha = np.zeros((side, side), np.float32)
    for row, column, radius in discs:
        alpha[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = 1.0
    return alpha


def test_discs() -> None:
    assert count_objects(drawn()) == 0
    assert count_objects(drawn((32, 32, 12))) == 1
    assert count_objects(drawn((16, 16, 10), (46, 46, 10))) == 2
    assert count_objects(drawn((16, 16, 10), (16, 46, 10), (46, 16, 10), (46, 46, 10))) == 4
    assert count_objects(drawn((32, 24, 10), (32, 40, 10))) == 1  # they overlap


def test_squares_that_touch_at_a_corner_are_one() -> None:
    alpha = np.zeros((64, 64))
    alpha[8:32, 8:32] = 1.0
    alpha[32:56, 32:56] = 1.0
    assert count_objects(alpha) == 1
    alpha[31, 31] = 0.0
    assert count_objects(alpha) == 2


def test_specks_do_not_count() -> None:
    alpha = drawn((32, 32, 12))
    alpha[2, 2] = alpha[60, 5:8] = 1.0
    assert count_objects(alpha) == 1
    assert count_objects(alpha, smallest=0.0) == 3


def test_the_smallest_object_is_a_share_of_the_picture() -> None:
    alpha = np.zeros((100, 200))
    alpha[10:20, 10:30] = 1.0  # 200 of 20000
    assert count_objects(alpha) == 1
    alpha[10, 10] = 0.0
    assert count_objects(alpha) == 0
    assert count_objects(alpha, smallest=0.009) == 1


def test_faint_parts_are_background() -> None:
    alpha = drawn((16, 16, 10), (46, 46, 10))
    alpha[20:42, 16:46] = np.maximum(alpha[20:42, 16:46], 0.5)  # joins the discs, but is not above the threshold
    assert count_objects(alpha) == 2
    assert count_objects(0.5 * alpha) == 0
    assert count_objects(0.5 * alpha, threshold=0.4) == 2
    bridge = drawn((16, 32, 10), (46, 32, 10))
    bridge[16:46, 30:34] = 0.6
    assert count_objects(bridge) == 1
