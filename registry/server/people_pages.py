"""People's own page, and their full names.

GET  /changeover/password        a page on which whoever is logged in changes the password
GET  /changeover/people          full names by user
POST /changeover/people          {user, name}: an administrator enters a full name
POST /changeover/users           {user, password, role, name}: an administrator adds a person, with role and name in one step
"""

from pathlib import Path
from typing import Final, Literal

from flask import Flask, Response, jsonify, request
from mlflow.server.auth import store
from pydantic import Field

from registry.names import ADMIN
from registry.rules import rules
from registry.secrets import SHORTEST_PASSWORD
from registry.server.authorisation import Authorisation, foreign_page, person
from registry.server.bodies import Body, sent
from registry.server.endpoints import Answer, add_route, refusal
from registry.server.review import PAGES, SECURITY
from registry.server.roles import WORKSPACE
from registry.server.user_attempts import ADMINISTRATOR, user_name_problem
from registry.trail.events import Entry, Trail
from registry.trail.people import CREATED, NAMED, ROLE_GIVEN

HERE: Final = Path(__file__).parent


class FullName(Body):
    """Body of a name."""

    user: str = Field(min_length=1, max_length=63)
    name: str = Field(min_length=1, max_length=120, pattern=r"\S")


class NewPerson(Body):
    """Body of a person that is added."""

    user: str = Field(min_length=1, max_length=63)
    password: str = Field(min_length=SHORTEST_PASSWORD, max_length=1024, repr=False)
    role: Literal["admin", "trainer", "promoter", "qa", "viewer"]
    name: str = Field("", max_length=120)


class PeoplePages:
    """The views."""

    def __init__(self, trail: Trail, gate: Authorisation) -> None:
        self._trail, self._gate = trail, gate

    def install(self, app: Flask) -> None:
        """Adds the addresses to ``app``."""
        add_route(app, "/changeover/password", "GET", self.password)
        add_route(app, "/changeover/password.js", "GET", self.password_script)
        add_route(app, "/changeover/people", "GET", self.people)
        add_route(app, "/changeover/people", "POST", self.give_name)
        add_route(app, "/changeover/users", "POST", self.add)

    def password(self) -> Response:
        """The page."""
        return Response(PAGES.get_template("password.html.j2").render(who=person()), mimetype="text/html", headers=SECURITY)

    def password_script(self) -> Response:
        """Its script."""
        return Response((HERE / "password.js").read_bytes(), mimetype="text/javascript", headers=SECURITY)

    def people(self) -> Answer:
        """Full names of all who have one."""
        return jsonify({"people": {event.subject: event.after for event in self._trail.find(actions=(NAMED,), allowed=True)}})

    def give_name(self) -> Answer:
        """Enters a full name, which every later signature of that user shows."""
        who = person()
        wanted = sent(FullName)
        name = " ".join(wanted.name.split())
        with self._gate.transaction():
            problem = foreign_page() or rules.administer(who, f"enter the name of '{wanted.user}'") or _name_problem(name)
            if problem is None and not store.has_user(wanted.user):
                problem = f"there is no user '{wanted.user}'; see 'changeover users list'"
            self._record(NAMED, wanted.user, name, problem, before=self._gate.people.full_name(wanted.user))
        return refusal(403, problem) if problem else jsonify({"user": wanted.user, "name": name})

    def add(self) -> Answer:
        """Adds a person with a role and, where one is given, a full name."""
        who = person()
        wanted = sent(NewPerson)
        name = " ".join(wanted.name.split())
        with self._gate.transaction():
            problem = foreign_page() or rules.administer(who, f"create user '{wanted.user}'")
            problem = problem or user_name_problem(wanted.user, self._trail) or _name_problem(name)
            self._record(CREATED, wanted.user, "", problem)
            if problem is not None:
                return refusal(403, problem)
            is_admin = wanted.role == ADMIN
            made = store.create_user(wanted.user, wanted.password, is_admin=is_admin)
            self._record(ADMINISTRATOR if is_admin else ROLE_GIVEN, wanted.user, str(True) if is_admin else wanted.role)
            if not is_admin:
                store.assign_role_to_user(made.id, store.get_role_by_name(WORKSPACE, wanted.role).id)
            if name:
                self._record(NAMED, wanted.user, name, before=wanted.user)
        return jsonify({"user": wanted.user, "role": wanted.role, "name": name})

    def _record(self, action: str, user: str, after: str, problem: str | None = None, before: str = "") -> None:
        entry = Entry(
            actor=person().name, action=action, subject=user, before=before, after=after, address=request.remote_addr or "",
            allowed=problem is None, reason=problem or "",
        )  # fmt: skip
        self._trail.append(entry)


def _name_problem(name: str) -> str | None:
    return None if name.isprintable() else "a full name has no control characters; write it as it is printed"
