"""How to reach a registry as one of its users."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from registry.errors import Broken, NotFound, Refused, RegistryError, Unreachable

if TYPE_CHECKING:
    import httpx
    from mlflow import MlflowClient

# MLflow takes user and password from the environment alone, so one connection at a time owns it.
_ENVIRONMENT = threading.RLock()
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Connection:
    """The registry at ``url`` ("http://127.0.0.1:5000"), as ``user``. ``timeout`` in seconds for one answer.

    ``publisher_key``: file of the key with which this user signs what it publishes; only the promoter has one.
    """

    url: str
    user: str
    password: str = field(repr=False)
    timeout: float = 30.0
    publisher_key: Path | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise RegistryError(f"{parts.hostname or 'the address'} of the registry: give it as http://host:port, without a user")
        object.__setattr__(self, "url", self.url.rstrip("/"))

    def check(self) -> dict[str, Any]:
        """Health of the registry and our roles there.

        Raises ``Unreachable`` where nothing answers, ``Refused`` for a wrong user or password, and where a server answers
        that has no gate (a bare MLflow).
        """
        try:
            return self.call("GET", "/changeover/health")
        except NotFound as problem:
            raise Refused(
                f"{self.url} is no Changeover registry: its gate does not answer; start it with changeover up"
            ) from problem

    def call(
        self, method: str, path: str, *, json: Mapping[str, Any] | None = None, params: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """One request; the answer's JSON object. Raises ``Unreachable``, ``Refused``, ``NotFound`` or ``RegistryError``."""
        import httpx

        try:
            with self._http() as http:
                answer = http.request(method, path, json=json, params=params)
        except httpx.HTTPError as problem:
            raise self._silent(problem) from problem
        _raise_for(answer, self.user)
        try:
            found = answer.json() if answer.content else {}
        except ValueError as problem:
            raise Refused(
                f"{self.url}{path} answers something other than JSON: is it the registry? check the address"
            ) from problem
        return found if isinstance(found, dict) else {}

    def fetch(self, path: str, params: Mapping[str, str], write: Callable[[bytes], object] | None = None) -> str:
        """Hands the answer's bytes to ``write``, piece by piece; gives the sha256 of all."""
        import httpx

        digest = hashlib.sha256()
        try:
            with self._http() as http, http.stream("GET", path, params=params) as answer:
                if answer.is_error:
                    answer.read()
                    _raise_for(answer, self.user)
                for chunk in answer.iter_bytes(_CHUNK):
                    digest.update(chunk)
                    if write is not None:
                        write(chunk)
        except httpx.HTTPError as problem:
            raise self._silent(problem) from problem
        return digest.hexdigest()

    @contextmanager
    def client(self) -> Iterator["MlflowClient"]:
        """An MLflow client of this user; MLflow's errors leave the block as ours.

        Only one block at a time runs in a process (MLflow reads user and password from the environment); it may be nested.
        """
        self.check()
        wanted = {
            "MLFLOW_TRACKING_USERNAME": self.user,
            "MLFLOW_TRACKING_PASSWORD": self.password,
            "MLFLOW_TRACKING_URI": self.url,
            "MLFLOW_REGISTRY_URI": self.url,
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
            "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
            "MLFLOW_UV_AUTO_DETECT": "false",  # would copy the working directory's pyproject.toml into the model
        }
        with _ENVIRONMENT:
            before = {key: os.environ.get(key) for key in wanted}
            os.environ.update(wanted)
            try:
                from mlflow import MlflowClient
                from mlflow.exceptions import MlflowException
                from requests import RequestException

                try:
                    yield MlflowClient(tracking_uri=self.url, registry_uri=self.url)
                except MlflowException as problem:
                    raise _ours(problem, self.url) from problem
                except RequestException as problem:  # MLflow lets those of uploads through
                    raise _of_upload(problem, self.url) from problem
            finally:
                for key, value in before.items():
                    if value is None:
                        os.environ.pop(key, None)
                    else:
                        os.environ[key] = value

    def _http(self) -> "httpx.Client":
        import httpx

        return httpx.Client(
            base_url=self.url,
            auth=(self.user, self.password),
            timeout=self.timeout,
            trust_env=False,  # a proxy of the company must not come between us and a registry on this machine
            verify=self.url.startswith("https:"),  # reading the system's certificates costs 40 ms, in vain without TLS
        )

    def _silent(self, problem: Exception) -> Unreachable:
        kind = type(problem).__name__
        return Unreachable(f"the registry at {self.url} does not answer ({kind}): it must run; start it with changeover up")


def _raise_for(answer: "httpx.Response", user: str) -> None:
    if not answer.is_error:
        return
    try:
        body = answer.json()
        code, sentence = body.get("error_code"), str(body["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        code, sentence = "", f"{answer.request.method} {answer.request.url.path} gave status {answer.status_code}"
    if answer.status_code == 401:
        raise Refused(
            f"the registry does not know user '{user}' with this password; look into the plant's secrets, or log in anew"
        )
    if answer.status_code == 404:
        raise NotFound(sentence)
    if answer.status_code == 409 and code == "FILES_EXCHANGED":
        raise Broken(sentence)
    if answer.status_code in (400, 403, 409):
        raise Refused(sentence)
    if answer.status_code in (502, 503, 504):
        raise Unreachable(sentence)
    raise RegistryError(sentence)


def _ours(problem: Any, url: str) -> RegistryError:
    """The error of ours for one of MLflow's."""
    code, sentence = str(problem.error_code), " ".join(str(problem.message).split())
    if code == "PERMISSION_DENIED":
        # MLflow's client puts the code in front of the server's sentence.
        return Refused(sentence.removeprefix("PERMISSION_DENIED: "))
    if code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
        return NotFound(sentence)
    if "API request to" in sentence and "failed with exception" in sentence:
        return Unreachable(f"the registry at {url} stopped answering: {sentence[:300]}; see whether it still runs")
    return RegistryError(sentence[:1000])


def _of_upload(problem: Any, url: str) -> RegistryError:
    answer = problem.response
    if answer is None:
        return Unreachable(f"the registry at {url} stopped answering ({type(problem).__name__}); see whether it still runs")
    try:
        sentence = str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        sentence = f"{answer.request.method} {answer.url} gave status {answer.status_code}; look into the registry's log"
    return Refused(sentence) if answer.status_code in (401, 403) else RegistryError(sentence)


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes, in lower-case hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
