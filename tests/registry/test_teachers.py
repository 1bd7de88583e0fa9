"""Teachers at a real server: registered once, fetched as they were, and of no use to anybody who wants a champion."""

import itertools
import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import registry.client.teachers as teachers_module
from registry.client.connection import Connection, sha256_of
from registry.client.flags import put_back_aliases, roll_back
from registry.client.promote import promote
from registry.client.publish import publish
from registry.client.record import record, recorded
from registry.client.sign_off import sign_off
from registry.client.teacher_card import LARGEST, describe, read_card
from registry.client.teachers import TeacherVersion, download_teacher, register_teacher, teacher_of, teachers
from registry.client.versions import Registration, register, versions
from registry.errors import Broken, NotFound, Refused
from registry.names import is_product, is_teacher
from registry.rules.rules import VersionFacts, sign_off_problem
from registry.trail.audit import read_events, verify

from .conftest import PASSWORD, Registry

pytestmark = pytest.mark.servers
Make = Callable[..., Path]
CREATE = "/api/2.0/mlflow/model-versions/create"
_COUNTER = itertools.count(1)


@pytest.fixture
def name() -> str:
    """A teacher that no other test uses."""
    return f"plant-{next(_COUNTER)}"


def teacher_folder(folder: Path, called: str, seed: int = 0, **changes: Any) -> Path:
    """A teacher as it lies in a plant: weights, and a card with ``changes`` (None: the key is left out)."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = np.random.default_rng(seed).standard_normal((4, 3), dtype=np.float32)
    save_file({"stem.weight": weights}, folder / "teacher.safetensors")
    card = {
        "name": called,
        "kind": "features",
        "settings": {"backbone": "resnet10t"},
        "source": "self-supervised",
        "origin": "the plant's own good images of bolt-m6 and nut-m8",
        "licence": "the plant's own",
        "digest": sha256_of(folder / "teacher.safetensors"),
        "made": {"seed": seed, "steps": 400, "recipe": {"crop": 64}, "products": ["bolt-m6", "nut-m8"]},
    } | changes
    (folder / "teacher.json").write_text(json.dumps({key: value for key, value in card.items() if value is not None}))
    return folder


@pytest.fixture
def make(tmp_path: Path, name: str) -> Make:
    """Makes folders with teachers called ``name``."""
    number = itertools.count(1)

    def made(seed: int = 0, **changes: Any) -> Path:
        return teacher_folder(tmp_path / f"teacher{next(number)}", name, seed, **changes)

    return made


@pytest.fixture(scope="module")
def known(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> TeacherVersion:
    """A registered teacher, for tests that only meet refusals."""
    return register_teacher(registry.trainer, teacher_folder(tmp_path_factory.mktemp("known"), "known"))


def file_of(registry: Registry, teacher: TeacherVersion, name: str) -> Path:
    """Where the server keeps a file of a teacher."""
    (found,) = registry.state.glob(f"artifacts/*/models/{teacher.model_id}/artifacts/{name}")
    return found


def no(answer: Any, words: str) -> None:
    assert answer.status_code == 403, answer.text
    assert words in answer.json()["message"]


def test_what_was_registered_is_listed_and_fetched(registry: Registry, make: Make, name: str, tmp_path: Path) -> None:
    folder = make()
    first = register_teacher(registry.trainer, folder)
    assert (first.name, first.model, first.version) == (name, f"teacher-{name}", "1")
    assert (first.source, first.licence, first.network) == ("self-supervised", "the plant's own", "resnet10t")
    assert first.origin == "the plant's own good images of bolt-m6 and nut-m8"
    assert first.digest == sha256_of(folder / "teacher.safetensors") and first.card == sha256_of(folder / "teacher.json")
    assert register_teacher(registry.trainer, folder) == first, "once for a digest"
    second = register_teacher(registry.trainer, make(seed=1))
    assert [one for one in teachers(registry.vic) if one.name == name] == [replace(second, version="2"), first]
    assert teacher_of(registry.vic, name) == second and teacher_of(registry.vic, name, 1) == first
    target = tmp_path / "batch" / "teacher"
    for one, source in ((second, None), (first, folder)):
        assert download_teacher(registry.vic, one, target) == target
        assert sorted(file.name for file in target.iterdir()) == ["teacher.json", "teacher.safetensors"]
        assert sha256_of(target / "teacher.safetensors") == one.digest
        assert source is None or (target / "teacher.json").read_bytes() == (source / "teacher.json").read_bytes()
    with registry.vic.client() as client:
        description = client.get_model_version(first.model, "1").description
    for row in ("| network | resnet10t |", "| licence | the plant's own |", "| recipe.crop | 64 |", "| products | 2 entries |"):
        assert row in description
    for unknown, version in (("none-such", None), (name, 9), (first.model, None)):
        with pytest.raises(NotFound, match=rf"{name} 2.*; choose one of them"):
            teacher_of(registry.vic, unknown, version)


def test_a_teacher_is_kept_as_long_as_a_version_that_was_trained_with_it(
    registry: Registry, make: Make, make_request: Callable[..., Registration]
) -> None:
    used, free = register_teacher(registry.trainer, make()), register_teacher(registry.trainer, make(seed=1))
    request = make_request()
    taught = replace(request, metrics={**request.metrics, "training": {"teacher": {"digest": used.digest}}})
    (taught.folder / "metrics.json").write_text(json.dumps(taught.metrics))
    version = register(registry.trainer, taught)
    assert version.tags["changeover.teacher"] == used.digest

    def deleted(what: str, body: dict[str, str]) -> Any:
        return registry.post(registry.admin, f"/api/2.0/mlflow/{what}/delete", body, "DELETE")

    words = f"version 1 of {version.product} was trained with version {used.version} of {used.model}, which is kept"
    no(deleted("model-versions", {"name": used.model, "version": used.version}), words)
    no(deleted("registered-models", {"name": used.model}), f"was trained with {used.model}, which is kept")
    assert deleted("model-versions", {"name": free.model, "version": free.version}).status_code == 200
    assert deleted("model-versions", {"name": version.product, "version": "1"}).status_code == 200
    assert deleted("registered-models", {"name": used.model}).status_code == 200


@pytest.mark.parametrize("dies_in", ["log_folder", "describe"])
def test_registering_goes_on_where_it_died(
    registry: Registry, make: Make, name: str, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    folder = make()

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(teachers_module, dies_in, die)
        with pytest.raises(KeyboardInterrupt):
            register_teacher(registry.trainer, folder)
    assert not [one for one in teachers(registry.vic) if one.name == name]
    if dies_in == "describe":  # its logged model holds the card of the first try
        card = json.loads((folder / "teacher.json").read_text()) | {"licence": "Apache-2.0"}
        (folder / "teacher.json").write_text(json.dumps(card))
    found = register_teacher(registry.trainer, folder)
    assert found.version == "1" and found.card == sha256_of(folder / "teacher.json")
    got = download_teacher(registry.vic, found, folder / "fetched")
    assert (got / "teacher.json").read_bytes() == (folder / "teacher.json").read_bytes()


def test_another_caller_was_first(registry: Registry, make: Make, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, step = make(), teachers_module.log_folder

    def overtaken(*given: Any) -> str:
        monkeypatch.undo()
        register_teacher(registry.trainer, folder)
        return step(*given)

    monkeypatch.setattr(teachers_module, "log_folder", overtaken)
    assert register_teacher(registry.trainer, folder).version == "1"
    assert [one.version for one in teachers(registry.vic) if one.name == name] == ["1"]


def test_the_same_weights_with_another_licence_are_not_taken_in_silence(registry: Registry, make: Make) -> None:
    found = register_teacher(registry.trainer, make(licence="not for\n\tcommercial use", origin="a" * 900))
    assert found.licence == "not for commercial use" and len(found.origin) == 500 and found.origin.endswith("a…")
    for change in ({"licence": "Apache-2.0"}, {"licence": "not for commercial use", "settings": {"backbone": "resnet18"}}):
        with pytest.raises(Refused, match="register the teacher under another name"):
            register_teacher(registry.trainer, make(**change))


def test_an_exchanged_file_is_not_fetched(registry: Registry, make: Make, tmp_path: Path) -> None:
    teacher = register_teacher(registry.trainer, make())
    target = download_teacher(registry.vic, teacher, tmp_path / "target")
    before = {one.name: one.read_bytes() for one in target.iterdir()}
    for name, old, new in (("teacher.safetensors", b"stem", b"root"), ("teacher.json", b"own", b"OWN")):
        stored = file_of(registry, teacher, name)
        stored.write_bytes(before[name].replace(old, new))
        with pytest.raises(Broken, match=rf"{name} of .* was exchanged after registration"):
            download_teacher(registry.vic, teacher, target)
        stored.write_bytes(before[name])
    assert {one.name: one.read_bytes() for one in target.iterdir()} == before, "nothing half-written"
    assert download_teacher(registry.vic, teacher, target) == target


BAD_CARDS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"licence": None}, Refused, "licence: Field required"),
    ({"licence": " \n"}, Refused, "licence"),
    ({"licence": "\x1b]0;title\x07 free"}, Refused, "none that cannot be printed"),
    ({"licence": "free \u202egnp.exe"}, Refused, "none that cannot be printed"),
    ({"origin": "x" * 1001}, Refused, "origin"),
    ({"name": "../bolt"}, Refused, "a teacher.s name is"),
    ({"name": "x" * 52}, Refused, "a teacher.s name is"),
    ({"kind": "champion"}, Refused, "kind"),
    ({"source": "found"}, Refused, "source"),
    ({"settings": []}, Refused, "settings"),
    ({"settings": {"backbone": "<b>"}}, Refused, "'backbone' is a network's name"),
    ({"digest": None}, Refused, "digest"),
    ({"digest": "0" * 63}, Refused, "sha256"),
    ({"digest": "0" * 64}, Broken, "its card says 000000000000"),
]


@pytest.mark.parametrize(("change", "error", "words"), BAD_CARDS, ids=[f"{number}" for number in range(len(BAD_CARDS))])
def test_a_wrong_card_registers_nothing(change: dict[str, Any], error: type[Exception], words: str, make: Make) -> None:
    nowhere = Connection("http://127.0.0.1:9", "trainer", "x")  # refused before anybody is asked
    with pytest.raises(error, match=words) as caught:
        register_teacher(nowhere, make(**change))
    assert "\n" not in str(caught.value)


def test_files_that_are_no_teacher(make: Make) -> None:
    nowhere = Connection("http://127.0.0.1:9", "trainer", "x")
    folder = make()
    for content in (b'{"digest": null}', b"[" * 100_000, b"{", b"[]", b"\xff", b"x" * (LARGEST + 1)):
        (folder / "teacher.json").write_bytes(content)
        with pytest.raises(Refused, match=r"teacher\.json"):
            register_teacher(nowhere, folder)
    for name in ("teacher.json", "teacher.safetensors"):
        (folder / name).unlink()
        with pytest.raises(NotFound, match=name):
            register_teacher(nowhere, folder)
    pickled = make()
    (pickled / "teacher.safetensors").write_bytes(b"\x80\x04cposix\nsystem\n")
    card = json.loads((pickled / "teacher.json").read_text())
    card["digest"] = sha256_of(pickled / "teacher.safetensors")
    (pickled / "teacher.json").write_text(json.dumps(card))
    with pytest.raises(Refused, match="not in the format safetensors"):
        register_teacher(nowhere, pickled)


def test_a_card_cannot_become_markup(make: Make) -> None:
    evil = "free | ![x](http://evil/x.png) <script>alert(1)</script>\n\n# big\n[sign](/changeover)"
    made = {evil: evil, "note": "\x1b[2J", "deep": {"er": {"est": [1]}}} | {f"k{n}": "`*" * 400 for n in range(99)}
    text = describe(read_card(make(licence=evil, origin=evil, made=made) / "teacher.json"))
    assert len(text) <= 5000 and "\x1b" not in text and "\n# big" not in text
    bare = text.replace("\\<", "").replace("\\!", "").replace("\\[", "").replace("\\]", "").replace("\\|", "").replace("\\`", "")
    assert not any(sign in bare for sign in ("<", "!", "[", "]", "`"))
    rows = [line for line in bare.splitlines() if line.startswith("|")]
    assert all(row.count("|") == 3 for row in rows[:-1]), "no cell broke out of the table"


@pytest.mark.parametrize("name_of_user", ["admin", "promoter", "ana", "vic", "bare"])
def test_nobody_but_the_trainer_registers(registry: Registry, make: Make, name: str, name_of_user: str) -> None:
    user = getattr(registry, name_of_user)
    if name_of_user in ("vic", "ana"):
        with pytest.raises(Refused):
            register_teacher(user, make())
    model = {"name": f"teacher-{name}", "source": "models:/m-" + "0" * 32, "tags": []}
    no(registry.post(user, CREATE, model), "only role trainer")
    assert not [one for one in teachers(registry.vic) if one.name == name]


@pytest.mark.parametrize("name_of_user", ["admin", "trainer", "promoter", "ana"])
def test_a_teacher_is_neither_signed_nor_named(registry: Registry, known: TeacherVersion, name_of_user: str) -> None:
    user = getattr(registry, name_of_user)
    for alias in ("candidate", "champion", "previous"):
        no(registry.set_alias(user, known.model, known.version, alias), "which no line uses")
    no(registry.set_tag(user, known.model, known.version, "qa", "approved"), "which no line uses")
    words = "is written once" if name_of_user == "trainer" else "comes from role trainer"
    no(registry.set_tag(user, known.model, known.version, "changeover.licence", "free for all"), words)
    assert teacher_of(registry.vic, known.name) == known


def test_quality_assurance_writes_nothing_on_a_teacher(registry: Registry, known: TeacherVersion) -> None:
    for key, value in (("qa", "rejected"), ("qa.reason", "x"), ("qa.waiver", "x"), ("qa.notes", "[]")):
        no(registry.set_tag(registry.ana, known.model, known.version, key, value), "which no line uses")
        body = {"name": known.model, "version": known.version, "key": key}
        no(registry.post(registry.ana, "/api/2.0/mlflow/model-versions/delete-tag", body, "DELETE"), "which no line uses")


def test_a_teacher_keeps_its_name_and_description(registry: Registry, known: TeacherVersion) -> None:
    body = {"name": known.model, "version": known.version, "description": "free for all"}
    no(registry.post(registry.admin, "/api/2.0/mlflow/model-versions/update", body, "PATCH"), "stays as it was registered")
    registry.post(registry.trainer, "/api/2.0/mlflow/registered-models/create", {"name": "nut-m99"})
    for old, new in (
        (known.model, "bolt-m99"),
        (known.model, "teacher-other"),
        ("nut-m99", "teacher-nut"),
        ("nut-m99", "teacher-"),
    ):
        rename = {"name": old, "new_name": new}
        no(registry.post(registry.admin, "/api/2.0/mlflow/registered-models/rename", rename), "a teacher's card carries its name")
    assert teacher_of(registry.vic, known.name) == known


def test_what_is_for_products_does_not_take_teachers(registry: Registry, known: TeacherVersion, tmp_path: Path) -> None:
    for act in (
        lambda: sign_off(registry.ana, known.model, "1", "approved", "fine"),
        lambda: promote(registry.promoter, known.model, "1"),
        lambda: publish(registry.promoter, known.model, "1", tmp_path),
        lambda: roll_back(registry.ana, known.model, "back"),
        lambda: versions(registry.vic, known.model),
    ):
        with pytest.raises(Refused, match="are those of teachers"):
            act()
    body = {"product": known.model, "reason": "back", "emergency": False}
    assert registry.post(registry.ana, "/changeover/roll-back", body).status_code == 400
    for place in (f"?product={known.model}&version=1", f"/of?run={known.run_id}", f"/report?product={known.model}&version=1"):
        page = registry.http.get(f"{registry.url}/changeover/review{place}", auth=("ana", PASSWORD), follow_redirects=True)
        assert page.status_code == 404 and "is a teacher" in page.json()["message"]
    assert sign_off_problem(VersionFacts(known.model, "1", {"qa": "approved"})) is not None


def test_an_alias_given_to_a_teacher_in_the_database_is_taken_away(registry: Registry, known: TeacherVersion) -> None:
    with sqlite3.connect(registry.database) as database:
        database.execute("INSERT INTO registered_model_aliases (alias, version, name) VALUES ('champion', 1, ?)", (known.model,))
    undone = [(one.product, one.subject, one.after, one.allowed) for one in put_back_aliases(registry.promoter)]
    assert (known.model, "champion", "1", False) in undone
    with registry.vic.client() as client:
        assert client.get_registered_model(known.model).aliases == {}


@pytest.mark.parametrize("product", ["teacher-x", "teacher-", "teacher-teacher-x"])
def test_no_product_is_called_like_a_teacher(registry: Registry, make_request: Callable[..., Registration], product: str) -> None:
    assert not is_product(product)
    with pytest.raises(Refused, match="are those of teachers"):
        replace(make_request(), product=product, metrics={**make_request().metrics, "product": product})
    assert not is_teacher("teacher-") and not is_teacher("teacher-.x") and not is_teacher("teacher-X")
    answer = registry.post(registry.trainer, "/api/2.0/mlflow/registered-models/create", {"name": "teacher-"})
    no(answer, "cannot name a teacher")


def test_an_inspector_under_a_teachers_name_stays_without_a_use(
    registry: Registry, make_request: Callable[..., Registration], known: TeacherVersion, tmp_path: Path
) -> None:
    """The trainer's password in wrong hands: a model that failed its gates, registered as if it were a teacher."""
    inspector = register(registry.trainer, make_request(passed=False))
    source = f"models:/{inspector.model_id}"
    as_product = [{"key": key, "value": value} for key, value in inspector.tags.items()]
    no(registry.post(registry.trainer, CREATE, {"name": known.model, "source": source, "tags": as_product}), "needs tags")
    with registry.vic.client() as client:
        tags = dict(client.get_model_version(known.model, "1").tags)
    tags |= {"changeover.digest": inspector.digest, "changeover.card": "1" * 64}

    def create(source: str, changes: dict[str, str]) -> Any:
        listed = [{"key": key, "value": value} for key, value in {**tags, **changes}.items()]
        body = {"name": known.model, "source": source, "model_id": inspector.model_id, "tags": listed}
        return registry.post(registry.trainer, CREATE, body)

    for key, value, words in (
        ("changeover.gates", "passed", "may not carry tag 'changeover.gates'"),
        ("qa", "approved", "may not carry tag 'qa'"),
        ("changeover.source", "found", "is no source of a teacher"),
        ("changeover.card", "1", "is no sha256"),
        ("changeover.licence", "free\x1b[2J", "write it in one line"),
        ("changeover.licence", "x" * 501, "write it in one line"),
        ("changeover.digest", known.digest, "has these weights already"),
    ):
        no(create(source, {key: value}), words)
    for elsewhere in (
        "file:///etc",
        "s3://evil/teacher",
        f"models:/{known.model}/1",
        f"runs:/{known.run_id}/teacher",
        f"{source}/x",
    ):
        no(create(elsewhere, {}), "is no logged model")
    no(create(source, {}), "is of experiment")
    for user in (registry.trainer, registry.promoter, registry.admin):
        for alias in ("candidate", "champion"):
            no(registry.set_alias(user, known.model, "1", alias), "which no line uses")


