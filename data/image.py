"""Reading one image file that may be anything: what it is is settled from its header, before a pixel is decoded.

Accepted are PNG, JPEG, BMP, TIFF and WebP with 8 bits a channel, grey or RGB. Whatever would have to be guessed (16 bits,
CMYK, float, half-transparent pixels, several pages) is refused with the way out. Two things are decided here for everybody:

- A picture whose three channels agree within two levels at every pixel is grey and has one channel, however it was saved.
  A colour camera never delivers that, a converter always does.
- The orientation in the EXIF data is applied, as every viewer does: what people see, and draw on, is what is trained on.
  Cameras on a line write none.
"""

import io
import stat
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from data.errors import BadImage

FORMATS = {"PNG": "png", "JPEG": "jpg", "MPO": "jpg", "BMP": "bmp", "TIFF": "tif", "WEBP": "webp"}
"""Pillow's name of each accepted format and the extension that the stored file gets. MPO, which Pillow finds while it
opens a JPEG, is one with a preview attached; the first picture is taken."""
MIN_SIDE = 32
MAX_PIXELS = 64_000_000
MAX_BYTES = 256 * 2**20
GREY_TOLERANCE = 2
"""Largest difference between channels of a grey picture saved as RGB; WebP's rounding reaches 1."""

# Pillow itself warns about, or refuses, more than 89 megapixels while it reads the header. Either is a refusal here.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Decoded:
    """Pixels, uint8 (H, W, C) with C = 1 or 3 (RGB), and the extension that belongs to the file's real format."""

    pixels: np.ndarray
    extension: str


def read_image(path: Path) -> np.ndarray:
    """The pixels of an image file: uint8 (H, W, C), C = 1 (grey) or 3 (RGB), 32 px to 64 megapixels; BadImage otherwise."""
    return decode_image(read_bytes(path), path.name).pixels


def read_bytes(path: Path) -> bytes:
    """The content of a regular, not empty file of at most 256 MiB; BadImage otherwise."""
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
    except OSError as error:
        raise BadImage(f"{path.name!r} cannot be opened ({error.strerror}); check that it exists and may be read") from error
    if not content:
        raise BadImage(f"{path.name!r} has 0 bytes; export the image again")
    return content


def decode_image(content: bytes, name: str) -> Decoded:
    """Decode a file's content; ``name`` is for messages. BadImage if it is damaged or not of an accepted kind."""
    try:
        with Image.open(io.BytesIO(content), formats=[kind for kind in FORMATS if kind != "MPO"]) as image:
            kind = image.format or ""
            _check_header(image, content, name)
            pixels = _pixels(image, name)
    except BadImage:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise BadImage(f"{name!r} has more than {MAX_PIXELS // 10**6} megapixels; crop or scale it down ({error})") from error
    except UnidentifiedImageError as error:
        raise BadImage(f"{name!r} is not an image; accepted are PNG, JPEG, BMP, TIFF and WebP") from error
    except Exception as error:  # a hostile file can make a decoder raise anything
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise BadImage(f"{name!r} is damaged ({reason}); export the image again") from error
    return Decoded(pixels, FORMATS[kind])


def _check_header(image: Image.Image, content: bytes, name: str) -> None:
    """Refuse by what the header says: size, depth, colour mode, number of pictures."""
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        raise BadImage(f"{name!r} is {width}×{height} px; each side needs at least {MIN_SIDE}: export it in full size")
    if width * height > MAX_PIXELS:
        raise BadImage(f"{name!r} is {width}×{height} px; at most {MAX_PIXELS // 10**6} megapixels: crop or scale it down")
    if _bits(image, content) > 8:
        raise BadImage(f"{name!r} has {_bits(image, content)} bits a channel; accepted are 8: export it with 8 bits")
    if image.mode not in {"1", "L", "P", "PA", "LA", "RGB", "RGBA"}:
        raise BadImage(f"{name!r} has colour mode {image.mode}; accepted are grey and RGB: export it as one of them")
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise BadImage(f"{name!r} holds {getattr(image, 'n_frames', 1)} pictures; accepted is one a file: export them one by one")


def _bits(image: Image.Image, content: bytes) -> int:
    """Bits a channel as stored. Pillow would cut 16-bit RGB to 8 in silence, so its mode cannot be trusted for that."""
    if image.format == "PNG":
        return int(struct.unpack_from(">B", content, 24)[0])  # IHDR: signature 8, length and type 8, width and height 8
    if image.format == "TIFF":
        depths = getattr(image, "tag_v2", {}).get(258, (1,))
        return int(max(depths)) if isinstance(depths, tuple) else int(depths)
    return 8


def _pixels(image: Image.Image, name: str) -> np.ndarray:
    """Decode, turn upright, drop an alpha channel that hides nothing, make grey what is grey. uint8 (H, W, C)."""
    image.load()
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        alpha = np.asarray(upright.convert("RGBA").getchannel("A"))
        if alpha.min() < 255:
            share = float((alpha < 255).mean())
            raise BadImage(
                f"{name!r} has {share:.1%} transparent pixels; accepted are opaque images: export it without alpha channel"
            )
    if upright.mode in {"1", "L", "LA"}:
        return np.array(upright.convert("L"))[:, :, None]
    colour = np.array(upright.convert("RGB"))
    if _is_grey(colour[::16, ::16]) and _is_grey(colour):  # the sample settles most colour pictures cheaply
        return np.ascontiguousarray(colour[:, :, 1:2])
    return colour


def _is_grey(colour: np.ndarray) -> bool:
    """Whether the channels of (H, W, 3) agree everywhere within the tolerance."""
    return int(np.ptp(colour, axis=2).max()) <= GREY_TOLERANCE
