"""The monitor's benchmark on trials that are made up and kept: what it counts, and what it refuses."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import monitor, monitor_outcome
from benchmarks.monitor_claims import bars
from benchmarks.monitor_scores import SCORES, mean
from policy.monitor.families import CONTROLS, FAULTS, HIJACK
from policy.monitor.nominal import Feed
from policy.monitor.reactions import TRIED, Outcome, best
from policy.runtime.card import Card
from sim.config import ROOT
from sim.errors import LunarError

ROBOTS, STEPS, ONSET = 40, 230, 75
FEW = {name: FAULTS[name] for name in ("encoder off by 0.2 rad", "knee dead", "actions 40 ms late")}
CARD = Card.load(ROOT / "policy/zoo/dual/card.json")


def feed(seed: int, robots: int, off: float) -> Feed:
    """Robots that stand still, with sensor noise, whose frames are ``off`` from the onset on."""
    rng = np.random.default_rng(seed)

    def drawn(size: int, scale: float) -> np.ndarray:
        return rng.normal(0.0, scale, (STEPS, robots, size)).astype(np.float32)

    frame = drawn(42, 0.02)
    frame[:, :, 5] -= 1.0
    frame[ONSET:, :, 10] += off
    fell = np.full(robots, STEPS if off < 1.0 else STEPS - 20)
    healthy = np.ones((STEPS, robots), bool)
    phase = np.zeros((STEPS, robots), np.int8)
    std = np.full((STEPS, robots, 12), 0.2, np.float32)
    return Feed(frame, drawn(128, 0.1), drawn(12, 0.1), drawn(32, 0.1), std, drawn(5, 0.1), healthy, phase, fell)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with two suites, three faults and one control."""
    for module in (monitor, monitor_outcome):
        monkeypatch.setattr(module, "FAULTS", FEW)
    monkeypatch.setattr(monitor, "CONTROLS", {HIJACK: CONTROLS[HIJACK]})
    monkeypatch.setattr(monitor, "ALLOWED", ("flat", "mare"))
    monkeypatch.setattr(monitor, "step_time", lambda *args: 50.0)
    folder = tmp_path / f"dual-{CARD.weights[:12]}-{ROBOTS}x4.6-4-9000"
    folder.mkdir()

    def write(path: Path, made: Feed) -> None:
        arrays = {f.name: getattr(made, f.name) for f in fields(Feed)}
        np.savez(path, **arrays, onset=np.full(made.frame.shape[1], ONSET))

    for k, suite in enumerate(("flat", "mare")):
        write(folder / f"healthy {suite}.npz", feed(k, ROBOTS, 0.0))
    for k, (name, off) in enumerate({**dict.fromkeys(FEW, 2.0), HIJACK: 0.0, monitor.CALM: 0.0}.items()):
        for ground in monitor.GROUNDS:
            write(monitor.case_file(folder, name, ground), feed(9 + k, 2, off))
    return folder


def test_what_it_says_is_what_the_trials_hold(kept: Path) -> None:
    picture = kept.parent / "doubt.png"
    cfg = monitor.Config(cache=str(kept.parent), robots=ROBOTS, seconds=4.6, faulty=4, quick=True, picture=str(picture))
    found = monitor.run(cfg)
    assert picture.stat().st_size > 1000
    assert found["hours"] == pytest.approx(2 * ROBOTS * 4.6 / 3600.0)
    assert set(found["caught_1s"]) == set(FEW) and set(found["control_trips"]) == {HIJACK}
    assert found["trips_per_hour"] == found["trips"] / found["hours"] < found["trips_per_hour_upper95"]
    for row in found["rows"].values():
        assert set(row["auroc"]) == set(row["caught"]) == set(SCORES)
    knee, control = found["rows"]["knee dead"], found["rows"][HIJACK]
    assert knee["fell"] == 1.0 and knee["upright_3s"] == 0.0 and control["upright_3s"] == 1.0
    assert knee["auroc"]["min to max"] == knee["auroc"]["raw frames"] == 1.0
    assert 0.2 < control["auroc"]["raw frames"] < 0.8
    assert [set(claim) for claim in found["claims"]] == [{"claim", "measured", "holds"}] * 5
    monitor.show(found)