def test_a_card_of_other_weights_registered_past_the_check(registry: Registry, make: Make, tmp_path: Path) -> None:
    """Files and tags that agree, and a card that speaks of another teacher."""
    first = register_teacher(registry.trainer, make())
    other = make(seed=1)
    with registry.trainer.client() as client:
        run = client.create_run(client.get_run(first.run_id).info.experiment_id)
        (other / "teacher.json").write_bytes(file_of(registry, first, "teacher.json").read_bytes())
        model_id = teachers_module.log_folder(client, run, "teacher", other)
        tags = dict(client.get_model_version(first.model, "1").tags)
        tags["changeover.digest"] = sha256_of(other / "teacher.safetensors")
        source = f"models:/{model_id}"
        client.create_model_version(first.model, source, run.info.run_id, tags, model_id=model_id, await_creation_for=0)
    with pytest.raises(Broken, match="is not that of its weights"):
        download_teacher(registry.vic, teacher_of(registry.vic, first.name), tmp_path / "target")


def test_the_files_behind_a_teacher_are_closed(registry: Registry, known: TeacherVersion) -> None:
    with registry.vic.client() as client:
        experiment = client.get_run(known.run_id).info.experiment_id
    base = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/models/{known.model_id}/artifacts"
    for user in (registry.trainer, registry.admin):
        for name in ("teacher.safetensors", "teacher.json"):
            no(registry.post(user, f"{base}/{name}", "evil", "PUT"), "closed with its registration")
    no(registry.post(registry.admin, "/api/2.0/mlflow/experiments/delete", {"experiment_id": experiment}), "is kept")
    assert sha256_of(file_of(registry, known, "teacher.safetensors")) == known.digest


def test_it_is_all_on_the_trail(registry: Registry, make: Make, name: str) -> None:
    teacher = register_teacher(registry.trainer, make(licence="Apache-2.0", source="pulled", origin="timm resnet10t"))
    registry.set_alias(registry.promoter, teacher.model, "1", "champion")
    record(registry.trainer, "fail", teacher.model, reason="the schedule's training ran out of images")
    with pytest.raises(Refused, match="cannot name a product"):
        record(registry.promoter, "publish", teacher.model)
    events = recorded(registry.vic, teacher.model)
    assert [(one.actor, one.action, one.version, one.digest, one.allowed) for one in events] == [
        ("trainer", "model.create", "", "", True),
        ("trainer", "register", "1", teacher.digest, True),
        ("promoter", "alias.set", "1", teacher.digest, False),
        ("trainer", "fail", "", "", True),
    ]
    assert events[1].reason == "pulled: timm resnet10t; licence: Apache-2.0"
    assert read_events(registry.database, teacher.model) == events
    assert verify(registry.database) == []
