"""What there is in a plant right now: servers, runs, and each product's versions."""

from dataclasses import asdict, dataclass
from typing import Any

from flows.plant import Plant
from flows.progress_view import current_progress, now_text
from flows.records.pointer import disagreement, pointed_at, products_on_the_line
from flows.serving.identity import FIX, copied
from flows.serving.run_record import RunState, read_runs
from flows.serving.serve_state import ServeState, serve_state
from flows.serving.servers import Server, server_status
from flows.serving.services import connect_as, health
from flows.steps.register import page_of
from flows.steps.set_up import teacher_at_hand
from registry.client.connection import Connection
from registry.client.flags import open_flags
from registry.client.versions import Version, to_decide, versions
from registry.errors import NotFound, Refused
from registry.names import CHAMPION, FLAGGED
from registry.trail.events import Event


@dataclass(frozen=True)
class ProductStatus:
    """Champion and candidate by version number; ``sign_at`` is set while the candidate waits for QA.

    ``published`` is the version that the line reads, None for none, "" for a pointer that cannot be read; ``parted`` says where
    it is not the champion, and ``mend`` what to do about it.
    """

    product: str
    champion: str | None
    candidate: str | None
    sign_off: str
    sign_at: str | None
    published: str | None = None
    parted: str = ""
    mend: str = ""


@dataclass(frozen=True)
class Status:
    """Everything that 'changeover status' shows."""

    plant: Plant
    servers: tuple[Server, ...]
    runs: tuple[RunState, ...]
    products: tuple[ProductStatus, ...]
    flags: tuple[Event, ...] = ()
    teacher: str = ""
    """What the next changeover starts from, in words; "" while the registry is down."""
    serve: ServeState | None = None
    """Whether ``changeover serve`` lives; None while the registry is down, which alone knows."""
    copy: str = ""
    """That this is a copy of a plant, in words; "" where it is none."""

    def as_json(self) -> dict[str, Any]:
        """For a program."""
        return {
            "plant": str(self.plant.path),
            "copy": self.copy,
            "servers": [{"name": s.name, "running": s.running, "url": s.url if s.running else None} for s in self.servers],
            "runs": [{"product": r.product, "batch": r.batch, "step": r.step, "alive": r.process.alive()} for r in self.runs],
            "products": [asdict(product) for product in self.products],
            "teacher": self.teacher,
            "serve": asdict(self.serve) if self.serve else None,
            "flags": [flag.model_dump(mode="json") for flag in self.flags],
        }

    def serve_line(self) -> str:
        """Whether ``changeover serve`` lives, and since when."""
        return f"serve: {self.serve.as_text() if self.serve else 'unknown while the mlflow server is down'}"

    def server_rows(self) -> list[tuple[str, str, str]]:
        """Name, state and address of each server."""
        return [(s.name, "up" if s.running else "down", (s.url or "") if s.running else "") for s in self.servers]

    def run_rows(self) -> list[tuple[str, str, str]]:
        """Product, batch and step of each run."""
        rows = []
        for run in self.runs:
            words = now_text(run, current_progress(self.plant.batch(run.product, run.batch), run))
            rows.append((run.product, run.batch, words if run.process.alive() else f"killed during {run.step}; run it again"))
        return rows

    def product_rows(self) -> list[tuple[str, str, str, str, str, str]]:
        """Product, champion, what the line reads, candidate, sign-off and where to sign."""
        return [
            (p.product, p.champion or "none", _on_the_line(p), p.candidate or "none", p.sign_off, p.sign_at or "")
            for p in self.products
        ]

    def hints(self) -> list[str]:
        """What to do next, if anything."""
        if self.copy:
            return [f"{self.copy}; {FIX}"]
        if not all(server.running for server in self.servers):
            return ["start the servers with 'changeover up'"]
        # One line a person and product, however often they signed.
        groups: dict[tuple[str, str, str], list[Event]] = {}
        for flag in self.flags:
            own = flag.subject if flag.action == FLAGGED else str(flag.seq)
            groups.setdefault((flag.action, flag.product, own), []).append(flag)
        flagged = [
            f"look at event {', '.join(str(flag.seq) for flag in some)} ({some[0].action} of {some[0].product} by"
            f" {some[0].actor}: {some[0].reason}), then 'changeover confirm {some[0].seq} --user NAME --reason TEXT'"
            for some in groups.values()
        ]
        parted = [f"{p.product}: {p.parted}; {p.mend}" for p in self.products if p.parted]
        return (
            parted
            + flagged
            + [
                f"promote {p.product} with 'changeover promote --product {p.product}'"
                for p in self.products
                if p.sign_off == "approved"
            ]
        )


def read_status(plant: Plant) -> Status:
    """Read the plant's records and, where it is up, the registry. ``registry.errors.Unreachable`` if that does not answer."""
    servers = server_status(plant)
    names = products_on_the_line(plant, plant.products())
    if servers["mlflow"].running:
        connection = connect_as(plant, "trainer")
        products = [_product(plant, name, versions(connection, name)) for name in names]
        flags = open_flags(connection)
        teacher, serve = _teacher(plant, connection), serve_state(health(plant, connection))
    else:
        flags, teacher, serve = [], "", None
        products = [ProductStatus(name, None, None, "unknown", None, pointed_at(plant, name)) for name in names]
    return Status(
        plant, tuple(servers.values()), tuple(read_runs(plant)), tuple(products), tuple(flags), teacher, serve, copied(plant)
    )


def _teacher(plant: Plant, connection: Connection) -> str:
    try:
        return teacher_at_hand(plant, connection)[1]
    except (NotFound, Refused) as problem:
        return str(problem)


def _product(plant: Plant, name: str, known: list[Version]) -> ProductStatus:
    now, waiting = next((one for one in known if CHAMPION in one.aliases), None), to_decide(known)
    sign_at = page_of(plant, name, waiting.version) if waiting and waiting.qa == "pending" else None
    sign_off = waiting.qa if waiting else "nothing to sign"
    version = now.version if now else None
    parted, mend = disagreement(plant, name, version) or ("", "")
    published = pointed_at(plant, name)
    return ProductStatus(name, version, waiting.version if waiting else None, sign_off, sign_at, published, parted, mend)


def _on_the_line(product: ProductStatus) -> str:
    if product.published is None:
        return "nothing"
    return product.published or "unreadable"
