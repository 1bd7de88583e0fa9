"""changeover.yaml as people write it is read right, or refused in one line that says what to do."""

import datetime
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.config import PlantConfig, read_config
from flows.cron_line import check_cron, fires_once_on, local_zone
from flows.errors import PlantError
from flows.steps.batch_name import scheduled_batch


def read(folder: Path, text: str | bytes) -> PlantConfig:
    file = folder / "changeover.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_config(file)


NESTED = "a: &a [x, x]\n" + "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in pairwise("abcdefghijk"))
REFUSED: dict[str, tuple[str | bytes, str]] = {
    "products twice": ("products:\n  bolt: {images: /a}\nproducts:\n  nut: {}\n", "line 3: 'products' .* again, first in line 1"),
    "a product twice": ("products:\n  bolt: {images: /a}\n  bolt: {}\n", "line 3: 'bolt' stands here again, first in line 2"),
    "a key twice in braces": ("products: {bolt: {images: /a, images: /b}}", "'images' stands here again"),
    "as a number and as a text": ("products:\n  4711: {}\n  '4711': {}\n", "line 3: '4711' stands here again"),
    "a list as key": ("products:\n  ? [a]\n  : {}\n", "line 2: a key has to be a name"),
    "brackets in brackets": ("preset: " + "[" * 2000 + "]" * 2000, "too many to be read"),
    "braces in braces": ("products: " + "{a: " * 3000 + "1" + "}" * 3000, "too many to be read"),
    "a long list": ("preset: [" + ", ".join(["x"] * 20_000) + "]", r"preset \(a list of 20000\): input .* correct the line"),
    "a long text": ("preset: " + "x" * 100_000, "preset 'x+…: input should be .* correct the line"),
    "a long cron line": ("products: {bolt: {images: /a, cron: '" + "61," * 50_000 + "1 6 * * *'}}", "does not parse"),
    "a long folder": ("storage: {publish: 's3://" + "x" * 100_000 + "'}", "correct the line"),
    "a long product": ("products: {" + "x" * 300 + ": {}}", "product name 'x+'"),
    "a long number": ("preset: 0x" + "f" * 10_000, r"preset \(a long int\): input should be"),
    "a long number in digits": ("servers: {mlflow_port: " + "9" * 5000 + "}", "is not readable YAML"),
    "a list that doubles itself": (NESTED + "preset: *k\n", r"preset \(a list of 9\): input should"),
    "a number as folder": ("products: {bolt: {images: 4711}}", r"bolt\.images 4711: .* \(put it in quotes\)"),
    "a list": ("- products\n", "not 'key: value' lines"),
    "a sentence": ("hello", "not 'key: value' lines"),
    "a tab": ("products:\n\tbolt: {}\n", "line 2 is not readable YAML"),
    "no such date": ("preset: 2026-02-30\n", "is not readable YAML"),
    "another encoding": ("storage: {publish: /Süd}".encode("latin-1"), "save it as UTF-8"),
    "a program": ("preset: !!python/object/apply:os.system [ls]", "is not readable YAML"),
    "a bad product name": ("products: {Bolt: {}}", "product name 'Bolt'"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_right_is_refused_in_one_short_line(tmp_path: Path, case: tuple[str | bytes, str]) -> None:
    with pytest.raises(PlantError, match=case[1]) as error:
        read(tmp_path, case[0])
    assert "\n" not in str(error.value) and len(str(error.value)) < len(str(tmp_path)) + 700


@pytest.mark.parametrize("name", ["4711", "007", "1_0", "1e3", "0x1f", "no", "on", "null", "2026-11-21"])
def test_a_key_is_the_name_that_is_written(tmp_path: Path, name: str) -> None:
    assert list(read(tmp_path, f"products:\n  {name}: {{images: /a}}\n").products) == [name]


@pytest.mark.parametrize(
    "text",
    [
        "", "# nothing\n", "---\n", "products:\nstorage:\n", "products: ~\nteacher:\nteachers:\ngates:\nregistry:\n",
        "registry:\n  workers:\n  limits:\n", "\ufeffproducts:\r\n",
    ],
)  # fmt: skip
def test_an_empty_section_sets_nothing(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == PlantConfig()


def test_what_means_never_stays(tmp_path: Path) -> None:
    found = read(tmp_path, "teachers: {cron: null}\nproducts:\n  bolt:\n  nut: {images: /a, cron: }\n")
    assert found.teachers.cron is None and found.products["nut"].cron is None and found.products["bolt"].images is None
    base = "x: &base {images: /a}\nproducts: {bolt: {<<: *base, preset: quick}}"
    with pytest.raises(PlantError, match="x is not a setting"):
        read(tmp_path, base)
    merged = read(tmp_path, "products:\n  bolt: &base {images: /a, preset: quick}\n  nut: {<<: *base, preset: thorough}\n")
    assert (merged.products["nut"].images, merged.products["nut"].preset) == ("/a", "thorough")


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("0 0 30 2 *", "never fires"), ("0 0 31 2,4,6,9,11 *", "never fires"), ("0 6 30 feb *", "never fires"),
        ("61 25 * * 1", "does not parse"), ("0 6 * * 8", "does not parse"), ("0 24 * * *", "does not parse"),
        ("*/0 6 * * *", "does not parse"), ("0 6 * * 1#6", "does not parse"), ("x 6 * * *", "does not parse"),
        ("R 6 * * *", "at random"), ("h 6 * * *", "at random"), ("R(0-9) 6 * * *", "at random"),
        ("@daily", "has 1 fields"), ("0 6 * *", "has 4 fields"), ("0 0 6 * * 1", "has 6 fields"), ("", "has 0 fields"),
    ],
)  # fmt: skip
def test_a_cron_line_that_never_fires_is_refused_when_it_is_read(tmp_path: Path, cron: str, words: str) -> None:
    for text in (f"products: {{bolt: {{images: /a, cron: '{cron}'}}}}", f"teachers: {{cron: '{cron}'}}"):
        with pytest.raises(PlantError, match=words):
            read(tmp_path, text)


@pytest.mark.parametrize(
    "cron", ["0 6 * * 1", "0 0 29 2 *", "*/15 6-18 * * mon-fri", "0 6 * * mon#1", "0 6 l * *", "0 6,18 * * *"]
)
def test_a_cron_line_that_fires_is_taken(tmp_path: Path, cron: str) -> None:
    assert read(tmp_path, f"products: {{bolt: {{images: /a, cron: '{cron}'}}}}").products["bolt"].cron == cron


FIELD = st.text("0123456789*,-/#?LlrRhHmonfebTHU ", max_size=8)


@settings(max_examples=200, deadline=None)
@given(st.lists(FIELD, min_size=5, max_size=5).map(" ".join))
def test_whatever_stands_there_it_is_taken_or_refused(cron: str) -> None:
    try:
        check_cron(cron)
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        fires_once_on(cron, datetime.date(2026, 11, 21))


@pytest.fixture
def zone() -> Iterator[None]:
    """Afterwards the clock is what it was."""
    before = os.environ.get("TZ")
    yield
    os.environ.pop("TZ", None)
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


def in_zone(rule: str) -> None:
    os.environ["TZ"] = rule
    time.tzset()


def at(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).astimezone(datetime.UTC)


@pytest.mark.parametrize(
    ("rule", "offsets"),
    [
        ("Europe/Berlin", (1, 2)), (":Europe/Berlin", (1, 2)), ("CET-1CEST,M3.5.0,M10.5.0/3", (1, 2)),
        ("MEZ-1MESZ,M3.5.0/2,M10.5.0/3", (1, 2)), ("EST5EDT", (-5, -4)), ("EST5EDT,M3.2.0,M11.1.0", (-5, -4)), ("UTC0", (0, 0)),
        ("<+0530>-5:30", (5.5, 5.5)), ("", (0, 0)), ("AEST-10AEDT,M10.1.0,M4.1.0/3", (11, 10)),
    ],
)  # fmt: skip
def test_the_schedule_goes_by_the_clock_that_names_the_batch(zone: None, rule: str, offsets: tuple[float, float]) -> None:
    in_zone(rule)
    found = ZoneInfo(local_zone())
    for month, hours in zip((1, 7), offsets, strict=True):
        moment = datetime.datetime(2027, month, 15, 22, 30, tzinfo=datetime.UTC)
        assert moment.astimezone(found).utcoffset() == datetime.timedelta(hours=hours) == moment.astimezone().utcoffset()
        assert scheduled_batch(moment) == moment.astimezone().date().isoformat()


def test_a_clock_of_no_zone_is_refused(zone: None) -> None:
    in_zone("ABC-3:07")
    with pytest.raises(PlantError, match=r"no zone has the clock of this machine, now .*set TZ to a zone's name"):
        local_zone()


def test_every_run_has_a_name_of_its_own(zone: None) -> None:
    in_zone("CET-1CEST,M3.5.0,M10.5.0/3")
    assert scheduled_batch(at("2026-11-21T06:00+01:00"), "0 6 * * *") == "2026-11-21"
    assert scheduled_batch(at("2026-11-21T00:00+01:00"), "0 0 * * *") == "2026-11-21"
    assert scheduled_batch(at("2026-11-21T18:00+01:00"), "0 6,18 * * *") == "2026-11-21-1800"
    assert scheduled_batch(at("2026-11-21T06:00+01:00"), "0 6,18 * * *") == "2026-11-21-0600"
    assert scheduled_batch(at("2026-11-21T14:23:07+01:00"), "0 6 * * *") == "2026-11-21-142307", "by hand, in Prefect's pages"
    assert scheduled_batch(at("2026-11-21T14:23:07+01:00"), "") == "2026-11-21-142307"
    # An hour is there twice when summer time ends.
    twice = [scheduled_batch(at(f"2026-10-25T02:30{offset}"), "30 * * * *") for offset in ("+02:00", "+01:00")]
    assert twice == ["2026-10-25-0230", "2026-10-25-0230-2"]
    night = [scheduled_batch(at(f"2026-10-25T02:30{offset}"), "30 2 * * *") for offset in ("+02:00", "+01:00")]
    assert night == ["2026-10-25", "2026-10-25-0230-2"]
    begin = at("2026-10-24T22:00+00:00")
    names = {scheduled_batch(begin + datetime.timedelta(minutes=n), "*/20 * * * *") for n in range(0, 25 * 60, 20)}
    assert len(names) == 25 * 3


def test_settings_are_read_without_prefect(tmp_path: Path) -> None:
    (tmp_path / "changeover.yaml").write_text("products: {bolt: {images: /a, cron: '0 6 * * 1'}}")
    code = "import sys; from pathlib import Path; from flows.config import read_config; read_config(Path('changeover.yaml'))"
    code += "; print({'prefect', 'torch', 'mlflow'} & sys.modules.keys() or 'none')"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "none"
