"""What stands in the trail's schema of a PostgreSQL database and was made neither by the registry nor by MLflow.

Each of these can swallow, alter or hide events without touching a guard. MLflow's migrations make one trigger, and no view,
rule or policy; anything else is somebody's work.
"""

from collections.abc import Set
from typing import Final

import sqlalchemy as sa

from registry.guard_names import NAME, OF_MLFLOW
from registry.trail_table import INDICES

_TRIGGERS: Final = """
    SELECT tgname, relname, tgtype, tgqual IS NULL AND tgconstraint = 0, prosrc FROM pg_trigger
    JOIN pg_class ON pg_class.oid = tgrelid JOIN pg_proc ON pg_proc.oid = tgfoid
    WHERE NOT tgisinternal AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'changeover_events'::regclass)"""
_MLFLOWS_BODY: Final = """
BEGIN
    IF OLD.secret_id != NEW.secret_id OR OLD.secret_name != NEW.secret_name THEN
        RAISE EXCEPTION 'secret_id and secret_name are immutable (used as AAD in encryption)';
    END IF;
    RETURN NEW;
END;"""

_OTHERS: Final = """
    WITH trail AS (SELECT * FROM pg_class WHERE oid = 'changeover_events'::regclass)
    SELECT 'rule', rulename::text, relname::text FROM pg_rewrite JOIN pg_class ON pg_class.oid = ev_class
        WHERE relnamespace = (SELECT relnamespace FROM trail) AND rulename <> '_RETURN'
    UNION ALL SELECT CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialised view' ELSE 'foreign table' END, relname, ''
        FROM pg_class WHERE relnamespace = (SELECT relnamespace FROM trail) AND relkind IN ('v', 'm', 'f')
    UNION ALL SELECT 'policy', polname, relname FROM pg_policy JOIN trail ON polrelid = trail.oid
    UNION ALL SELECT 'row security', '', relname FROM trail WHERE relrowsecurity OR relforcerowsecurity
    UNION ALL SELECT 'inheritance', inhrelid::regclass::text, inhparent::regclass::text FROM pg_inherits, trail
        WHERE trail.oid IN (inhrelid, inhparent)
    UNION ALL SELECT 'partition', relname, '' FROM trail WHERE relispartition OR relkind = 'p'
    UNION ALL SELECT 'constraint', conname, relname FROM pg_constraint, trail
        WHERE trail.oid IN (conrelid, confrelid) AND contype NOT IN ('p', 'n', 't')
    UNION ALL SELECT 'unlogged storage', '', relname FROM trail WHERE relpersistence <> 'p'
    UNION ALL SELECT 'default or computed value', attname, relname FROM pg_attribute JOIN trail ON attrelid = trail.oid
        WHERE attnum > 0 AND NOT attisdropped AND (attgenerated <> '' OR attidentity <> ''
        OR atthasdef AND attname <> 'mac')"""
_INDICES: Final = """
    SELECT relname, pg_get_indexdef(indexrelid), indisvalid AND indisready, indisprimary FROM pg_index
    JOIN pg_class ON pg_class.oid = indexrelid WHERE indrelid = 'changeover_events'::regclass"""
_FOREIGN: Final = (
    "was made neither by the registry nor by MLflow: it can swallow, change or hide what is written;"
    " find out by whom, and drop it"
)


def not_ours(connection: sa.Connection, guards: Set[str]) -> list[str]:
    """What the registry did not make, one sentence each, with its name and its table."""
    problems = []
    for name, table, fires, plain, body in connection.exec_driver_sql(_TRIGGERS).all():
        of_mlflow = (name, table, fires, plain) == (OF_MLFLOW, "secrets", 19, True) and body.split() == _MLFLOWS_BODY.split()
        if not of_mlflow and not (table == NAME and name in guards):  # a changed guard is missing from ``guarding``
            problems.append(f"trigger {name} on table {table} {_FOREIGN}")
    for kind, name, table in connection.exec_driver_sql(_OTHERS).all():
        where = f" on table {table}" if table else ""
        problems.append(f"{' '.join((kind, name)).strip()}{where} {_FOREIGN}")
    for name, definition, sound, primary in connection.exec_driver_sql(_INDICES).all():
        expected = "(seq)" if primary else INDICES.get(name)
        if not sound or definition.partition(" USING btree ")[2] != expected:
            problems.append(f"index {name} on table {NAME} {_FOREIGN}")
    return problems
