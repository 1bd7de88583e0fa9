"""Every kind of file that may lie in a delivery: read exactly, or refused with a reason."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, PngImagePlugin

from core.errors import BadImage
from data.image import MAX_PIXELS, decode_image, read_image
from data.overlay_mark import marked
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
    with pytest.raises(BadImage, match=r"is a GIF image; accepted are PNG, JPEG.*export it as PNG"):
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


def jpeg(array: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "JPEG", **{"quality": 90, **options})
    return stream.getvalue()


SMOOTH = np.random.default_rng(3).normal(128, 20, (240, 320)).clip(1, 254).astype(np.uint8)


def half(content: bytes, end: bytes) -> bytes:
    return content[: len(content) // 2] + end


DAMAGE = {
    "half and an end marker": lambda c: half(c, b"\xff\xd9"),
    "half and zeros up to its size": lambda c: half(c, bytes(len(c) - len(c) // 2)),
    "half": lambda c: half(c, b""),
    "the last row of blocks missing": lambda c: c[:-700] + b"\xff\xd9",
    "other bytes in the middle": lambda c: c[:9000] + bytes((37 * i + 11) % 251 for i in range(64)) + c[9064:],
    "bytes left out": lambda c: c[:9000] + c[9400:],
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"restart_marker_rows": 1}], ids=["plain", "progressive", "restart"]
)
def test_what_the_jpeg_decoder_warns_of_is_damage(damage: str, options: dict[str, object]) -> None:
    whole = jpeg(SMOOTH, **options)
    assert decode_image(whole, "a.jpg").pixels.shape == (240, 320, 1)
    with pytest.raises(BadImage, match="damaged"):
        decode_image(DAMAGE[damage](whole), "a.jpg")


def test_a_progressive_jpeg_without_its_last_scans_is_damage() -> None:
    whole = jpeg(np.dstack([SMOOTH, SMOOTH, SMOOTH[::-1]]), progressive=True)
    begins = [at for at in range(len(whole)) if whole[at : at + 2] == b"\xff\xc4"][1:]
    assert len(begins) > 5
    for at in begins:
        with pytest.raises(BadImage, match="damaged"):
            decode_image(whole[:at] + b"\xff\xd9", "a.jpg")


@pytest.mark.parametrize("options", [{"quality": 80}, {"lossless": True, "method": 0}, {"quality": 10}])
@pytest.mark.parametrize("level", [0, 128, 250])
def test_a_webp_of_a_flat_ground_is_no_damage(tmp_path: Path, options: dict[str, object], level: int) -> None:
    ground = np.full((600, 800), level, np.uint8)
    assert decode_image(save(tmp_path / "a.webp", ground, **options).read_bytes(), "a").pixels.shape == (600, 800, 1)
    ground[:300] = np.random.default_rng(0).normal(128, 5, (300, 800)).astype(np.uint8)
    assert decode_image(save(tmp_path / "a.webp", ground, **options).read_bytes(), "a").pixels.shape == (600, 800, 1)


@pytest.mark.parametrize("place", [0.3, 0.6, 0.95])
def test_a_wrong_checksum_in_a_png_is_damage(tmp_path: Path, place: float) -> None:
    content = bytearray(save(tmp_path / "a.png", SMOOTH, compress_level=0).read_bytes())
    content[int(place * len(content))] ^= 1
    with pytest.raises(BadImage, match="damaged"):
        decode_image(bytes(content), "a.png")


def with_exif(exif: bytes) -> bytes:
    content = jpeg(SMOOTH)
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]


def exif_of(turned: int, order: str = "<") -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return b"Exif\0\0" + mark + struct.pack(order + "IHHHIHHI", 8, 1, 0x0112, 3, 1, turned, 0, 0)


@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0garbage", b"Exif\0\0" * 2 + b"II*\0\x08\0\0\0\0\0\0\0", exif_of(9), exif_of(0),
     b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(30), exif_of(6).replace(b"\x12\x01", b"\x13\x01")],
)  # fmt: skip
def test_broken_exif_is_no_reason_to_refuse_pixels(exif: bytes) -> None:
    decoded = decode_image(with_exif(exif), "a.jpg")
    np.testing.assert_array_equal(decoded.pixels, decode_image(jpeg(SMOOTH), "a.jpg").pixels)
    assert decoded.turned == 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_an_orientation_counts_though_the_rest_of_exif_is_broken(order: str) -> None:
    for exif in (exif_of(6, order), exif_of(6, order)[:-4], b"Exif\0\0" + exif_of(6, order)):
        decoded = decode_image(with_exif(exif), "a.jpg")
        np.testing.assert_array_equal(decoded.pixels, np.rot90(decode_image(jpeg(SMOOTH), "a.jpg").pixels, -1))
        assert decoded.turned == 6


def test_every_orientation_is_applied_as_pillow_does(tmp_path: Path) -> None:
    for turned in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turned
        save(tmp_path / "a.png", pixels(7), exif=exif)
        with Image.open(tmp_path / "a.png") as image:
            expected = np.asarray(ImageOps.exif_transpose(image))
        np.testing.assert_array_equal(read_image(tmp_path / "a.png")[:, :, 0], expected)


def test_exif_of_a_png_counts_wherever_it_stands(tmp_path: Path) -> None:
    block = exif_of(6)[6:]
    content = save(tmp_path / "a.png", pixels(7)).read_bytes()
    behind = content[:-12] + png_chunk(b"eXIf", block) + content[-12:]
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(block):8}\n{block.hex()}\n", zip=True)
    as_text = save(tmp_path / "b.png", pixels(7), pnginfo=info).read_bytes()
    for made in (behind, as_text):
        np.testing.assert_array_equal(decode_image(made, "a.png").pixels[:, :, 0], np.rot90(pixels(7), -1))


@pytest.mark.parametrize("sampling", ["411", "420", "422", "440", "444"])
def test_jpegs_of_cameras_are_read(sampling: str) -> None:
    picture = cv2.GaussianBlur(pixels(1, channels=3), (0, 0), 5)
    factor = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{sampling}")
    coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor])[1].tobytes()
    for content in (coded, coded + b"what a camera adds", coded[:2] + b"\xff\xfe\0\x05hey" + coded[2:]):
        assert decode_image(content, "a.jpg").pixels.shape == (48, 64, 3)


def test_a_grey_jpeg_with_factors_of_two_is_read() -> None:
    content = bytearray(jpeg(SMOOTH))
    at = content.index(b"\xff\xc0")
    assert content[at + 11] == 0x11
    content[at + 11] = 0x22  # some programs write so; with one channel it means nothing
    np.testing.assert_array_equal(decode_image(bytes(content), "a.jpg").pixels, decode_image(jpeg(SMOOTH), "a.jpg").pixels)


def test_xmp_alone_turns_nothing(tmp_path: Path) -> None:
    xmp = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp)
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", pixels(7), pnginfo=info))[:, :, 0], pixels(7))
    content = jpeg(SMOOTH, xmp=xmp.encode())
    np.testing.assert_array_equal(decode_image(content, "a.jpg").pixels, decode_image(jpeg(SMOOTH), "a.jpg").pixels)


@pytest.mark.parametrize("extension", ["bmp", "tif", "png"])
def test_last_rows_that_were_never_written_are_seen(tmp_path: Path, extension: str) -> None:
    cut = SMOOTH.copy()
    rows = slice(0, 120) if extension == "bmp" else slice(120, 240)  # a BMP begins with its last row
    cut[rows] = 0
    found = decode_image(save(tmp_path / f"a.{extension}", cut).read_bytes(), "a").tail
    assert (found.rows, found.height, found.missing) == (120, 240, True) and "last 120 of 240 rows" in str(found)
    cut[rows] = 255
    found = decode_image(save(tmp_path / f"a.{extension}", cut).read_bytes(), "a").tail
    assert (found.rows, found.missing) == (120, False), "another level is named, not refused"
    assert decode_image(save(tmp_path / f"a.{extension}", SMOOTH).read_bytes(), "a").tail.rows == 0
    dark = np.zeros((240, 320), np.uint8)
    dark[20:25, 30:35] = 200
    assert not decode_image(save(tmp_path / f"a.{extension}", dark).read_bytes(), "a").tail.missing, "black is its ground"


def test_the_number_of_channels_can_be_asked_for(tmp_path: Path) -> None:
    grey, neutral = save(tmp_path / "a.png", pixels(2)), save(tmp_path / "b.png", pixels(2), "RGB")
    for path in (grey, neutral):
        np.testing.assert_array_equal(read_image(path, 3), np.repeat(pixels(2)[:, :, None], 3, 2))
        np.testing.assert_array_equal(read_image(path, 1)[:, :, 0], pixels(2))
    colour = save(tmp_path / "c.png", pixels(2, channels=3))
    np.testing.assert_array_equal(read_image(colour, 1)[:, :, 0], np.asarray(Image.open(colour).convert("L")))


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(90), "JPEG 2000"), (b"\xff\x4f\xff\x51" + bytes(90), "JPEG 2000"),
        (b"P5\n# a remark\n64 48\n255\n" + bytes(64 * 48), "PGM"), (b"P6 64 48 255\n" + bytes(64 * 48 * 3), "PPM"),
        (b"\0\0\0\x1cftypheic" + bytes(90), "HEIC"), (b"\0\0\0\x1cftypcrx " + bytes(90), "CR3"),
        (bytes(128) + b"DICM" + bytes(9), "DICOM"),
        (b"8BPS" + bytes(90), "Photoshop"), (b"PK\x03\x04" + bytes(90), "archive"),
    ],
)  # fmt: skip
def test_other_kinds_of_files_are_called_by_their_name(content: bytes, word: str) -> None:
    with pytest.raises(BadImage, match=rf"'a.png' is an? .*{word}.*; accepted are PNG, JPEG, BMP, TIFF and WebP: export"):
        decode_image(content, "a.png")


def test_a_text_that_begins_like_a_portable_image_is_none() -> None:
    with pytest.raises(BadImage, match="is not an image"):
        decode_image(b"P3 comes second, P5 last", "notes")


def test_an_overlay_is_no_camera_image(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match="an overlay that 'changeover inspect' wrote"):
        decode_image(marked(save(tmp_path / "a.png", pixels(1)).read_bytes()), "a.png")
    marked_file = tmp_path / "b.png"
    marked_file.write_bytes(marked((tmp_path / "a.png").read_bytes()))
    with Image.open(marked_file) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels(1))


def test_a_preview_behind_the_picture_does_no_harm(tmp_path: Path) -> None:
    first, second = Image.fromarray(SMOOTH), Image.fromarray(SMOOTH[::2, ::2])
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second], exif=exif_of(1))
    decoded = decode_image((tmp_path / "a.jpg").read_bytes(), "a.jpg")
    assert decoded.pixels.shape == (240, 320, 1) and decoded.extension == "jpg"


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
