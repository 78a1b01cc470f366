"""Members beside their uncompressed selves: ratios counted and measured, priced once."""

import dataclasses
from pathlib import Path

import pytest
from views import CANDIDATE, measurement, objectives, study, trial

from search import run
from search.commands import DONE
from search.desk.report import page
from search.origins import origin_of, speed_ups
from search.store.view import recipe, view_of

PLAIN = origin_of(CANDIDATE)
COSTS = {"flops": measurement(4e4, "flops"), "latency": measurement(0.3, "ms")}


def test_origin_is_the_same_network_without_compression() -> None:
    assert PLAIN.compression == ()
    assert dataclasses.replace(PLAIN, compression=CANDIDATE.compression) == CANDIDATE


def test_ratios_are_those_of_origin_over_member() -> None:
    members = [
        trial(3, accuracy=0.9, flops=1e4, latency=0.2),
        trial(5, candidate=PLAIN, accuracy=0.95, flops=4e4, latency=0.3),
    ]
    view = dataclasses.replace(study(members, [3, 5]), prices={recipe(PLAIN): COSTS})
    [found] = speed_ups(view)
    assert (found.trial, found.by_flops) == (3, 4.0)
    assert found.measured == {"latency": pytest.approx(1.5)}
    text = page(view)
    assert "What compression gave" in text
    assert "4.00 x" in text
    assert "1.50 x" in text


def test_study_without_flops_shows_the_measured_ratio_alone() -> None:
    shown = tuple(o for o in objectives() if o.name != "flops")
    members = [trial(3, accuracy=0.9, latency=0.2)]
    only = {"latency": COSTS["latency"]}
    view = dataclasses.replace(study(members, [3], shown), prices={recipe(PLAIN): only})
    assert speed_ups(view)[0].by_flops is None


def test_member_whose_origin_was_never_priced_has_no_line() -> None:
    view = study([trial(3, accuracy=0.9, flops=1e4, latency=0.2)], [3])
    assert speed_ups(view) == ()
    assert "What compression gave" not in page(view)


def test_run_prices_the_origins_of_its_members_once(small: Path) -> None:
    overrides = ["space.compression=[{prune: {ratio: 0.5}}]", "--quiet"]
    assert run.main(["small.yaml", *overrides]) == DONE
    view = view_of("small", "sqlite:///small.db")
    found = speed_ups(view)
    assert {each.trial for each in found} == {member.number for member in view.members}
    # widths of 4 keep all their channels
    assert all(each.by_flops is not None and each.by_flops >= 1 for each in found)
    assert all(each.measured["latency"] > 0 for each in found)
    assert run.main(["small.yaml", *overrides]) == DONE
    assert len(view_of("small", "sqlite:///small.db").prices) == len(view.prices)
