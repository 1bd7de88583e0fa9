"""``metrics.json`` of a version or of a batch: what is damaged is one line, of the kind that callers expect."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.errors import BadBatch
from data.batch import BatchFolder
from flows.errors import PlantError
from flows.records.rebuild import _checked
from flows.steps.fetch import fetch_metrics
from flows.steps.record_file import metrics_of
from models.evaluation.metrics_file import Metrics
from models.settings import Replay
from registry.client.connection import Connection
from registry.client.versions import Version
from tests.metrics_of_a_version import metrics_with

NOW = datetime(2026, 11, 21, tzinfo=UTC)
VERSION = Version("bolt", "3", "a", "a" * 64, "b" * 64, "c" * 40, "passed", "pending", (), 0.5, NOW, "1" * 32, "", {})
DAMAGED = (b"{", b"[]", b"{}", b'{"overkill": 7}')


class Store(Connection):
    """A registry that holds one file."""

    def fetch(self, path: str, arguments: dict[str, str], take: Callable[[bytes], object]) -> None:
        assert (path, arguments) == ("/get-artifact", {"path": "metrics.json", "run_uuid": VERSION.run_id})
        take(self.password.encode("latin-1"))


def fetched(content: bytes) -> Metrics:
    return fetch_metrics(Store("http://127.0.0.1:9", "trainer", content.decode("latin-1")), VERSION)


def test_of_a_version() -> None:
    assert fetched(metrics_with().model_dump_json(exclude_unset=True).encode()) == metrics_with()
    for content in DAMAGED:
        with pytest.raises(PlantError, match=r"metrics.json of version 3 of bolt is damaged \(.+\); promote another version"):
            fetched(content)


def test_of_a_batch(tmp_path: Path) -> None:
    folder = BatchFolder(tmp_path)
    with pytest.raises(BadBatch, match=r"metrics.json is missing or damaged \(.+\); delete it"):
        metrics_of(folder, "delete it")
    folder.file("report").mkdir()
    for content in DAMAGED:
        (folder.file("report") / "metrics.json").write_bytes(content)
        with pytest.raises(BadBatch, match=r"metrics.json is missing or damaged \(.+\); delete it"):
            metrics_of(folder, "delete it")


TRAINED = {"steps": 9, "steps_planned": 20, "validations_planned": 2, "threads": 2}


def test_a_version_is_trained_again_from_a_whole_record_alone() -> None:
    scores = {"calibrate": [0.1], "test": [0.2], "defects": [0.9]}

    def asked(network: dict[str, object], **parts: object) -> list[Replay]:
        training = {"networks": [network], "weights_digest": "d" * 64, "chosen": {"detector": "stpm"}}
        return _checked(VERSION, metrics_with(**{"training": training, "scores": scores, **parts}))

    # Before number formats were chosen and steps were planned anew.
    assert asked(TRAINED) == [Replay(steps=9, steps_planned=20, validations_planned=2, threads=2, changes=(), form="bfloat16")]
    later = {**TRAINED, "changes": [[5, 0.25, 9]], "form": "float32"}
    assert [(one.changes, one.form) for one in asked(later)] == [(((5, 0.25, 9),), "float32")]
    for network in ({**TRAINED, "steps": None}, {**TRAINED, "threads": 0}, {"seconds": 3.0}):
        with pytest.raises(PlantError, match="does not say how it was trained"):
            asked(network)
    for parts in ({"scores": {}}, {"training": {}}, {"environment": {"threads": "many"}}):
        with pytest.raises(PlantError, match="does not say how it was trained"):
            asked(TRAINED, **parts)
    with pytest.raises(PlantError, match="another model file"):
        asked(TRAINED, model_digest="e" * 64)
