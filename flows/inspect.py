"""Inspecting images with a registered version, image by image, as the line does."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

from core.errors import BadImage, BadSettings
from core.files import replacing
from data.overlay_mark import is_overlay_file, marked
from data.walk import File, identity, shown, walk
from registry.line import read_published
from registry.signature import PublicKey

if TYPE_CHECKING:
    from models.exported import ExportedInspector, Inspection

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".webp"})
"""Endings of what claims to be an image. Files with others, or none, are tried as well unless they are plainly no image."""
BESIDE_IMAGES = frozenset(
    {".csv", ".db", ".docx", ".html", ".ini", ".json", ".lnk", ".log", ".md", ".pdf", ".txt", ".xlsx", ".xml", ".yaml", ".zip"}
)
"""Endings of what people and computers put beside images; such a file is skipped unless it is an image after all."""
NOT_JUDGED = "not judged"
NOT_FOUND = "the part was not found as the good images show it: take it out, see where it lies and whether it is this product"
MOST_NAME = 180
"""Bytes of an overlay's name that are taken from the image's."""


@dataclass(frozen=True)
class Row:
    """One image: ``verdict`` is ``pass``, ``reject``, ``not judged`` (the part was not found in it; it is taken out like a
    reject), ``error`` (it could not be inspected) or ``skipped`` (it is no image); ``reason`` says why there is no score, or what
    else is remarkable."""

    image: str
    verdict: str
    score: float | None = None
    overlay: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class Found:
    """``files`` to inspect, in order, and a row for every other file of the same folders."""

    files: tuple[Path, ...]
    rows: tuple[Row, ...]


@contextmanager
def published_model(folder: Path, product: str, publisher: Path) -> Iterator[tuple[str, Path]]:
    """Version and model file of what the line uses: ``folder`` is the published one, ``publisher`` the pinned public key.

    ``registry.errors.Broken`` for what that key did not sign. The file is a copy of the bytes that were checked, in a folder of
    this user's own: what is exchanged after the check is not loaded.
    """
    found = read_published(folder, product, PublicKey.read(publisher))
    with tempfile.TemporaryDirectory(prefix="changeover-line-") as scratch:
        model = Path(scratch) / "model.onnx"
        model.write_bytes(found.model)
        yield found.version, model


def find_images(places: Sequence[Path], out: Path | None = None) -> Found:
    """Every file named, and what the folders named hold, sorted within a folder; the folder ``out`` for overlays is left out.

    BadImage if that gives nothing; BadSettings if ``out`` would lie over the images.
    """
    if out is not None:
        _check_apart(places, out)
    files: list[Path] = []
    rows: list[Row] = []
    for place in places:
        if not _is_folder(place):
            files.append(place)
            continue
        found = walk(place, leave=out, follow_out=True)
        rows += [Row(shown(one.path), "skipped" if one.expected else "error", reason=one.reason) for one in found.skipped]
        for file in found.files:
            reason = _no_image(file)
            if reason:
                rows.append(Row(shown(file.path), "skipped", reason=reason))
            else:
                files.append(file.path)
    if not files and all(row.verdict == "skipped" for row in rows):
        left = f" ({len(rows)} other files were skipped)" if rows else ""
        kinds = "PNG, JPEG, BMP, TIFF or WebP"
        raise BadImage(
            f"no images in {', '.join(map(str, places))[:200]}{left}; name images, or folders that hold some ({kinds})"
        )
    return Found(tuple(files), tuple(rows))


def _no_image(file: File) -> str | None:
    """Why a file of a folder is nobody's image, or None where it has to be tried."""
    if is_overlay_file(file.path):
        return "an overlay of an earlier inspection"
    if file.path.suffix.lower() in SUFFIXES:
        return None
    from data.file_kinds import accepted_kind, other_kind

    try:
        if not file.path.is_file():  # opening a pipe would wait for ever
            return None
        with file.path.open("rb") as stream:
            start = stream.read(4096)
    except OSError:
        return None
    beside = file.path.suffix.lower() in BESIDE_IMAGES or _is_text(start)
    if beside and not accepted_kind(start) and "image" not in (other_kind(start) or ""):
        return "not an image"
    return None


def _is_text(start: bytes) -> bool:
    """Whether a file begins as text does. One without content, or full of zeros, may be an image that was never written."""
    try:
        return bool(start) and b"\0" not in start and bool(start[:-3].decode("utf-8").strip())
    except UnicodeDecodeError:
        return False


