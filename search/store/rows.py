"""From rows to evaluations and measurements."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select

from objectives.measurement import Measurement
from search.evaluation import Evaluation
from search.store import schema
from spaces.candidate import Candidate


def evaluations_of(
    connection: Connection, study: str, numbers: Sequence[int] | None = None
) -> dict[int, list[Evaluation]]:
    """Trial number -> its evaluations in the order of rungs; default of all trials."""
    table, candidates = schema.evaluations, schema.candidates
    wanted = [table.c.study == study, table.c.trial.is_not(None)]
    if numbers is not None:
        wanted.append(table.c.trial.in_(numbers))
    query = (
        select(table, candidates.c.data, candidates.c.deploy_key)
        .join(candidates, candidates.c.key == table.c.candidate)
        .where(*wanted)
        .order_by(table.c.trial, table.c.rung)
    )
    # in this order: each statement sees what was committed before it, and an evaluation that
    # another run writes in between would be told without its measurements
    rows = connection.execute(query).all()
    measured = measurements_of(connection, select(table.c.id).where(*wanted))
    found: dict[int, list[Evaluation]] = {}
    for row in rows:
        evaluation = Evaluation(
            trial=row.trial,
            candidate=Candidate.from_dict(row.data),
            rung=row.rung,
            status=row.status,
            reason=row.reason,
            measurements=measured.get(row.id, {}),
            deploy_key=row.deploy_key or "",
            seconds=row.seconds,
        )
        found.setdefault(row.trial, []).append(evaluation)
    return found


def measurements_of(
    connection: Connection, evaluation_ids: Any
) -> dict[int, dict[str, Measurement]]:
    """Evaluation id -> objective -> measurement, for a query of ids."""
    table, conditions = schema.measurements, schema.conditions
    query = (
        select(table, conditions.c.data)
        .join(conditions, conditions.c.key == table.c.conditions)
        .where(table.c.evaluation.in_(evaluation_ids))
    )
    found: dict[int, dict[str, Measurement]] = {}
    for row in connection.execute(query):
        found.setdefault(row.evaluation, {})[row.objective] = Measurement(
            value=row.value,
            unit=row.unit,
            low=row.low,
            high=row.high,
            samples=tuple(row.samples),
            conditions=row.data,
            details=row.details,
            flags=tuple(row.flags),
        )
    return found
