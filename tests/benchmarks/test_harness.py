"""What benchmarks share: the first round does not count, and every name on the list is a benchmark."""

from __future__ import annotations

import importlib
import math
import time
from dataclasses import fields

import pytest

from benchmarks import log
from benchmarks.cli import BENCHES, main
from benchmarks.harness import QUICK, by_turns, countdown, medians, ratio, spread
from sim.errors import LunarError


def test_a_cold_start_is_no_part_of_a_speed():
    taken = iter([100.0, 7.0, 1.0, 2.0, 3.0, 6.0, 2.0, 4.0])
    samples = by_turns({"ours": lambda: next(taken), "theirs": lambda: next(taken)}, 3, "test")
    assert samples == {"ours": [1.0, 3.0, 2.0], "theirs": [2.0, 6.0, 4.0]}
    assert medians(samples) == {"ours": 2.0, "theirs": 4.0} and ratio(samples, "theirs", "ours") == 2.0


def test_what_was_not_measured_is_left_out():
    assert spread([None, float("nan")]) == "–" and spread([0.5, None]) == "0.5" and spread([1, 2]) == "1.5 ± 0.71"


@pytest.mark.parametrize("name", [n for n in BENCHES if n not in ("faults", "attacks")])
def test_every_benchmark_has_its_parts(name, capsys):
    bench = importlib.import_module(f"benchmarks.{name}")
    assert callable(bench.run) and callable(bench.show)
    assert {"json", "quick"} <= {f.name for f in fields(bench.Config)}
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0 and "--quick" in capsys.readouterr().out


def test_an_unknown_name_lists_the_known():
    with pytest.raises(LunarError, match="name a benchmark: sim, gpu, train"):
        main(["nothing"])


def test_reading_and_writing_are_compared_on_whole_logs(tmp_path):
    results = log.speed(log.Config(messages=200, rounds=1), tmp_path)
    assert all(results[f"{name}_over_rosbags"] > 0 and results[f"{name}_per_s"] > 0 for name in ("write", "read"))
    assert results["bytes"] > 0 < results["bytes_rosbags"]


def test_a_quick_benchmark_ends_by_the_clock_and_with_whole_rounds():
    """However slow the machine: what has begun when the time is over is the last, and every subject has its value."""
    begun = []

    def subject(name):
        return lambda: begun.append(name) or float(len(begun))

    for allowed, rounds in ((0, 1), (3, 1), (4, 1), (5, 1), (6, 2), (100, 3)):
        begun.clear()
        left = lambda: allowed - len(begun)  # noqa: B023, E731
        samples = by_turns({name: subject(name) for name in "ab"}, 3, "test", left)
        assert {len(values) for values in samples.values()} == {rounds}
        assert len(begun) <= max(2, allowed)


def test_every_time_that_is_left_is_counted_from_the_beginning(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    quick, whole = countdown(True), countdown(False)
    now[0] += 50.0
    assert quick() == QUICK - 50.0 < 0.0 < whole() == math.inf
