"""Distances, soft edges and paths on the picture of a sample plate."""

import numpy as np

SIZE = 256
"""Side of an image in px."""


def grid() -> tuple[np.ndarray, np.ndarray]:
    """x and y of every pixel, float64 (SIZE, SIZE)."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(float)
    return x, y


def box_distance(x: np.ndarray, y: np.ndarray, half: float, corner: float) -> np.ndarray:
    """Distance in px from the inner box of a rounded square around the centre: at most ``corner`` inside the square."""
    dx = np.abs(x - SIZE / 2) - (half - corner)
    dy = np.abs(y - SIZE / 2) - (half - corner)
    return np.asarray(np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0))


def soft(signed: np.ndarray, width: float) -> np.ndarray:
    """1 where ``signed`` is positive, 0 where negative, with a soft edge ``width`` px wide."""
    return np.asarray(1 / (1 + np.exp(-np.clip(signed / (0.35 * width), -40, 40))))


def unit(field: np.ndarray) -> np.ndarray:
    """The field with mean 0 and standard deviation 1."""
    return np.asarray((field - field.mean()) / field.std())


def to_path(px: np.ndarray, py: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel its distance to the nearest point of a path, and that point's number; beyond ``reach`` px, far away."""
    x, y = grid()
    distance = np.full((SIZE, SIZE), 1e3)
    nearest = np.zeros((SIZE, SIZE), np.int64)
    left, right = max(int(px.min() - reach), 0), min(int(px.max() + reach) + 1, SIZE)
    top, bottom = max(int(py.min() - reach), 0), min(int(py.max() + reach) + 1, SIZE)
    if left >= right or top >= bottom:
        return distance, nearest
    box = np.s_[top:bottom, left:right]
    away = np.hypot(x[box][..., None] - px, y[box][..., None] - py)  # (h, w, points)
    nearest[box], distance[box] = away.argmin(axis=-1), away.min(axis=-1)
    return distance, nearest
