"""The attack list, continued: what a version carries, and the files behind it."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from registry.client.connection import sha256_of
from registry.client.sign_off import sign_off, status
from registry.client.versions import Registration, Version, register, version_of
from registry.errors import Refused
from registry.names import GATES, TAG_REQUESTED_BY, TEACHER_TAGS, WRITTEN_BY_SERVER
from registry.rules.facts import VersionFacts
from registry.trail.audit import read_events, verify

from .conftest import PASSWORD, Registry, request_for

pytestmark = pytest.mark.servers
Make = Callable[..., Registration]
SERVICES_AND_ADMIN = ("admin", "trainer", "promoter")


@pytest.fixture(scope="module")
def pending(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Version:
    """A version that nobody may change in these tests."""
    return register(registry.trainer, request_for(tmp_path_factory.mktemp("kept"), "kept-1", "a"))


@pytest.fixture(scope="module")
def approved(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Version:
    """Another, approved by ana."""
    version = register(registry.trainer, request_for(tmp_path_factory.mktemp("kept"), "kept-2", "a", threshold=0.61))
    sign_off(registry.ana, version.product, "1", "approved", "fine")
    return version


@pytest.fixture(scope="module")
def failed(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Version:
    """A third, whose gates failed."""
    request = request_for(tmp_path_factory.mktemp("kept"), "kept-3", "a", passed=False, threshold=0.62)
    return register(registry.trainer, request)


def shape(registry: Registry, version: Version) -> tuple[dict[str, str], tuple[str, ...]]:
    now = version_of(registry.vic, version.product, version.version)
    return dict(now.tags), now.aliases


KEYS = sorted({*WRITTEN_BY_SERVER, *TEACHER_TAGS, "changeover.commit"} - {"changeover.card", "changeover.source",
              "changeover.licence", "changeover.origin", "changeover.network"})  # fmt: skip


@pytest.mark.parametrize("deed", ["set", "delete"])
@pytest.mark.parametrize("key", KEYS)
def test_a_record_is_written_once(
    registry: Registry, pending: Version, approved: Version, failed: Version, key: str, deed: str
) -> None:
    for version in (pending, approved, failed):
        before = shape(registry, version)
        for name in ("trainer", "admin", "ana"):
            who = getattr(registry, name)
            for value in ("0" * 64, *GATES):
                if deed == "set":
                    answer = registry.set_tag(who, version.product, "1", key, value)
                else:
                    body = {"name": version.product, "version": "1", "key": key}
                    answer = registry.post(who, "/api/2.0/mlflow/model-versions/delete-tag", body, "DELETE")
                assert answer.status_code == 403, (name, answer.text)
        assert shape(registry, version) == before


LOOK_ALIKES = [
    "QA", "Qa", "qa ", " qa", "qa\u200b", "q\u0430", "\uff51\uff41", "qa.by ", "QA.BY", "qa\u0000",
    "qa.record\n", "Changeover.gates",
    "changeover.gates ", "CHANGEOVER.GATES", "\uff43hangeover.gates", "chang\u0435over.gates",
    "changeover.gates\u200d", "changeover.",
    "changeover", "changeover.GATES", "mlflow.source", "mlflow.prompt.is_prompt", "mlflow.user", "MLflow.x", "\u202eaq", "",
]  # fmt: skip


@pytest.mark.parametrize("key", LOOK_ALIKES, ids=ascii)
def test_tags_that_look_like_ours(registry: Registry, pending: Version, key: str) -> None:
    before = shape(registry, pending)
    for name in ("trainer", "admin", "ana", "promoter"):
        answer = registry.set_tag(getattr(registry, name), pending.product, "1", key, "approved")
        assert answer.status_code in (400, 403), (name, answer.text)
    assert shape(registry, pending) == before


ALIASES = ["Champion", "CHAMPION", "champion ", " champion", "\uff43hampion", "ch\u0430mpion",
           "champion\u200b", "latest", "v1", "",
           "champion\u0000", "candidate ", "Previous", "previous", "champion"]  # fmt: skip


@pytest.mark.parametrize("alias", ALIASES, ids=ascii)
def test_aliases_of_what_nobody_approved(registry: Registry, pending: Version, failed: Version, alias: str) -> None:
    for version in (pending, failed):
        before = shape(registry, version)
        for name in (*SERVICES_AND_ADMIN, "ana"):
            answer = registry.set_alias(getattr(registry, name), version.product, "1", alias)
            assert answer.status_code in (400, 403), (name, answer.text)
        assert shape(registry, version) == before


@pytest.mark.parametrize(
    "name", ["other", "", "../x", "teacher-x", "Kept-1", "kept-2", "kept-1 ", "k\u0435pt-1", "x" * 300], ids=ascii
)
def test_what_has_versions_keeps_its_name(registry: Registry, pending: Version, name: str) -> None:
    for who in SERVICES_AND_ADMIN:
        body = {"name": pending.product, "new_name": name}
        assert registry.post(getattr(registry, who), "/api/2.0/mlflow/registered-models/rename", body).status_code in (400, 403)
    assert version_of(registry.vic, pending.product, "1").product == pending.product


@pytest.mark.parametrize(
    "asked",
    ["os:ana", "os:ana ", "os:ANA", "os:PLANT\\ana", "os:ana@plant.example", "os:\uff41na", "os:plant\\Ana@x", "user:ana",
     "user:ANA", "user: ana"],
    ids=ascii,
)  # fmt: skip
def test_who_asked_is_known_under_every_spelling(asked: str) -> None:
    facts = VersionFacts("x", "1", {TAG_REQUESTED_BY: asked})
    assert facts.is_requested_by("ana") and not facts.is_requested_by("bo")
    assert VersionFacts("x", "1", {TAG_REQUESTED_BY: "user:ana"}).is_requested_by("ana@plant.example")


@pytest.mark.parametrize(
    "asked", ["os:an\u200ba", "os:", "os: ana", "ana", "root:ana", "os:ana:bo", "user:ana\n", "os:" + "x" * 200], ids=ascii
)
def test_who_asked_is_said_plainly(registry: Registry, make_request: Make, asked: str) -> None:
    with pytest.raises(Refused):
        register(registry.trainer, replace(make_request(), requested_by=asked))


def test_who_asked_signs_under_no_spelling(registry: Registry, make_request: Make) -> None:
    version = register(registry.trainer, replace(make_request(), requested_by="os:PLANT\\Ana"))
    for decision in ("approved", "rejected"):
        with pytest.raises(Refused, match="asked for"):
            sign_off(registry.ana, version.product, "1", decision, "mine")


def test_another_file_with_the_same_weights_is_another_file(registry: Registry, make_request: Make) -> None:
    """A rejection binds a file, by its digest. Whoever changes one byte of it has another, which somebody has to sign anew."""
    request = make_request()
    first = register(registry.trainer, request)
    sign_off(registry.ana, first.product, "1", "rejected", "misses chips")
    model = onnx.load(str(request.folder / "model.onnx"))
    model.doc_string = "not the same any more"
    again = make_request("again")
    onnx.save(model, str(again.folder / "model.onnx"))
    metrics = {**again.metrics, "model_digest": sha256_of(again.folder / "model.onnx")}
    (again.folder / "metrics.json").write_text(json.dumps(metrics))
    second = register(registry.trainer, replace(again, metrics=metrics))
    assert (second.version, second.qa) == ("2", "pending")


UPLOADS: list[tuple[str, str, dict[str, Any]]] = [
    ("PUT", "api/2.0/mlflow-artifacts/artifacts/{place}/report.html", {}),
    ("PUT", "ajax-api/2.0/mlflow-artifacts/artifacts/{place}/new.html", {}),
    ("PUT", "api/2.0/mlflow-artifacts/artifacts/{model}/artifacts/model.onnx", {}),
    ("DELETE", "api/2.0/mlflow-artifacts/artifacts/{place}/report.html", {}),
    ("DELETE", "ajax-api/2.0/mlflow-artifacts/artifacts/{place}", {}),
    ("DELETE", "api/2.0/mlflow-artifacts/artifacts/{model}", {}),
    ("POST", "api/2.0/mlflow-artifacts/mpu/create/{place}/report.html", {"path": "report.html", "num_parts": 1}),
    ("POST", "api/2.0/mlflow-artifacts/mpu/create/{elsewhere}/x", {"path": "../../{run}/artifacts/report.html", "num_parts": 1}),
    ("POST", "ajax-api/2.0/mlflow-artifacts/mpu/complete/{place}/report.html", {"path": "report.html",
    "upload_id": "1", "parts": []}),
    ("POST", "api/2.0/mlflow-artifacts/mpu/abort/{place}/report.html", {"path": "report.html", "upload_id": "1"}),
    ("POST", "ajax-api/2.0/mlflow/upload-artifact?run_uuid={run}&path=report.html", {}),
    ("POST", "api/2.0/mlflow/runs/log-model", {"run_id": "{run}", "model_json": "{{}}"}),
    ("POST", "api/2.0/mlflow/runs/outputs", {"run_id": "{run}", "models": []}),
    ("POST", "api/2.0/mlflow/logged-models", {"experiment_id": "{experiment}", "source_run_id": "{run}"}),
    ("DELETE", "api/2.0/mlflow/logged-models/{id}", {}),
    ("PATCH", "api/2.0/mlflow/logged-models/{id}", {"status": 3}),
    ("PATCH", "api/2.0/mlflow/logged-models/{id}/tags", {"tags": [{"key": "a", "value": "b"}]}),
    ("POST", "api/2.0/mlflow/runs/delete", {"run_id": "{run}"}),
    ("POST", "api/2.0/mlflow/runs/update", {"run_uuid": "{run}", "run_name": "x"}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body"), UPLOADS, ids=[f"{m}-{p[:60]}-{n}" for n, (m, p, _) in enumerate(UPLOADS)])
def test_nothing_is_written_behind_a_version(
    registry: Registry, approved: Version, method: str, path: str, body: dict[str, Any]
) -> None:
    with registry.vic.client() as client:
        experiment = client.get_run(approved.run_id).info.experiment_id
    words = {
        "place": f"{experiment}/{approved.run_id}/artifacts", "model": f"{experiment}/models/{approved.model_id}/artifacts",
        "elsewhere": f"{experiment}/{'0' * 32}/artifacts", "run": approved.run_id, "id": approved.model_id,
        "experiment": experiment,
    }  # fmt: skip
    whole = {key: value.format(**words) if isinstance(value, str) else value for key, value in body.items()}
    for name in ("trainer", "admin"):
        refused = len(refusals(registry))
        answer = registry.post(getattr(registry, name), "/" + path.format(**words), whole, method)
        assert answer.status_code in (400, 403), (name, answer.status_code, answer.text)
        assert len(refusals(registry)) > refused, "an attempt leaves its event"
    assert status(registry.vic, approved.product, "1").valid


def refusals(registry: Registry) -> list[int]:
    return [event.seq for event in read_events(registry.database) if not event.allowed]


def exchange(file: Path) -> None:
    file.write_bytes(b"exchanged")


def empty(file: Path) -> None:
    file.write_bytes(b"")


def link(file: Path) -> None:
    file.rename(file.with_name("..aside"))
    file.symlink_to("..aside")


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def add(file: Path) -> None:
    file.with_name("zzz.html").write_text("look here")


def hide(file: Path) -> None:
    file.rename(file.with_name(".hidden"))


WAYS = [exchange, empty, Path.unlink, link, pipe, folder, add, hide]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("name", ["metrics.json", "report.html", "good.png", "dvc.lock", "model.onnx"])
def test_swapped_for_the_signature_and_back(
    registry: Registry, tmp_path_factory: pytest.TempPathFactory, pending: Version, name: str, way: Callable[[Path], Any]
) -> None:
    """Whatever way a file is swapped: nothing is shown and nothing signed until it is back, and then all is as it was."""
    if name == "model.onnx":
        place = registry.model_file(pending.model_id).parent
    else:
        (report,) = registry.state.glob(f"artifacts/*/{pending.run_id}/artifacts")
        place = report
    aside = tmp_path_factory.mktemp("aside") / "whole"
    page = f"{registry.url}/changeover/review?product={pending.product}&version=1"
    place.rename(aside)
    try:
        place.mkdir()
        for file in aside.iterdir():
            if file.is_file():
                (place / file.name).write_bytes(file.read_bytes())
            else:
                (place / file.name).symlink_to(file)
        way(place / name)
        assert "Nothing of this version is shown" in registry.http.get(page, auth=("ana", PASSWORD)).text
        with pytest.raises(Refused, match="after registration"):
            sign_off(registry.ana, pending.product, "1", "approved", "fine")
    finally:
        for one in place.iterdir():
            one.rmdir() if one.is_dir() and not one.is_symlink() else one.unlink()
        place.rmdir()
        aside.rename(place)
    assert "Nothing of this version is shown" not in registry.http.get(page, auth=("ana", PASSWORD)).text


@pytest.mark.parametrize("text", [b"{}", b"[]", b"", b"\xff", b"{" * 100_000])
def test_a_manifest_that_was_exchanged_is_none(registry: Registry, pending: Version, text: bytes) -> None:
    manifest = registry.state / "manifests" / f"{pending.tags['changeover.files']}.json"
    whole = manifest.read_bytes()
    (report,) = registry.state.glob(f"artifacts/*/{pending.run_id}/artifacts/report.html")
    shown = report.read_bytes()
    try:
        manifest.write_bytes(text)
        report.write_bytes(b"exchanged")
        with pytest.raises(Refused, match="was exchanged"):
            sign_off(registry.ana, pending.product, "1", "approved", "fine")
    finally:
        manifest.write_bytes(whole)
        report.write_bytes(shown)


def test_after_all_this_the_trail_holds(registry: Registry, pending: Version) -> None:
    assert verify(registry.database) == []
    assert shape(registry, pending)[0]["qa"] == "pending"
