"""The door of a port on loopback: it answers to its own names, and to no page of another server.

Loopback keeps other machines out, but not the pages that a browser on this machine shows. Such a page can send requests to any
port here, and by a name that it lets point to 127.0.0.1 it can read the answers as well.
"""

from collections.abc import Iterable
from typing import Final

NAMES: Final = ("127.0.0.1", "localhost")


def own_hosts(port: int) -> tuple[str, ...]:
    """What ``Host`` may say at ``port``."""
    return tuple(f"{name}:{port}" for name in NAMES)


def own_origins(port: int) -> tuple[str, ...]:
    """What ``Origin`` may say at ``port``: the pages that this very port serves."""
    return tuple(f"http://{host}" for host in own_hosts(port))


def complaint(headers: Iterable[tuple[str, str]], port: int) -> tuple[int, str] | None:
    """The status and the sentence to refuse a request with; None where it may come in. Names of headers in any case."""
    named: dict[str, list[str]] = {}
    for name, value in headers:
        named.setdefault(name.lower(), []).append(value.strip())
    hosts, origins = named.get("host", []), named.get("origin", [])
    if len(hosts) != 1 or hosts[0].lower() not in own_hosts(port):
        return 421, f"Host {_short(hosts)} is not this server; call it by http://{own_hosts(port)[0]}"
    if any(origin.lower() not in own_origins(port) for origin in origins) or len(origins) > 1:
        return 403, f"a page of {_short(origins)} may not ask this server; only its own pages may, at http://{own_hosts(port)[0]}"
    return None


def _short(values: list[str]) -> str:
    return ascii(", ".join(values))[:100]
