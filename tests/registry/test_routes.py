"""Every route of the installed MLflow, with every verb and in six crooked spellings: nothing that changes anything is let in.

The routes are read from what is installed (``attack_routes``), so an upgrade of MLflow brings its new ones along. The short form
tries a sample of them, and always those that change a version, an alias, a user or a permission, and our own.
"""

import hashlib
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import httpx
import pytest

from registry.client.connection import Connection
from registry.client.versions import Version, register
from registry.trail.audit import verify

from .attack_routes import METHODS, routes
from .conftest import Registry, request_for, running

pytestmark = pytest.mark.servers
Routes = list[tuple[str, frozenset[str]]]
LONG = bool(os.environ.get("CHANGEOVER_LONG_TESTS"))
"""Every route for everybody in every spelling, which takes minutes more."""
ALWAYS = re.compile(r"/changeover/|/(model-versions|registered-models|users|roles|permissions)(/|$)")
"""Routes that no sample leaves out, where they are made for more than reading."""

READ_BY_POST = {
    "mlflow/experiments/search": "a search with many fields",
    "mlflow/experiments/search-datasets": "likewise",
    "mlflow/runs/search": "likewise",
    "mlflow/logged-models/search": "likewise",
    "mlflow/datasets/search": "likewise",
    "mlflow/traces/search": "likewise",
    "mlflow/issues/search": "likewise",
    "mlflow/prompt-optimization/jobs/search": "likewise",
    "jobs/search": "likewise, of one's own jobs, of which there are none",
    "mlflow/registered-models/get-latest-versions": "MLflow's clients ask so",
    "mlflow/traces/batchGetInfos": "a list of traces",
    "mlflow/traces/metrics": "figures of traces",
    "mlflow/traces/calculate-filter-correlation": "figures of traces",
    "mlflow/artifacts/presigned-download-url": "an address to read from, of a store that has such",
    "mlflow/ui-telemetry": "says that it is switched off",
    "graphql": "MLflow's pages read runs with it",
}  # fmt: skip
"""All that a viewer may POST, and why."""

SPELLINGS: dict[str, Callable[[str], str]] = {
    "two slashes in front": lambda path: "/" + path,
    "two slashes inside": lambda path: re.sub(r"(?<=.)/", "//", path, count=1) if "/" in path[1:] else path + "//",
    "an encoded dot": lambda path: "/%2e" + path,
    "an encoded letter": lambda path: re.sub("[a-z]", lambda one: f"%{ord(one[0]):02x}", path + "a" * (path == "/"), count=1),
    "a dot as a part": lambda path: re.sub(r"(?<=.)/", "/./", path, count=1) if "/" in path[1:] else path + "/.",
    "a slash at the end": lambda path: path + "/",
}
ROUTERS_OWN = ("a slash at the end",)
"""Plain enough for the door: a router answers it, by 404, 308 or 405, or as the route itself."""


@dataclass
class Sweep:
    """What was tried as one user, and what came of it."""

    tried: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, Version]]:
    """A server of its own, for its whole state is compared; with one version that nobody has signed."""
    folder = tmp_path_factory.mktemp("swept")
    with running(folder / "state") as registry:
        yield registry, register(registry.trainer, request_for(folder, "swept", "a"))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Routes:
    return routes(tmp_path_factory.mktemp("routes"))


def sample(found: Routes, part: int, parts: int) -> Routes:
    """Number ``part`` of ``parts`` samples, which have every route between them, each with all that ``ALWAYS`` names."""
    always = [one for one in found if ALWAYS.search(one[0]) and one[1] - {"GET"}]
    others = [one for one in found if one not in always]
    return found if LONG else always + others[part::parts]


def state(registry: Registry, *tables: str) -> dict[str, str]:
    """Digests of all rows of each table (of ``tables``, where given) of both databases, but the trail's, and of every file."""
    digests = {}
    for name in ("mlflow.db", "users.db"):
        with closing(sqlite3.connect(registry.state / name)) as database:
            listed = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for table in listed:
                if (not tables and table != "changeover_events") or table in tables:
                    rows = sorted(map(repr, database.execute(f'SELECT * FROM "{table}"')))
                    digests[f"{name}:{table}"] = hashlib.sha256("\n".join(rows).encode()).hexdigest()
    for folder in ("artifacts", "manifests", "secrets"):
        for file in sorted((registry.state / folder).rglob("*")):
            if file.is_file():
                digests[str(file.relative_to(registry.state))] = hashlib.sha256(file.read_bytes()).hexdigest()
    return digests


def body_of(version: Version, experiment: str) -> dict[str, object]:
    """Fields that many routes take, all about the version that is attacked."""
    return {
        "name": version.product, "version": "1", "key": "x", "value": "y", "alias": "champion", "run_id": version.run_id,
        "run_uuid": version.run_id, "model_id": version.model_id, "experiment_id": experiment, "new_name": "evil",
        "description": "evil", "username": "vic", "is_admin": True, "role_id": 1, "source": f"models:/{version.model_id}",
        "stage": "Production", "product": version.product, "decision": "approved", "reason": "x", "query": "mutation {x}",
        "path": "x.txt", "num_parts": 1,
    }  # fmt: skip


def concrete(path: str, version: Version, experiment: str) -> str:
    """An address for a route: its parameters filled in."""
    known = {"model_id": version.model_id, "artifact_path": f"{experiment}/{version.run_id}/artifacts/x.txt", "version": "1",
             "name": version.product, "run_id": version.run_id, "experiment_id": experiment}  # fmt: skip
    return re.sub(r"<(?:\w+:)?(\w+)>|\{(\w+)(?::path)?\}", lambda m: known.get(m.group(1) or m.group(2), "x1"), path)


