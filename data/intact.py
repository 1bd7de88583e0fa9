"""Whether a file is whole: decoders repair what is damaged, and fill what is missing, without a word."""

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from core.errors import BadImage

LEAST_TAIL, MISSING_TAIL = 0.05, 0.125
"""Shares of an image's rows, at the end of its file, that may be of one level without being named, and without being refused."""
MOST_OF_LEVEL = 0.05
"""Share of the level of the last rows among all other pixels, up to which the last rows are something that is missing."""


@dataclass(frozen=True)
class Tail:
    """The last rows of a file that are all of one level: ``rows`` of ``height``; ``missing`` if they look like what was never
    written: level 0, which hardly occurs in the rest."""

    rows: int
    height: int
    missing: bool

    @property
    def share(self) -> float:
        """Of the image's rows, 0..1."""
        return self.rows / self.height

    def __str__(self) -> str:
        return f"its last {self.rows} of {self.height} rows are all of one level, as in a file that is still being written"


def check_png(content: bytes, name: str) -> None:
    """BadImage unless every chunk has its checksum and the last one is there. Pillow looks at those of the header only."""
    at = 8
    while at + 12 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        end = at + 12 + size
        if end > len(content):
            break
        if (
            kind in {b"IHDR", b"PLTE", b"IDAT", b"tRNS"}
            and zlib.crc32(content[at + 4 : end - 4]) != struct.unpack_from(">I", content, end - 4)[0]
        ):
            raise BadImage(f"{name!r} is damaged (the checksum of {kind.decode()} is wrong); export the image again")
        if kind == b"IEND":
            return
        at = end
    raise BadImage(f"{name!r} is damaged (its end is missing); export the image again")


def check_jpeg(content: bytes, name: str) -> None:
    """BadImage if the decoder has any complaint, or scans are missing; Pillow does not pass its warnings on."""
    import simplejpeg

    try:
        simplejpeg.decode_jpeg(content, "GRAY", min_height=1, min_width=1, strict=True)  # at an eighth of the size: fast
    except ValueError as error:
        raise BadImage(f"{name!r} is damaged ({str(error).splitlines()[0][:120]}); export the image again") from error
    if not _all_scans(content):
        raise BadImage(f"{name!r} is damaged (a progressive JPEG whose last scans are missing); export the image again")


def _all_scans(content: bytes) -> bool:
    """Whether the scans of a progressive JPEG give every coefficient to its last bit; True for others.

    A file that is cut between two scans is a whole picture to the decoder, only blurred.
    """
    missing: set[tuple[int, int]] | None = None
    at = 2
    while at + 4 <= len(content):
        if content[at] != 0xFF or content[at + 1] in {0, 0xFF} or 0xD0 <= content[at + 1] <= 0xD7:  # inside a scan
            at = content.find(b"\xff", at + 1)
            if at < 0:
                break
            continue
        marker, size = content[at + 1], struct.unpack_from(">H", content, at + 2)[0]
        if marker in {0xC0, 0xC1, 0xD9}:  # not progressive, or the end
            break
        if marker == 0xC2:
            colours = [content[at + 10 + 3 * number] for number in range(content[at + 9])]
            missing = {(colour, coefficient) for colour in colours for coefficient in range(64)}
        if marker == 0xDA and missing is not None:
            count = content[at + 4]
            first, last, bits = content[at + 5 + 2 * count : at + 8 + 2 * count]
            if bits & 15 == 0:
                seen = [content[at + 5 + 2 * number] for number in range(count)]
                missing -= {(colour, coefficient) for colour in seen for coefficient in range(first, last + 1)}
        at += 2 + size
    return not missing


def check_deflated(part: bytes, name: str) -> None:
    """BadImage unless a zlib stream inside a TIFF ends with its checksum; decoders stop before it."""
    stream = zlib.decompressobj()
    try:
        while not stream.eof and part:
            stream.decompress(part, 2**24)
            part = stream.unconsumed_tail
    except zlib.error as error:
        raise BadImage(f"{name!r} is damaged ({error}); export the image again") from error
    if not stream.eof:
        raise BadImage(f"{name!r} is damaged (the end of its data is missing); export the image again")


def tail(pixels: np.ndarray) -> Tail:
    """The last rows of ``pixels`` (H, W, C), in the order in which the file holds them."""
    level, height = pixels[-1, 0], len(pixels)
    if not (pixels[-1] == level).all():
        return Tail(0, height, False)
    other = (pixels != level).any(axis=(1, 2))  # (H,)
    rows = int(np.argmax(other[::-1])) if other.any() else height
    rest = pixels[: height - rows]
    missing = (
        rows >= MISSING_TAIL * height
        and not level.any()
        and bool(rest.size)
        and float((rest == 0).all(axis=2).mean()) <= MOST_OF_LEVEL
    )
    return Tail(rows, height, missing)
