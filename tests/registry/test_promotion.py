"""From registration to the folder that the line reads, against a real server."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from registry.client import versions as versions_module
from registry.client.connection import Connection, sha256_of
from registry.client.history import history
from registry.client.promote import promote
from registry.client.publish import publish
from registry.client.sign_off import sign_off, status
from registry.client.versions import Registration, candidate, champion, download_model, previous, register, version_of, versions
from registry.errors import Broken, NotFound, Refused, Unreachable

from .conftest import Registry, other_model

pytestmark = pytest.mark.servers

Make = Callable[..., Registration]


def approved(registry: Registry, request: Registration) -> str:
    """Registers and signs; the version."""
    version = register(registry.trainer, request).version
    assert sign_off(registry.ana, request.product, version, "approved", "as good as the last one").valid
    return version


def test_registering_stores_everything(registry: Registry, make_request: Make, product: str) -> None:
    request = make_request()
    version = register(registry.trainer, request)
    assert (version.version, version.batch, version.gates, version.qa) == ("1", request.batch, "passed", "pending")
    assert version.aliases == ("candidate",)
    assert version.digest == request.metrics["model_digest"]
    assert (version.images, version.commit, version.threshold) == (request.images_digest, request.commit, 0.5)
    assert candidate(registry.vic, product) == version
    assert champion(registry.vic, product) is None
    with registry.vic.client() as client:
        run = client.get_run(version.run_id)
        attached = {file.path for file in client.list_artifacts(version.run_id)}
        description = client.get_model_version(product, "1").description
    assert run.info.run_name == f"{product}/{request.batch}"
    assert run.info.status == "FINISHED"
    assert run.data.metrics["escape.rate"] == 0.015
    assert run.data.params["settings.loss.dice"] == "0.5"
    assert {"report.html", "good.png", "defects.png", "metrics.json", "dvc.lock"} == attached
    assert "| overkill (good parts rejected) | 0.00% (0 of 50), 95 %: 0.00% to 7.10% |" in description


def test_registering_twice_gives_one_version(registry: Registry, make_request: Make, product: str) -> None:
    request = make_request()
    first = register(registry.trainer, request)
    assert register(registry.trainer, request) == first
    assert len(versions(registry.vic, product)) == 1
    other = register(registry.trainer, other_model(request, 0.6))
    assert other.version == "2"
    assert [one.aliases for one in versions(registry.vic, product)] == [("candidate",), ()]


@pytest.mark.parametrize("overtaken_in", ["log_run", "log_model", "model_of_run"])
def test_registering_at_once_gives_one_version(
    registry: Registry, make_request: Make, product: str, monkeypatch: pytest.MonkeyPatch, overtaken_in: str
) -> None:
    """Another caller registers the same model while this one is in the middle of it."""
    request = make_request()
    step = getattr(versions_module, overtaken_in)

    def overtaken(*given: object) -> object:
        monkeypatch.undo()
        register(registry.trainer, request)
        return step(*given)

    monkeypatch.setattr(versions_module, overtaken_in, overtaken)
    assert register(registry.trainer, request).version == "1"
    assert len(versions(registry.vic, product)) == 1


def test_uploads_of_others_are_refused_in_words(registry: Registry, make_request: Make) -> None:
    version = register(registry.trainer, make_request())
    for who in (registry.trainer, registry.vic):
        with pytest.raises(Refused, match=r"closed with its registration|may not write artifacts"), who.client() as client:
            client.log_text(version.run_id, "forged", "report.html")


@pytest.mark.parametrize("dies_in", ["log_run", "log_model", "model_of_run"])
def test_registering_goes_on_where_it_died(
    registry: Registry, make_request: Make, product: str, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    request = make_request()
    with monkeypatch.context() as patch:

        def die(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(versions_module, dies_in, die)
        with pytest.raises(KeyboardInterrupt):
            register(registry.trainer, request)
    assert versions(registry.vic, product) == []
    version = register(registry.trainer, request)
    with registry.vic.client() as client:
        assert len(client.search_runs([client.get_run(version.run_id).info.experiment_id])) == 1
    assert version.version == "1"
    assert version.aliases == ("candidate",)


def test_candidate_is_set_where_registering_died_before(registry: Registry, make_request: Make, product: str) -> None:
    request = make_request()
    register(registry.trainer, request)
    with registry.trainer.client() as client:
        client.delete_registered_model_alias(product, "candidate")
    assert register(registry.trainer, request).aliases == ("candidate",)


def test_failed_gates_make_no_candidate(registry: Registry, make_request: Make, product: str) -> None:
    version = register(registry.trainer, make_request(passed=False))
    assert (version.gates, version.aliases) == ("failed", ())
    with pytest.raises(Refused, match="failed its gates"):
        sign_off(registry.ana, product, version.version, "approved", "it looks fine to me")
    with pytest.raises(Refused, match="pending, not approved"):
        promote(registry.promoter, product, version.version)
    with pytest.raises(NotFound, match="no candidate"):
        promote(registry.promoter, product)


def test_registering_another_file_than_was_measured(registry: Registry, make_request: Make) -> None:
    request = make_request()
    (request.folder / "model.onnx").write_bytes(b"another file")
    with pytest.raises(Broken, match="was measured; run the stage evaluate again"):
        register(registry.trainer, request)


def test_the_registered_model_runs_under_mlflow(registry: Registry, make_request: Make, tmp_path: Path) -> None:
    version = register(registry.trainer, make_request())
    images = np.zeros((2, 40, 50, 3), np.uint8)
    images[1, 5, 5] = 255
    with registry.vic.client() as client:
        from mlflow import pyfunc

        root = client.get_logged_model(version.model_id).artifact_location
        assert root.startswith("mlflow-artifacts:/")
        model = pyfunc.load_model(f"models:/{version.model_id}")
    for given in (images, list(images)):
        answer = model.predict(given)
        assert answer["verdict"].tolist() == [False, True]
        assert answer["score"].tolist() == [0.0, 1.0]
        assert answer["judged"].tolist() == [True, True]
    with pytest.raises(Exception, match="uint8"):
        model.predict(images.astype(np.float32))


def test_promotion_needs_a_sign_off(registry: Registry, make_request: Make, product: str) -> None:
    version = register(registry.trainer, make_request()).version
    with pytest.raises(Refused, match="is pending, not approved"):
        promote(registry.promoter, product)
    sign_off(registry.ana, product, version, "rejected", "the scratch family is missed")
    with pytest.raises(Refused, match="is rejected, not approved"):
        promote(registry.promoter, product, version)
    assert champion(registry.vic, product) is None


def test_promotion_keeps_the_former_champion(registry: Registry, make_request: Make, product: str) -> None:
    first = approved(registry, make_request("a", threshold=0.5))
    done = promote(registry.promoter, product)
    assert (done.version, done.previous, done.changed) == (first, None, True)
    second = approved(registry, make_request("b", threshold=0.6))
    done = promote(registry.promoter, product)
    assert (done.version, done.previous, done.changed) == (second, first, True)
    again = promote(registry.promoter, product)
    assert (again.version, again.previous, again.changed) == (second, first, False)
    holders = {alias: one.version for one in versions(registry.vic, product) for alias in one.aliases}
    assert holders == {"champion": second, "previous": first}
    kept = previous(registry.vic, product)
    assert kept is not None
    assert kept.version == first
    lines = history(registry.vic, product)
    assert [(line.version, line.qa, line.by, line.aliases) for line in lines] == [
        (second, "approved", "ana", ("champion",)),
        (first, "approved", "ana", ("previous",)),
    ]


def test_promotion_goes_on_where_it_died(registry: Registry, make_request: Make, product: str) -> None:
    first = approved(registry, make_request("a", threshold=0.5))
    promote(registry.promoter, product)
    second = approved(registry, make_request("b", threshold=0.6))
    # Died after keeping the former champion, and after moving champion.
    for alias, version in (("previous", first), ("champion", second)):
        assert registry.set_alias(registry.promoter, product, version, alias).status_code == 200
        done = promote(registry.promoter, product)
        assert (done.version, done.previous) == (second, first)
    holders = {alias: one.version for one in versions(registry.vic, product) for alias in one.aliases}
    assert holders == {"champion": second, "previous": first}


def test_an_exchanged_model_is_never_used(registry: Registry, make_request: Make, product: str, tmp_path: Path) -> None:
    first = approved(registry, make_request("a", threshold=0.5))
    promote(registry.promoter, product)
    version = approved(registry, make_request("b", threshold=0.6))
    for record in (version_of(registry.vic, product, first), version_of(registry.vic, product, version)):
        registry.model_file(record.model_id).write_bytes(b"something else")
    assert "was exchanged" in status(registry.vic, product, version).problem
    with pytest.raises(Refused, match="was exchanged"):
        promote(registry.promoter, product)
    with pytest.raises(Refused, match="was exchanged"):
        publish(registry.promoter, product, first, tmp_path / "line")
    with pytest.raises(Broken, match="was exchanged"):
        download_model(registry.vic, product, version, tmp_path / "model.onnx")
    assert sorted(tmp_path.glob("**/*model.onnx*")) == [tmp_path / product / batch / "model.onnx" for batch in "ab"]


def test_publishing(registry: Registry, make_request: Make, product: str, tmp_path: Path) -> None:
    line = tmp_path / "line"
    request = make_request()
    version = approved(registry, request)
    with pytest.raises(Refused, match="is not the champion"):
        publish(registry.promoter, product, version, line)
    promote(registry.promoter, product)
    stale = line / product / ".incoming-1-dead"
    stale.mkdir(parents=True)
    folder = publish(registry.promoter, product, version, line)
    digest = request.metrics["model_digest"]
    assert folder == line / product / f"1-{digest[:8]}"
    assert sha256_of(folder / "model.onnx") == digest
    assert (folder / "sha256").read_text() == f"{digest}  model.onnx\n"
    card = json.loads((folder / "card.json").read_text())
    assert (card["signed"]["by"], card["threshold"], card["metrics"]["image_auroc"]) == ("ana", 0.5, 0.991)
    pointer = json.loads((line / product / "current.json").read_text())
    assert {"product": product, "version": "1", "folder": folder.name, "digest": digest}.items() <= pointer.items()

    before = {path: path.stat().st_mtime_ns for path in (line / product).rglob("*")}
    assert publish(registry.promoter, product, version, line) == folder
    assert {path: path.stat().st_mtime_ns for path in (line / product).rglob("*")} == before

    (folder / "model.onnx").write_bytes(b"changed on the line")
    with pytest.raises(Broken, match="somebody changed it"):
        publish(registry.promoter, product, version, line)


def test_publishing_leaves_nothing_half_done(
    registry: Registry, make_request: Make, product: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = approved(registry, make_request())
    promote(registry.promoter, product)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("registry.client.publish._card", die)
        with pytest.raises(KeyboardInterrupt):
            publish(registry.promoter, product, version, tmp_path / "line")
    assert list((tmp_path / "line" / product).iterdir()) == []
    assert publish(registry.promoter, product, version, tmp_path / "line").is_dir()


def test_what_is_not_there(registry: Registry, product: str, tmp_path: Path) -> None:
    assert versions(registry.vic, product) == []
    assert history(registry.vic, product) == []
    with pytest.raises(NotFound, match="has no version 1"):
        status(registry.vic, product, "1")
    with pytest.raises(Refused, match="is not a version"):
        status(registry.vic, product, "1 or 2")
    for name in ("Bolt", "../bolt", "a" * 64, ""):
        with pytest.raises(Refused, match="rename the product"):
            versions(registry.vic, name)
    with pytest.raises(Unreachable, match="start it with changeover up"):
        versions(Connection("http://127.0.0.1:9", "vic", "x"), product)
    with pytest.raises(Refused, match="does not know user 'vic'"):
        versions(Connection(registry.url, "vic", "wrong password"), product)
