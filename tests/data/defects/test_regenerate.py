"""The frozen exam defects of a batch."""

import json
from pathlib import Path

import cv2

from core.files import write_json
from data.batch import BatchFolder
from data.defects.regenerate import regenerate
from data.sample.pictures import render_good
from data.yaml_file import write_yaml


def test_every_family_is_drawn_on_all_images_of_its_subset(tmp_path: Path) -> None:
    """Six families over six images once put each family on one image of its own, which then decided how it scored."""
    folder = BatchFolder(tmp_path)
    folder.good.mkdir(parents=True)
    names = [f"{i:02d}.png" for i in range(14)]
    for i, name in enumerate(names):
        cv2.imwrite(str(folder.good / name), render_good(i, 3))
    write_json(folder.file("split.json"), {"train": names[:2], "tune": names[2:8], "calibrate": [], "test": names[8:]})
    write_yaml(folder.file("params.yaml"), {"seed": 1, "recipe": {"per_family": 6}})
    regenerate(folder)
    listed = json.loads((folder.file("defects") / "index.json").read_text())["defects"]
    for subset in ("tune", "test"):
        for family in {one["family"] for one in listed}:
            drawn = [one["source"] for one in listed if (one["subset"], one["family"]) == (subset, family)]
            assert len(set(drawn)) == len(drawn) >= 2, (subset, family)
