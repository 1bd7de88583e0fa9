"""What stands in a PostgreSQL database and was made neither by the registry nor by MLflow.

Each of these can swallow, alter or hide events, or what the gate reads, without touching a guard. MLflow's migrations make one
trigger, and no view, rule, policy, function of their own, operator or type; anything else is somebody's work.
"""

import re
from collections.abc import Set
from typing import Final

import sqlalchemy as sa

from registry.trail.guard_names import NAME, OF_MLFLOW
from registry.trail.table import INDICES, TABLE

_RELIED_ON: Final = (
    NAME, "registered_models", "registered_model_tags", "registered_model_aliases", "model_versions", "model_version_tags",
    "logged_model_tags", "users", "roles", "user_role_assignments", "role_permissions",
)  # fmt: skip
"""Tables that the gate judges by."""
_FIRST_OF_USERS: Final = 16384
"""Objects that PostgreSQL itself brings have lower numbers."""
_EFFECTIVE: Final = {
    "session_replication_role": "origin",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "zero_damaged_pages": "off",
}
"""Settings of role, database or server that change what statements do, and the value under which they do what they say."""

# The trail's schema, and every schema in which names are looked for besides PostgreSQL's own.
_WHERE: Final = """
    WITH trail AS (SELECT * FROM pg_class WHERE oid = 'changeover_events'::regclass),
    ours AS (SELECT pg_class.* FROM pg_class JOIN trail USING (relnamespace)),
    tables AS (SELECT * FROM ours WHERE relkind IN ('r', 'p')),
    places AS (SELECT oid, nspname FROM pg_namespace WHERE nspname = ANY (current_schemas(false)) AND nspname <> 'pg_catalog')
"""
# A trigger that says it is PostgreSQL's own is believed where it runs a function of PostgreSQL's own that checks keys.
_TRIGGERS: Final = f"""{_WHERE}
    SELECT tgname, relname, tgtype,
        tgqual IS NULL AND tgconstraint = 0 AND NOT tgisinternal AND proconfig IS NULL AND NOT prosecdef AND tgenabled = 'O',
        prosrc
    FROM pg_trigger JOIN ours ON ours.oid = tgrelid JOIN pg_proc ON pg_proc.oid = tgfoid
    WHERE NOT (tgisinternal AND pg_proc.oid < {_FIRST_OF_USERS} AND proname ~ '^(RI_FKey_.*|unique_key_recheck)$')"""  # noqa: S608 - our own text
_MLFLOWS_BODY: Final = """
BEGIN
    IF OLD.secret_id != NEW.secret_id OR OLD.secret_name != NEW.secret_name THEN
        RAISE EXCEPTION 'secret_id and secret_name are immutable (used as AAD in encryption)';
    END IF;
    RETURN NEW;
END;"""

