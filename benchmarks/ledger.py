"""What a database says was done: for benchmarks that disturb a study and look what is left.

Counted are evaluations that are gone or changed later (lost), candidates that were evaluated twice
at one rung (doubled), Optuna trials left open, and files that nobody refers to.
"""

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError, ProgrammingError

Snapshot = dict[tuple[int, int], tuple[Any, ...]]
"""(trial, rung) -> the evaluation and its measurements."""


def num_runs(engine: sa.Engine) -> int:
    """Runs that the database knows of."""
    rows = _rows(engine, "select count(*) from paretune_runs")
    return int(rows[0][0]) if rows else 0


def num_evaluations(engine: sa.Engine) -> int:
    """Evaluations of trials."""
    rows = _rows(engine, "select count(*) from paretune_evaluations where trial is not null")
    return int(rows[0][0]) if rows else 0


def num_trials(engine: sa.Engine) -> int:
    """Candidates; repeats are none."""
    rows = _rows(engine, "select count(*) from paretune_trials where repeats is null")
    return int(rows[0][0]) if rows else 0


def snapshot(engine: sa.Engine) -> Snapshot:
    """Every evaluation of a trial with its values."""
    rows = _rows(
        engine,
        "select e.trial, e.rung, e.status, e.candidate, m.objective, m.value "
        "from paretune_evaluations e "
        "left join paretune_measurements m on m.evaluation = e.id "
        "where e.trial is not null order by e.trial, e.rung, m.objective",
    )
    found: Snapshot = {}
    for trial, rung, *values in rows:
        found[trial, rung] = (*found.get((trial, rung), ()), tuple(values))
    return found


def lost(before: Snapshot, after: Snapshot) -> int:
    """Evaluations that are gone, or are no longer what they were."""
    return sum(after.get(key) != value for key, value in before.items())


def final(engine: sa.Engine, artifacts: Path, trials: int) -> dict[str, Any]:
    """What must be 0, or as asked, once the study has ended."""

    def one(query: str) -> Any:
        return _rows(engine, query)[0][0]

    known = {row[0] for row in _rows(engine, "select artifact from paretune_checkpoints")}
    files = {path.name for path in artifacts.glob("*.pt")}
    return {
        "doubled": doubled(engine),
        "trials_missing": trials - num_trials(engine),
        "open_optuna_trials": one("select count(*) from trials where state = 'RUNNING'"),
        "files_without_row": len(files - known),
        "rows_without_file": len(known - files),
        "runs": num_runs(engine),
        "evaluations": num_evaluations(engine),
    }


def doubled(engine: sa.Engine) -> int:
    """Trainings and candidates that somebody had before."""
    networks = _rows(  # the same weights of the same deployed network, by whichever trial
        engine,
        "select count(*) from (select 1 from paretune_evaluations e "
        "join paretune_candidates c on c.key = e.candidate where e.rung > 0 "
        "group by e.rung, c.train_key, c.deploy_key having count(*) > 1) as twice",
    )
    candidates = _rows(
        engine,
        "select count(*) - count(distinct candidate) from paretune_trials where repeats is null",
    )
    return int(networks[0][0]) + int(candidates[0][0])


def _rows(engine: sa.Engine, query: str) -> list[Any]:
    """Empty where the tables are not made yet."""
    try:
        with engine.connect() as connection:
            return list(connection.execute(sa.text(query)))
    except (OperationalError, ProgrammingError):
        return []
