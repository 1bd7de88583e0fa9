"""Kills a registry's worker at every place between two effects of every deed, and looks at what is left.

Run as a program, with the environment that ``registry.server.app.server_command`` gives, on a state that ``test_kills.py`` made:

    python -m tests.registry.kills PLAN.json

The application is made once. Each worker is a fork of this process: it asks the application for one deed and ends itself with
SIGKILL before the statement, the commit or the change of a file that it was told. Then comes what comes after a crash: with one
worker a new one starts; with three, another one, which has answered before, gets the look of 'changeover serve'. What the
database, the users and the line's folder hold then has to be what they held before the deed, or what they hold after it. Last,
the deed is asked for again, and has to be done. One JSON line a deed is printed.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa

PATIENCE_SECONDS = 60
RANDOM = {"qa.at", "qa.record", "qa.waiver.at", "changeover.life"}
"""Tags whose value is another one each time."""
FOLLOWS = ("publish", "retract")
"""Events of the line's folder: where they were written down later, their reason says so."""
_ROLES = """SELECT username, roles.name FROM user_role_assignments
    JOIN users ON users.id = user_id JOIN roles ON roles.id = role_id"""
_READS = ("SELECT", "PRAGMA", "SHOW", "ATTACH", "WITH", "SAVEPOINT", "RELEASE", "SET ", "BEGIN", "ROLLBACK")


@dataclass(frozen=True)
class Deed:
    """One request. ``by``: user and password. ``wrong``: SQL that somebody ran before, past the gate."""

    name: str
    by: tuple[str, str]
    method: str
    path: str
    body: dict[str, Any]
    wrong: str = ""


