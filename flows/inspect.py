"""Inspecting images with a registered version, image by image, as the line does."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import BadImage
from data.files import replacing
from registry.line import read_published
from registry.signature import PublicKey

if TYPE_CHECKING:
    from models.exported import ExportedInspector, Inspection

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class Row:
    """One image: ``verdict`` is ``pass``, ``reject`` or ``error``; ``reason`` says why there is no score."""

    image: str
    verdict: str
    score: float | None = None
    overlay: str | None = None
    reason: str = ""


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


def image_files(places: Sequence[Path]) -> list[Path]:
    """Every file named, and every image in the folders named, sorted within a folder; BadImage if that gives none."""
    files: list[Path] = []
    for place in places:
        if place.is_dir():
            files += sorted(file for file in place.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        else:
            files.append(place)
    if not files:
        kinds = ", ".join(sorted(SUFFIXES))
        raise BadImage(f"no images in {', '.join(map(str, places))[:200]}; name images, or folders that hold some ({kinds})")
    return files


def inspect(model: Path, files: Sequence[Path], out: Path | None = None) -> Iterator[Row]:
    """Verdicts of ``model`` (an exported inspector) on ``files``, in order; overlays go to ``out``.

    An image that cannot be inspected gives a row with the reason and stops nothing. BadModel if the model does not load.
    """
    from models.exported import ExportedInspector

    inspector = ExportedInspector(model)
    names: set[str] = set()
    for file in files:
        try:
            pixels = _pixels(file, inspector.channels)
            found = inspector.inspect(pixels)
        except BadImage as error:
            yield Row(str(file), "error", reason=str(error))
            continue
        overlay = _write_overlay(out, file, names, pixels, found, inspector) if out else None
        yield Row(str(file), "reject" if found.verdict else "pass", found.score, overlay)


def _pixels(file: Path, channels: int) -> Any:
    from data.image import read_image

    pixels = read_image(file)
    if pixels.shape[2] == 1 and channels == 3:
        return pixels.repeat(3, axis=2)  # a picture without colour, from a camera that sees colour
    if pixels.shape[2] != channels:
        raise BadImage(f"{file.name!r} is in colour, but the model was trained on grey images; take images of the same camera")
    return pixels


def _write_overlay(
    out: Path, file: Path, names: set[str], pixels: Any, found: "Inspection", inspector: "ExportedInspector"
) -> str:
    import cv2

    from models.overlay import ColourScale, overlaid

    picture = overlaid(pixels, found.map, None, ColourScale(inspector.pixel_threshold))
    name = file.stem
    while name in names:  # images of the same name in two folders
        name += "-"
    names.add(name)
    target = out / f"{name}.png"
    _, encoded = cv2.imencode(".png", picture[:, :, ::-1])
    with replacing(target) as temporary:
        temporary.write_bytes(encoded.tobytes())
    return str(target)
