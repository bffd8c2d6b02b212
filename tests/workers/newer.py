"""`python -m tests.workers.newer …` is the next version of muster, as far as the schema goes: it has one migration more.

It serves programs from this one on. A column and an index more is what a version may do to those that drain; it takes its time for it, on
PostgreSQL, with the table locked.
"""

from workers import migrations
from workers.cli import main

NEXT = migrations.CURRENT + 1
#: Seconds.
LASTS = 1.0
_STATEMENTS = ["ALTER TABLE deliveries ADD newer TEXT", "CREATE INDEX idx_deliveries_newer ON deliveries (newer)"]


def renew() -> None:
    """Make this process the next version."""
    before = migrations._statements
    vars(migrations).update(
        MIGRATIONS=(*migrations.MIGRATIONS, migrations.Migration(NEXT, migrations.CURRENT, "a column more")),
        CURRENT=NEXT,
        _statements=lambda migration, dialect: _statements(dialect) if migration.version == NEXT else before(migration, dialect),
    )


def _statements(dialect: str) -> list[str]:
    return [*_STATEMENTS, f"SELECT pg_sleep({LASTS})"] if dialect == "postgres" else _STATEMENTS


if __name__ == "__main__":
    renew()
    main()