_OTHERS: Final = f"""{_WHERE},
    extensions AS (SELECT oid, extname FROM pg_extension WHERE extnamespace IN (SELECT oid FROM places)),
    members AS (SELECT objid, classid, refobjid FROM pg_depend
        WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'),
    theirs AS (SELECT * FROM members WHERE refobjid IN (SELECT oid FROM extensions)),
    others AS (SELECT * FROM members WHERE refobjid NOT IN (SELECT oid FROM extensions))
    SELECT 'rule', rulename::text, relname::text FROM pg_rewrite JOIN ours ON ours.oid = ev_class
        WHERE NOT (relkind IN ('v', 'm') AND ev_type = '1')
    UNION ALL SELECT CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialised view' ELSE 'foreign table' END, relname, ''
        FROM ours WHERE relkind IN ('v', 'm', 'f') AND NOT EXISTS (SELECT FROM theirs WHERE objid = ours.oid)
    UNION ALL SELECT 'policy', polname, relname FROM pg_policy JOIN ours ON polrelid = ours.oid
    UNION ALL SELECT 'row security', '', relname FROM ours WHERE relrowsecurity OR relforcerowsecurity
    UNION ALL SELECT 'inheritance', inhrelid::regclass::text, inhparent::regclass::text FROM pg_inherits
        WHERE inhparent IN (SELECT oid FROM tables) OR inhrelid IN (SELECT oid FROM tables)
    UNION ALL SELECT 'partition', relname, '' FROM ours WHERE relispartition OR relkind = 'p'
    UNION ALL SELECT 'constraint', conname, relname FROM pg_constraint, trail
        WHERE trail.oid IN (conrelid, confrelid) AND contype NOT IN ('p', 'n', 't')
    UNION ALL SELECT 'constraint', conname, relname FROM pg_constraint JOIN tables ON conrelid = tables.oid
        WHERE relname = ANY (%(relied)s) AND relname <> '{NAME}' AND contype IN ('c', 'x', 't')
    UNION ALL SELECT 'unlogged storage', '', relname FROM tables WHERE relpersistence <> 'p'
    UNION ALL SELECT 'storage of its own', amname, relname FROM tables JOIN pg_am ON pg_am.oid = relam WHERE amname <> 'heap'
    UNION ALL SELECT 'triggers that are switched off', '', relname FROM trail WHERE NOT relhastriggers
    UNION ALL SELECT 'default or computed value', attname, relname FROM pg_attribute JOIN trail ON attrelid = trail.oid
        WHERE attnum > 0 AND NOT attisdropped AND (attgenerated <> '' OR attidentity <> ''
        OR atthasdef AND attname <> 'mac')
    UNION ALL SELECT 'computed value', attname, relname FROM pg_attribute JOIN tables ON attrelid = tables.oid
        WHERE relname = ANY (%(relied)s) AND relname <> '{NAME}' AND attnum > 0 AND attgenerated <> ''
    UNION ALL SELECT 'collation', attcollation::regcollation::text || ' of column ' || attname, relname
        FROM pg_attribute JOIN tables ON attrelid = tables.oid
        WHERE attnum > 0 AND NOT attisdropped AND attcollation NOT IN (0, 'pg_catalog."default"'::regcollation)
    UNION ALL SELECT 'extension', extname, '' FROM extensions
    UNION ALL SELECT 'function', proname || '(' || pg_get_function_identity_arguments(pg_proc.oid) || ')', ''
        FROM pg_proc WHERE (pronamespace IN (SELECT oid FROM places)
        AND NOT (pronargs = 0 AND prorettype = 'pg_catalog.trigger'::regtype AND proname = ANY (%(functions)s)
            AND pronamespace = (SELECT relnamespace FROM trail))
        OR pronamespace = 'pg_catalog'::regnamespace AND pg_proc.oid >= {_FIRST_OF_USERS}
            AND NOT EXISTS (SELECT FROM others WHERE objid = pg_proc.oid AND classid = 'pg_proc'::regclass))
        AND NOT EXISTS (SELECT FROM theirs WHERE objid = pg_proc.oid AND classid = 'pg_proc'::regclass)
    UNION ALL SELECT 'operator', pg_operator.oid::regoperator::text, '' FROM pg_operator
        WHERE pg_operator.oid >= {_FIRST_OF_USERS} AND (oprnamespace IN (SELECT oid FROM places)
        OR oprnamespace = 'pg_catalog'::regnamespace
            AND NOT EXISTS (SELECT FROM others WHERE objid = pg_operator.oid AND classid = 'pg_operator'::regclass))
        AND NOT EXISTS (SELECT FROM theirs WHERE objid = pg_operator.oid AND classid = 'pg_operator'::regclass)
    UNION ALL SELECT 'cast', castsource::regtype || ' to ' || casttarget::regtype, '' FROM pg_cast
        WHERE pg_cast.oid >= {_FIRST_OF_USERS}
        AND NOT EXISTS (SELECT FROM members WHERE objid = pg_cast.oid AND classid = 'pg_cast'::regclass)
    UNION ALL SELECT 'type', pg_type.oid::regtype::text, '' FROM pg_type
        WHERE typnamespace IN (SELECT oid FROM places) AND typrelid = 0 AND typelem = 0
        AND NOT EXISTS (SELECT FROM theirs WHERE objid = pg_type.oid AND classid = 'pg_type'::regclass)
    UNION ALL SELECT 'event trigger', evtname, '' FROM pg_event_trigger WHERE evtenabled <> 'D'
        AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_event_trigger.oid
            AND classid = 'pg_event_trigger'::regclass AND deptype = 'e')
    UNION ALL SELECT 'second ' || CASE other.relkind WHEN 'v' THEN 'view' ELSE 'table' END,
        places.nspname || '.' || other.relname, tables.relname
        FROM tables JOIN pg_class AS other ON other.relname = tables.relname AND other.relnamespace <> tables.relnamespace
        JOIN places ON places.oid = other.relnamespace"""  # noqa: S608 - our own text
