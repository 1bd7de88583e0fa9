"""Every kind of file that may lie in a delivery: read exactly, or refused with a reason."""

import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from data.errors import BadImage
from data.image import MAX_PIXELS, decode_image, read_image
from tests.data.conftest import pixels


def save(path: Path, array: np.ndarray, mode: str | None = None, **options: object) -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int, bits: int = 8, colour: int = 0) -> bytes:
    """A PNG that claims a size and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + png_chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("extension", ["png", "bmp", "tif", "webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_formats_are_read_exactly(tmp_path: Path, extension: str, channels: int) -> None:
    expected = pixels(1, channels=channels)
    options = {"lossless": True} if extension == "webp" else {}
    read = read_image(save(tmp_path / f"a.{extension}", expected, **options))
    assert read.dtype == np.uint8
    assert read.flags.c_contiguous and read.flags.writeable
    np.testing.assert_array_equal(read, expected.reshape(48, 64, channels))


def test_jpeg_is_close_and_its_format_counts_not_its_name(tmp_path: Path) -> None:
    smooth = np.broadcast_to(np.linspace(0, 255, 64).astype(np.uint8), (48, 64)).copy()
    path = save(tmp_path / "a.jpg", smooth, quality=95).rename(tmp_path / "wrong.png")
    assert np.abs(read_image(path)[:, :, 0].astype(int) - smooth).max() < 12
    assert decode_image(path.read_bytes(), "wrong.png").extension == "jpg"


def test_grey_saved_as_colour_is_grey(tmp_path: Path) -> None:
    grey = pixels(2)
    for name, options in (("a.png", {}), ("b.jpg", {"quality": 90}), ("c.webp", {"quality": 90})):
        assert read_image(save(tmp_path / name, grey, "RGB", **options)).shape == (48, 64, 1), name
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[:, :, 0], grey)


def test_one_coloured_pixel_makes_a_colour_image(tmp_path: Path) -> None:
    colour = np.repeat(pixels(2)[:, :, None], 3, axis=2)
    colour[17, 5] = (200, 100, 50)  # off the grid of 16 that is looked at first
    assert read_image(save(tmp_path / "a.png", colour)).shape == (48, 64, 3)


def test_palette_and_bilevel(tmp_path: Path) -> None:
    flat = (pixels(3) // 64 * 64).astype(np.uint8)
    grey_palette = Image.fromarray(flat).quantize(8)
    grey_palette.save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png")[:, :, 0], np.asarray(grey_palette.convert("L")))
    colours = Image.fromarray(pixels(3, channels=3)).quantize(16)
    colours.save(tmp_path / "colour.png")
    np.testing.assert_array_equal(read_image(tmp_path / "colour.png"), np.asarray(colours.convert("RGB")))
    save(tmp_path / "bits.png", ((pixels(4) > 128) * 255).astype(np.uint8), "1")
    np.testing.assert_array_equal(read_image(tmp_path / "bits.png")[:, :, 0], (pixels(4) > 128) * 255)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped_only_when_it_hides_nothing(tmp_path: Path, mode: str) -> None:
    base = Image.fromarray(pixels(5, channels=3 if mode == "RGBA" else 1))
    opaque = base.convert(mode)
    opaque.save(tmp_path / "opaque.png")
    np.testing.assert_array_equal(read_image(tmp_path / "opaque.png").squeeze(), np.asarray(base))
    opaque.putpixel((3, 3), (*opaque.getpixel((3, 3))[:-1], 254))
    opaque.save(tmp_path / "hole.png")
    with pytest.raises(BadImage, match=r"0\.0% transparent pixels.*without alpha"):
        read_image(tmp_path / "hole.png")


def test_transparent_palette_is_refused(tmp_path: Path) -> None:
    Image.fromarray(pixels(6, channels=3)).quantize(8).save(tmp_path / "a.png", transparency=0)
    with pytest.raises(BadImage, match="transparent"):
        read_image(tmp_path / "a.png")


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    expected = pixels(7)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90° clockwise
    Image.fromarray(expected).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[:, :, 0], np.rot90(expected, -1))


@pytest.mark.parametrize(
    ("name", "array", "mode", "rule"),
    [
        ("grey16.png", np.full((40, 40), 40000, np.uint16), None, "16 bits"),
        ("grey16.tif", np.full((40, 40), 40000, np.uint16), None, "16 bits"),
        ("cmyk.jpg", pixels(1, channels=3), "CMYK", "CMYK"),
        ("cmyk.tif", pixels(1, channels=3), "CMYK", "CMYK"),
        ("float.tif", np.full((40, 40), 0.5, np.float32), None, "32 bits"),
        ("lab.tif", pixels(1, channels=3), "LAB", "LAB"),
    ],
)
def test_depths_and_modes_that_would_need_a_guess_are_refused(
    tmp_path: Path, name: str, array: np.ndarray, mode: str | None, rule: str
) -> None:
    with pytest.raises(BadImage, match=rule) as error:
        read_image(save(tmp_path / name, array, mode))
    assert name in str(error.value) and "export" in str(error.value) and "\n" not in str(error.value)


def test_sixteen_bit_colour_is_refused_although_pillow_would_cut_it(tmp_path: Path) -> None:
    row = b"\0" + struct.pack(">192H", *range(0, 192 * 300, 300))
    header = struct.pack(">IIBBBBB", 64, 40, 16, 2, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(row * 40)) + png_chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    with Image.open(tmp_path / "a.png") as cut:
        assert cut.mode == "RGB"
    with pytest.raises(BadImage, match="16 bits"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(("width", "height"), [(10_000, 10_000), (8001, 8000), (60_000, 60_000)])
def test_a_bomb_is_refused_by_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, height: int) -> None:
    assert width * height > MAX_PIXELS
    (tmp_path / "bomb.png").write_bytes(png_header(width, height))

    def decode(self: Image.Image) -> None:
        raise AssertionError("the pixels were decoded")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", decode)
    with pytest.raises(BadImage, match=r"64 megapixels.*scale it down"):
        read_image(tmp_path / "bomb.png")


def test_a_bomb_is_refused_whatever_the_warning_filters_say(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png_header(10_000, 10_000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(BadImage, match="10000×10000 px; at most 64 megapixels"):
            read_image(tmp_path / "bomb.png")


@pytest.mark.parametrize("size", [(1, 1), (31, 400), (400, 31)])
def test_images_too_small(tmp_path: Path, size: tuple[int, int]) -> None:
    with pytest.raises(BadImage, match=rf"{size[1]}×{size[0]} px; each side needs at least 32"):
        read_image(save(tmp_path / "a.png", np.zeros(size, np.uint8)))


def test_the_smallest_image_is_accepted(tmp_path: Path) -> None:
    assert read_image(save(tmp_path / "a.png", np.zeros((32, 32), np.uint8))).shape == (32, 32, 1)


@pytest.mark.parametrize("extension", ["png", "jpg", "bmp", "tif", "webp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files(tmp_path: Path, extension: str, share: float) -> None:
    path = save(tmp_path / f"a.{extension}", pixels(8))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(BadImage, match=r"damaged|not an image"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(100), b"%PDF-1.4", bytes(1000)])
def test_what_is_not_an_image(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(BadImage, match=r"0 bytes|not an image|damaged|accepted are PNG"):
        read_image(tmp_path / "a.png")


def test_gif_is_not_accepted(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match="is a GIF image; accepted are PNG, JPEG.*export it as PNG"):
        read_image(save(tmp_path / "a.gif", pixels(1)))


def test_several_pages(tmp_path: Path) -> None:
    pages = [Image.fromarray(pixels(number)) for number in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(BadImage, match="holds 3 pictures"):
        read_image(tmp_path / "a.tif")


def test_what_is_not_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path, tmp_path / "pipe.png"):
        with pytest.raises(BadImage, match="not a regular file"):
            read_image(path)
    with pytest.raises(BadImage, match=r"cannot be opened \(No such file"):
        read_image(tmp_path / "missing.png")


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.bmp").open("wb") as stream:
        stream.truncate(300 * 2**20)  # takes no room on the disk
    with pytest.raises(BadImage, match="300 MiB; at most 256"):
        read_image(tmp_path / "a.bmp")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_raises_anything_else(tmp_path: Path, data: st.DataObject) -> None:
    extension = data.draw(st.sampled_from(["png", "jpg", "bmp", "tif", "webp"]))
    content = bytearray(save(tmp_path / f"a.{extension}", pixels(9)).read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, min(len(content), 300) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = decode_image(bytes(content), "a").pixels
    except BadImage as error:
        assert "\n" not in str(error)
    else:
        assert read.dtype == np.uint8 and read.ndim == 3 and read.shape[2] in {1, 3} and min(read.shape[:2]) >= 32
