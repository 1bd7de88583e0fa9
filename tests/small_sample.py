"""Sample images at half their size, a quarter of the pixels: for tests of the way, not of the model."""

from pathlib import Path

from PIL import Image

from data.sample.pictures import write_sample


def write_small_sample(folder: Path, good: int, defects: int, seed: int) -> None:
    """As ``data.sample.pictures.write_sample``, each image and mask reduced to 128 x 128 px."""
    write_sample(folder, good, defects, seed)
    for file in folder.rglob("*.png"):
        with Image.open(file) as image:
            how = Image.Resampling.NEAREST if "mask" in file.relative_to(folder).parts else Image.Resampling.BOX
            small = image.resize((image.width // 2, image.height // 2), how)
        small.save(file)
