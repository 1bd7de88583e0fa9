"""What is refused before another threshold is made, and what of product.yaml stays."""

from pathlib import Path

import pytest

from flows.config import read_product_file
from flows.errors import PlantError
from flows.steps.recalibrate import parse_share, set_overkill


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("0.05", 0.05), (" 12.5 % ", 0.125), (".2", 0.2), ("2,5%", 0.025)])
def test_shares_as_people_write_them(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["5", "50%", "0", "0%", "-3%", "five", "", "1e-2", "5%%", "nan", "9" * 400])
def test_shares_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(PlantError, match="write 5% or 0"):
        parse_share(text)


def test_every_other_line_of_the_product_stays(tmp_path: Path) -> None:
    file = tmp_path / "product.yaml"
    file.write_text(
        "# ours\nregion: {left: 0.1, top: 0.0, right: 1.0, bottom: 1.0}\noverkill_target: 0.02  # as agreed\n\n# end\n"
    )
    set_overkill(file, 0.05)
    assert file.read_text() == (
        "# ours\nregion: {left: 0.1, top: 0.0, right: 1.0, bottom: 1.0}\n\n# end\noverkill_target: 0.05\n"
    )
    set_overkill(tmp_path / "new.yaml", 0.125)
    assert read_product_file(tmp_path / "new.yaml").overkill_target == 0.125


def test_a_file_that_cannot_be_changed_line_by_line_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "product.yaml"
    for text in ("{gates: {image_auroc: 0.9}}\n", "gates: {image_auroc: 0.9}\n...\n", '"overkill_target": 0.1\n'):
        file.write_text(text)
        with pytest.raises(PlantError):
            set_overkill(file, 0.05)
        assert file.read_text() == text
