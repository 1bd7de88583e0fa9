"""Nobody without the password, and no page of another server, gets anything out of the plant's Prefect server."""

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from flows.plant import Plant
from flows.serving import servers
from flows.serving.child_environment import child_environment
from flows.serving.prefect_password import log_in, password_file, prefect_password

pytestmark = [pytest.mark.servers, pytest.mark.slow]

VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
SOCKETS = (
    "/api/events/in",
    "/api/events/out",
    "/api/logs/out",
    "/api/task_runs/subscriptions/scheduled",
    "/api/work_pools/pool/workers/connect",
)


@pytest.fixture(scope="module")
def guarded(pattern: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """A plant whose Prefect server alone is up."""
    path = tmp_path_factory.mktemp("guarded") / "plant"
    shutil.copytree(pattern, path)
    port = servers.free_port(26100 + os.getpid() % 3000)
    (path / "changeover.yaml").write_text(f"servers: {{prefect_port: {port}}}\n")
    made = Plant.open(path)
    try:
        servers._start(made, "prefect")
        servers._wait(made, "prefect", lambda line: None, True)
        yield made
    finally:
        servers.down(made)


@pytest.fixture(scope="module")
def stranger(guarded: Plant) -> Iterator[httpx.Client]:
    """A client without the password."""
    with httpx.Client(base_url=servers.address(guarded, "prefect"), trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def paths(guarded: Plant, stranger: httpx.Client) -> dict[str, list[str]]:
    """Every address of the installed Prefect's API, with its methods."""
    schema = stranger.get("/api/openapi.json", auth=log_in(guarded)).raise_for_status().json()
    return {
        re.sub(r"\{[^}]+\}", str(uuid.UUID(int=1)), path): [verb.upper() for verb in verbs]
        for path, verbs in schema["paths"].items()
    }


@pytest.fixture(scope="module")
def deployment(guarded: Plant, stranger: httpx.Client) -> str:
    """The id of a deployment, made with the password."""

    def make(path: str, body: dict[str, str]) -> str:
        answer = stranger.post(path, json=body, auth=log_in(guarded))
        for _ in range(20):  # SQLite is busy while the server's services start
            if answer.status_code != 503:
                break
            time.sleep(0.5)
            answer = stranger.post(path, json=body, auth=log_in(guarded))
        return str(answer.raise_for_status().json()["id"])

    return make("/api/deployments/", {"name": "d", "flow_id": make("/api/flows/", {"name": "f"})})


SHELL = {"pull_steps": [{"prefect.deployments.steps.run_shell_script": {"script": "id"}}]}


def test_a_stranger_cannot_change_what_a_deployment_runs(guarded: Plant, stranger: httpx.Client, deployment: str) -> None:
    answer = stranger.patch(f"/api/deployments/{deployment}", json=SHELL)
    assert answer.status_code == 401
    kept = stranger.get(f"/api/deployments/{deployment}", auth=log_in(guarded)).json()
    assert not kept["pull_steps"]


def test_every_route_of_the_api_asks_for_the_password(stranger: httpx.Client, paths: dict[str, list[str]]) -> None:
    assert len(paths) > 120
    let_in = []
    for path, verbs in paths.items():
        for verb in verbs:
            answer = stranger.request(verb, f"/api{path}", json={})
            if answer.status_code != 401:
                let_in.append((verb, path, answer.status_code))
    assert sorted(let_in) == [("GET", "/health", 200), ("GET", "/ready", 200)]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_asks_on_what_is_no_route_too(stranger: httpx.Client, verb: str) -> None:
    for path in ("/api/csrf-token?client=x", "/api/admin/settings", "/api/admin/database/clear", "/api/docs", "/api/openapi.json",
                 "/api/", "/api/nothing", "/api/ui-settings", "/api/flows/filter", "/api/events", "/api/block_types/slug/x",
                 "/api/variables/name/system-health", "/api/variables/name/health", "/api/static/x", "/api/metrics"):  # fmt: skip
        assert stranger.request(verb, path).status_code == 401, path
    if verb != "GET":
        assert stranger.request(verb, "/api/health").status_code == 401


SPELLINGS = (
    "//api/flows/filter", "/api//flows/filter", "/%61pi/flows/filter", "/api/health/../flows/filter", "/api/./flows/filter",
    "/api/%2e%2e/api/flows/filter", "/api%2fflows%2ffilter", "/api/flows/filter/", "/api;x/flows/filter", "/API/flows/filter",
    "/api/flows%2ffilter", "/api/health/flows/filter", "/api/flows/filter?x=/api/health", "/v2/api/flows/filter",
    "/api\\flows\\filter", "http://127.0.0.1/api/flows/filter", "/api/flows/filter%00", "*",
)  # fmt: skip


def raw(plant: Plant, request: bytes) -> int:
    """The status that the server answers to these very bytes."""
    port = servers.server_status(plant)["prefect"].port
    assert port
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(request)
        return int(line.makefile("rb").readline().split()[1])


@pytest.mark.parametrize("target", SPELLINGS)
def test_no_spelling_of_a_path_passes(guarded: Plant, target: str) -> None:
    port = servers.server_status(guarded)["prefect"].port
    head = f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
    assert 400 <= raw(guarded, head.encode()) < 500


@pytest.mark.parametrize(
    "header",
    [
        "Basic Y2hhbmdlb3Zlcjp3cm9uZw==",
        "Basic Og==",
        "Basic",
        "Basic !!!",
        "Basic /////w==",
        "Basic w6TDtsO8OsOf",  # äöü:ß: Prefect alone answers 500
        "Bearer abc",
        "Digest username=x",
        "basic Y2hhbmdlb3Zlcjp3cm9uZw==",
        "Basic " + "A" * 20_000,
        "\u00e4",
        "",
    ],
)
def test_what_is_not_the_password_is_401(stranger: httpx.Client, header: str) -> None:
    answer = stranger.post("/api/flows/filter", json={}, headers={"Authorization": header.encode("latin-1")})
    assert answer.status_code == 401


def test_the_password_is_of_no_use_with_a_token_instead(guarded: Plant, stranger: httpx.Client) -> None:
    for header in (f"Bearer {prefect_password(guarded)}", f"Basic {prefect_password(guarded)}"):
        assert stranger.post("/api/flows/filter", json={}, headers={"Authorization": header}).status_code == 401
    assert stranger.post("/api/flows/filter", json={}, auth=log_in(guarded)).status_code == 200


def test_other_names_and_other_pages_are_refused_with_the_right_password(
    guarded: Plant, stranger: httpx.Client, deployment: str
) -> None:
    port = stranger.base_url.port
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", "localhost:1", f"127.0.0.1:{port}@evil", f"0.0.0.0:{port}",
                 f"127.0.0.1.evil.example:{port}", ""):  # fmt: skip
        for path in ("/api/health", f"/api/deployments/{deployment}", "/", "/ui-settings"):
            answer = stranger.get(path, headers={"Host": host}, auth=log_in(guarded))
            assert answer.status_code in (400, 421), (host, path)
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", f"https://127.0.0.1:{port}", "http://127.0.0.1",
                   f"http://127.0.0.1:{port}.evil.example", f"http://evil@127.0.0.1:{port}", "file://"):  # fmt: skip
        for verb in ("PATCH", "GET", "DELETE", "OPTIONS"):
            headers = {"Origin": origin, "Access-Control-Request-Method": "PATCH"}
            answer = stranger.request(verb, f"/api/deployments/{deployment}", headers=headers, auth=log_in(guarded))
            assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers, (origin, verb)
    for name in ("127.0.0.1", "localhost"):
        headers = {"Origin": f"http://{name}:{port}", "Host": f"{name}:{port}"}
        answer = stranger.get(f"/api/deployments/{deployment}", headers=headers, auth=log_in(guarded))
        assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == headers["Origin"]


