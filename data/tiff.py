"""What the tags of a TIFF mean, where a decoder passes over them: a TIFF is read as it is meant, or refused with the word for it.

Decoders take the first picture of the file and the first channels of a pixel. That is a thumbnail where the file is a
camera's raw file, and half of the picture where a fourth channel is not transparency.
"""

import struct
from dataclasses import dataclass

from core.errors import BadImage

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MOST_DIRECTORIES, MOST_VALUES = 10_000, 2**24
ORIENTATION, COLOUR_TABLE = 274, 320

SIZES = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
"""``struct`` code of each type of whole numbers; of others only the count is kept."""
WIDTHS = {5: 8, 10: 8, 11: 4, 12: 8}
"""Bytes of one value of the other types: fractions and floating-point numbers."""
CHANNELS = {0: 1, 1: 1, 2: 3, 3: 1, 6: 3}
"""How many channels each understood meaning of pixels has: grey (twice), RGB, colour table, YCbCr."""
MEANINGS = {
    4: "a mask", 5: "CMYK", 8: "LAB", 9: "LAB (ICC)", 10: "LAB (ITU)", 32803: "a sensor's raw mosaic (CFA)", 32844: "LogL",
    32845: "LogLuv", 34892: "a sensor's raw data",
}  # fmt: skip
RAW_MEANINGS, RAW_COMPRESSIONS, RAW_TAGS = {32803, 34892}, {32767, 34713, 65535}, {50706}
FORMATS = {2: "signed", 3: "floating-point", 4: "undefined", 5: "signed complex", 6: "complex"}
STACK_TAGS = {33628, 33629, 33630, 33631}
"""MetaMorph's: all planes behind one directory."""


@dataclass(frozen=True)
class Entry:
    """One tag: its values, where in the file the first of them lies, and where their number stands.

    ``values`` is empty where they are no whole numbers; ``lost`` is true where they would lie beyond the end of the file.
    """

    values: tuple[int, ...]
    count: int
    at: int
    counted_at: int
    lost: bool = False


Directory = dict[int, Entry]


def is_tiff(content: bytes) -> bool:
    """Whether ``content`` begins as a TIFF does, classic or big."""
    return content.startswith(MAGIC)


def checked_tiff(content: bytes, name: str) -> tuple[bytes, int]:
    """The file with its orientation set to 1 and without damaged remarks, and the orientation (1 to 8) it had.

    BadImage if it would not be read as meant.
    """
    if content.startswith(b"MM\0+"):
        raise BadImage(
            f"{name!r} is a BigTIFF in the byte order of large computers, which is not read; export it as a plain TIFF"
        )
    try:
        directories = _read(content)
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise BadImage(
            f"{name!r} is damaged (its table of tags is cut off or runs in a circle); export the image again"
        ) from error
    first, others = directories[0], directories[1:]
    _refuse_raw(content, directories, name)
    _refuse_stacks(content, first, others, name)
    _refuse_pixels(first, name)
    _refuse_incomplete(content, first, name)
    patched = bytearray(content)
    for entry in first.values():  # a damaged remark is no reason to refuse the pixels, but decoders stumble over it
        if entry.lost:
            patched[entry.counted_at : entry.counted_at + 4] = bytes(4)
    turned = _one(first, ORIENTATION, 1)
    if not 2 <= turned <= 8:
        return bytes(patched), 1
    at = first[ORIENTATION].at
    patched[at : at + 2] = struct.pack("<H" if content[:2] == b"II" else ">H", 1)
    return bytes(patched), turned


def small_colour_table(content: bytes) -> list[int] | None:
    """Reds, greens and blues of a colour table whose values are of 8 bits where 16 are meant, or None.

    Read as 16 bits, such a picture is black: every value is below 256. libtiff takes them for 8 bits as well.
    """
    first = _read(content)[0]
    table = first.get(COLOUR_TABLE)
    if _one(first, 262, 1) != 3 or table is None or not table.values or max(table.values) > 255:
        return None
    return list(table.values)


