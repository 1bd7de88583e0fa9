"""Whether the line already reads the champion, as 'changeover serve' asks every minute: by our own signature alone."""

import json
import os
from pathlib import Path

import pytest

from flows.plant import Plant
from flows.steps.promote import _is_published
from registry.client.connection import Connection
from registry.client.pointer import point
from registry.folder import opened
from registry.signature import Publisher

from .test_certificate import VERSION


@pytest.mark.timeout(30)
def test_only_our_own_pointer_counts(plant: Plant, tmp_path: Path) -> None:
    key = tmp_path / "key"
    publisher = Publisher.of(key)
    promoter = Connection("http://127.0.0.1:9", "promoter", "x", publisher_key=key)
    pointer = plant.publish / VERSION.product / "current.json"
    assert not _is_published(plant, promoter, VERSION)
    pointer.parent.mkdir(parents=True)
    assert not _is_published(plant, promoter, VERSION)
    with opened(pointer.parent) as place:
        point(place, publisher, VERSION.product, VERSION.version, VERSION.digest)
    assert _is_published(plant, promoter, VERSION)
    forged = {"product": VERSION.product, "version": VERSION.version, "digest": VERSION.digest}
    pointer.write_text(json.dumps(forged))
    assert not _is_published(plant, promoter, VERSION)
    with opened(pointer.parent) as place:
        point(place, Publisher.of(tmp_path / "other"), VERSION.product, VERSION.version, VERSION.digest)
    assert not _is_published(plant, promoter, VERSION)
    pointer.unlink()
    os.mkfifo(pointer)  # nobody waits for who never writes
    assert not _is_published(plant, promoter, VERSION)
