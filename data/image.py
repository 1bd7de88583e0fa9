"""Reading one image file that may be anything: what it is is settled from its header, before a pixel is decoded.

Accepted are PNG, JPEG, BMP, TIFF and WebP with 8 bits a channel, grey or RGB. Whatever would have to be guessed (16 bits,
CMYK, float, half-transparent pixels, several pages, a decoder's warning) is refused with the way out. Two things are decided
here for everybody:

- A picture whose three channels agree within two levels at every pixel is neutral, however it was saved, and read as grey
  unless it belongs to a batch in colour: which of both a batch is, all its files decide (``data.kind``).
- The orientation in the EXIF data is applied, as every viewer does: what people see, and draw on, is what is trained on.
  Cameras on a line write none.
"""

import io
import os
import stat
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from core.errors import BadImage
from data.file_kinds import other_kind
from data.intact import Tail, check_deflated, check_jpeg, check_png, tail
from data.orientation import orientation, raw_profile, without_exif
from data.overlay_mark import is_overlay
from data.tiff import checked_tiff, deflated_parts, is_tiff, jpeg_parts, small_colour_table

FORMATS = {"PNG": "png", "JPEG": "jpg", "MPO": "jpg", "BMP": "bmp", "TIFF": "tif", "WEBP": "webp"}
"""Pillow's name of each accepted format and the extension that the stored file gets. MPO, which Pillow finds while it
opens a JPEG, is one with a preview attached; the first picture is taken."""
ACCEPTED = "accepted are PNG, JPEG, BMP, TIFF and WebP"
MIN_SIDE = 32
MAX_PIXELS = 64_000_000
MAX_BYTES = 256 * 2**20
GREY_TOLERANCE = 2
"""Largest difference between channels of a grey picture saved as RGB; WebP's rounding reaches 1."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
"""How a picture of each orientation is turned upright."""

# Pillow itself warns about, or refuses, more than 89 megapixels while it reads the header. Either is a refusal here.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Decoded:
    """Pixels, uint8 (H, W, C) with C = 1 or 3 (RGB), and the extension that belongs to the file's real format.

    ``colour``: whether the file holds three channels, neutral or not. ``turned``: the orientation (1 to 8) that was applied.
    ``tail``: the last rows of the file that are all of one level.
    """

    pixels: np.ndarray
    extension: str
    colour: bool
    turned: int
    tail: Tail


def read_image(path: Path, channels: int | None = None) -> np.ndarray:
    """The pixels of an image file: uint8 (H, W, C), 32 px to 64 megapixels; BadImage otherwise.

    C is 1 (grey) or 3 (RGB): ``channels`` where given, and what the picture itself is where not.
    """
    return decode_image(read_bytes(path), path.name, channels).pixels


def read_bytes(path: Path) -> bytes:
    """The content of a regular, not empty file of at most 256 MiB that nobody is writing to; BadImage otherwise."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise BadImage(f"{path.name!r} is not a regular file; give an image file")
        if status.st_size > MAX_BYTES:
            raise BadImage(
                f"{path.name!r} has {status.st_size / 2**20:.0f} MiB; at most {MAX_BYTES >> 20}: save the image compressed"
            )
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES)
            after = os.fstat(stream.fileno())
    except OSError as error:
        raise BadImage(f"{path.name!r} cannot be opened ({error.strerror}); check that it exists and may be read") from error
    if (after.st_size, after.st_mtime_ns) != (status.st_size, status.st_mtime_ns) or len(content) != after.st_size:
        raise BadImage(f"{path.name!r} changed while it was read; try again when it is written")
    if not content:
        raise BadImage(f"{path.name!r} has 0 bytes; export the image again")
    return content


def decode_image(content: bytes, name: str, channels: int | None = None) -> Decoded:
    """Decode a file's content; ``name`` is for messages, ``channels`` as for ``read_image``. BadImage if it is damaged or not of
    an accepted kind."""
    kind = other_kind(content)
    if kind:
        raise BadImage(f"{name!r} is {kind}; {ACCEPTED}: export it as PNG")
    if is_overlay(content):
        raise BadImage(f"{name!r} is an overlay that 'changeover inspect' wrote; take the camera's image")
    try:
        return _decode(content, name, channels)
    except BadImage:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise BadImage(f"{name!r} has more than {MAX_PIXELS // 10**6} megapixels; crop or scale it down ({error})") from error
    except UnidentifiedImageError as error:
        raise BadImage(f"{name!r} is not an image; {ACCEPTED}") from error
    except Exception as error:  # a hostile file can make a decoder raise anything
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise BadImage(f"{name!r} is damaged ({reason}); export the image again") from error


def in_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """``pixels`` (H, W, 1 or 3) as (H, W, ``channels``): grey three times, or the brightness of colours."""
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return pixels.repeat(3, axis=2)
    if is_neutral(pixels):
        return np.ascontiguousarray(pixels[:, :, 1:2])
    return np.array(Image.fromarray(pixels).convert("L"))[:, :, None]