def jpeg_parts(content: bytes) -> list[bytes]:
    """The JPEG streams inside a TIFF that is compressed so, each with its tables; none otherwise."""
    first = _read(content)[0]
    if _one(first, 259, 1) != 7:
        return []
    tables = first.get(347)
    head = content[tables.at : tables.at + tables.count - 2] if tables and tables.count > 4 else b""
    parts = [content[at : at + size] for at, size in _parts(first)]
    return [head + part[2:] if head else part for part in parts]


def deflated_parts(content: bytes) -> list[bytes]:
    """The zlib streams inside a TIFF that is compressed so; none otherwise."""
    first = _read(content)[0]
    return [content[at : at + size] for at, size in _parts(first)] if _one(first, 259, 1) in {8, 32946} else []


def _read(content: bytes) -> list[Directory]:
    """All directories: the first, those chained to it, and those below any of them."""
    order = "<" if content[:2] == b"II" else ">"
    big = b"+" in content[2:4]
    offset, entry, inline = ("Q", 20, 8) if big else ("I", 12, 4)
    waiting = [struct.unpack_from(order + offset, content, 8 if big else 4)[0]]
    seen: set[int] = set()
    found: list[Directory] = []
    while waiting:
        at = waiting.pop(0)
        if at == 0 and found:
            continue
        if at in seen or len(found) >= MOST_DIRECTORIES:
            raise ValueError("directories run in a circle")
        seen.add(at)
        count = struct.unpack_from(order + ("Q" if big else "H"), content, at)[0]
        start = at + (8 if big else 2)
        if count > 4096:
            raise ValueError("too many tags")
        directory: Directory = {}
        for number in range(count):
            tag, kind, values = struct.unpack_from(order + "HH" + offset, content, start + number * entry)
            directory[tag] = _entry(content, order, offset, inline, (kind, values, start + number * entry + entry - inline))
        found.append(directory)
        waiting.append(struct.unpack_from(order + offset, content, start + count * entry)[0])
        below = directory.get(330)
        waiting.extend(below.values if below else ())
    return found


def _entry(content: bytes, order: str, offset: str, inline: int, field: tuple[int, int, int]) -> Entry:
    """The values of one tag, from its type, their number, and where its field lies."""
    kind, count, at = field
    code, counted_at = SIZES.get(kind), at - inline
    size = count * (struct.calcsize(order + code) if code else WIDTHS.get(kind, 0))
    if size > inline:
        at = struct.unpack_from(order + offset, content, at)[0]
        if at + size > len(content):
            return Entry((), count, at, counted_at, lost=True)
    if code is None or count > MOST_VALUES:
        return Entry((), count, at, counted_at)
    return Entry(struct.unpack_from(f"{order}{count}{code}", content, at), count, at, counted_at)


def _one(directory: Directory, tag: int, default: int) -> int:
    entry = directory.get(tag)
    return entry.values[0] if entry and entry.values else default


def _all(directory: Directory, tag: int, default: tuple[int, ...]) -> tuple[int, ...]:
    entry = directory.get(tag)
    return entry.values if entry and entry.values else default


def _reduced(directory: Directory) -> bool:
    """Whether the directory says that it is a smaller copy of another picture."""
    return bool(_one(directory, 254, 0) & 1) or _one(directory, 255, 1) == 2


def _size(directory: Directory) -> str:
    return f"{_one(directory, 256, 0)}×{_one(directory, 257, 0)} px"


def _refuse_raw(content: bytes, directories: list[Directory], name: str) -> None:
    first = directories[0]
    raw = content[8:10] == b"CR" or any(
        RAW_TAGS & d.keys() or _one(d, 262, 1) in RAW_MEANINGS or _one(d, 259, 1) in RAW_COMPRESSIONS for d in directories
    )
    if raw:
        raise BadImage(
            f"{name!r} is a camera's raw file, whose first picture has {_size(first)}; export the picture as PNG or TIFF"
        )


