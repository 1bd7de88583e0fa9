"""Promotion: the signed candidate becomes the champion."""

from dataclasses import dataclass

from registry.client.connection import Connection
from registry.client.sign_off import status_of
from registry.client.versions import Version, version_of, versions
from registry.errors import NotFound, Refused
from registry.names import CANDIDATE, CHAMPION


@dataclass(frozen=True)
class Promotion:
    """What a promotion led to."""

    product: str
    version: str
    batch: str
    digest: str
    previous: str | None
    """The champion before; None where there was none."""
    changed: bool
    """False where the version was the champion already."""


def promote(connection: Connection, product: str, version: str | int | None = None) -> Promotion:
    """Makes ``version`` (by default the one that waits: see ``waiting``) the champion, as the promoter; the former one becomes
    ``previous``.

    One step, safe to repeat. Without a candidate, the champion is confirmed.
    Raises ``Refused`` where the sign-off does not hold (its sentence says why), ``NotFound``.
    """
    known = versions(connection, product)
    wanted = _wanted(product, known) if version is None else version_of(connection, product, version)
    signed = status_of(connection, wanted)
    if not signed.valid:
        raise Refused(f"{product} version {wanted.version} cannot be promoted: {signed.problem}")
    done = connection.call("POST", "/changeover/promote", json={"product": product, "version": wanted.version})
    return Promotion(product, wanted.version, wanted.batch, wanted.digest, done["previous"], done["changed"])


def waiting(known: list[Version]) -> Version | None:
    """Of a product's versions the one to promote once it is approved: the candidate."""
    return next((one for one in known if CANDIDATE in one.aliases), None)


def _wanted(product: str, known: list[Version]) -> Version:
    found = waiting(known) or next((one for one in known if CHAMPION in one.aliases), None)
    if found is not None:
        return found
    approved = next((one for one in known if one.qa == "approved"), None)
    if approved is not None:
        raise NotFound(
            f"{product} has no candidate; version {approved.version} is approved: promote it with --version {approved.version},"
            " which says what stands against it, if anything does"
        )
    unsigned = next((one for one in known if one.qa == "pending"), None)
    if unsigned is not None:
        raise NotFound(
            f"{product} has no candidate; version {unsigned.version} is pending and is one once it is approved: 'changeover"
            f" sign-off --product {product} --version {unsigned.version} --approve', or --waive where its gates failed"
        )
    raise NotFound(f"{product} has no version that could become the champion: train one with 'changeover run'")
