"""Heads of the audit trail in a bucket with object lock: S3 is moto, a mock behind real HTTP that enforces locks and versions."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from prefect.logging import disable_run_logger

from core.errors import StorageError
from flows.plant import Plant
from flows.promotion import promotion
from flows.records import locked_heads
from flows.records.trail import check_head, database, keep_head, kept_heads
from flows.upkeep.doctor import examine
from registry.errors import Broken
from registry.trail.audit import head
from tests.flows.test_cli import changeover
from tests.flows.test_trail import append, cut, git, heads_file
from tests.s3 import S3, s3, s3_server

__all__ = ["s3", "s3_server"]


@pytest.fixture
def locked(plant: Plant, s3: S3) -> tuple[Plant, str]:
    """A plant with a bucket with object lock, and the bucket's name."""
    bucket = s3.bucket(lock=True)
    return with_bucket(plant, bucket), bucket


def with_bucket(plant: Plant, bucket: str) -> Plant:
    settings = f"audit: {{s3: 's3://{bucket}/plant-7', retain_days: 30}}\nproducts: {{bolt: {{}}}}\n"
    (plant.path / "changeover.yaml").write_text(settings)
    return Plant.open(plant.path)


def forget_the_last_head(plant: Plant) -> None:
    """As somebody who has the plant's folder: the last line of ``audit/`` is gone, from git's history too."""
    file = heads_file(plant)
    lines = file.read_text().splitlines(keepends=True)
    git(plant, "reset", "--quiet", "HEAD~1")
    file.write_text("".join(lines[:-1]))
    assert git(plant, "status", "--porcelain", "--", "audit") == ""


def test_a_head_is_locked_for_its_time(locked: tuple[Plant, str], s3: S3) -> None:
    plant, bucket = locked
    append(plant, 3)
    keep_head(plant)
    number, digest = head(database(plant)).split(":")
    (key,) = s3.keys(bucket)
    assert key == f"plant-7/head-{int(number):011d}-{digest}"
    held = s3.client().head_object(Bucket=bucket, Key=key)
    assert held["ObjectLockMode"] == "COMPLIANCE"
    assert abs(held["ObjectLockRetainUntilDate"] - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=5)
    keep_head(plant)
    assert len(s3.client().list_object_versions(Bucket=bucket)["Versions"]) == 1, "once a head"


def test_a_locked_head_cannot_be_deleted_and_is_seen_behind_a_delete_marker(locked: tuple[Plant, str], s3: S3) -> None:
    plant, bucket = locked
    append(plant, 3)
    keep_head(plant)
    cut(plant, 2)
    (key,) = s3.keys(bucket)
    version = s3.client().list_object_versions(Bucket=bucket)["Versions"][0]["VersionId"]
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.client().delete_object(Bucket=bucket, Key=key, VersionId=version, BypassGovernanceRetention=True)
    s3.client().delete_object(Bucket=bucket, Key=key)
    assert s3.keys(bucket) == [], "a delete marker hides it"
    git(plant, "reset", "--quiet", "HEAD~1")
    shutil.rmtree(plant.path / "audit")
    with pytest.raises(Broken, match="event 3 existed: its end was cut off"):
        check_head(plant)
    assert changeover("audit", "verify").stdout.splitlines() == [
        "the trail ends with event 2, but event 3 existed: its end was cut off"
    ]


def test_promotion_and_serve_stop_where_the_bucket_holds_a_later_head(locked: tuple[Plant, str]) -> None:
    plant, _ = locked
    append(plant, 3)
    keep_head(plant)
    append(plant, 2)
    keep_head(plant)
    check_head(plant)
    cut(plant, 3)
    forget_the_last_head(plant)
    with pytest.raises(Broken, match=r"event 5 existed: its end was cut off; promote nothing until it is explained"):
        check_head(plant)
    before = git(plant, "rev-parse", "HEAD")
    promote = changeover("promote", "--product", "bolt")
    assert promote.exit_code == 2 and "its end was cut off; promote nothing until it is explained" in promote.stderr
    serve = changeover("serve")
    assert serve.exit_code == 2 and "its end was cut off; promote nothing until it is explained" in serve.stderr
    with disable_run_logger(), pytest.raises(Broken, match="its end was cut off"):
        promotion.fn(str(plant.path))
    assert git(plant, "rev-parse", "HEAD") == before and git(plant, "status", "--porcelain", "--", "audit") == ""
    append(plant, 2, actor="mallory")  # as many events as before, but others
    with pytest.raises(Broken, match="the trail was rewritten"):
        check_head(plant)


