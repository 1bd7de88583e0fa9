"""The stage as DVC runs it: planted faults are found, sound batches pass, the files are as the other rooms expect."""

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from core.errors import BadBatch, BadSettings
from data.batch import BatchFolder, BatchRecord, Rejection
from data.ingest import ingest
from data.sample.pictures import render_good
from data.split import SUBSETS
from data.validate import settings_of, validate
from data.validation import checks
from data.validation.history import COMPARED, QUANTILES, EarlierBatch, History, read_history
from data.validation.outliers import robust
from data.validation.settings import ValidateSettings

Findings = dict[str, Any]


@pytest.fixture(scope="session")
def plates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty good plates, rendered once."""
    target = tmp_path_factory.mktemp("plates")
    for number in range(30):
        Image.fromarray(render_good(number, 2)[:, :, 0]).save(target / f"plate_{number:02d}.png")
    return target


@pytest.fixture
def source(plates: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plates, tmp_path / "delivery"))


def prepare(source: Path, folder: BatchFolder, **params: Any) -> BatchRecord:
    record = ingest(source, folder, "bolt", "a")
    folder.file("params.yaml").write_text(yaml.safe_dump({"seed": 4, **params}))
    return record


def findings(folder: BatchFolder) -> Findings:
    found: Findings = json.loads(folder.file("validation.json").read_text())
    return found


def check(folder: BatchFolder, name: str) -> Findings:
    return next(check for check in findings(folder)["checks"] if check["name"] == name)


def failed(folder: BatchFolder) -> set[str]:
    return {check["name"] for check in findings(folder)["checks"] if not check["passed"]}


def change(source: Path, number: int, image: np.ndarray) -> None:
    Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(source / f"plate_{number:02d}.png")


def plate(number: int) -> np.ndarray:
    return render_good(number, 2)[:, :, 0]


def test_a_sound_batch_passes_without_a_warning(source: Path, folder: BatchFolder, capsys: pytest.CaptureFixture[str]) -> None:
    record = prepare(source, folder)
    validate(folder)
    found = findings(folder)
    assert found["passed"] is True and failed(folder) == set()
    assert all(set(check) == {"name", "passed", "severity", "observed", "limit", "text", "images"} for check in found["checks"])
    assert [row["name"] for row in found["facts"]] == [image.name for image in record.images]
    for key in (
        "width",
        "height",
        "channels",
        "bits",
        "bytes",
        "brightness",
        "contrast",
        "sharpness",
        "overexposed",
        "underexposed",
    ):
        assert all(isinstance(row[key], int | float) for row in found["facts"]), key
    assert all(row["duplicate_of"] is None for row in found["facts"])
    assert found["summary"]["images"] == 30 and found["summary"]["width"] == 256
    split = json.loads(folder.file("split.json").read_text())
    assert split["seed"] == 4 and set(split["groups"]) == {image.name for image in record.images}
    assert sorted(name for subset in SUBSETS for name in split[subset]) == sorted(split["groups"])
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(found["checks"]) + 1 and printed[-1] == "split: train 18, tune 3, calibrate 6, test 3"


def test_the_same_batch_gives_the_same_files(source: Path, folder: BatchFolder) -> None:
    prepare(source, folder)
    names = ("validation.json", "validation.html", "split.json")
    validate(folder)
    first = [folder.file(name).read_bytes() for name in names]
    validate(folder)
    assert [folder.file(name).read_bytes() for name in names] == first


def test_planted_faults_of_single_images_are_named(source: Path, folder: BatchFolder) -> None:
    change(source, 3, cv2.GaussianBlur(plate(3), (0, 0), 4))
    change(source, 7, plate(7) * 0.35)
    change(source, 11, plate(11) * 1.9)
    change(source, 15, np.where(np.arange(256)[:, None] < 80, 255, plate(15)))
    change(source, 19, cv2.resize(plate(19), (320, 256)))
    prepare(source, folder)
    validate(folder)
    assert findings(folder)["passed"] and failed(folder) == {"blur", "exposure", "one size"}

    def named(name: str) -> set[str]:
        return {image[:8] for image in check(folder, name)["images"]}

    assert named("blur") == {"plate_03"}
    assert named("exposure") == {"plate_07", "plate_11", "plate_15"}
    assert named("one size") == {"plate_19"}
    assert all(check["severity"] == "warning" for check in findings(folder)["checks"] if not check["passed"])


def test_binary_images_are_not_overexposed(tmp_path: Path, folder: BatchFolder) -> None:
    source = tmp_path / "boards"
    source.mkdir()
    rng = np.random.default_rng(1)
    for number in range(24):
        board = (cv2.GaussianBlur(rng.standard_normal((128, 128)), (0, 0), 5) > 0).astype(np.uint8) * 255
        Image.fromarray(board).save(source / f"board{number}.png")
    prepare(source, folder)
    validate(folder)
    assert failed(folder) == set()


def test_near_duplicates_warn_and_stay_on_one_side(source: Path, folder: BatchFolder) -> None:
    for number in range(8):
        cv2.imwrite(str(source / f"x_again_{number}.jpg"), plate(number), [cv2.IMWRITE_JPEG_QUALITY, 85])
    prepare(source, folder)
    validate(folder)
    found = check(folder, "near-duplicates")
    assert not found["passed"] and found["severity"] == "warning" and len(found["images"]) == 8
    assert check(folder, "distinct images")["observed"] == "30"
    split = json.loads(folder.file("split.json").read_text())
    where = {name[:8] if name.startswith("plate") else name[:9]: subset for subset in SUBSETS for name in split[subset]}
    assert all(where[f"plate_{number:02d}"] == where[f"x_again_{number}"] for number in range(8))


def test_known_views_of_one_part_are_no_warning(source: Path, folder: BatchFolder) -> None:
    lines = ["file,group"]
    for number in range(8):
        cv2.imwrite(str(source / f"x_again_{number}.jpg"), plate(number), [cv2.IMWRITE_JPEG_QUALITY, 85])
        lines += [f"x_again_{number}.jpg,part {number}", f"plate_{number:02d}.png,part {number}"]
    (source / "groups.csv").write_text("\n".join(lines))
    prepare(source, folder)
    validate(folder)
    assert failed(folder) == set()


def test_too_few_distinct_images_warn_and_stay_on_one_side(tmp_path: Path, folder: BatchFolder) -> None:
    source = tmp_path / "poor"
    source.mkdir()
    for number in range(28):
        cv2.imwrite(str(source / f"p{number}.jpg"), plate(number % 7), [cv2.IMWRITE_JPEG_QUALITY, 95 - number // 7])
    prepare(source, folder)
    validate(folder)
    found = check(folder, "distinct images")
    assert (found["passed"], found["severity"], int(found["observed"]) <= 9) == (False, "warning", True)
    assert found["limit"] == "≥ 12" and len(found["images"]) == 28 - int(found["observed"])


def test_a_camera_that_looks_at_one_part_for_ever_is_told(tmp_path: Path, folder: BatchFolder) -> None:
    source = tmp_path / "stuck"
    source.mkdir()
    for number in range(24):
        noise = np.random.default_rng(number).normal(0, 3, (256, 256))
        Image.fromarray(np.clip(plate(0) + noise, 0, 255).astype(np.uint8)).save(source / f"p{number:02d}.png")
    prepare(source, folder)
    validate(folder)
    found = check(folder, "variety")
    assert (found["passed"], found["severity"]) == (False, "warning") and float(found["observed"].split()[0]) < 1.5


def test_parts_that_a_table_tells_apart_are_believed(tmp_path: Path, folder: BatchFolder) -> None:
    """Discs that a lathe made look alike to the last grey level; their owner knows better."""
    source = tmp_path / "discs"
    source.mkdir()
    lines = ["file;group"]
    for number in range(24):
        cv2.imwrite(str(source / f"d{number:02d}.jpg"), plate(number % 2), [cv2.IMWRITE_JPEG_QUALITY, 80 + number // 2])
        lines.append(f"D{number:02d}.JPG;disc {number}")
    prepare(source, folder)
    validate(folder)
    assert {"distinct images", "near-duplicates"} <= failed(folder)
    for file in ("batch.yaml", "split.json"):
        folder.file(file).unlink()
    shutil.rmtree(folder.good)
    (source / "Groups.csv").write_text("\n".join(lines))
    record = prepare(source, folder)
    assert len({image.group for image in record.images}) == 24
    validate(folder)
    assert not {"distinct images", "near-duplicates"} & failed(folder)
    groups = json.loads(folder.file("split.json").read_text())["groups"]
    assert len(set(groups.values())) == 24


def test_few_images_warn(source: Path, folder: BatchFolder) -> None:
    for number in range(20, 30):
        (source / f"plate_{number}.png").unlink()
    prepare(source, folder)
    validate(folder)
    assert failed(folder) == {"plenty of images"}
    folder.file("params.yaml").write_text("seed: 1\nvalidate: {few_images: 20}\n")
    validate(folder)
    assert failed(folder) == set()


@pytest.mark.parametrize("harm", ["changed", "missing", "added", "unreadable", "colour"])
def test_a_batch_that_was_tampered_with_stops(source: Path, folder: BatchFolder, harm: str) -> None:
    record = prepare(source, folder)
    victim = folder.good / record.images[4].name
    if harm == "changed":
        Image.fromarray(plate(100)).save(victim)
    elif harm == "missing":
        victim.unlink()
    elif harm == "added":
        shutil.copy(victim, folder.good / "extra.png")
    elif harm == "unreadable":
        victim.write_bytes(victim.read_bytes()[:2000])
    else:
        colour = np.stack([plate(4), plate(5), plate(6)], axis=2)
        Image.fromarray(colour).save(victim)
    with pytest.raises(BadBatch, match=r"restore|validation\.html") as error:
        validate(folder)
    assert "\n" not in str(error.value)
    expected = {
        "changed": {"unchanged"},
        "missing": {"unchanged", "readable"},
        "added": {"unchanged"},
        "unreadable": {"unchanged", "readable"},
        "colour": {"unchanged", "channels"},
    }
    assert failed(folder) == expected[harm]
    assert check(folder, "unchanged")["images"] == ["extra.png" if harm == "added" else victim.name]


def bare_rule(severity: Any, low: float) -> checks.Rule:
    return checks.Rule("size", severity, "ExpectColumnValuesToBeBetween", {"column": "width", "min_value": low})


def test_a_rule_without_words_stops_the_batch_like_any_other(
    source: Path, folder: BatchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(source, folder)
    usual, extra = checks._rules, [bare_rule("error", 300)]
    monkeypatch.setattr(checks, "_rules", lambda *given: [*usual(*given), *extra])
    with pytest.raises(BadBatch, match=r"fails check 'size': 30 images against it .*, allowed .*min_value=300"):
        validate(folder)
    found = check(folder, "size")
    assert (found["passed"], found["severity"], len(found["images"])) == (False, "error", 30) and not findings(folder)["passed"]
    assert not folder.file("split.json").exists() and "min_value=300" in folder.file("validation.html").read_text()
    # Of several rules the one that failed says how severe it is, not the last.
    extra.append(bare_rule("warning", 0))
    with pytest.raises(BadBatch):
        validate(folder)
    extra[:] = [bare_rule("warning", 300), bare_rule("error", 0)]
    validate(folder)
    assert check(folder, "size")["severity"] == "warning" and not check(folder, "size")["passed"]


def test_everything_unreadable_is_told_not_crashed(source: Path, folder: BatchFolder) -> None:
    record = prepare(source, folder)
    for image in record.images:
        (folder.good / image.name).write_bytes(b"gone")
    with pytest.raises(BadBatch, match=r"'readable': 30 unreadable .*and 2 more"):
        validate(folder)
    assert {"readable", "unchanged", "enough images", "distinct images"} <= failed(folder)


def history(folder: BatchFolder, **shift: float) -> None:
    rng = np.random.default_rng(0)
    facts = findings(folder)["facts"]
    batches = {
        name: {
            key: [row[key] * shift.get(key, 1.0) * factor * rng.normal(1, 0.01) for row in facts]
            for key in ("brightness", "contrast", "sharpness")
        }
        for name, factor in (("earlier-1", 1.0), ("earlier-2", 1.01))
    }
    folder.file("history.json").write_text(json.dumps({"batches": batches}))


def test_drift_from_earlier_batches(source: Path, folder: BatchFolder) -> None:
    prepare(source, folder)
    validate(folder)
    history(folder)
    validate(folder)
    assert failed(folder) == set() and check(folder, "drift of brightness")["passed"]
    assert not [found["name"] for found in findings(folder)["checks"] if "against it" in found["observed"]], "all have words"
    history(folder, brightness=1.4)
    validate(folder)
    assert failed(folder) == {"drift of brightness"}
    history(folder, sharpness=4.0, contrast=0.5)
    validate(folder)
    assert failed(folder) == {"drift of sharpness", "drift of contrast"}
    assert findings(folder)["passed"]


@pytest.mark.parametrize("images", [1, 2, 24, 25, 26, 500])
def test_a_history_of_quantiles_sets_the_limits_that_all_images_would(images: int) -> None:
    rng = np.random.default_rng(images)
    facts = [
        {"brightness": rng.normal(middle, 0.06), "contrast": rng.normal(0.2, 0.03), "sharpness": rng.lognormal(-6, 0.8)}
        for middle in rng.normal(0.5, 0.03, images)
    ]
    few = [{key: value * 1.3 for key, value in fact.items()} for fact in facts[:3]]
    old = History(batches={name: EarlierBatch(**columns(some)) for name, some in (("a", facts), ("b", few))})
    new = History(batches={name: EarlierBatch.of_facts(some) for name, some in (("a", facts), ("b", few))})
    assert History.model_validate_json(new.model_dump_json()) == new, "as it is read again"
    assert all(len(getattr(new.batches["a"], column)) == min(images, QUANTILES) for column in COMPARED)
    for column in COMPARED:
        before, now = (np.asarray(history.limits(column, 3.0)) for history in (old, new))
        if column == "sharpness":
            before, now = np.log(before), np.log(now)
        exact = images <= QUANTILES  # but for six digits
        assert np.abs(now - before).max() <= (1e-4 if exact else 0.05) * np.ptp(before), column


def columns(facts: list[dict[str, float]]) -> dict[str, Any]:
    return {column: [fact[column] for fact in facts] for column in COMPARED}


def test_no_history_is_no_drift_check(source: Path, folder: BatchFolder) -> None:
    prepare(source, folder)
    folder.file("history.json").write_text('{"batches": {}}')
    validate(folder)
    assert not any("drift" in check["name"] for check in findings(folder)["checks"])


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"batches": {"x": {"brightness": "no"}}}', '{"batches": {"x": {"brightness": [NaN]}}}', "\xff"]
)
def test_a_damaged_history_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "history.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BadBatch, match=r"history\.json is damaged .*git checkout"):
        read_history(tmp_path / "history.json")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "seed None; it must be a whole number"),
        ({"seed": True}, "seed True"),
        ({"seed": 1, "validate": {"few_images": 3}}, r"validate\.few_images is '3'.*greater than or equal to 12"),
        ({"seed": 1, "validate": {"few_imges": 30}}, r"validate\.few_imges.*correct it there"),
        ({"seed": 1, "validate": [1]}, "validate"),
    ],
)
def test_wrong_settings(params: dict[str, Any], message: str) -> None:
    with pytest.raises(BadSettings, match=message) as error:
        settings_of(params)
    assert "\n" not in str(error.value)


def test_settings_are_optional() -> None:
    assert settings_of({"seed": 3, "validate": None, "tune": {}}) == (ValidateSettings(), 3)


def test_robust_spread_is_that_of_a_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(5, 2, 20_001)
    middle, sigma = robust([*values, *[1e9] * 50, float("nan")])
    assert middle == pytest.approx(5, abs=0.05) and sigma == pytest.approx(2, abs=0.05)
    assert robust([]) == (0.0, 0.0)


class Page(HTMLParser):
    """Every address and every tag of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for key, value in attrs if key in {"src", "href", "action", "data", "srcset"}]


