"""The page of validation in a real browser."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from data.batch import BatchFolder, BatchRecord, ImageRecord, Rejection
from data.validation.checks import Check
from data.validation.page import validation_page

from ..page_layout import layout_faults

EXPOSURE = "brightness {} to {}, overexposed up to 10.1%, underexposed up to 10.0%"
WORDS = (
    "Sharpness divided by squared contrast. Images far less sharp than the rest of the batch: check focus and motion, leave them "
    "out if they are blurred."
)


def page_of(tmp_path: Path, names: list[str], checks: list[Check]) -> str:
    """The page of a batch with images of these names, and with two files that were not taken."""
    rng = np.random.default_rng(1)
    folder = BatchFolder(tmp_path / "batch")
    folder.good.mkdir(parents=True)
    for name in names:
        cv2.imwrite(str(folder.good / name), rng.integers(0, 255, (60, 90), np.uint8))
    images = tuple(
        ImageRecord(name=n, source_name=n, sha256="0" * 64, bytes=5400, width=90, height=60, channels=1, group=None)
        for n in names
    )
    rejected = (
        Rejection(source_name="Thumbs.db", reason="not an image: the name ends in .db"),
        Rejection(source_name=f"delivery/{'x' * 80}/a.png", reason="damaged: the decoder stopped at row 31"),
    )
    record = BatchRecord(product="housing_cover_left_" * 4, batch="2026-11-21-a", digest="0", images=images, rejected=rejected)
    count = len(names)
    facts = pd.DataFrame(
        {
            "name": names,
            "brightness": rng.normal(0.5, 0.02, count),
            "contrast": rng.normal(0.2, 0.02, count),
            "sharpness": rng.gamma(40, size=count) / 1000,
            "width": 90,
        }
    )
    return validation_page(folder, record, facts, checks)


@pytest.mark.browser
@pytest.mark.skipif(not Path("/usr/bin/chromium").exists(), reason="no chromium at /usr/bin/chromium")
def test_the_layout_holds_at_every_width_and_on_paper(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    names = [f"{n:03}-{'housing_cover_left_' * 4}.png" for n in range(20)]
    sound = [
        Check("readable", True, "error", "0 unreadable", "0", "Images that do not open."),
        Check("one size", True, "warning", "90 × 60 px", "each side within 5% of its median", "Images of different size."),
        Check("exposure", True, "warning", EXPOSURE.format(0.37, 0.43), EXPOSURE.format(0.31, 0.51), "Images far brighter."),
        Check("near-duplicates", True, "warning", "0.0% of images", "≤ 10.0%", "Images that repeat another one."),
    ]
    failed = [
        Check("unchanged", False, "error", "19 changed, missing or added", "0", WORDS, tuple(names[:19])),
        Check("blur", False, "warning", "lowest 0.0288", "≥ 0.0107", WORDS, tuple(names[:2])),
    ]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        for name, checks in (("sound", sound), ("failed", [*sound, *failed])):
            page.set_content(page_of(tmp_path / name, names, checks))
            assert layout_faults(page) == [], name
        browser.close()