_COLUMNS: Final = """
    SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
    WHERE attrelid = 'changeover_events'::regclass AND attnum > 0 AND NOT attisdropped"""
_INDICES: Final = """
    SELECT relname, pg_get_indexdef(indexrelid), indisvalid AND indisready, indisprimary FROM pg_index
    JOIN pg_class ON pg_class.oid = indexrelid WHERE indrelid = 'changeover_events'::regclass"""
_FOREIGN: Final = (
    "was made neither by the registry nor by MLflow: it can swallow, change or hide what is written;"
    " find out by whom, and drop it"
)


def not_ours(connection: sa.Connection, guards: Set[str]) -> list[str]:
    """What the registry did not make, one sentence each, with its name and its table."""
    if blinded := _blinded(connection):
        return [blinded]
    problems = _settings(connection)
    for name, table, fires, plain, body in connection.exec_driver_sql(_TRIGGERS).all():
        of_mlflow = (name, table, fires, plain) == (OF_MLFLOW, "secrets", 19, True) and body.split() == _MLFLOWS_BODY.split()
        if not of_mlflow and not (table == NAME and name in guards):  # a changed guard is missing from ``guarding``
            problems.append(f"trigger {name} on table {table} {_FOREIGN}")
    known = {"relied": list(_RELIED_ON), "functions": [*guards, OF_MLFLOW]}
    for kind, name, table in connection.exec_driver_sql(_OTHERS, known).all():
        where = f" on table {table}" if table else ""
        problems.append(f"{' '.join((kind, name)).strip()}{where} {_FOREIGN}")
    problems += _columns(connection)
    for name, definition, sound, primary in connection.exec_driver_sql(_INDICES).all():
        expected = "(seq)" if primary else INDICES.get(name)
        if not sound or definition.partition(" USING btree ")[2] != expected:
            problems.append(f"index {name} on table {NAME} {_FOREIGN}")
    return problems


def _blinded(connection: sa.Connection) -> str | None:
    """Why no question of ours reaches PostgreSQL's own catalogue; None where one does. SHOW looks up no name."""
    path = str(connection.exec_driver_sql("SHOW search_path").scalar())
    schemas = [one.strip().strip('"') for one in path.split(",")]
    if "pg_catalog" in schemas[1:] or "pg_temp" in schemas:
        return (
            f"search_path is {path[:200]}: other schemas go before PostgreSQL's own, so that any answer may be made up; find out"
            " who set that, and take it back with ALTER ROLE … RESET search_path, and of the database"
        )
    if connection.exec_driver_sql("SELECT pg_catalog.pg_my_temp_schema()").scalar():
        return (
            "a new session has temporary tables, which go before all others: something makes them at log-in; find out who set"
            " that up, and drop it"
        )
    return None


def _settings(connection: sa.Connection) -> list[str]:
    problems = []
    for name, right in _EFFECTIVE.items():
        value = connection.exec_driver_sql(f"SHOW {name}").scalar()
        if value != right:
            problems.append(
                f"setting {name} is {value}, not {right}: statements do not do what they say; find out who set it for role,"
                " database or server, and reset it"
            )
    loaded = connection.exec_driver_sql(
        "SELECT name, setting FROM pg_settings WHERE name IN ('session_preload_libraries', 'local_preload_libraries')"
        " AND setting <> '' AND source IN ('global', 'database', 'user', 'database user')"
    )
    problems += [f"{name} loads {setting[:200]} into the registry's sessions: it {_FOREIGN[4:]}" for name, setting in loaded]
    return problems


def _columns(connection: sa.Connection) -> list[str]:
    dialect = connection.dialect
    kinds = {"VARCHAR": "character varying", "INTEGER": "integer", "BOOLEAN": "boolean", "TEXT": "text"}
    expected = {
        (column.name, re.sub(r"^[A-Z]+", lambda kind: kinds[kind[0]], column.type.compile(dialect)), True)
        for column in TABLE.columns
    }
    found = {(name, kind, filled) for name, kind, filled in connection.exec_driver_sql(_COLUMNS).all()}
    differing = sorted({one[0] for one in found ^ expected if one[0] != "mac" or (found & {one})})
    return [
        f"column {name} of table {NAME} is not as the registry made it; find out by whom it was altered" for name in differing
    ]
