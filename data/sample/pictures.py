"""A sample product, rendered: a brushed plate with five bores and a printed mark, with and without defects.

For the demo and for tests, where no real images may be shipped. The plate is a height field, a reflectance and an ink layer
under one lamp; defects change those, and light does the rest: a scratch has a bright and a dark flank because it is a groove.
Nothing here is shared with ``data.defects``, so that a model trained on pseudo-defects meets something it has not seen.
"""

import csv
import io
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np

from core.errors import ChangeoverError
from data.sample.defects import DRAW
from data.sample.plate import expose, light, plate_of, pose_of

KINDS = ("scratch", "dent", "hole", "stain", "print")
VISIBLE = 5.0
"""Grey levels that a defect must change for a pixel to belong to its mask; the camera's noise is 1.6."""
TEST_SHARE = 0.25
_GOOD, _DEFECT = 1, 2  # streams of random numbers


def render_good(index: int, seed: int) -> np.ndarray:
    """Good part number ``index``: uint8 (256, 256, 1). The same numbers give the same picture."""
    rng = np.random.default_rng([seed, _GOOD, index])
    plate, pose = plate_of(rng), pose_of(rng)
    return expose(light(plate, pose), rng)


def render_defect(index: int, seed: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Defective part number ``index``: the image, uint8 (256, 256, 1), its mask, uint8 (256, 256) of 0 and 255, and the kind.

    Kinds take turns; from faint to plain at random. The mask is where the defect changes the picture visibly.
    """
    kind = KINDS[index % len(KINDS)]
    for attempt in range(20):  # one that nobody could see is drawn again
        rng = np.random.default_rng([seed, _DEFECT, index, attempt])
        plate, pose = plate_of(rng), pose_of(rng)
        before, after = light(plate, pose), light(DRAW[kind](plate, rng), pose)
        changed = (np.abs(after - before) > VISIBLE).astype(np.uint8)
        mask = cv2.morphologyEx(changed, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
        if mask.sum() >= 25:
            return expose(after, rng), mask * np.uint8(255), kind
    raise AssertionError(f"no visible {kind} for index {index}, seed {seed}")


def write_sample(target: Path, good: int, defects: int, seed: int) -> None:
    """Write ``good/*.png``, ``defect/<kind>/*.png``, ``mask/<kind>/*.png`` and ``split.csv`` (file, split, group).

    The last quarter of the good images and all defects are ``test``, the other good ones ``train``; each image is a part of
    its own. ChangeoverError if ``target`` is there already and not empty.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ChangeoverError(f"{str(target)!r} is there already and not empty; give a new folder for the sample images")
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        lines = [("file", "split", "group")]
        trained = good - round(TEST_SHARE * good)
        for index in range(good):
            name = f"good/plate-{index:04d}.png"
            _write(folder / name, render_good(index, seed))
            lines.append((name, "train" if index < trained else "test", f"plate-{index:04d}"))
        for index in range(defects):
            image, mask, kind = render_defect(index, seed)
            name = f"{kind}/plate-d{index:04d}.png"
            _write(folder / "defect" / name, image)
            _write(folder / "mask" / name, mask)
            lines.append((f"defect/{name}", "test", f"plate-d{index:04d}"))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(lines)
        (folder / "split.csv").write_text(text.getvalue(), encoding="utf-8")
        folder.chmod(0o755)
        folder.replace(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