def test_a_bucket_out_of_reach_is_said_and_stops_nothing(
    locked: tuple[Plant, str], s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, bucket = locked
    append(plant, 3)
    keep_head(plant)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    (silent,) = check_head(plant)
    assert silent.startswith(f"bucket s3://{bucket}/plant-7 at http://127.0.0.1:9 cannot be read: it does not answer")
    promote = changeover("promote", "--product", "bolt")
    assert "could not be asked: bucket s3://" in promote.stderr
    assert promote.exit_code == 2 and "promote nothing" not in promote.stderr, "it goes on, and finds the registry down"
    verify = changeover("audit", "verify")
    assert verify.exit_code == 1 and "it does not answer" in verify.stdout
    assert (audit_bucket(plant).state, "it does not answer" in audit_bucket(plant).found) == ("error", True)
    append(plant, 1)
    with pytest.raises(StorageError, match="does not take the head of the audit trail: it does not answer"):
        keep_head(plant)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    keep_head(plant)
    assert len(s3.keys(bucket)) == 2, "what could not be written then is written now"


def audit_bucket(plant: Plant) -> Any:
    return next(finding for finding in examine(plant.path) if finding.what == "audit bucket")


def test_a_bucket_without_object_lock(plant: Plant, s3: S3) -> None:
    bucket = s3.bucket()
    plant = with_bucket(plant, bucket)
    append(plant, 3)
    with pytest.raises(StorageError, match=rf"s3://{bucket}/plant-7 at {s3.url} does not take .* has object lock"):
        keep_head(plant)
    finding = audit_bucket(plant)
    assert (finding.state, "the bucket has no object lock" in finding.found) == ("error", True)
    assert "make a bucket with object lock" in finding.fix
    locking = with_bucket(plant, s3.bucket(lock=True))
    assert audit_bucket(locking).state == "ok"
    nobody = with_bucket(plant, "nobody-made-this")
    assert "there is no such bucket" in audit_bucket(nobody).found


def test_only_heads_count(locked: tuple[Plant, str], s3: S3) -> None:
    plant, bucket = locked
    append(plant, 3)
    keep_head(plant)
    for key in ("plant-7/head-of-cattle", "plant-7/head-00000000009-xyz", "plant-8/head-00000000009-" + 64 * "a"):
        s3.client().put_object(Bucket=bucket, Key=key, Body=b"")
    assert locked_heads.listed(f"s3://{bucket}/plant-7") == [head(database(plant))]
    check_head(plant)


def test_a_clock_400_days_ahead_has_not_the_last_word_anywhere(locked: tuple[Plant, str], s3: S3) -> None:
    """An event and its head from a clock that ran ahead; then the clock is set right. The number says which is newest."""
    plant, bucket = locked
    append(plant, 1)
    ahead = datetime.now(UTC) + timedelta(days=400)
    append(plant, 1, time=ahead)
    keep_head(plant)
    file = heads_file(plant)
    then = plant.path / "audit" / f"{ahead:%Y}" / f"{ahead:%m-%d}.jsonl"
    then.parent.mkdir()
    then.write_text(json.dumps({**json.loads(file.read_text()), "time": f"{ahead:%Y-%m-%dT%H:%M:%SZ}"}) + "\n")
    file.unlink()
    git(plant, "add", "audit")
    git(plant, "commit", "--quiet", "--amend", "--no-edit")
    append(plant, 1)
    assert keep_head(plant)
    commit = git(plant, "rev-parse", "HEAD")
    assert not keep_head(plant), "nothing changed, so nothing is committed"
    assert git(plant, "rev-parse", "HEAD") == commit
    assert len(s3.keys(bucket)) == 2
    assert kept_heads(plant).heads[-1] == head(database(plant)) or head(database(plant)) in kept_heads(plant).heads
    told = changeover("audit", "verify").stdout
    assert "event 2 (" in told and "lies in the future" in told
    assert "event 3 (" in told and "is earlier than event 2" in told and "time ran backwards" in told
    cut(plant, 2)
    with pytest.raises(Broken, match="event 3 existed"):
        check_head(plant)
    assert Path(then).exists()
