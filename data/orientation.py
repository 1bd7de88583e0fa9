"""The orientation that EXIF asks for, read alone: whatever else is broken in EXIF is no reason to refuse the pixels.

Only EXIF turns a picture. What XMP says is not looked at, as no viewer does.
"""

import struct

PREFIX = b"Exif\0\0"


def orientation(exif: bytes) -> int:
    """1 to 8; 1 (upright) where ``exif``, an EXIF block with or without its name, is empty, broken or says nothing."""
    while exif.startswith(PREFIX):
        exif = exif[len(PREFIX) :]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        at = struct.unpack_from(order + "I", exif, 4)[0]
        for number in range(struct.unpack_from(order + "H", exif, at)[0]):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", exif, at + 2 + 12 * number)
            if tag == 0x0112:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def raw_profile(text: str) -> bytes:
    """The EXIF block that ImageMagick writes into a PNG as hexadecimal text, behind a name and a length; b"" if broken."""
    try:
        return bytes.fromhex("".join(text.split()[2:]))
    except ValueError:
        return b""


def without_exif(jpeg: bytes) -> tuple[bytes, bytes]:
    """A JPEG file without its EXIF blocks, and what they held. Decoders stumble over broken ones."""
    kept, at = [jpeg[:2]], 2
    held: list[bytes] = []
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF:
        marker = jpeg[at + 1]
        if marker == 0xFF:  # a filling byte
            at += 1
            continue
        if marker == 0xDA or 0xD0 <= marker <= 0xD9 or marker == 0x01:  # the picture itself begins
            break
        size = 2 + struct.unpack_from(">H", jpeg, at + 2)[0]
        segment = jpeg[at : at + size]
        if marker == 0xE1 and segment[4:].startswith(PREFIX):
            held.append(segment[4:] if not held else segment[4 + len(PREFIX) :])
        else:
            kept.append(segment)
        at += size
    return b"".join([*kept, jpeg[at:]]), b"".join(held)
