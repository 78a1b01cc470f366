"""Figures beside a measured value; members trained again with further seeds."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("paretune_measurements") as batch_op:
        batch_op.add_column(
            sa.Column(
                "details",
                sa.JSON(),
                nullable=False,
                server_default="{}",
                comment="figures beside the value",
            )
        )
    op.create_table(
        "paretune_confirmations",
        sa.Column("study", sa.String(length=255), nullable=False),
        sa.Column("trial", sa.Integer(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False, comment="added to the study's"),
        sa.Column("at", sa.Float(), nullable=False, comment="Unix seconds"),
        sa.Column(
            "measurements",
            sa.JSON(),
            nullable=False,
            comment="test score and costs, measured anew",
        ),
        sa.ForeignKeyConstraint(
            ["study"],
            ["paretune_studies.name"],
            name=op.f("fk_paretune_confirmations_study_paretune_studies"),
        ),
        sa.PrimaryKeyConstraint("study", "trial", "seed", name=op.f("pk_paretune_confirmations")),
    )
