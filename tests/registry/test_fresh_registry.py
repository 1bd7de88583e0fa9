"""A plant that was just made gives no false alarm, and what a stranger builds into its database is found there."""

import sqlite3
from pathlib import Path

import pytest

from registry.trail.audit import verify
from registry.trail.events import Trail
from registry.trail.key import key_file

from .conftest import running

pytestmark = [pytest.mark.servers, pytest.mark.slow]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_fresh_registry_holds(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    database = request.getfixturevalue("postgresql")() if kind == "postgresql" else None
    with running(tmp_path, database, fresh=True) as registry:
        assert registry.set_tag(registry.vic, "no-such", "1", "qa", "approved").status_code >= 400
        source = database or registry.database
        assert verify(source, key=key_file(tmp_path)) == []
        trail = Trail(database or f"sqlite:///{registry.database}", key_file(tmp_path))
        assert trail.problem() is None
        assert all(one.mac for one in trail.events())
        trail.close()
    if database is None:
        assert verify(registry.database) == []  # finds the key by itself
        with sqlite3.connect(registry.database) as raw:
            raw.execute("DROP TRIGGER prevent_secrets_aad_mutation")
            raw.execute("CREATE TRIGGER prevent_secrets_aad_mutation AFTER UPDATE ON model_version_tags BEGIN SELECT 1; END")
        raw.close()
        assert "trigger prevent_secrets_aad_mutation on table model_version_tags was made neither" in verify(source)[0]
