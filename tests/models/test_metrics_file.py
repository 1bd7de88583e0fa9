"""``metrics.json``: the same bytes again, older and newer files, and damaged ones."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.files import write_json
from models.evaluation.metrics_file import Metrics, judged, read_metrics
from tests.metrics_of_a_version import metrics_with
from tests.models.report_contents import champion, contents, metrics


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    """Every part, as the file holds it."""
    network = {"steps": 9, "steps_planned": 20, "threads": 2, "changes": [[5, 0.25, 9]], "form": "float32", "losses": [[1, 0.5]]}
    training = {"networks": [network], "chosen": {"detector": "stpm"}, "weights_digest": "c" * 64, "spec": {"side": 64}}
    teacher = {"teacher": {"name": "imagenet", "digest": "d" * 64}, "warm_start": None, "seed": 1}
    made = metrics(contents(4, 4, (16, 16)).examples, np.random.default_rng(7))
    easy = {key: made[key] for key in ("image_auroc", "pixel_ap", "escape")}
    return made | {
        "champion": {**champion(), "families": {}, "easy": easy}, "training": training | teacher, "easy": easy,
        "overkill_wish": 0.01, "learned_before": ["a.png"], "fusion": {"one view": 0.5}, "packages": {"torch": "2"},
        "outside": {"share": 0.25, "detections": 3, "images": 2, "of": 8, "left_out": 1},
        "not_judged": {"calibrate": 1, "test": 2, "defects": 3},
        "scores": {**made["scores"], "test": [None, *made["scores"]["test"]]},
    }  # fmt: skip


def test_what_was_written_is_read_and_written_again(whole: dict[str, Any], tmp_path: Path) -> None:
    made = Metrics.model_validate(whole)
    assert made.as_json() == whole
    write_json(tmp_path / "first", made.as_json())
    read = read_metrics((tmp_path / "first").read_bytes())
    assert read == made
    write_json(tmp_path / "second", read.as_json())
    assert (tmp_path / "second").read_bytes() == (tmp_path / "first").read_bytes()
    assert set(Metrics.model_fields) - {"file_format"} == whole.keys() - {"schema"}, "a field that this test leaves out"


def test_what_a_newer_changeover_adds_is_kept(whole: dict[str, Any]) -> None:
    newer = whole | {"robots": {"arm": [1]}, "study": {"trials": 3, "pruned": 2}, "environment": {"host": "x"}}
    assert read_metrics(json.dumps(newer)).as_json() == newer


def test_what_an_older_changeover_did_not_write_is_empty(whole: dict[str, Any]) -> None:
    """The first files of 0.1 had these parts alone, and called the subset of tests lock."""
    parts = ("product", "batch", "model_digest", "images_digest", "threshold", "pixel_threshold", "overkill_target", "passed")
    figures = ("overkill", "escape", "image_auroc", "pixel_ap")
    scores = {"calibrate": [0.1], "lock": [0.2], "defects": [0.9]}
    old = {key: whole[key] for key in (*parts, *figures)} | {"scores": scores, "images": {"train": 3, "lock": 1}}
    found = read_metrics(json.dumps(old | {"training": {"networks": [{"seconds": 1.5}]}}))
    assert found.scores.test == (0.2,) and found.images == {"train": 3, "test": 1}
    assert found.training.networks[0].steps_text == "None of None steps" and found.training.networks[0].form == "bfloat16"
    assert found.easy is found.champion is found.overkill_wish is found.training.warm_start is found.outside is None
    assert found.not_judged is None
    assert found.gates == found.trade_off == found.learned_before == () and found.training.weights_digest == ""


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[]", b"null", b"{}", b"[" * 100_000, b'{"product": "\\ud800"}'])
def test_a_damaged_file_is_told_in_a_line(text: bytes) -> None:
    with pytest.raises(ValueError) as told:
        read_metrics(text)
    assert 10 < len(str(told.value)) < 200 and str(told.value).isprintable()


EVIL: tuple[Any, ...] = (None, True, -1, 10**400, 1e308, "\x1b[31m", "", [], {}, [[]], {"\n": None}, ["x"], {"rate": "x"})


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*way, key)
        yield from places(inner, (*way, key))


def replaced(value: Any, way: tuple[Any, ...], by: Any) -> Any:
    if not way:
        return by
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[way[0]] = replaced(value[way[0]], way[1:], by)
    return changed


def test_whatever_stands_in_it_is_read_or_told_in_a_line(whole: dict[str, Any]) -> None:
    few = metrics_with(**{key: whole[key] for key in ("gates", "training", "champion")}).as_json()
    tried = refused = 0
    for place in places(few):
        for evil in EVIL:
            text = json.dumps(replaced(few, place, evil))
            tried += 1
            try:
                json.dumps(read_metrics(text).as_json())
            except ValueError as error:
                refused += 1
                assert str(error).isprintable() and len(str(error)) < 300
    assert 500 < refused < tried


def test_images_that_were_not_judged_have_no_score() -> None:
    assert judged((0.25, None, 0.5)) == (0.25, 0.5) and judged(()) == ()
