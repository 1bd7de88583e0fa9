"""Pictures of examples, embedded: a photograph (JPEG), its map (transparent PNG) and its label's outline (SVG path) as layers."""

import base64
from dataclasses import dataclass
from math import sqrt

import cv2

from models.report.example import Example
from models.report.overlay import ColourScale, Pixels, close_up, contours, pooled, rgb
from models.report.shade import shade_path

MAP_SIDE = 192  # anomaly maps are smooth: more pixels would show nothing more
# Photograph size (edge of a square of the same area, in pixels) and JPEG quality, best first.
STEPS = ((640, 86), (512, 84), (400, 80), (320, 76), (256, 70), (192, 60))


@dataclass(frozen=True)
class Picture:
    """Layers of one example in its own pixel coordinates: ``photo`` and ``map`` as data: URIs, ``outline`` as SVG path.

    ``close``: the place that matters, unpainted and enlarged, as data: URI; empty where not asked for. ``shade``: SVG path of
    what is not inspected, or empty.
    """

    number: int
    example: Example
    width: int
    height: int
    photo: str
    map: str
    map_width: int
    map_height: int
    outline: str
    close: str
    shade: str

    @property
    def size(self) -> int:
        """Characters that the layers take in the page."""
        return len(self.photo) + len(self.map) + 2 * len(self.outline) + len(self.close) + len(self.shade)


def data_uri(image: Pixels, extension: str, options: tuple[int, ...] = ()) -> str:
    """Encode uint8 (H, W, 3 or 4), RGB or RGBA, as ``.jpg`` or ``.png`` and return it as a data: URI."""
    order = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
    _, encoded = cv2.imencode(extension, cv2.cvtColor(image, order), options)
    kind = "jpeg" if extension == ".jpg" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(encoded.tobytes()).decode('ascii')}"


def fitted(image: Pixels, side: int) -> Pixels:
    """Shrink (H, W, 3) to at most ``side``² pixels, never enlarging: a long narrow part keeps as many as a square one."""
    height, width = image.shape[:2]
    factor = sqrt(side * side / (height * width))
    if factor >= 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype("uint8")


def embed(number: int, example: Example, scale: ColourScale, step: tuple[int, int], close: bool) -> Picture:
    """Encode one example with a photograph of ``step`` (see STEPS); ``close`` adds the close-up."""
    side, quality = step
    jpeg = (cv2.IMWRITE_JPEG_QUALITY, quality)
    small, factor = pooled(example.map, MAP_SIDE)
    outline = "".join("M" + "L".join(f"{x + 0.5:g} {y + 0.5:g}" for x, y in polygon) + "Z" for polygon in contours(example.label))
    return Picture(
        number=number,
        example=example,
        width=example.image.shape[1],
        height=example.image.shape[0],
        photo=data_uri(fitted(rgb(example.image), side), ".jpg", jpeg),
        map=data_uri(scale.paint(small), ".png", (cv2.IMWRITE_PNG_COMPRESSION, 5)),
        map_width=small.shape[1] * factor,
        map_height=small.shape[0] * factor,
        outline=outline,
        close=data_uri(fitted(close_up(example.image, example.map, example.label), 320), ".jpg", jpeg) if close else "",
        shade=shade_path(example.outside),
    )


def embed_all(examples: list[Example], closely: list[Example], scale: ColourScale, budget: int) -> list[Picture]:
    """Encode ``examples``, all at the largest of ``STEPS`` with which they take at most ``budget`` characters together.

    Those that are also in ``closely`` get a close-up.
    """
    near = {id(example) for example in closely}
    pictures: list[Picture] = []
    for step in STEPS:
        pictures, size = [], 0
        for number, example in enumerate(examples, start=1):
            pictures.append(embed(number, example, scale, step, id(example) in near))
            size += pictures[-1].size
            if size > budget and step != STEPS[-1]:
                break
        else:
            break
    return pictures
