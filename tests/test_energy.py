"""Energy: counters read, wrapped and missing, on a folder made like the kernel's."""

from pathlib import Path

import pytest

from objectives import energy
from objectives.costs import Energy
from objectives.energy import NoCounterError, _rapl_counter, energy_counter, energy_of_a_call
from objectives.target import Target
from search import run
from search.commands import BAD_INPUT

TOP_UJ = 262_143_328_850


@pytest.fixture
def powercap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packages, one of their parts, as Linux shows them."""
    for folder, name in (
        ("intel-rapl:0", "package-0"),
        ("intel-rapl:0:0", "core"),
        ("intel-rapl:1", "package-1"),
    ):
        zone = tmp_path / folder
        zone.mkdir()
        (zone / "name").write_text(f"{name}\n")
        (zone / "max_energy_range_uj").write_text(f"{TOP_UJ}\n")
        (zone / "energy_uj").write_text("1000\n")
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    return tmp_path


def spend(zone: Path, to_uj: int) -> None:
    (zone / "energy_uj").write_text(f"{to_uj}\n")


def test_packages_are_added_and_their_parts_are_not(powercap: Path) -> None:
    read = _rapl_counter(powercap)
    assert read() == 0.0
    spend(powercap / "intel-rapl:0", 5000)
    spend(powercap / "intel-rapl:0:0", 9999)
    spend(powercap / "intel-rapl:1", 3000)
    assert read() == pytest.approx(6.0)


def test_counter_that_wraps_around_goes_on(powercap: Path) -> None:
    spend(powercap / "intel-rapl:0", TOP_UJ - 1000)
    read = _rapl_counter(powercap)
    spend(powercap / "intel-rapl:0", 2000)
    assert read() == pytest.approx(3.0)
    assert read() == pytest.approx(3.0)


def test_energy_of_a_call_is_the_share_of_one_call() -> None:
    drawn = [0.0]

    def call() -> None:
        drawn[0] += 2.5

    assert energy_of_a_call(call, lambda: drawn[0], 0.01) == pytest.approx(2.5)


def test_target_with_a_counter_is_taken(powercap: Path) -> None:
    assert Energy(target="cpu").check(Target()) is None


def test_processor_without_a_counter_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoCounterError, match="shows no energy counter in"):
        _rapl_counter(tmp_path)


def test_board_over_ssh_has_none() -> None:
    with pytest.raises(NoCounterError, match="cannot be measured on ssh://me@board"):
        energy_counter("ssh://me@board")


def test_study_that_wants_energy_of_a_device_without_a_counter_is_refused(
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "nothing")
    assert run.main(["small.yaml", "objectives=[accuracy, energy]"]) == BAD_INPUT
    err = capsys.readouterr().err
    assert "objectives[1]" in err or "objectives.1" in err
    assert "energy: this processor shows no energy counter in" in err
    assert "remove the objective or name another target" in err
    assert err.count("\n") == 1


def test_energy_is_measured_where_there_is_a_counter(
    small: Path, powercap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way from the study file to the database, with a counter of 2 W."""
    import time

    from search.store.view import view_of

    start = time.perf_counter()
    monkeypatch.setattr(
        "objectives.costs.energy_counter",
        lambda _: lambda: 2000 * (time.perf_counter() - start),
    )
    overrides = ["objectives=[accuracy, {energy: {seconds: 0.02}}, latency]", "search.trials=1"]
    assert run.main(["small.yaml", *overrides, "--quiet"]) == 0
    [member] = view_of("small", "sqlite:///small.db").members
    measured, latency = member.measurements["energy"], member.measurements["latency"]
    assert (measured.unit, len(measured.samples)) == ("mJ", 4)
    assert measured.low <= measured.value <= measured.high
    # 2 W over the time of a call, timed at another moment; a wrong unit would be off by 1000
    assert 0.1 < measured.value / (2 * latency.details["p50"]) < 10.0
