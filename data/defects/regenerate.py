"""Stage ``regenerate``: draw this batch's frozen exam defects, by family and difficulty, on its tune and test images."""

import json
import shutil

import cv2
import numpy as np

from core.files import write_json
from data.batch import BatchFolder
from data.defects.draw import applicable, draw_exam
from data.defects.recipe import EXAM_FAMILIES, Recipe
from data.defects.scale import Image, measure_scale
from data.image import read_image
from data.progress import Progress
from data.split import of_today
from data.stage import read_params, read_settings, run_stage

SUBSETS = ("tune", "test")


def regenerate(folder: BatchFolder) -> None:
    """Write ``defects/``: PNG images, labels and ``index.json``; the folder appears whole or not at all."""
    params = read_params(folder)
    recipe, seed = read_settings(params, "recipe", Recipe), int(params.get("seed", 0))
    split = of_today(json.loads(folder.file("split.json").read_text(encoding="utf-8")))
    names = [name for subset in ("train", *SUBSETS) for name in split[subset]]
    channels = folder.channels()
    images: dict[str, Image] = {name: read_image(folder.good / name, channels) for name in names}
    scale = measure_scale([images[name] for name in split["train"]])
    partial = folder.work / "defects"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    progress, listed, skipped = Progress(folder.path, "regenerate"), [], 0
    families = applicable(EXAM_FAMILIES, scale)
    total = len(SUBSETS) * len(families) * recipe.per_family
    for number, (subset, family, i) in enumerate(
        (subset, family, i) for subset in SUBSETS for family in families for i in range(recipe.per_family)
    ):
        # Every family goes through all images, each from another one on.
        name = split[subset][(i + families.index(family)) % len(split[subset])]
        difficulty = (i + 0.5) / recipe.per_family
        drawn = draw_exam(recipe, scale, images[name], 0, family, difficulty, seed, number)
        progress.update(number + 1, total, f"{family} {i + 1}")
        if drawn.family is None:
            skipped += 1  # nothing visible could be drawn (an erasure on a blank surface, say)
            continue
        stem = f"{number:04d}"
        cv2.imwrite(str(partial / f"{stem}.png"), drawn.image[..., ::-1] if drawn.image.shape[2] == 3 else drawn.image)
        cv2.imwrite(str(partial / f"{stem}-mask.png"), np.round(drawn.label * 255).astype(np.uint8))
        listed.append({"file": f"{stem}.png", "mask": f"{stem}-mask.png", "source": name, "family": family,
                       "difficulty": round(difficulty, 4), "held_out": True, "subset": subset})  # fmt: skip
    write_json(partial / "index.json", {"recipe_digest": recipe.digest(), "scale": vars(scale), "defects": listed})
    target = folder.file("defects")
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    print(f"{len(listed)} exam defects of {len(families)} families, {skipped} invisible ones left out")


if __name__ == "__main__":
    run_stage(regenerate)
