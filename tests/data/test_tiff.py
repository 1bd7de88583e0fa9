"""TIFFs whose tags say something that decoders pass over: read as meant, or refused with the word for it."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.errors import BadImage
from data.image import decode_image, read_image
from tests.data.conftest import pixels

CODES = {1: "B", 2: "B", 3: "H", 4: "I", 7: "B", 13: "I", 16: "Q"}
Tags = dict[int, tuple[int, list[int]]]


def tiff(
    directories: list[tuple[Tags, bytes]], below: list[tuple[Tags, bytes]] = (), order: str = "<", big: bool = False
) -> bytes:  # type: ignore[assignment]
    """A TIFF, classic or big, of chained directories with one strip each; those ``below`` are SubIFDs of the first."""
    offset, inline = ("Q", 8) if big else ("I", 4)
    mark = b"II" if order == "<" else b"MM"
    out = bytearray(mark + struct.pack(order + "H", 43 if big else 42) + (struct.pack(order + "HH", 8, 0) if big else b""))
    link = len(out)
    out += bytes(inline)

    def put(raw: bytes) -> int:
        out.extend(bytes(len(out) % 2))
        at = len(out)
        out.extend(raw)
        return at

    def write(tags: Tags, strip: bytes) -> tuple[int, int]:
        tags = {273: (4, [put(strip)]), 279: (4, [len(strip)]), **tags}
        body = struct.pack(order + ("Q" if big else "H"), len(tags))
        for tag in sorted(tags):
            kind, values = tags[tag]
            raw = struct.pack(f"{order}{len(values)}{CODES[kind]}", *values)
            field = raw.ljust(inline, b"\0") if len(raw) <= inline else struct.pack(order + offset, put(raw))
            body += struct.pack(order + "HH" + offset, tag, kind, len(values)) + field
        at = put(body + bytes(inline))
        return at, at + len(body)

    subs = [write(*directory)[0] for directory in below]
    for number, (tags, strip) in enumerate(directories):
        at, following = write({**tags, 330: (4, subs)} if subs and number == 0 else tags, strip)
        struct.pack_into(order + offset, out, link, at)
        link = following
    return bytes(out)


def page(array: np.ndarray, **more: Any) -> tuple[Tags, bytes]:
    """Tags and strip of ``array`` (H, W) or (H, W, C); ``more`` holds tags as ``t339=(3, [2])``."""
    height, width = array.shape[:2]
    samples = 1 if array.ndim == 2 else array.shape[2]
    tags: Tags = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [8] * samples), 259: (3, [1]), 262: (3, [2 if samples > 2 else 1]),
        277: (3, [samples]), 278: (4, [height]),
    }  # fmt: skip
    return tags | {int(key[1:]): value for key, value in more.items() if value}, array.tobytes()


GREY, COLOUR = pixels(1), pixels(1, channels=3)


@pytest.mark.parametrize(("order", "big"), [("<", False), ("<", True), (">", False)])
def test_plain_ones_are_read_exactly(order: str, big: bool) -> None:
    np.testing.assert_array_equal(decode_image(tiff([page(GREY)], order=order, big=big), "a.tif").pixels[:, :, 0], GREY)
    np.testing.assert_array_equal(decode_image(tiff([page(COLOUR)], order=order, big=big), "a.tif").pixels, COLOUR)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("turned", range(1, 9))
def test_the_orientation_is_applied_once(order: str, turned: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turned
    stream = io.BytesIO()
    Image.fromarray(GREY).save(stream, "PNG", exif=exif)
    decoded = decode_image(tiff([page(GREY, t274=(3, [turned]))], order=order), "a.tif")
    np.testing.assert_array_equal(decoded.pixels, decode_image(stream.getvalue(), "a.png").pixels)
    assert decoded.turned == turned


def test_xmp_alone_turns_nothing() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    decoded = decode_image(tiff([page(GREY, t700=(1, list(xmp)))]), "a.tif")
    np.testing.assert_array_equal(decoded.pixels[:, :, 0], GREY)


def test_a_broken_pointer_to_exif_refuses_nothing() -> None:
    decoded = decode_image(tiff([page(GREY, t34665=(4, [2**31]), t34853=(4, [3]))]), "a.tif")
    np.testing.assert_array_equal(decoded.pixels[:, :, 0], GREY)


def test_a_damaged_remark_refuses_nothing() -> None:
    content = bytearray(tiff([page(GREY, t270=(2, list(b"taken at line 7")), t282=(4, [1, 2, 3]))]))
    for number, kind in ((270, 2), (282, 4)):
        at = content.index(struct.pack("<HH", number, kind))
        struct.pack_into("<I", content, at + 8, 2**30)
    np.testing.assert_array_equal(decode_image(bytes(content), "a.tif").pixels[:, :, 0], GREY)


def test_a_reduced_copy_behind_the_picture_does_no_harm() -> None:
    small = page(np.ascontiguousarray(GREY[::2, ::2]), t254=(4, [1]))
    np.testing.assert_array_equal(decode_image(tiff([page(GREY), small]), "a.tif").pixels[:, :, 0], GREY)
    np.testing.assert_array_equal(decode_image(tiff([page(GREY)], [small]), "a.tif").pixels[:, :, 0], GREY)


def test_a_colour_table_of_eight_bits_is_not_black() -> None:
    index = (GREY // 64).astype(np.uint8)
    table = np.random.default_rng(0).integers(0, 256, (3, 256))
    right = np.stack([table[channel][index] for channel in range(3)], 2)
    for values in (table, table * 257):
        content = tiff([page(index, t262=(3, [3]), t320=(3, values.ravel().tolist()))])
        np.testing.assert_array_equal(decode_image(content, "a.tif").pixels, right)


def test_a_fourth_channel_that_is_an_opaque_alpha_is_dropped() -> None:
    opaque = np.dstack([COLOUR, np.full(GREY.shape, 255, np.uint8)])
    np.testing.assert_array_equal(decode_image(tiff([page(opaque, t338=(3, [2]))]), "a.tif").pixels, COLOUR)


IMAGEJ = b"ImageJ=1.53t\nimages=20\nslices=20\n"
WIDE = page(np.zeros((60, 80), np.uint16), t258=(3, [16]), t262=(3, [32803]))
SMALL = np.ascontiguousarray(COLOUR[:40, :40])
WRONG = {
    "signed": (tiff([page(GREY, t339=(3, [2]))]), "signed values"),
    "no sign known": (tiff([page(GREY, t339=(3, [4]))]), "undefined values"),
    "raw: preview and picture below": (tiff([page(SMALL, t254=(4, [1]))], [WIDE]), "camera's raw file.*40×40 px"),
    "raw: without the preview's word": (tiff([page(SMALL)], [WIDE]), "camera's raw file"),
    "raw: DNG": (tiff([page(COLOUR, t50706=(1, [1, 4, 0, 0]))]), "camera's raw file"),
    "picture below a preview": (tiff([page(SMALL, t254=(4, [1]))], [page(COLOUR)]), "begins with a reduced copy"),
    "picture below another": (tiff([page(SMALL)], [page(COLOUR)]), "holds 2 pictures"),
    "preview first": (tiff([page(SMALL, t254=(4, [1])), page(COLOUR)]), "begins with a reduced copy"),
    "old word for a preview": (tiff([page(SMALL, t255=(3, [2])), page(COLOUR)]), "begins with a reduced copy"),
    "mask first": (tiff([page(GREY, t254=(4, [4]))]), "begins with a mask"),
    "pages": (tiff([page(GREY), page(GREY), page(GREY)]), "holds 3 pictures"),
    "ImageJ's stack": (tiff([page(GREY, t270=(2, list(IMAGEJ)))]), "holds 20 pictures"),
    "MetaMorph's stack": (tiff([page(GREY, t33629=(4, [0] * 6))]), "holds 6 pictures"),
    "volume": (tiff([page(GREY, t32997=(4, [7]))]), "holds 7 pictures"),
    "four lamps": (tiff([page(np.dstack([COLOUR, GREY]))]), "4 channels"),
    "grey and depth": (tiff([page(np.dstack([GREY, GREY]), t338=(3, [0]))]), "2 channels"),
    "unknown colours": (tiff([page(GREY, t262=(3, [4242]))]), "colour mode number 4242"),
    "big in the other byte order": (tiff([page(GREY)], order=">", big=True), "BigTIFF"),
    "too few channels": (tiff([page(GREY, t262=(3, [2]))]), "damaged"),
    "a strip that was never written": (tiff([page(GREY, t273=(4, [0]), t279=(4, [0]))]), "parts of the picture are missing"),
    "a strip beyond the end": (tiff([page(GREY, t273=(4, [2**30]))]), "parts of the picture are missing"),
    "a short strip": (tiff([page(GREY, t279=(4, [100]))]), "hold less than"),
    "fewer strips than rows": (tiff([page(GREY, t278=(4, [8]))]), "parts of the picture are missing"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_not_understood_is_refused_with_the_word_for_it(case: str) -> None:
    content, word = WRONG[case]
    with pytest.raises(BadImage, match=word) as error:
        decode_image(content, "a.tif")
    assert "export" in str(error.value) and "\n" not in str(error.value)


def test_directories_in_a_circle_end() -> None:
    content = bytearray(tiff([page(GREY)]))
    at = struct.unpack_from("<I", content, 4)[0]
    count = struct.unpack_from("<H", content, at)[0]
    struct.pack_into("<I", content, at + 2 + 12 * count, at)
    with pytest.raises(BadImage, match="runs in a circle"):
        decode_image(bytes(content), "a.tif")


def test_a_damaged_jpeg_inside_is_found(tmp_path: Path) -> None:
    smooth = np.random.default_rng(1).normal(128, 30, (240, 320)).clip(0, 255).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.tif", compression="jpeg")
    assert np.abs(read_image(tmp_path / "a.tif")[:, :, 0].astype(int) - smooth).mean() < 10
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[8000:8064] = bytes((37 * i + 11) % 251 for i in range(64))
    with pytest.raises(BadImage, match="damaged"):
        decode_image(bytes(content), "a.tif")


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "group4", "jpeg", "zstd", "lzma"])
def test_compressed_ones_are_read(tmp_path: Path, compression: str) -> None:
    for number, array in enumerate((GREY, COLOUR)):
        image = Image.fromarray(array)
        if compression == "group4":
            image, array = image.convert("1"), np.asarray(image.convert("1")) * np.uint8(255)  # noqa: PLW2901
        image.save(tmp_path / f"{number}.tif", compression=compression)
        read = read_image(tmp_path / f"{number}.tif")
        assert compression == "jpeg" or np.array_equal(read, array.reshape(read.shape))


def test_a_wrong_checksum_of_deflated_pixels_is_damage(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "a.tif", compression="tiff_adobe_deflate")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[len(content) // 2] ^= 0x55
    with pytest.raises(BadImage, match="damaged"):
        decode_image(bytes(content), "a.tif")
