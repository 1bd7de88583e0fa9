"""Kinds of files, told by their first bytes: those that are accepted, and those that are not, each with its word."""

import re

from data.tiff import MAGIC

STARTS = (
    (b"GIF87a", "a GIF image"), (b"GIF89a", "a GIF image"), (b"\x8aMNG", "an MNG animation"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"), (b"\xff\x4f\xff\x51", "a JPEG 2000 image"), (b"\x49\x49\xbc", "a JPEG XR image"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image"), (b"\xff\x0a", "a JPEG XL image"),
    (b"8BPS", "a Photoshop file"), (b"\x76\x2f\x31\x01", "an OpenEXR image"), (b"#?RADIANCE", "a Radiance HDR image"),
    (b"IIRO", "a camera's raw file (ORF)"), (b"IIRS", "a camera's raw file (ORF)"), (b"MMOR", "a camera's raw file (ORF)"),
    (b"IIU\0", "a camera's raw file (RW2)"), (b"FUJIFILMCCD-RAW", "a camera's raw file (RAF)"),
    (b"\0MRM", "a camera's raw file (MRW)"), (b"FOVb", "a camera's raw file (X3F)"),
    (b"SIMPLE  =", "a FITS image"), (b"\x93NUMPY", "a NumPy array"), (b"\x89HDF\r\n\x1a\n", "an HDF5 file"), (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", "an archive (ZIP)"), (b"\x1f\x8b", "an archive (gzip)"), (b"7z\xbc\xaf\x27\x1c", "an archive (7z)"),
)  # fmt: skip
BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"msf1": "HEIC", b"avif": "AVIF", b"avis": "AVIF", b"crx ": "CR3"}
PORTABLE = re.compile(rb"P([1-6Ff])\s+(?:#[^\n]*\n\s*)*\d+\s|P(7)\nWIDTH ")


def accepted_kind(content: bytes) -> bool:
    """Whether ``content`` begins as a PNG, JPEG, BMP, TIFF or WebP does."""
    webp = content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    return webp or content.startswith((b"\x89PNG", b"\xff\xd8\xff", b"BM", *MAGIC))


def other_kind(content: bytes) -> str | None:
    """What ``content`` is, with its article, if it is of a known kind that is not accepted; None otherwise."""
    for start, word in STARTS:
        if content.startswith(start):
            return word
    if content[4:8] == b"ftyp":
        brand = BRANDS.get(content[8:12])
        return f"{'a' if brand != 'AVIF' else 'an'} {brand} image" if brand else "a video"
    if content[128:132] == b"DICM":
        return "a DICOM image"
    portable = PORTABLE.match(content[:400])
    return f"a portable image (P{(portable[1] or portable[2]).decode()}: PBM, PGM, PPM or PAM)" if portable else None
