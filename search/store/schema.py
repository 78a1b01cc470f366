"""Our tables. Optuna's stand beside them; study name and trial number link the two.

No foreign keys lead into Optuna's tables: one without ON DELETE makes its `delete_study` do
nothing, silently, on SQLite.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
VERSION_TABLE = "paretune_alembic_version"

studies = Table(
    "paretune_studies",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("definition", JSON, nullable=False, comment="hashes of what may not change"),
    Column("objectives", JSON, nullable=False, comment="name, unit, direction, limit of each"),
    Column("scale", JSON, comment="ideal and reference of the hypervolume; null until planned"),
    Column("plan", JSON, comment="what the plan found: sizes, prices, share within limits"),
    Column("created_at", Float, nullable=False, comment="Unix seconds"),
)

runs = Table(
    "paretune_runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study", String(255), ForeignKey("paretune_studies.name"), nullable=False),
    Column("spec", JSON, nullable=False, comment="the study file as data"),
    Column("versions", JSON, nullable=False, comment="of what decides a latency"),
    Column("price_key", String(16), nullable=False, comment="runs of equal ones share prices"),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("heartbeat_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("outcome", String(16), comment="done, exhausted, interrupted; null while it runs"),
    Column("busy_s", Float, nullable=False, default=0.0, comment="seconds that workers computed"),
    Column("workers", Integer, nullable=False, default=1),
    Index(None, "study"),
)

candidates = Table(
    "paretune_candidates",
    metadata,
    Column("key", String(16), primary_key=True),
    Column("train_key", String(16), nullable=False),
    Column("recipe_key", String(16), nullable=False),
    Column("deploy_key", String(16)),
    Column("data", JSON, nullable=False),
    Index(None, "recipe_key"),
    Index(None, "deploy_key"),
)

trials = Table(
    "paretune_trials",
    metadata,
    Column("study", String(255), ForeignKey("paretune_studies.name"), primary_key=True),
    Column("number", Integer, primary_key=True, comment="of the Optuna trial"),
    Column("candidate", String(16), ForeignKey("paretune_candidates.key"), nullable=False),
    # whose part it is to go on with the trial: of who proposed it, or of who took it over
    Column("run", Integer, ForeignKey("paretune_runs.id"), nullable=False),
    Column("parameters", JSON, nullable=False, comment="as the sampler proposed them"),
    Column("repeats", Integer, comment="number of the trial that had this candidate first"),
    Column("proposed_at", Float, nullable=False),
    Index(None, "candidate"),
)

evaluations = Table(
    "paretune_evaluations",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study", String(255), ForeignKey("paretune_studies.name"), nullable=False),
    Column("trial", Integer, comment="null for a candidate of the plan"),
    Column("candidate", String(16), ForeignKey("paretune_candidates.key"), nullable=False),
    Column("run", Integer, ForeignKey("paretune_runs.id"), nullable=False),
    Column("rung", Integer, nullable=False, comment="epochs trained; 0 for a price"),
    Column("status", String(16), nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("seconds", JSON, nullable=False, comment="stage -> seconds"),
    Column("at", Float, nullable=False),
    UniqueConstraint("study", "trial", "rung"),
    Index(None, "candidate"),
)

measurements = Table(
    "paretune_measurements",
    metadata,
    Column("id", Integer, primary_key=True),
    Column(
        "evaluation",
        Integer,
        ForeignKey("paretune_evaluations.id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("objective", String(255), nullable=False),
    Column("value", Float(53), nullable=False),
    Column("unit", String(32), nullable=False),
    Column("low", Float(53), nullable=False),
    Column("high", Float(53), nullable=False),
    Column("samples", JSON, nullable=False),
    Column("flags", JSON, nullable=False),
    Column(
        "details",
        JSON,
        nullable=False,
        server_default="{}",
        comment="figures beside the value",
    ),
    Column("conditions", String(16), ForeignKey("paretune_conditions.key"), nullable=False),
    UniqueConstraint("evaluation", "objective"),
)

conditions = Table(
    "paretune_conditions",
    metadata,
    Column("key", String(16), primary_key=True, comment="hash of data"),
    Column("data", JSON, nullable=False, comment="device, runtime, threads, versions, ..."),
)

checkpoints = Table(
    "paretune_checkpoints",
    metadata,
    Column("study", String(255), ForeignKey("paretune_studies.name"), primary_key=True),
    Column("trial", Integer, primary_key=True),
    Column("artifact", String(255), primary_key=True, comment="file in the artifact folder"),
    Column("kind", String(16), nullable=False),
    Column("train_key", String(16), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("num_bytes", BigInteger, nullable=False),
    Index(None, "artifact"),
)

fronts = Table(
    "paretune_fronts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study", String(255), ForeignKey("paretune_studies.name"), nullable=False),
    Column("trial", Integer, nullable=False, comment="after which it was the front"),
    Column("at", Float, nullable=False),
    Column("hypervolume", Float(53), nullable=False, comment="0 to 1, of the study's scale"),
    Index(None, "study"),
)

front_members = Table(
    "paretune_front_members",
    metadata,
    Column(
        "front", Integer, ForeignKey("paretune_fronts.id", ondelete="CASCADE"), primary_key=True
    ),
    Column("trial", Integer, primary_key=True),
)

confirmations = Table(
    "paretune_confirmations",
    metadata,
    Column("study", String(255), ForeignKey("paretune_studies.name"), primary_key=True),
    Column("trial", Integer, primary_key=True),
    Column("seed", Integer, primary_key=True, comment="added to the study's"),
    Column("at", Float, nullable=False, comment="Unix seconds"),
    Column("measurements", JSON, nullable=False, comment="test score and costs, measured anew"),
)
