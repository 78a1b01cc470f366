"""Trials are found by their candidate: of several runs only one may begin it."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One index."""
    op.create_index("ix_paretune_trials_candidate", "paretune_trials", ["candidate"])
