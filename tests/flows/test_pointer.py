"""What the line reads and what the registry says are held against each other, and a broken pointer hurts nobody."""

import json
import os
from pathlib import Path

import pytest

from flows.plant import Plant
from flows.records.pointer import disagreement, pointed_at, products_on_the_line


def publish(plant: Plant, text: str | bytes | None, product: str = "bolt") -> Path:
    file = plant.publish / product / "current.json"
    file.parent.mkdir(parents=True)
    if text is not None:
        file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def test_no_pointer_and_no_champion_agree(plant: Plant) -> None:
    assert pointed_at(plant, "bolt") is None and disagreement(plant, "bolt", None) is None


def test_a_champion_that_nobody_published(plant: Plant) -> None:
    assert disagreement(plant, "bolt", "3") == (
        "version 3 is the champion, but nothing is published",
        "run 'changeover promote --product bolt'",
    )


def test_a_withdrawn_model_on_the_line(plant: Plant) -> None:
    publish(plant, json.dumps({"version": "2"}))
    found, fix = disagreement(plant, "bolt", None) or ("", "")
    assert found == "the line reads version 2, but the product has no champion" and "changeover serve" in fix
    found, fix = disagreement(plant, "bolt", "3") or ("", "")
    assert found == "the line reads version 2, but version 3 is the champion" and "promote --product bolt" in fix
    assert disagreement(plant, "bolt", "2") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '"2"', "{}", '{"version": 2}', '{"version": null}', b"\xff", "[" * 100_000])
def test_a_pointer_that_cannot_be_read_is_told(plant: Plant, text: str | bytes) -> None:
    file = publish(plant, text)
    assert pointed_at(plant, "bolt") == ""
    assert disagreement(plant, "bolt", "1") == (f"{file} cannot be read", "run 'changeover promote --product bolt'")
    assert "remove" in (disagreement(plant, "bolt", None) or ("", ""))[1]


@pytest.mark.timeout(20)
def test_a_pipe_a_folder_and_a_link_in_its_place_hold_nobody_up(plant: Plant, tmp_path: Path) -> None:
    os.mkfifo(publish(plant, None, "pipe"))
    publish(plant, None, "folder").mkdir()
    (tmp_path / "elsewhere").write_text('{"version": "1"}')
    publish(plant, None, "link").symlink_to(tmp_path / "elsewhere")
    assert [pointed_at(plant, name) for name in ("pipe", "folder", "link")] == ["", "", ""]


def test_a_product_that_was_deleted_is_still_looked_at(plant: Plant) -> None:
    publish(plant, "{}", "gone")
    publish(plant, "{}", "Not a product")
    assert products_on_the_line(plant, ["bolt"]) == ["bolt", "gone"]
