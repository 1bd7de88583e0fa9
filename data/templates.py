"""A product's templates: pictures of what is right, which parts are compared with place by place.

They lie in ``products/<product>/templates``. A changeover copies them beside the batch, into its library
(``data.defects.library``), so that DVC versions them together with the images.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import BadBatch, BadImage
from data.image import read_image

MOST = 16
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_NOTES = (".txt", ".md", ".json", ".yaml", ".yml", ".csv")

Image = NDArray[np.uint8]


def template_files(folder: Path) -> list[Path]:
    """The templates in ``folder`` in name order; none if there is no such folder. BadBatch for what is no image, for pictures of
    more than one size, and for more than 16."""
    if not folder.is_dir():
        return []
    found = []
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or file.suffix.lower() in _NOTES:
            continue
        if not file.is_file() or file.suffix.lower() not in ENDINGS:
            raise BadBatch(f"{file.name!r} in {folder} is no picture that is read; save it as PNG, or take it out of there")
        found.append(file)
    if len(found) > MOST:
        raise BadBatch(f"{folder} holds {len(found)} templates; at most {MOST} are used: remove the others")
    return found


def read_templates(folder: Path, channels: int) -> tuple[Image, ...]:
    """The templates in ``folder`` (H, W, C) in name order, in 1 or 3 ``channels``. BadBatch as of ``template_files``, and for one
    that cannot be read."""
    images: list[Image] = []
    for file in template_files(folder):
        try:
            image = read_image(file, channels)
        except BadImage as error:
            raise BadBatch(f"template {file.name!r} in {folder} cannot be read: {error}") from error
        if images and image.shape != images[0].shape:
            own, others = (f"{shape[1]} × {shape[0]} px" for shape in (image.shape, images[0].shape))
            raise BadBatch(f"template {file.name!r} in {folder} is {own}, and others are {others}; crop all to one size")
        images.append(image)
    return tuple(images)