def _refuse_stacks(content: bytes, first: Directory, others: list[Directory], name: str) -> None:
    """One picture a file: copies of it that say that they are smaller do no harm."""
    if _reduced(first) or _one(first, 254, 0) & 4:
        what = "a reduced copy" if _reduced(first) else "a mask"
        raise BadImage(f"{name!r} begins with {what} ({_size(first)}), not with the picture; export the picture alone")
    full = [d for d in others if 256 in d and not _reduced(d)]  # a directory without a width holds remarks, no picture
    planes = max(_one(first, 32997, 1), _one(first, 32998, 1))  # depth of a volume
    if STACK_TAGS & first.keys():
        planes = max(planes, first[33629].count if 33629 in first else 2)
    planes = max(planes, _described_planes(content, first))
    pictures = max(1 + len(full), planes)
    if pictures > 1:
        raise BadImage(f"{name!r} holds {pictures} pictures; accepted is one a file: export them one by one")


def _described_planes(content: bytes, first: Directory) -> int:
    """How many planes ImageJ's description speaks of: it lays them behind one directory."""
    entry = first.get(270)
    text = content[entry.at : entry.at + min(entry.count, 4096)] if entry else b""
    if not text.startswith(b"ImageJ="):
        return 1
    lines = dict(line.partition(b"=")[::2] for line in text.split(b"\n"))
    return int(lines[b"images"]) if lines.get(b"images", b"").strip().isdigit() else 1


def _refuse_pixels(first: Directory, name: str) -> None:
    """Depth, sign, meaning and number of channels."""
    samples = _one(first, 277, 1)
    bits = set(_all(first, 258, (1,)))
    if max(bits) > 8:
        raise BadImage(f"{name!r} has {max(bits)} bits a channel; accepted are 8: export it with 8 bits")
    signs = set(_all(first, 339, (1,))) - {1}
    if signs:
        word = FORMATS.get(min(signs), f"unknown ({min(signs)})")
        raise BadImage(f"{name!r} has {word} values (SampleFormat); accepted are unsigned ones: export it as 8 bits unsigned")
    if 262 not in first:
        raise BadImage(f"{name!r} does not say what its values mean (PhotometricInterpretation); export it as grey or RGB")
    meaning = _one(first, 262, 1)
    if meaning not in CHANNELS:
        word = MEANINGS.get(meaning, f"number {meaning}")
        raise BadImage(f"{name!r} has colour mode {word}; accepted are grey and RGB: export it as one of them")
    extra, alpha = samples - CHANNELS[meaning], _all(first, 338, (0,))
    if extra < 0:
        raise BadImage(f"{name!r} is damaged (it has {samples} channels and claims colour); export the image again")
    if extra and not (extra == 1 and alpha[0] in {1, 2}):
        raise BadImage(
            f"{name!r} has {samples} channels, {extra} of them neither colour nor transparency; export it as grey or RGB alone"
        )


def _parts(first: Directory) -> list[tuple[int, int]]:
    """Offset and size of each strip or tile."""
    tiled = 324 in first
    return list(zip(_all(first, 324 if tiled else 273, ()), _all(first, 325 if tiled else 279, ()), strict=False))


def _refuse_incomplete(content: bytes, first: Directory, name: str) -> None:
    """Every strip or tile is there, inside the file, and long enough where nothing is compressed."""
    width, height = _one(first, 256, 0), _one(first, 257, 0)
    parts = _parts(first)
    if not parts or not width or not height:
        return  # old files name no sizes; the decoder then takes the rest of the file, and misses what is missing
    planes = _one(first, 277, 1) if _one(first, 284, 1) == 2 else 1
    if 324 in first:
        across, down = max(1, _one(first, 322, width)), max(1, _one(first, 323, height))
        wanted = -(-width // across) * -(-height // down) * planes
    else:
        wanted = -(-height // max(1, min(_one(first, 278, height), height))) * planes
    missing = wanted - sum(1 for at, size in parts if at and size)
    if missing > 0 or any(at + size > len(content) for at, size in parts):
        raise BadImage(f"{name!r} is damaged (parts of the picture are missing: it was not written to its end); export it again")
    needed = height * planes * -(-width * _one(first, 258, 1) * _one(first, 277, 1) // planes // 8)
    whole = 324 not in first and _one(first, 262, 1) != 6  # YCbCr may hold fewer values of colour
    if whole and _one(first, 259, 1) == 1 and sum(size for _, size in parts) < needed:
        raise BadImage(f"{name!r} is damaged (its strips hold less than {_size(first)}); export the image again")
