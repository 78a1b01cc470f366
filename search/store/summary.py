"""What a database holds, one row a study, without reading its candidates."""

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, Row, func, select

from search.store import schema
from search.store.lease import alive, clock


@dataclass(frozen=True, kw_only=True)
class StudySummary:
    """A study at a glance."""

    name: str
    objectives: tuple[str, ...]
    candidates: int
    """Without repeats."""
    done: int
    """Trained to the end and scored."""
    members: int
    """Of the newest front."""
    hypervolume: float | None
    """Of the newest front, in the study's own box."""
    runs: int
    state: str
    """How the newest run ended, or by whom the study is being run."""
    at: float
    """When the newest run ended, or last showed a sign of life; Unix seconds."""


def summaries(engine: Engine) -> list[StudySummary]:
    """All studies, the one that was run last at the end."""
    trials, evaluations, runs = schema.trials, schema.evaluations, schema.runs
    with engine.connect() as connection:
        candidates = _counts(connection, trials.c.study, trials.c.repeats.is_(None))
        done = _counts(connection, evaluations.c.study, evaluations.c.status == "done")
        fronts = _newest_fronts(connection)
        now = clock(connection)
        by_study: dict[str, list[Row[tuple[object, ...]]]] = {}
        for run in connection.execute(select(runs).order_by(runs.c.id)):
            by_study.setdefault(run.study, []).append(run)
        studies = connection.execute(select(schema.studies)).all()
    found = []
    for study in studies:
        own = by_study.get(study.name, [])
        state, at = _state(own, now) if own else ("not run", study.created_at)
        hypervolume, members = fronts.get(study.name, (None, 0))
        found.append(
            StudySummary(
                name=study.name,
                objectives=tuple(objective["name"] for objective in study.objectives),
                candidates=candidates.get(study.name, 0),
                done=done.get(study.name, 0),
                members=members,
                hypervolume=hypervolume,
                runs=len(own),
                state=state,
                at=at,
            )
        )
    return sorted(found, key=lambda each: each.at)


def _counts(connection: Connection, study: object, wanted: object) -> dict[str, int]:
    query = select(study, func.count()).where(wanted).group_by(study)  # type: ignore[call-overload]  # columns
    return dict(connection.execute(query).all())


def _newest_fronts(connection: Connection) -> dict[str, tuple[float, int]]:
    """Study -> (hypervolume, members) of its newest front."""
    fronts, members = schema.fronts, schema.front_members
    newest = select(func.max(fronts.c.id)).group_by(fronts.c.study)
    query = (
        select(fronts.c.study, fronts.c.hypervolume, func.count())
        .join(members, members.c.front == fronts.c.id)
        .where(fronts.c.id.in_(newest))
        .group_by(fronts.c.study, fronts.c.hypervolume)
    )
    return {row[0]: (row[1], row[2]) for row in connection.execute(query)}


def _state(runs: "list[Row[tuple[object, ...]]]", now: float) -> tuple[str, float]:
    """(how the study stands, when that was)."""
    living = [run for run in runs if run.ended_at is None and alive(run, now)]
    if living:
        by = ", ".join(f"process {run.pid} on {run.host}" for run in living)
        return f"running ({by})", max(run.heartbeat_at for run in living)
    last = runs[-1]
    return last.outcome or "killed", last.ended_at or last.heartbeat_at