def test_a_quick_look_at_trials_that_were_not_run_is_refused(kept: Path) -> None:
    (kept / "healthy mare.npz").unlink()
    cfg = monitor.Config(cache=str(kept.parent), robots=ROBOTS, seconds=4.6, faulty=4, quick=True)
    with pytest.raises(LunarError, match=r"healthy mare.npz is missing: run 'lunar bench monitor' without --quick"):
        monitor.run(cfg)


def test_a_bar_is_met_at_what_was_asked_and_missed_just_beside_it() -> None:
    def met(fewer: float) -> list[bool]:
        row = {
            "family": "time", "held_out": True, "fell": 0.5, "auroc": {"monitor": 0.95 - fewer},
            "caught": {m: {"1s": 0.95 - fewer, "2s": 0.6 if m == "monitor" else 0.5 + 10 * fewer} for m in SCORES},
        }  # fmt: skip
        calm = row | {"family": "body", "fell": 0.0, "held_out": False}
        return [bar["met"] for bar in bars({
            "rows": {"actions 40 ms late": row, "load of 5 kg": calm, HIJACK: row | {"family": "control"}},
            "trips_per_hour": 1.0 + fewer, "trips_per_hour_upper95": 2.0, "hours": 5.0 - fewer,
            "worst_channel_right": 0.8 - fewer, "control_trips": {HIJACK: 0.02 + fewer}, "step_us_p99": 100.0 + fewer,
            "reaction": "stand", "upright": {
                "actions 40 ms late": {"go on": 0.5, "stand": 0.7 - fewer},
                "load of 5 kg": {"go on": 1.0, "stand": 0.99 - fewer},
            },
        })]  # fmt: skip

    assert met(0.0) == [True] * 10 and met(0.011) == [False] * 10


def test_where_nobody_tripped_no_reaction_is_run(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ran(path: Path, actor: object, card: object, fitted: object, fault: object, reaction: str, *_: int) -> None:
        assert reaction == "go on"
        none, all_fell = np.full(2, -1), np.full(2, 100)
        np.savez(path, tripped=none, fell=all_fell, phase=none, force=np.ones(2), steps=400, onset=np.full(2, 50))

    monkeypatch.setattr(monitor_outcome, "_run", ran)
    fitted = SimpleNamespace(reaction="stand")
    found = monitor_outcome.outcomes(kept, None, CARD, fitted, "", 2, 0, False)  # type: ignore[arg-type]
    assert set(found["upright"]["knee dead"]) == set(TRIED) and found["reactions"]["ground"]["trips"] == 0
    assert all(points == 0.0 for points in found["upright_gain_points"].values())


def test_a_mean_begins_with_what_there_is() -> None:
    assert mean(np.array([[1.0], [3.0], [5.0]]), 2)[:, 0].tolist() == [1.0, 2.0, 4.0]


def test_the_reaction_is_chosen_by_who_is_upright_and_of_equals_by_the_least_motion() -> None:
    tripped, phase, steps = np.array([10, 10, 10, -1]), np.array([0, 0, 1, 0]), 400

    def outcome(*fell: int) -> Outcome:
        return Outcome(tripped, np.array(fell), phase, np.zeros(4), steps)

    rows = {name: [outcome(50, 50, 50, 400)] for name in TRIED}
    rows["hold"] = rows["stand"] = [outcome(400, 50, 400, 5)]
    chosen, upright, count = best(rows, 0.02, 0)
    assert (chosen, count) == ("hold", 2) and upright["stand"] == 0.5 and upright["go on"] == 0.0
    assert best(rows, 0.02, 1)[0] == "hold"
    assert best({name: [outcome(161, 160, 400, 400)] for name in TRIED}, 0.02, 0)[1]["damp"] == 0.5