@dataclass
class Places:
    """Counts the effects of a deed, and ends the process before number ``end``."""

    state: Path
    end: int = 0
    armed: bool = False
    seen: list[str] = field(default_factory=list)

    def install(self) -> None:
        sa.event.listen(sa.Engine, "before_cursor_execute", self._statement)
        sa.event.listen(sa.Engine, "commit", self._commit)
        sys.addaudithook(self._file)

    def here(self, what: str) -> None:
        if not self.armed:
            return
        self.seen.append(what)
        if len(self.seen) == self.end:
            os.kill(os.getpid(), signal.SIGKILL)

    def _statement(self, connection: sa.Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.lstrip().upper().startswith(_READS):
            connection.info["wrote"] = True
            self.here(" ".join(statement.split())[:60])

    def _commit(self, connection: sa.Connection) -> None:
        if connection.info.pop("wrote", False):
            self.here("COMMIT")

    def _file(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.armed or event not in ("os.rename", "os.remove", "os.link", "os.mkdir"):
            return
        self.here(f"{event} {Path(os.fsdecode(arguments[0])).name}")


class Plant:
    """The state to kill in, as it was made, and the way back to it."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.state, self.published, self.kept = Path(plan["state"]), Path(plan["published"]), Path(plan["kept"])
        self.database: str | None = plan["database"]
        self.deeds = [Deed(**{**one, "by": tuple(one["by"])}) for one in plan["deeds"]]

    def url(self) -> sa.URL:
        return sa.make_url(self.database or f"sqlite:///{self.state / 'mlflow.db'}")

    def keep(self) -> None:
        if self.database is None:
            for name in ("mlflow.db", "users.db"):
                shutil.copy2(self.state / name, self.kept / name)
        else:
            self._as_owner(f"CREATE DATABASE {self.url().database}_kept TEMPLATE {self.url().database}")
        shutil.copytree(self.published, self.kept / "published")

    def restore(self) -> None:
        if self.database is None:
            for name in ("mlflow.db", "users.db"):
                for old in self.state.glob(f"{name}*"):
                    old.unlink()
                shutil.copy2(self.kept / name, self.state / name)
        else:
            name = self.url().database
            self._as_owner(f"DROP DATABASE {name} WITH (FORCE)", f"CREATE DATABASE {name} TEMPLATE {name}_kept")
        shutil.rmtree(self.published)
        shutil.copytree(self.kept / "published", self.published)

    def _as_owner(self, *statements: str) -> None:
        engine = sa.create_engine(self.url().set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def run(self, sql: str) -> None:
        engine = sa.create_engine(self.url(), poolclass=sa.NullPool)
        with engine.begin() as connection:
            connection.exec_driver_sql(sql)

    def dump(self) -> dict[str, Any]:
        """Everything that a deed may change, without what is another each time."""
        found: dict[str, Any] = {}
        engine = sa.create_engine(self.url(), poolclass=sa.NullPool)
        with engine.connect() as connection:
            for name, query in (
                ("versions", "SELECT name, version, current_stage, description, status, run_id FROM model_versions"),
                ("models", "SELECT name, description FROM registered_models"),
                ("aliases", "SELECT name, alias, version FROM registered_model_aliases"),
                ("tags", "SELECT name, version, key, value FROM model_version_tags"),
                ("experiments", "SELECT name, lifecycle_stage FROM experiments"),
            ):
                found[name] = sorted(map(tuple, connection.exec_driver_sql(query)), key=str)
            columns = "actor, action, product, version, subject, before, after, allowed, reason"
            events = connection.exec_driver_sql(f"SELECT {columns} FROM changeover_events ORDER BY seq")
            found["events"] = [tuple(row)[: 8 if row[1] in FOLLOWS else 9] for row in events]
        found["tags"] = [row if row[2] not in RANDOM else row[:3] for row in found["tags"]]
        found["events"] = [row if row[1] != "register" else row[:4] + row[5:8] for row in found["events"]]
        people = engine if self.database else sa.create_engine(f"sqlite:///{self.state / 'users.db'}", poolclass=sa.NullPool)
        with people.connect() as connection:
            users = connection.exec_driver_sql("SELECT username, is_admin, password_hash FROM users").all()
            found["roles"] = sorted(map(tuple, connection.exec_driver_sql(_ROLES)))
        self.passwords = {name: hashed for name, _, hashed in users}
        found["users"] = sorted((name, bool(admin)) for name, admin, _ in users)
        pointers = {file.parent.name: json.loads(file.read_text()) for file in self.published.glob("*/current.json")}
        found["line"] = {name: pointer["version"] for name, pointer in pointers.items()}
        return found

    def problems(self) -> list[str]:
        from registry.trail import audit
        from registry.trail.key import key_file

        return audit.verify(self.database or self.state / "mlflow.db", key=key_file(self.state))


class Worker:
    """A fork that answers requests until it is told to end, or ends itself."""

    def __init__(self, app: Any, lock: Any, places: Places, at_start: Callable[[], None] | None = None) -> None:
        self._pipe, theirs = Pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                self._pipe.close()
                lock.__init__(places.state / "gate.lock")  # a lock knows when it was inherited, and refuses to be used
                places.install()
                if at_start is not None:
                    at_start()
                _answer(app, places, theirs)
                code = 0
            finally:
                os._exit(code)
        theirs.close()

    def ask(self, deed: Deed, end: int = 0) -> tuple[int, dict[str, Any], list[str]] | None:
        """Status, answer, and the places that were passed; None where the worker ended itself."""
        self._pipe.send((deed, end))
        if not self._pipe.poll(PATIENCE_SECONDS):
            os.kill(self.pid, signal.SIGKILL)
            raise TimeoutError(f"{deed.name} is not answered")
        try:
            return self._pipe.recv()  # type: ignore[no-any-return]
        except EOFError:
            return None

    def end(self) -> None:
        with suppress(BrokenPipeError):  # it ended itself
            self._pipe.send(None)
        self._pipe.close()
        os.waitpid(self.pid, 0)


async def _ask(app: Any, deed: Deed) -> httpx.Response:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:5000", timeout=120) as client:
        return await client.request(deed.method, deed.path, json=deed.body, auth=deed.by)


def _answer(app: Any, places: Places, pipe: Connection) -> None:
    while True:
        order = pipe.recv()  # others have this pipe open too, so it does not end by itself
        if order is None:
            return
        deed, places.end = order
        places.seen.clear()
        places.armed = True
        answer = asyncio.run(_ask(app, deed))
        places.here("the answer")
        places.armed = False
        pipe.send((answer.status_code, answer.json() if answer.content else {}, list(places.seen)))


class Killing:
    """All deeds of one plan, with one worker or several."""

    def __init__(self, plant: Plant, app: Any, flask_app: Any, watch: Any, workers: int, promoter: tuple[str, str]) -> None:
        self.plant, self.app, self.workers = plant, app, workers
        self._flask, self._watch = flask_app, watch
        self.look = Deed("watch", promoter, "POST", "/changeover/watch", {})
        self.health = Deed("health", promoter, "GET", "/changeover/health", {})

    def _worker(self, at_start: Callable[[], None] | None = None) -> Worker:
        lock = self._flask.extensions["changeover"].lock
        return Worker(self.app, lock, Places(self.plant.state), at_start)

    def _start(self) -> None:
        from registry.server.watch import see_to_everything_at_start

        see_to_everything_at_start(self._flask, self._watch)

    def _prepare(self, deed: Deed) -> None:
        self.plant.restore()
        if deed.wrong:
            self.plant.run(deed.wrong)

    def deed(self, deed: Deed, turn: int | None) -> dict[str, Any]:
        """Kills at one place of a deed, ``turn`` says which, or at all. ``problems`` are sentences; there should be none."""
        self._prepare(deed)
        before = self.plant.dump()
        passwords = self.plant.passwords
        worker = self._worker()
        answered = worker.ask(deed)
        worker.end()
        if answered is None or answered[0] != 200:
            return {"deed": deed.name, "places": [], "tried": [], "problems": [f"it is not done at all: {answered}"]}
        places, after = answered[2], self.plant.dump()
        changed = {name for name, hashed in self.plant.passwords.items() if passwords.get(name, hashed) != hashed}
        problems = [] if after != before or changed else ["it changes nothing"]
        tried = range(1, len(places) + 1) if turn is None else [_place(places, turn)]
        for end in tried:
            where = f"{deed.name}, {self.workers} worker(s), killed before {end} of {len(places)} ({places[end - 1]})"
            problems += [f"{where}: {problem}" for problem in self._killed(deed, end, before, after, passwords, changed)]
        return {"deed": deed.name, "places": places, "tried": list(tried), "problems": problems}

    def _killed(
        self, deed: Deed, end: int, before: dict[str, Any], after: dict[str, Any], passwords: dict[str, str], changed: set[str]
    ) -> list[str]:
        self._prepare(deed)
        others = [self._worker() for _ in range(self.workers - 1)]
        for other in others:
            other.ask(self.health)
        victim = self._worker()
        victim.ask(self.health)
        if victim.ask(deed, end) is not None:
            return ["it was not reached"]
        victim.end()
        if others:
            other = others[0]
            looked = other.ask(self.look)
            if looked is None or looked[0] != 200:
                return [f"another worker answers {looked}"]
        else:
            other = self._worker(self._start)
            other.ask(self.health)
        found = self.plant.dump()
        new = {name for name, hashed in self.plant.passwords.items() if passwords.get(name, hashed) != hashed}
        problems = list(self.plant.problems())
        if (found, new) not in ((before, set()), (after, changed)):
            problems.append(f"half done: {_difference(before, found)} since before, {_difference(found, after)} to after")
        if (found, new) == (before, set()) and before != after:
            again = other.ask(deed)
            if again is None or again[0] != 200:
                problems.append(f"asked again, it answers {again}")
            elif (now := self.plant.dump()) != after:
                problems.append(f"asked again, it is done otherwise: {_difference(now, after)}")
        for one in (other, *others[1:]):
            one.end()
        return problems


def _place(places: list[str], turn: int) -> int:
    """The number of a statement, a commit or a change of a file, in turn; of a commit where no file is changed."""
    numbered = list(enumerate(places, 1))
    commits = [number for number, what in numbered if what == "COMMIT"]
    files = [number for number, what in numbered if what.startswith(("os.rename", "os.remove", "os.link"))]
    statements = [number for number, what in numbered if what[:6] in ("INSERT", "UPDATE", "DELETE")]
    kind = (statements, commits, files or commits)[turn % 3]
    return kind[turn % len(kind)]


def _difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    told = []
    for key, left in one.items():
        right = other[key]
        if isinstance(left, list):
            told += [f"{key} -{row}" for row in left if row not in right] + [f"{key} +{row}" for row in right if row not in left]
        elif left != right:
            told.append(f"{key} {left} -> {right}")
    return "; ".join(told)[:1500] or "nothing"


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    plant = Plant(plan)
    from registry.server import app as server
    from registry.server import watch as watching
    from registry.trail.verification import Checked

    made: list[Any] = []
    at_start = watching.see_to_everything_at_start

    def noted(flask_app: Any, watch: Any) -> None:
        made[:] = [flask_app, watch]
        at_start(flask_app, watch)

    watching.see_to_everything_at_start = noted
    app = server.create_app()
    watching.see_to_everything_at_start = at_start
    flask_app, watch = made

    def let_go() -> None:
        """A fork must not share a connection with this process."""
        from mlflow.server import auth
        from mlflow.server.handlers import _get_model_registry_store, _get_tracking_store

        gate = flask_app.extensions["changeover"]
        engines = [store.engine for store in (_get_tracking_store(), _get_model_registry_store(), auth.store)]
        for engine in (*engines, gate.trail.engine, gate.transactions._engine):
            engine.dispose()

    let_go()
    plant.keep()
    # Once here, so that each fork finds everything imported and every statement compiled; then all of it is forgotten.
    for deed in plant.deeds:
        asyncio.run(_ask(app, deed))
    let_go()
    gate = flask_app.extensions["changeover"]
    gate.trail._checked = Checked(gate.trail)
    gate.lock.__init__(plant.state / "gate.lock")
    for workers in plan["workers"]:
        killing = Killing(plant, app, flask_app, watch, workers, tuple(plan["promoter"]))
        for number, deed in enumerate(plant.deeds):
            told = killing.deed(deed, None if plan["all"] else number)
            print(json.dumps(told | {"workers": workers}), flush=True)


if __name__ == "__main__":
    main()