def is_reading(path: str) -> bool:
    return re.sub(r"^/(?:(?:ajax-)?api/[0-9.]+/?)?", "", path) in READ_BY_POST


class Attacker:
    """Sends requests as one user over one connection, their targets exactly as given; a context that closes it."""

    def __enter__(self) -> "Attacker":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def __init__(self, registry: Registry, who: Connection, version: Version) -> None:
        self._http, self._auth = httpx.Client(timeout=30), (who.user, who.password)
        self._url, self._version = registry.url, version
        with registry.vic.client() as client:
            self.experiment = client.get_run(version.run_id).info.experiment_id
        self._body = body_of(version, self.experiment)
        self.done = Sweep()

    def plain(self, path: str, method: str) -> None:
        """One request as the route expects it; anything that changes something has to be refused, and nothing fails inside."""
        answer = self._send(concrete(path, self._version, self.experiment), method)
        if answer.status_code == 500 or (method != "GET" and answer.status_code < 400 and not is_reading(path)):
            self.done.faults.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")

    def crooked(self, path: str, method: str, spelling: str) -> None:
        answer = self._send(SPELLINGS[spelling](concrete(path, self._version, self.experiment)), method)
        code = answer.status_code
        right = code != 500 and (code >= 300 or method == "GET" or is_reading(path)) if spelling in ROUTERS_OWN else code == 400
        if not right:
            self.done.faults.append(f"{method} {path} with {spelling}: {code} {answer.text[:200]}")

    def _send(self, target: str, method: str) -> httpx.Response:
        reading = method == "GET"
        answer = self._http.request(
            method, f"{self._url}/", auth=self._auth, json=None if reading else self._body,
            extensions={"target": target.encode("ascii")},
        )  # fmt: skip
        self.done.tried += 1
        self.done.codes[answer.status_code] += 1
        assert answer.status_code not in (401, 429), "an attacker who is not let in tries nothing"
        return answer


def test_the_list_of_routes_is_whole(found: Routes) -> None:
    """Each of MLflow's kinds of routes is on it: Flask's, FastAPI's own, and ours."""
    known = dict(found)
    assert len(found) > 400
    for path, method in (
        ("/api/2.0/mlflow/model-versions/set-tag", "POST"),
        ("/ajax-api/2.0/mlflow/registered-models/alias", "DELETE"),
        ("/api/2.0/mlflow-artifacts/artifacts/{artifact_path:path}", "PUT"),
        ("/ajax-api/3.0/mlflow/assistant/config", "PUT"),
        ("/v1/traces", "POST"),
        ("/changeover/sign", "POST"),
    ):
        assert method in known[path], path


def test_a_viewer_changes_nothing_by_any_route_and_verb(server: tuple[Registry, Version], found: Routes) -> None:
    registry, version = server
    before = state(registry)
    tried = sample(found, 1, 4)
    with Attacker(registry, registry.vic, version) as attacker:
        for path, _ in tried:
            for method in METHODS:
                attacker.plain(path, method)
    assert attacker.done.faults == []
    assert attacker.done.tried == len(tried) * len(METHODS) > 700
    assert state(registry) == before
    assert verify(registry.database) == []


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_crooked_spelling_of_any_route_is_let_in(server: tuple[Registry, Version], found: Routes, spelling: str) -> None:
    registry, version = server
    before = state(registry)
    tried = sample(found, list(SPELLINGS).index(spelling), len(SPELLINGS))
    with Attacker(registry, registry.trainer, version) as attacker:
        for path, methods in tried:
            own = sorted(methods - {"GET"}) or ["POST"]
            attacker.crooked(path, own[0], spelling)
    assert attacker.done.faults == []
    assert attacker.done.tried == len(tried) > 100
    if spelling not in ROUTERS_OWN:
        assert state(registry) == before


OTHERS = ("ana", "trainer", "promoter", "bare")
OF_VERSIONS = ("model_versions", "model_version_tags", "registered_model_aliases", "users", "roles", "user_role_assignments",
               "role_permissions")  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_nobody_else_changes_a_version_by_any_route_and_verb(server: tuple[Registry, Version], found: Routes, name: str) -> None:
    registry, version = server
    before = state(registry, *OF_VERSIONS)
    with Attacker(registry, getattr(registry, name), version) as attacker:
        for path, _ in sample(found, OTHERS.index(name), 20):
            for method in METHODS:
                attacker.plain(path, method)
    faults = attacker.done.faults
    if name == "trainer":  # who may write runs, experiments and models that no version stands on
        faults = [fault for fault in faults if re.search(r": 5\d\d ", fault)]
    if name == "promoter":  # who may take an alias away that is there, or is not
        faults = [fault for fault in faults if not re.match(r"DELETE \S+registered-models/alias: 200 ", fault)]
    assert faults == []
    after = state(registry, *OF_VERSIONS)
    assert {key: after.get(key) for key in before} == before


@pytest.mark.slow
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_crooked_spelling_of_any_route_is_let_in_with_any_verb(
    server: tuple[Registry, Version], found: Routes, spelling: str
) -> None:
    registry, version = server
    before = state(registry)
    with Attacker(registry, registry.vic, version) as attacker:
        # In the short form each spelling takes other routes.
        for path, _ in found if LONG else found[list(SPELLINGS).index(spelling) :: 4 * len(SPELLINGS)]:
            for method in METHODS:
                attacker.crooked(path, method, spelling)
    assert attacker.done.faults == []
    assert state(registry) == before