def test_two_hosts_and_no_host_are_refused(guarded: Plant) -> None:
    port = servers.server_status(guarded)["prefect"].port
    for head in (f"Host: 127.0.0.1:{port}\r\nHost: evil.example\r\n", "", f"Host: evil.example\r\nHost: 127.0.0.1:{port}\r\n"):
        for version in ("1.0", "1.1"):
            assert raw(guarded, f"GET /api/health HTTP/{version}\r\n{head}\r\n".encode()) in (400, 421)


def socket_to(plant: Plant, path: str, **more: Any) -> Any:
    port = servers.server_status(plant)["prefect"].port
    return connect(f"ws://127.0.0.1:{port}{path}", proxy=None, open_timeout=10, **({"subprotocols": ["prefect"]} | more))


@pytest.mark.parametrize("path", SOCKETS)
def test_sockets_ask_too(guarded: Plant, path: str) -> None:
    port = servers.server_status(guarded)["prefect"].port
    for more in ({"origin": "http://evil.example"}, {"additional_headers": {"Origin": "null"}}, {"subprotocols": None}):
        with pytest.raises(InvalidStatus, match="403"):
            socket_to(guarded, path, **more)
    for said in ({"token": "changeover:wrong"}, {}, {"token": 5}, {"token": ["a"]}, {"type": "event"}):
        with socket_to(guarded, path) as line:
            line.send(json.dumps({"type": "auth"} | said))
            with pytest.raises(ConnectionClosed):
                line.recv(timeout=10)
    with socket_to(guarded, path, origin=f"http://127.0.0.1:{port}") as line:
        line.send(json.dumps({"type": "auth", "token": prefect_password(guarded)}))
        assert json.loads(line.recv(timeout=10)) == {"type": "auth_success"}


