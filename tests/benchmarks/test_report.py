"""Figures in pages are those of their result files, and files that are older than what they measured are found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import codec, report
from benchmarks.cli import main
from sim.errors import LunarError
from sim.results import machine, write_results

ROWS = {"a": 1, "b": 0.25}
TABLES = {"go2": {"stands": True, "kg": 15.2, "pronks": 14.6}, "b2": {"refused": "no limit | of torque"}}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a README, results and a policy of its own."""
    (tmp_path / "docs").mkdir()
    card = tmp_path / "policy/zoo/mine/card.json"
    card.parent.mkdir(parents=True)
    card.write_text(
        json.dumps({"weights": "1" * 64, "metrics": {"mare": {"survival": 0.9904}}, "training": {"steps": 28e6}})
    )
    for module in ("benchmarks.report", "sim.results"):
        monkeypatch.setattr(f"{module}.ROOT", tmp_path)
    monkeypatch.setattr(report, "MEASURED", tmp_path / "benchmarks/measured")
    monkeypatch.setattr(report, "ZOO", tmp_path / "policy/zoo")
    write_results(tmp_path / "benchmarks/measured/log.json", "bench log", 0, ROWS)
    write_results(tmp_path / "benchmarks/measured/mixed.json", "bench robots", 0, TABLES, [str(card.parent)])
    return tmp_path


def readme(checkout: Path, text: str) -> str:
    """What becomes of a README."""
    (checkout / "README.md").write_text(text)
    main(["report"])
    return (checkout / "README.md").read_text()


def test_marks_are_filled_and_stay_as_they_are_then(checkout, capsys):
    text = (
        "before\n\n<!-- figures: log -->old\n<!-- end -->\n\n| <!-- figures: zoo/mine {mare.survival*100:.1f}% after "
    )
    text += "{training.steps/1e6:.0f} M --><!-- end --> |\n"
    written = readme(checkout, text)
    assert "| a | 1 |\n| b | 0.25 |" in written and "-->99.0% after 28 M<!-- end --> |" in written
    assert "old" not in written and written.startswith("before\n\n<!-- figures: log -->\n\n**The log**")
    assert "README.md: written" in capsys.readouterr().out
    assert readme(checkout, written) == written
    main(["report", "--check"])


def test_one_table_by_its_title_with_where_it_comes_from(checkout):
    written = readme(checkout, "<!-- figures: mixed Robots --><!-- end -->")
    assert "| go2 | yes | 15.2 |" in written and "**Robots**" not in written
    assert "`lunar bench robots`" in written and "`policy/zoo/mine`" in written and machine() in written


def test_an_example_in_a_fence_is_no_mark(checkout):
    text = "```\n<!-- figures: nothing --><!-- end -->\n```\n"
    assert readme(checkout, text) == text


@pytest.mark.parametrize(
    ("mark", "words"),
    [("nothing", "benchmarks/measured/nothing.json"), ("log {c}", "'log' hold no 'c'"),
     ("log Other", "no table 'Other'"), ("zoo/none", "policy/zoo/none/card.json")],
)  # fmt: skip
def test_a_mark_that_cannot_be_filled_is_refused(checkout, mark, words):
    with pytest.raises(LunarError, match=words):
        readme(checkout, f"<!-- figures: {mark} --><!-- end -->")


def test_a_changed_figure_is_found_and_not_written(checkout):
    (checkout / "README.md").write_text("<!-- figures: log {b} -->0.26<!-- end -->")
    with pytest.raises(LunarError, match="run 'lunar bench report'"):
        main(["report", "--check"])
    assert "0.26" in (checkout / "README.md").read_text()


def test_results_of_other_weights_are_outdated(checkout):
    source = report.load_source("mixed")
    assert report.outdated(source) == []
    card = checkout / "policy/zoo/mine/card.json"
    card.write_text(card.read_text().replace("1" * 64, "2" * 64))
    assert "other weights" in report.outdated(source)[0]
    with pytest.raises(LunarError, match="other weights"):
        readme(checkout, "<!-- figures: mixed --><!-- end -->")
    card.unlink()
    assert "is gone" in report.outdated(source)[0]


def test_results_of_another_version_of_the_benchmark_are_outdated(checkout, monkeypatch):
    write_results(checkout / "benchmarks/measured/codec.json", "bench codec", 0, {}, version=1)
    assert report.outdated(report.load_source("codec")) == []
    monkeypatch.setattr(codec, "VERSION", 2, raising=False)
    assert "version 1 of a benchmark" in report.outdated(report.load_source("codec"))[0]
