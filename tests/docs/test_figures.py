"""Figures in README and docs are those of the result files, which are of today's policies and benchmarks."""

from __future__ import annotations

import pytest

from benchmarks.report import MEASURED, load_source, outdated, pages, rewrite, used
from sim.config import ROOT


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_says_what_its_results_say(page):
    text = page.read_text()
    assert rewrite(text) == text, "run 'lunar bench report'"


@pytest.mark.parametrize("name", used([page.read_text() for page in pages()]))
def test_results_are_not_older_than_what_they_are_of(name):
    assert outdated(load_source(name)) == []


@pytest.mark.parametrize("path", sorted(MEASURED.glob("*.json")), ids=lambda path: path.stem)
def test_every_result_file_is_shown_somewhere(path):
    assert path.stem in used([page.read_text() for page in pages()])
