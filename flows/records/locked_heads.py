"""Heads of the audit trail in an S3 bucket with object lock, where nobody can change or delete them before their time.

The name of an object tells the whole head, so that listing them is enough.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from core.errors import StorageError
from core.files import write_text
from data.storage_error import storage_error, without_user

_NAME = re.compile(r"(?:.*/)?head-([0-9]{11})-([0-9a-f]{64})", re.ASCII)


def put(address: str, head: str, retain_days: int, done: Path) -> None:
    """Write ``head`` to the bucket of ``address`` (``s3://bucket/prefix``) for at least ``retain_days`` days, once.

    The file ``done`` remembers what was written last. StorageError if the bucket does not take it.
    """
    if done.exists() and done.read_text(encoding="utf-8") == f"{address} {head}":
        return
    bucket, prefix = _parts(address)
    number, _, digest = head.partition(":")
    now = datetime.now(UTC)
    client = _connected(address)
    with _naming_the_bucket(client, address, "does not take the head of the audit trail"):
        client.put_object(
            Bucket=bucket,
            Key=f"{prefix}head-{int(number):011d}-{digest}",
            Body=f"{now:%Y-%m-%dT%H:%M:%SZ} {head}\n".encode(),
            ContentType="text/plain",
            ChecksumAlgorithm="SHA256",  # S3 asks for a checksum where an object is locked
            ObjectLockMode="COMPLIANCE",
            ObjectLockRetainUntilDate=now + timedelta(days=retain_days),
        )
    write_text(done, f"{address} {head}")


def listed(address: str) -> list[str]:
    """Every head in the bucket, in order, hidden ones too. StorageError if it cannot be read."""
    bucket, prefix = _parts(address)
    heads = set()
    client = _connected(address)
    with _naming_the_bucket(client, address, "cannot be read"):
        # Versions, because a locked object cannot be deleted, but a delete marker can hide it.
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=f"{prefix}head-"):
            for version in page.get("Versions", ()):
                if found := _NAME.fullmatch(version["Key"]):
                    heads.add((int(found[1]), found[2]))
    return [f"{number}:{digest}" for number, digest in sorted(heads)]


def check(address: str) -> str:
    """Check that the bucket can be read and keeps every version of an object for its time; where it is, in words.

    StorageError where it does not.
    """
    bucket, _ = _parts(address)
    listed(address)
    client = _connected(address)
    with _naming_the_bucket(client, address, "does not say whether it has object lock", _LOCK):
        lock = client.get_object_lock_configuration(Bucket=bucket).get("ObjectLockConfiguration", {})
    with _naming_the_bucket(client, address, "does not say whether it keeps versions", _LOCK):
        versioning = client.get_bucket_versioning(Bucket=bucket).get("Status")
    if lock.get("ObjectLockEnabled") != "Enabled" or versioning != "Enabled":
        raise StorageError(f"{_place(client, address)} has no object lock, or versioning is off; {_LOCK}")
    return f"{address} at {without_user(client.meta.endpoint_url)}"


_LOCK = "make a bucket with object lock, which keeps versions too, and name it as audit.s3"
_RIGHTS = "see that the bucket has object lock and the credentials may use it"


def _parts(address: str) -> tuple[str, str]:
    parts = urlsplit(address)
    prefix = parts.path.strip("/")
    return parts.netloc, f"{prefix}/" if prefix else ""


def _place(client: Any, address: str) -> str:
    return f"bucket {address} at {without_user(client.meta.endpoint_url)}"


def _connected(address: str) -> Any:
    """A client; it asks nobody yet, but needs a region and a profile that are there."""
    from botocore.exceptions import BotoCoreError

    try:
        return _client()
    except (BotoCoreError, ValueError) as error:
        raise storage_error(error, f"bucket {address}", "cannot be used", _RIGHTS) from error


def _client() -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client("s3", config=Config(connect_timeout=10, read_timeout=30, retries={"max_attempts": 1, "mode": "standard"}))


@contextmanager
def _naming_the_bucket(client: Any, address: str, what: str, fix: str = _RIGHTS) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise storage_error(error, _place(client, address), what, fix) from error