def _check_apart(places: Sequence[Path], out: Path) -> None:
    """BadSettings if overlays would lie among the images that are inspected, or if images lie where only overlays may be."""
    own = identity(out)
    if own is None:
        return
    if not _is_folder(out):
        raise BadSettings(f"--out {str(out)!r} is a file; name a folder for the overlays")
    for place in places:
        folder = place if _is_folder(place) else place.absolute().parent
        images = [file for file in walk(out).files if not is_overlay_file(file.path)]
        if own == identity(folder) and (images or folder is not place):
            raise BadSettings(
                f"--out {str(out)!r} holds the images of {str(place)!r} themselves; name a folder of its own for the overlays, "
                "such as --out overlays"
            )
        if images and identity(folder) in map(identity, _real(out).parents):
            raise BadSettings(
                f"--out {str(out)!r} lies in {str(place)!r} and holds other files than overlays ({images[0].name!r}), which "
                "would not be inspected; name a folder of its own for the overlays"
            )


def _is_folder(path: Path) -> bool:
    """False also where the path cannot be accessed: reading it will say why."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _real(path: Path) -> Path:
    """Without links, as far as it exists."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a link to itself
        return path.absolute()


def inspect(model: Path, files: Sequence[Path], out: Path | None = None) -> Iterator[Row]:
    """Verdicts of ``model`` (an exported inspector) on ``files``, in order; overlays go to ``out``.

    An image that cannot be inspected gives a row with the reason and stops nothing. BadModel if the model does not load;
    BadSettings, before anything is inspected, if an overlay would replace a file that is none.
    """
    from data.image import decode_image, read_bytes
    from models.exported import ExportedInspector
    from models.inspection.seen_by_model import for_model

    overlays = _overlays(files, out) if out else [None] * len(files)
    inspector = ExportedInspector(model)
    for file, target in zip(files, overlays, strict=True):
        try:
            decoded = decode_image(read_bytes(file), file.name)
            fitted = for_model(decoded.pixels, inspector.channels, file.name)
            found = inspector.inspect(fitted.pixels)
        except BadImage as error:
            yield Row(shown(file), "error", reason=shown(Path(str(error))))
            continue
        reasons = [fitted.remark] if fitted.remark else []
        if decoded.tail.missing:
            reasons.append(str(decoded.tail))
        overlay = _write_overlay(target, decoded.pixels, fitted.raised(found, inspector), inspector) if target else None
        if not found.judged:
            yield Row(shown(file), NOT_JUDGED, None, overlay, "; ".join([NOT_FOUND, *reasons]))
            continue
        verdict = "reject" if found.verdict or fitted.rejects else "pass"
        yield Row(shown(file), verdict, found.score, overlay, "; ".join(reasons))


def _overlays(files: Sequence[Path], out: Path) -> list[Path]:
    """Where the overlay of each file goes; BadSettings if something else lies there."""
    taken: set[str] = set()
    targets: list[Path] = []
    for file in files:
        name = os.fsencode(file.stem)[:MOST_NAME].decode("utf-8", "ignore") or "image"
        while _alike(name) in taken:  # images of the same name in two folders
            name += "-"
        taken.add(_alike(name))
        targets.append(out / f"{name}.png")
    for target in targets:
        if os.path.lexists(target) and not is_overlay_file(target):
            raise BadSettings(
                f"{shown(target)!r} is there already and is no overlay (of this release); it is not written over: name another "
                "folder with --out"
            )
    return targets


def _alike(name: str) -> str:
    """Some disks take names for one that differ in case, or in how letters are composed."""
    return normalize("NFC", normalize("NFC", name).casefold())


def _write_overlay(target: Path, pixels: Any, found: "Inspection", inspector: "ExportedInspector") -> str:
    import cv2

    from models.report.overlay import ColourScale, overlaid

    picture = overlaid(pixels, found.map, None, ColourScale(inspector.pixel_threshold))
    _, encoded = cv2.imencode(".png", picture[:, :, ::-1])
    try:
        with replacing(target) as temporary:
            temporary.write_bytes(marked(encoded.tobytes()))
    except OSError as error:
        raise BadSettings(
            f"overlay {shown(target)!r} cannot be written ({error.strerror}); name another folder with --out"
        ) from error
    return shown(target)
