"""The report as a page, from top to bottom: the answer first, then why, then how it was found."""

import html
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from search.desk.anatomy import Anatomy, roofline_name
from search.desk.answer import answer, asked, standing
from search.desk.cards import cards
from search.desk.figures import (
    DOMINATED,
    INFEASIBLE,
    curves_figure,
    front_figures,
    hypervolume_figures,
    importance_figure,
    parallel_figure,
)
from search.desk.importance import importances
from search.desk.page import framed, slot
from search.desk.spent import spent
from search.desk.tables import compressed, conditions, confirmed, front, steps, timings
from search.members import knee_of, some_of
from search.store.view import StudyView

AXES = 6
"""Choices beside the objectives in the parallel coordinates: those that decide most."""
DRAWN = 2500
"""Candidates beside the members that figures show and that have a card: more are a cloud."""
LISTED = 500
"""Members that figures and tables show at most."""
CHARTED = 15
"""Choices of a chart of importance at most."""


def page(
    view: StudyView, state: str = "", anatomies: Mapping[int, Anatomy] = MappingProxyType({})
) -> str:
    """The report as HTML; opens offline. With a `state` it follows a study; see `framed`.

    `anatomies`: trial -> what it consists of, for the cards of members.
    """
    if not view.trials:
        return framed(view.name, _top(view) + answer(view), {}, state=state)
    decides, some = importances(view), thinned(view)
    figures = {
        **front_figures(some),
        **hypervolume_figures(view),
        "curves": curves_figure(some),
        **{
            f"importance-{number}": importance_figure(
                each.objective, dict(_largest(each.shares, CHARTED)), each.explained
            )
            for number, each in enumerate(decides)
        },
    }
    figures |= {
        roofline_name(trial): anatomy.roofline
        for trial, anatomy in anatomies.items()
        if anatomy.roofline is not None
    }
    if view.members:
        shares: dict[str, float] = {}
        for each in decides:
            for name, share in each.shares.items():
                shares[name] = shares.get(name, 0.0) + share * each.explained
        choices = [name for name, _ in _largest(shares, AXES)]
        figures["parallel"] = parallel_figure(some, choices)
    body = "".join(
        [
            _top(view),
            answer(view),
            _front(view, some, figures),
            confirmed(view),
            steps(some),
            _decides(figures),
            compressed(some),
            "<h2 id=spent>What was spent, and what was spared</h2>",
            spent(view),
            _grid(figures, "over-", "curves"),
            "<h2 id=measured>How the costs were measured</h2>",
            timings(some),
            conditions(some.members),
        ]
    )
    data = {
        "cards": cards(some, anatomies),
        "chosen": knee_of(view, view.members).number if view.members else None,
    }
    return framed(view.name, body, figures, data, state)


def _top(view: StudyView) -> str:
    return (
        f"<h1>{html.escape(view.name)}</h1><p class=question>{html.escape(asked(view))}</p>"
        f"{standing(view)}<p class=dim id=live role=status></p>"
    )


def thinned(view: StudyView) -> StudyView:
    """The study with at most `LISTED` members, and `DRAWN` others evenly over its course."""
    members = {member.number for member in view.members}
    shown = {member.number for member in some_of(view, view.members, LISTED)}
    others = [trial for trial in view.trials if trial.number not in members]
    if shown == members and len(others) <= DRAWN:
        return view
    step = max(1.0, len(others) / DRAWN)
    places = range(min(DRAWN, len(others)))
    kept = shown | {others[int(place * step)].number for place in places}
    newest = [replace(front, members=tuple(sorted(shown))) for front in view.fronts[-1:]]
    return replace(
        view,
        trials=tuple(t for t in view.trials if t.number in kept),
        fronts=(*view.fronts[:-1], *newest),
    )


def _front(view: StudyView, some: StudyView, figures: dict[str, object]) -> str:
    """Figures, table and card of the front; of a long one of `some`."""
    if not view.members:
        return _grid(figures, "pair-", "space")
    drawn, all_of_them = len(some.trials), len(view.trials)
    less = f" (drawn are {drawn:,} of {all_of_them:,})" if drawn < all_of_them else ""
    listed, members = len(some.members), len(view.members)
    told = f"Listed are {listed:,} of {members:,} members, evenly"
    more = f"<p class=dim>{told}; <code>search.front --csv</code> has all.</p>"
    boxes = "".join(
        f'<label><input type=checkbox data-group="{group}"{" checked" * shown}> {group}</label> '
        for group, shown in ((DOMINATED, True), (INFEASIBLE, False))
    )
    return (
        f"<h2 id=front>The front</h2><p class=request>Show candidates that are {boxes}{less}</p>"
        f"{_grid(figures, 'pair-', 'space')}{more if listed < members else ''}{front(some)}"
        "<section id=card aria-live=polite></section>"
        "<h3>All choices side by side</h3><p class=dim>Candidates that were trained to the end; "
        "members of the front in blue. Draw along an axis to keep a range: other rows of the "
        f"table fade.</p>{slot('parallel', 'parallel coordinates of objectives and choices')}"
    )


def _decides(figures: dict[str, object]) -> str:
    charts = _grid(figures, "importance-")
    if not charts:
        return ""
    return (
        "<h2 id=decides>What decides</h2><p class=dim>How much of what candidates differ by goes "
        "with which choice, told by a random forest over those that were tried (permutation, "
        "Breiman 2001). The search looks where it hopes: a choice that it hardly varied is told "
        f"too small.</p>{charts}"
    )


def _grid(figures: dict[str, object], *prefixes: str) -> str:
    names = [name for name in figures if name.startswith(prefixes)]
    slots = "".join(slot(name, _label(figures[name])) for name in names)
    return f"<div class=figures>{slots}</div>" if slots else ""


def _label(figure: object) -> str:
    return str(figure.layout.title.text or "figure")  # type: ignore[attr-defined]  # plotly's


def _largest(shares: Mapping[str, float], number: int) -> list[tuple[str, float]]:
    return sorted(shares.items(), key=lambda each: -each[1])[:number]
