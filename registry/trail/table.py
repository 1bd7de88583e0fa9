"""The table that holds the audit trail, and its indices.

Indices hold the first hundred characters of a text: PostgreSQL refuses a row whose index entry is longer than 2704 bytes,
and what a client sends must never keep an event from being written.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from registry.trail.entries import clean
from registry.trail.guard_names import NAME

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
_INDEXED_COLUMNS: Final = {
    f"{NAME}_of_file": ("digest",),
    f"{NAME}_of_version": ("product", "version"),
    f"{NAME}_of_product": ("product", "action"),
    f"{NAME}_about": ("action", "subject"),
}
"""What each index is over; a question goes to the first of them that it names the columns of."""
INDICES: Final = {
    name: f"({', '.join(f'substr({column}, 1, {INDEXED})' for column in columns)})" for name, columns in _INDEXED_COLUMNS.items()
}
"""Name and columns of each index, as both databases spell them."""
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


def query(columns: Sequence[Any], wanted: Mapping[str, Collection[str]], after: int, newest_first: bool) -> sa.Select[Any]:
    """Asks for ``columns`` of the rows above ``after`` whose columns hold one of what is ``wanted`` of each, in order.

    Says it so that one index answers it, and SQLite does not go through the whole table because that is in order already.
    """
    cleaned = {column: [str(clean(value)) for value in values] for column, values in wanted.items() if values}
    led = _columns_of_index({column for column, values in cleaned.items() if any(values)})
    place: Any = TABLE.c.seq if not led else sa.literal_column("+seq", sa.Integer)  # with a sign it is not the table's order
    found = sa.select(*columns).where(place > after)
    for column, values in cleaned.items():
        if column in led:
            begins = sorted({value[:INDEXED] for value in values})
            found = found.where(sa.literal_column(f"substr({column}, 1, {INDEXED})", sa.Text).in_(begins))
        # As an expression: SQLite would put the value of a plain column into the line above, and find no index for that.
        found = found.where((TABLE.c[column] + sa.literal("")).in_(values))
    return found.order_by(place.desc() if newest_first else place)


def _columns_of_index(named: set[str]) -> tuple[str, ...]:
    for columns in _INDEXED_COLUMNS.values():
        if named.issuperset(columns):
            return columns
    return next((columns[:1] for columns in _INDEXED_COLUMNS.values() if columns[0] in named), ())