def test_the_page_is_self_contained_and_escapes_what_it_shows(source: Path, folder: BatchFolder) -> None:
    evil = "<script>alert(1)<script>.txt"
    (source / evil).write_text("no image")
    change(source, 3, cv2.GaussianBlur(plate(3), (0, 0), 4))
    prepare(source, folder)
    validate(folder)
    html = folder.file("validation.html").read_text()
    page = Page(html)
    assert "script" not in page.tags and "&lt;script&gt;alert(1)&lt;script&gt;.txt" in html
    assert page.addresses and all(address.startswith("data:") for address in page.addresses)
    assert not re.search(r"url\(|@import|https?://", html)
    assert page.tags.count("img") == 6 + 1, "a look at the batch and the blurred one"
    assert page.tags.count("svg") == 3
    assert "Usable, with 1 warning<" in html and "prefers-color-scheme: dark" in html


def test_the_page_stays_small_with_many_findings(source: Path, folder: BatchFolder) -> None:
    record = prepare(source, folder)
    many = tuple(Rejection(source_name=f"n{number}", reason="not an image") for number in range(5000))
    folder.write_record(record.model_copy(update={"rejected": many}))
    validate(folder)
    html = folder.file("validation.html").read_text()
    assert len(html) < 500_000 and "and 4800 more; batch.yaml lists all" in html


@pytest.mark.slow
def test_as_a_stage(source: Path, folder: BatchFolder) -> None:
    record = prepare(source, folder)
    run = [sys.executable, "-m", "data.validate"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(run, cwd=folder.path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    (folder.good / record.images[0].name).unlink()
    done = subprocess.run(run, cwd=folder.path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: batch 'a' fails check 'readable': 1 unreadable") and done.stderr.count("\n") == 1
