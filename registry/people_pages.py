"""People's own page, and their full names.

GET  /changeover/password        a page on which whoever is logged in changes the password
GET  /changeover/people          full names by user
POST /changeover/people          {user, name}: an administrator enters a full name
"""

from pathlib import Path
from typing import Final

from flask import Flask, Response, jsonify, request
from mlflow.server.auth import store
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from registry import rules
from registry.endpoints import Answer, add_route, bad_body, refusal
from registry.events import Entry, Trail
from registry.gate import Gate, foreign_page, person
from registry.people import NAMED
from registry.review import PAGES, SECURITY

HERE: Final = Path(__file__).parent


class FullName(BaseModel):
    """Body of a name."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    user: str = Field(min_length=1, max_length=63)
    name: str = Field(min_length=1, max_length=120, pattern=r"\S")


class PeoplePages:
    """The views."""

    def __init__(self, trail: Trail, gate: Gate) -> None:
        self._trail, self._gate = trail, gate

    def install(self, app: Flask) -> None:
        """Adds the addresses to ``app``."""
        add_route(app, "/changeover/password", "GET", self.password)
        add_route(app, "/changeover/password.js", "GET", self.password_script)
        add_route(app, "/changeover/people", "GET", self.people)
        add_route(app, "/changeover/people", "POST", self.give_name)

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
        try:
            wanted = FullName.model_validate(request.get_json(silent=True))
        except ValidationError as error:
            return bad_body(error)
        name = " ".join(wanted.name.split())
        with self._gate.locked():
            problem = foreign_page() or rules.administer(who, f"enter the name of '{wanted.user}'")
            if problem is None and not name.isprintable():
                problem = "a full name has no control characters; write it as it is printed"
            if problem is None and not store.has_user(wanted.user):
                problem = f"there is no user '{wanted.user}'; see 'changeover users list'"
            entry = Entry(
                actor=who.name, action=NAMED, subject=wanted.user, before=self._gate.people.full_name(wanted.user), after=name,
                address=request.remote_addr or "", allowed=problem is None, reason=problem or "",
            )  # fmt: skip
            self._trail.append(entry)
        return refusal(403, problem) if problem else jsonify({"user": wanted.user, "name": name})
