"""How alembic runs our migrations: on the connection it is given, touching our tables only."""

from alembic import context

from search.store.schema import VERSION_TABLE, metadata


def ours(name: str | None, kind: str, parent: object) -> bool:
    """Whether a table is ours; without this, alembic proposes to drop Optuna's."""
    return kind != "table" or (name or "").startswith("paretune_")


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    include_name=ours,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
