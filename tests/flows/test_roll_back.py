"""``changeover roll-back``, ``status`` and ``confirm``, as typed at a plant whose servers are up."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from flows.plant import Plant
from flows.serving.services import connect_as, connect_as_person
from flows.steps.promote import promote
from registry.client.sign_off import sign_off
from registry.client.users import add_user, change_password
from registry.client.versions import register
from tests.registry.conftest import request_for

from .test_changeover import PASSWORD, changeover

pytestmark = pytest.mark.servers


def test_going_back_in_an_emergency_is_published_and_flagged_until_it_is_confirmed(running: Plant, tmp_path: Path) -> None:
    trainer, product = connect_as(running, "trainer"), "washer"
    settings = running.path / "changeover.yaml"
    settings.write_text(settings.read_text().replace("products: {", "products: {washer: {}, "))
    for name in ("rosa", "sven"):
        add_user(connect_as(running, "admin"), name, "first horse battery", "qa")
        change_password(connect_as_person(running, name, "first horse battery"), PASSWORD)
    for number, batch in enumerate(("b1", "b2"), 1):
        register(trainer, request_for(tmp_path, product, batch, threshold=0.3 + number / 10))
        sign_off(connect_as_person(running, "rosa", PASSWORD), product, number, "approved", "fine")
        promote(running, product)

    def published() -> str:
        return str(json.loads((running.publish / product / "current.json").read_text())["version"])

    assert published() == "2"
    order = ("roll-back", "--product", product, "--reason", "misses chips")
    assert "give one of them" in changeover(running, *order, code=2).stderr
    assert "version 1 of washer is the champion again" in changeover(running, *order, "--emergency").stdout.replace("\n", " ")
    assert published() == "1"
    found = json.loads(changeover(running, "status", "--json").stdout)
    flags = {one["action"]: one for one in found["flags"] if one["product"] == product}
    # An administrator made rosa's account and knew its first password: somebody else says that it was she.
    own = ("confirm", flags["signature.flagged"]["seq"], "--reason", "I stood beside her")
    assert "another person of role qa confirms it" in changeover(running, *own, "--user", "rosa", code=2).stderr
    assert "is confirmed by sven" in changeover(running, *own, "--user", "sven").stdout
    flag = flags["roll-back"]
    assert "changeover confirm" in changeover(running, "status").stdout
    confirm = ("confirm", flag["seq"], "--reason", "the lamp was off")
    assert "is confirmed by rosa" in changeover(running, *confirm, "--user", "rosa").stdout
    assert "is no open flag" in changeover(running, *confirm, "--user", "rosa", code=2).stderr
    assert "no previous version" in changeover(running, *order, "--user", "rosa", code=2).stderr

    # A champion whose sign-off does not hold any more is not inspected with, as a line would not.
    picture = tmp_path / "picture.png"
    Image.new("RGB", (64, 64)).save(picture)
    loaded = changeover(running, "inspect", picture, "--product", product, code=2).stderr
    assert "is not an exported inspector" in loaded, "it was fetched; the tests' small model is no whole inspector"
    with closing(sqlite3.connect(running.state / "mlflow" / "mlflow.db")) as database:
        database.execute("UPDATE model_version_tags SET value = 'x' WHERE name = ? AND key = 'qa.reason'", (product,))
        database.commit()
    assert "is not validly signed" in changeover(running, "inspect", picture, "--product", product, code=2).stderr
