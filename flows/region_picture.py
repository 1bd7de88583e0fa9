"""The picture of a product's region of interest, on a good image of its newest batch."""

import os
from dataclasses import dataclass
from pathlib import Path

from core.errors import BadSettings
from core.files import replacing
from data.overlay_mark import is_overlay_file, marked
from flows.newest_batch import newest_batch
from flows.plant import Plant
from models.inspection.region import Region


@dataclass(frozen=True)
class Drawn:
    """``path``: the picture, or None, and ``reason`` says why there is none. ``on``: batch and image that it was drawn on."""

    path: Path | None
    on: str
    reason: str = ""


def default_place(plant: Plant, product: str) -> Path:
    """Where the picture goes if nobody says otherwise: out of the way of git and of the images."""
    return plant.state / "regions" / f"{product}.png"


def check_place(out: Path) -> None:
    """BadSettings where something lies at ``out`` that is no such picture and no overlay: it is not written over."""
    if os.path.lexists(out) and not is_overlay_file(out):
        raise BadSettings(f"{str(out)!r} is there already and is no picture of a region; name another file with --out")


def draw_region(plant: Plant, product: str, region: Region, out: Path) -> Drawn:
    """Write the picture as PNG to ``out``. BadSettings as of ``check_place``, BadImage where the image is damaged."""
    batch = newest_batch(plant, product)
    if batch is None:
        return Drawn(None, "", f"{product} has no batch yet")
    name = batch.read_record().images[0].name
    source = batch.good / name
    if not source.is_file():
        return Drawn(None, "", f"the images of {product} {batch.path.name} are not here; fetch them with 'dvc checkout'")
    check_place(out)
    import cv2

    from data.image import read_image
    from models.report.region_picture import region_picture

    picture = region_picture(read_image(source, batch.channels()), region)
    _, encoded = cv2.imencode(".png", picture[:, :, ::-1])
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as temporary:
            temporary.write_bytes(marked(encoded.tobytes()))
    except OSError as error:
        raise BadSettings(f"{str(out)!r} cannot be written ({error.strerror}); name another file with --out") from error
    return Drawn(out, f"{batch.path.name} {name}")
