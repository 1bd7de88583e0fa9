"""The table that holds the audit trail, and its indices.

Indices hold the first hundred characters of a text: PostgreSQL refuses a row whose index entry is longer than 2704 bytes,
and what a client sends must never keep an event from being written.
"""

from typing import Any, Final

import sqlalchemy as sa

from registry.entries import clean
from registry.guard_names import NAME

INDEXED: Final = 100
"""Characters of a text that an index holds."""

_METADATA = sa.MetaData()
TABLE: Final = sa.Table(
    NAME,
    _METADATA,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("time", sa.String(32), nullable=False),
    *(
        sa.Column(name, sa.Text, nullable=False)
        for name in ("actor", "action", "product", "version", "digest", "subject", "before", "after", "address")
    ),
    sa.Column("allowed", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("previous", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("mac", sa.String(64), nullable=False, server_default=""),
)
COLUMNS: Final = tuple(column.name for column in TABLE.columns)
INDICES: Final = {
    f"{NAME}_{name}": f"({', '.join(f'substr({column}, 1, {INDEXED})' for column in columns)})"
    for name, columns in (
        ("of_version", ("product", "version")),
        ("of_product", ("product", "action")),
        ("about", ("action", "subject")),
        ("of_file", ("digest",)),
    )
}
"""Name and columns of each index, as both databases spell them."""
_INDEXED_COLUMNS: Final = frozenset(("product", "version", "action", "subject", "digest"))
_FORMER_INDEX: Final = f"{NAME}_by_version"


def create(connection: sa.Connection) -> None:
    """Creates the table and its indices where they are missing; a table of an earlier release gets what it lacks."""
    _METADATA.create_all(connection)
    if not has_mac(connection):
        connection.exec_driver_sql(f"ALTER TABLE {NAME} ADD COLUMN mac VARCHAR(64) DEFAULT '' NOT NULL")
    connection.exec_driver_sql(f"DROP INDEX IF EXISTS {_FORMER_INDEX}")
    for name, columns in INDICES.items():
        connection.exec_driver_sql(f"CREATE INDEX IF NOT EXISTS {name} ON {NAME} {columns}")


def has_mac(connection: sa.Connection) -> bool:
    """Whether the table carries MACs: those of earlier releases get the column when the server starts."""
    return any(column["name"] == "mac" for column in sa.inspect(connection).get_columns(NAME))


def raw_columns(mac: bool) -> list[sa.Label[Any]]:
    """The columns as they lie there: what SQLAlchemy's types make of a 2 in place of true, or of bytes in place of text, hides
    that it was edited."""
    columns = [sa.type_coerce(column, sa.types.NullType()).label(column.name) for column in TABLE.columns]
    return columns if mac else [*columns[:-1], sa.literal("").label("mac")]


def plain_sql(mac: bool, after: int, at_most: int) -> str:
    """The statement that gives rows as plain tuples, in order."""
    names = ", ".join(f'"{name}"' for name in COLUMNS[:-1])
    end = "mac" if mac else "''"
    return f"SELECT {names}, {end} FROM {NAME} WHERE seq > {after:d} ORDER BY seq LIMIT {at_most:d}"  # noqa: S608 - our numbers


def equals(column: str, *values: str) -> sa.ColumnElement[bool]:
    """That ``column`` holds one of ``values``, said so that an index on it answers."""
    cleaned = [str(clean(value)) for value in values]
    begins = sorted({value[:INDEXED] for value in cleaned})
    prefix: sa.ColumnElement[str] = sa.literal_column(f"substr({column}, 1, {INDEXED})")
    held = TABLE.c[column].in_(cleaned)
    return sa.and_(prefix.in_(begins), held) if column in _INDEXED_COLUMNS else held