def is_neutral(colour: np.ndarray) -> bool:
    """Whether the channels of (H, W, 3) agree everywhere within the tolerance."""
    sample = colour[::16, ::16]  # settles most colour pictures cheaply
    return _spread(sample) <= GREY_TOLERANCE and _spread(colour) <= GREY_TOLERANCE


def _spread(colour: np.ndarray) -> int:
    red, green, blue = cv2.split(np.ascontiguousarray(colour))
    return int(max(cv2.norm(one, other, cv2.NORM_INF) for one, other in ((red, green), (green, blue), (blue, red))))


def _decode(content: bytes, name: str, channels: int | None) -> Decoded:
    original, turned, exif = content, 1, b""
    if is_tiff(content):
        content, turned = checked_tiff(content, name)
    elif content.startswith(b"\xff\xd8"):
        content, exif = without_exif(content)
    with Image.open(io.BytesIO(content), formats=[kind for kind in FORMATS if kind != "MPO"]) as image:
        kind = image.format or ""
        _check_header(image, content, name)
        _check_whole(kind, content, original, name)
        image.getexif = Image.Exif  # type: ignore[method-assign]  # else Pillow turns a TIFF by what its XMP says
        if kind == "TIFF" and image.mode == "P":
            _mend_colour_table(image, content)
        stored, colour = _pixels(image, name, channels)
        if kind != "TIFF":  # in a PNG it may stand behind the pixels
            turned = orientation(exif or image.info.get("exif") or raw_profile(image.info.get("Raw profile type exif", "")))
    rows = stored[::-1] if kind == "BMP" and struct.unpack_from("<i", content, 22)[0] > 0 else stored  # BMP begins at the bottom
    pixels = np.ascontiguousarray(_upright(stored, turned))
    return Decoded(pixels, FORMATS[kind], colour, turned, tail(rows))


def _check_header(image: Image.Image, content: bytes, name: str) -> None:
    """Refuse by what the header says: size, depth, colour mode, number of pictures."""
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        raise BadImage(f"{name!r} is {width}×{height} px; each side needs at least {MIN_SIDE}: export it in full size")
    if width * height > MAX_PIXELS:
        raise BadImage(f"{name!r} is {width}×{height} px; at most {MAX_PIXELS // 10**6} megapixels: crop or scale it down")
    bits = content[24] if image.format == "PNG" else 8  # Pillow would cut 16-bit RGB to 8 in silence
    if bits > 8:
        raise BadImage(f"{name!r} has {bits} bits a channel; accepted are 8: export it with 8 bits")
    if image.mode not in {"1", "L", "P", "PA", "LA", "RGB", "RGBA"}:
        raise BadImage(f"{name!r} has colour mode {image.mode}; accepted are grey and RGB: export it as one of them")
    pictures = getattr(image, "n_frames", 1)
    if image.format not in {"MPO", "TIFF"} and pictures > 1:  # ``data.tiff`` has counted those of a TIFF
        raise BadImage(f"{name!r} holds {pictures} pictures; accepted is one a file: export them one by one")


def _check_whole(kind: str, content: bytes, original: bytes, name: str) -> None:
    """Refuse what the decoder would repair in silence."""
    if kind == "PNG":
        check_png(content, name)
    elif kind in {"JPEG", "MPO"}:
        check_jpeg(original, name)
    elif kind == "TIFF":
        for part in jpeg_parts(content):
            check_jpeg(part, name)
        for part in deflated_parts(content):
            check_deflated(part, name)


def _mend_colour_table(image: Image.Image, content: bytes) -> None:
    table = small_colour_table(content)
    if table:
        image.load()
        colours = len(table) // 3
        image.putpalette(bytes(table[channel * colours + n] for n in range(colours) for channel in range(3)))


def _pixels(image: Image.Image, name: str, channels: int | None) -> tuple[np.ndarray, bool]:
    """Decode, drop an alpha channel that hides nothing, make grey what is grey. uint8 (H, W, C) as stored, and whether the file
    holds colour."""
    image.load()
    if image.has_transparency_data:
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
        if alpha.min() < 255:
            share = float((alpha < 255).mean())
            raise BadImage(
                f"{name!r} has {share:.1%} transparent pixels; accepted are opaque images: export it without alpha channel"
            )
    if image.mode in {"1", "L", "LA"}:
        return in_channels(np.array(image.convert("L"))[:, :, None], channels or 1), False
    colour = np.array(image.convert("RGB"))
    neutral = is_neutral(colour)
    wanted = channels or (1 if neutral else 3)
    return in_channels(colour, wanted), not (neutral and image.mode in {"P", "PA"})


def _upright(pixels: np.ndarray, turned: int) -> np.ndarray:
    """``pixels`` (H, W, C) turned as their ``orientation`` asks for."""
    if turned == 1:
        return pixels
    planes = [np.asarray(Image.fromarray(pixels[:, :, c]).transpose(TURNS[turned])) for c in range(pixels.shape[2])]
    return np.stack(planes, axis=2)