def test_a_socket_that_says_nothing_is_hung_up(guarded: Plant) -> None:
    with socket_to(guarded, "/api/events/in") as line, pytest.raises(ConnectionClosed):
        line.recv(timeout=14)


def test_the_password_lies_in_one_file_of_this_account(guarded: Plant) -> None:
    secret = log_in(guarded)[1]
    assert len(secret) >= 40
    assert stat.S_IMODE(password_file(guarded).stat().st_mode) == 0o600
    assert stat.S_IMODE((guarded.state / "prefect").stat().st_mode) == 0o700
    files = [file for file in (guarded.state / "prefect").rglob("*") if file.is_file()]
    assert any(file.name == "prefect.db" for file in files)
    assert not any(file.stat().st_mode & 0o077 for file in files)
    assert secret.encode() not in (guarded.logs / "prefect.log").read_bytes() + (guarded.state / "servers.json").read_bytes()
    mark = servers.server_status(guarded)["prefect"].mark
    assert mark
    process = psutil.Process(mark.pid)
    for one in (process, *process.children(recursive=True)):
        assert secret not in " ".join(one.cmdline())


def test_a_state_folder_of_an_earlier_version_is_closed(plant: Plant) -> None:
    home = plant.state / "prefect"
    home.mkdir(parents=True, mode=0o755)
    (home / "prefect.db").touch(0o644)
    _, environment = servers._command(plant, "prefect", 4200)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700 and stat.S_IMODE((home / "prefect.db").stat().st_mode) == 0o600
    assert environment["PREFECT_SERVER_API_AUTH_STRING"] == prefect_password(plant)


def test_no_server_without_a_password() -> None:
    bare = {name: value for name, value in os.environ.items() if "PREFECT" not in name}
    done = subprocess.run(
        [sys.executable, "-m", "flows.serving.prefect_server", "4299"],
        capture_output=True,
        text=True,
        env=bare,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1 and "would let everybody in" in done.stderr


def test_children_that_do_not_need_it_get_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING", "CHANGEOVER_PASSWORD"):
        monkeypatch.setenv(name, "changeover:secret")
    assert "changeover:secret" not in child_environment({}).values()


def test_prefects_own_client_gets_in(guarded: Plant) -> None:
    code = """
import sys
from pathlib import Path
from flows.plant import Plant
from flows.serving.orchestration import connect
connect(Plant.open(Path(sys.argv[1])))
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    print(len(client.read_flows()))
from prefect.events import emit_event
emit_event("a.test", {"prefect.resource.id": "a"})
"""
    done = subprocess.run([sys.executable, "-c", code, str(guarded.path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.strip().isdecimal(), done.stderr


def test_the_pages_ask_for_it_and_keep_to_their_server(guarded: Plant) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here")
    url, outside = servers.address(guarded, "prefect"), []
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("response", lambda answer: outside.append(answer.url) if not answer.url.startswith(url) else None)
        page.goto(f"{url}/")
        page.locator("input[type=password]").fill("changeover:wrong")
        page.keyboard.press("Enter")
        page.wait_for_timeout(1500)
        assert "/login" in page.url
        page.locator("input[type=password]").fill(prefect_password(guarded))
        page.keyboard.press("Enter")
        page.get_by_text("Dashboard").first.wait_for(timeout=20_000)
        page.goto(f"{url}/v2/deployments")
        page.get_by_text("Deployments").first.wait_for(timeout=20_000)
        browser.close()
    assert not outside
    policy = httpx.get(f"{url}/", trust_env=False, follow_redirects=True).headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
