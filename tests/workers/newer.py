"""`python -m tests.workers.newer …` is the next version of muster, as far as the schema goes: it has one migration more.

It serves programs from this one on. A column and an index more is what a version may do to those that drain.
"""

from workers import migrations
from workers.cli import main

NEXT = migrations.CURRENT + 1
_STATEMENTS = ["ALTER TABLE deliveries ADD newer TEXT", "CREATE INDEX idx_deliveries_newer ON deliveries (newer)"]


def renew() -> None:
    """Make this process the next version."""
    before = migrations._statements
    vars(migrations).update(
        MIGRATIONS=(*migrations.MIGRATIONS, migrations.Migration(NEXT, migrations.CURRENT, "a column more")),
        CURRENT=NEXT,
        _statements=lambda migration, dialect: _STATEMENTS if migration.version == NEXT else before(migration, dialect),
    )


if __name__ == "__main__":
    renew()
    main()
