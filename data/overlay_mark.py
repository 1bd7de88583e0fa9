"""The mark on overlays that ``changeover inspect`` writes: by it they are told from camera images, and may be written over."""

import struct
import zlib
from pathlib import Path

_BODY = b"tEXtSoftware\0Changeover overlay"
MARK = struct.pack(">I", len(_BODY) - 4) + _BODY + struct.pack(">I", zlib.crc32(_BODY))
HEADER = 33
"""Bytes of a PNG before its second chunk."""


def marked(png: bytes) -> bytes:
    """``png`` with the mark behind its header."""
    return png[:HEADER] + MARK + png[HEADER:]


def is_overlay(content: bytes) -> bool:
    """Whether a file's content begins as a marked overlay does."""
    return content[HEADER : HEADER + len(MARK)] == MARK


def is_overlay_file(path: Path) -> bool:
    """Whether ``path`` is a marked overlay; False for what cannot be read."""
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            return False
        with path.open("rb") as stream:
            return is_overlay(stream.read(HEADER + len(MARK)))
    except OSError:
        return False
