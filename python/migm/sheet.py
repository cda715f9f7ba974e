"""Pictures side by side, as PNG: how notebooks show them."""

from __future__ import annotations

import numpy as np

from . import _migm


def sheet(images: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Pictures `[n, height, width, 3]` side by side in one, `columns` in a row (as near to a square as they go without)."""
    count, height, width, _ = images.shape
    columns = min(count, columns or int(np.ceil(np.sqrt(count))))
    rows = -(-count // columns)
    out = np.zeros((rows * height, columns * width, 3), np.uint8)
    for i, image in enumerate(images):
        y, x = divmod(i, columns)
        out[y * height : (y + 1) * height, x * width : (x + 1) * width] = image
    return out


def png(image: np.ndarray) -> bytes:
    """A picture `[height, width, 3]` uint8 as a PNG file, by the library's own encoder: the same bytes on every machine."""
    height, width, _ = image.shape
    return _migm.png(np.ascontiguousarray(image, np.uint8).tobytes(), width, height)
