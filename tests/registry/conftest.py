"""A real registry server on loopback, and small models to register in it."""

import atexit
import functools
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from registry.client.connection import Connection, sha256_of
from registry.client.flags import confirm, open_flags
from registry.client.sign_off import sign_off
from registry.client.users import add_user, change_password
from registry.client.versions import Registration, register
from registry.secrets import prepare, publisher_key_file
from registry.server.app import DATABASE, server_command

from .postgresql import postgresql

__all__ = ["postgresql"]
LONG = bool(os.environ.get("CHANGEOVER_LONG_TESTS"))
MANY, ONE_IN = 8, 4
"""In the short form, of an attack with more cases than ``MANY`` (bodies, keys, spellings) one in ``ONE_IN`` is tried."""
START_SECONDS = 90
PASSWORD = "correct horse battery"
PEOPLE = {"ana": "qa", "bo": "qa", "vic": "viewer"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what the short form does not try; each case alone, named on the command line, is tried."""
    attacks: dict[str, list[pytest.Item]] = {}
    for item in items:
        if not LONG and item.path.parent == Path(__file__).parent and item.path.name.startswith("test_attacks"):
            attacks.setdefault(item.nodeid.partition("[")[0], []).append(item)
    left = {case for cases in attacks.values() if len(cases) > MANY for n, case in enumerate(cases) if n % ONE_IN}
    config.hook.pytest_deselected(items=[item for item in items if item in left])
    items[:] = [item for item in items if item not in left]


@dataclass(frozen=True)
class Registry:
    """A running server and a connection for each kind of user."""

    state: Path
    url: str
    pid: int
    admin: Connection
    trainer: Connection
    promoter: Connection
    ana: Connection
    """Role qa."""
    bo: Connection
    """Role qa, too."""
    vic: Connection
    """Role viewer."""
    bare: Connection
    """A user without any role."""
    http: httpx.Client

    @property
    def database(self) -> Path:
        return self.state / DATABASE

    def post(self, who: Connection | None, path: str, body: object, method: str = "POST") -> httpx.Response:
        """One raw request, as the browser or an attacker sends it."""
        auth = None if who is None else (who.user, who.password)
        return self.http.request(method, f"{self.url}{path}", json=body, auth=auth)

    def set_tag(self, who: Connection | None, product: str, version: str, key: str, value: str) -> httpx.Response:
        """As MLflow's own page does it."""
        body = {"name": product, "version": version, "key": key, "value": value}
        return self.post(who, "/ajax-api/2.0/mlflow/model-versions/set-tag", body)

    def set_alias(self, who: Connection | None, product: str, version: str, alias: str) -> httpx.Response:
        body = {"name": product, "version": version, "alias": alias}
        return self.post(who, "/ajax-api/2.0/mlflow/registered-models/alias", body)

    def model_file(self, model_id: str) -> Path:
        """Where the server keeps the model file of a logged model."""
        (found,) = self.state.glob(f"artifacts/*/models/{model_id}/artifacts/artifacts/model.onnx")
        return found


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A server with an admin, both services, two people of quality assurance, a viewer, and a user without a role."""
    folder = tmp_path_factory.mktemp("registry")
    with running(folder) as found:
        vouch(found, tmp_path_factory.mktemp("vouching"))
        yield found


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, Path]]:
    """A registry that knows where the line reads, and that folder. Nothing else runs."""
    folder = tmp_path_factory.mktemp("plant")
    with running(folder / "state", published=folder / "published") as registry:
        yield registry, folder / "published"


def vouch(registry: "Registry", folder: Path) -> None:
    """Lets ana and bo confirm each other's first signature: from then on nothing of theirs is flagged."""
    product = register(registry.trainer, request_for(folder, "vouching", "a")).product
    for one, other in ((registry.ana, registry.bo), (registry.bo, registry.ana)):
        sign_off(one, product, "1", "approved", "the first signature")
        (flag,) = open_flags(other)
        confirm(other, flag.seq, "I saw it signed")
        sign_off(one, product, "1", "pending", "only to show who I am")


def add_person(admin: Connection, name: str, role: str) -> Connection:
    """A user whose password is ``PASSWORD``, chosen by that user: who got one from an administrator may not sign."""
    made = add_user(admin, name, None, role, full_name=f"{name.capitalize()} Example")
    return change_password(Connection(admin.url, name, made.password), PASSWORD)


@functools.cache
def _made() -> Path:
    """The state of a server on SQLite that was started once, made the people, and ended."""
    folder = Path(tempfile.mkdtemp(prefix="registry-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with running(folder / "state", fresh=True):
        pass
    return folder / "state"


@contextmanager
def running(
    state: Path, database: str | None = None, workers: int = 1, *, people: bool = True, fresh: bool = False, **more: Any
) -> Iterator[Registry]:
    """The server whose state is ``state``, while the block runs. ``people``: they are made; False where they are there already.

    A new state on SQLite is a copy of one that was made before, keys and the people's events included, but where it is to be
    ``fresh``. ``more`` goes to ``server_command``.
    """
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    if people and not fresh and database is None and not any(state.iterdir()):
        shutil.copytree(_made(), state, dirs_exist_ok=True, ignore=shutil.ignore_patterns("server.log"))
        people = False
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command, environment = server_command(state, port, database, workers, **more)
    url = f"http://127.0.0.1:{port}"
    with (
        ExitStack() as resources,
        (state / "server.log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=state) as server,
    ):
        try:
            _wait_for(url, server, state / "server.log")
            secrets = prepare(state)
            admin = Connection(url, "admin", secrets.admin)
            if people:
                for name, role in PEOPLE.items():
                    add_person(admin, name, role)
                admin.call("POST", "/api/2.0/mlflow/users/create", json={"username": "nobody", "password": PASSWORD})
            yield Registry(
                http=resources.enter_context(httpx.Client(timeout=30, verify=False)),  # noqa: S501 - loopback, without TLS
                state=state,
                url=url,
                pid=server.pid,
                admin=admin,
                trainer=Connection(url, "trainer", secrets.trainer),
                promoter=Connection(url, "promoter", secrets.promoter, publisher_key=publisher_key_file(state)),
                bare=Connection(url, "nobody", PASSWORD),
                **{name: Connection(url, name, PASSWORD) for name in PEOPLE},
            )
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()


def _wait_for(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/health", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    pytest.fail(f"the registry did not start:\n{log.read_text()[-3000:]}")


def tiny_inspector(path: Path, threshold: float, product: str = "bolt", batch: str = "a") -> Path:
    """An exported inspector in small: the score of an image is its brightest value in 0..1."""
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["float", "channel_axis"], ["channels"], keepdims=0),
        helper.make_node("Div", ["channels", "full"], ["map"]),
        helper.make_node("ReduceMax", ["map", "pixel_axes"], ["score"], keepdims=0),
        helper.make_node("Greater", ["score", "threshold"], ["verdict"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([3], np.int64), "channel_axis"),
        numpy_helper.from_array(np.array([1, 2], np.int64), "pixel_axes"),
        numpy_helper.from_array(np.array(255, np.float32), "full"),
        numpy_helper.from_array(np.array(threshold, np.float32), "threshold"),
    ]
    graph = helper.make_graph(
        nodes,
        "inspector",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 3])],
        [
            helper.make_tensor_value_info("map", TensorProto.FLOAT, ["N", "H", "W"]),
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("verdict", TensorProto.BOOL, ["N"]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {"changeover.product": product, "changeover.batch": batch, "changeover.channels": "3"})
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


def rate(count: int, n: int, low: float, high: float) -> dict[str, Any]:
    return {"count": count, "n": n, "rate": count / n, "low": low, "high": high}


_COUNTER = itertools.count(1)


@pytest.fixture
def product() -> str:
    """A product that no other test uses."""
    return f"bolt-m{next(_COUNTER)}"


def request_for(root: Path, product: str, batch: str, *, passed: bool = True, threshold: float = 0.5) -> Registration:
    """The request for one batch, with files like those of the stage evaluate, in ``root/product/batch``."""
    folder = root / product / batch
    model = tiny_inspector(folder / "model.onnx", threshold, product, batch)
    for name, shade in (("good.png", 90), ("defects.png", 200)):
        Image.fromarray(np.full((60, 200, 3), shade, np.uint8)).save(folder / name)
    (folder / "report.html").write_text("<!doctype html><title>Report</title><h1>Report of the batch</h1>")
    (folder / "dvc.lock").write_text("schema: '2.0'\n")
    metrics: dict[str, Any] = {
        "schema": 1,
        "product": product,
        "batch": batch,
        "preset": "quick",
        "seed": 1,
        "model_digest": sha256_of(model),
        "images_digest": "ab" * 32,
        "threshold": threshold,
        "pixel_threshold": 0.6,
        "overkill_target": 0.058,
        "guarantee": "50 calibration images promise at most 5.8 % overkill with 95 % confidence.",
        "images": {"train": 60, "tune": 20, "calibrate": 50, "test": 50},
        "overkill": rate(0, 50, 0.0, 0.071),
        "escape": rate(3, 200, 0.003, 0.043),
        "image_auroc": 0.991,
        "pixel_ap": 0.72,
        "families": {"scratch": {"held_out": True, "image_auroc": 0.98, "pixel_ap": 0.7, "escape": rate(3, 100, 0.0, 0.08)}},
        "gates": [{"name": "overkill", "value": 0.0, "limit": 0.02, "passed": passed, "text": "at most 2 %"}],
        "passed": passed,
        "champion": None,
        "detector": "unet3plus",
        "settings": {"width": 32, "loss": {"dice": 0.5}},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return Registration(product, batch, metrics, folder, commit="c0ffee" * 6, images_digest="ab" * 32)


@pytest.fixture
def make_request(tmp_path: Path, product: str) -> Callable[..., Registration]:
    """Makes requests for batches of ``product``."""

    def make(batch: str = "2026-11-21-a", *, passed: bool = True, threshold: float = 0.5) -> Registration:
        return request_for(tmp_path, product, batch, passed=passed, threshold=threshold)

    return make


def other_model(request: Registration, threshold: float) -> Registration:
    """The same batch with another model file."""
    model = tiny_inspector(request.folder / "model.onnx", threshold, request.product, request.batch)
    metrics = {**request.metrics, "model_digest": sha256_of(model), "threshold": threshold}
    (request.folder / "metrics.json").write_text(json.dumps(metrics))
    return replace(request, metrics=metrics)
