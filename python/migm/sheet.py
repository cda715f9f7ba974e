"""Pictures side by side, as PNG: how notebooks show them."""

from __future__ import annotations

import struct
import zlib

import numpy as np


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
    """A picture `[height, width, 3]` uint8 as a PNG file. Libraries that write pictures do more; this needs none of them."""
    height, width, _ = image.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    # A filter byte of 0 before each row.
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, width * 3)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows.tobytes())), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
