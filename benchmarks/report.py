"""``lunar bench report``: figures in README and docs, written from the result files that they were measured in.

A page marks what comes from a file, and what stands between the marks is this command's:

    <!-- figures: gpu -->                 all tables that ``lunar bench gpu`` prints
    <!-- figures: gpu Control steps -->   the one whose title begins so
    <!-- figures: zoo/dual {mare.survival*100:.1f}% after {training.steps/1e6:.0f} M steps -->   values, in a sentence
    <!-- end -->                          after each of them

``gpu`` is ``benchmarks/measured/gpu.json``, as the measuring command writes it with ``--json``; ``zoo/dual`` is the
card of a shipped policy, with the evaluation that ``lunar eval --save`` put there. A value is named by its place in
the results, or in the file besides (``revision``, ``date``, ``machine``).
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import Shown, show_table, shown
from matrix_hil.fidelity.measures import figure_rows
from policy.evaluation.report import metric_rows
from sim.config import parse
from sim.errors import LunarError
from sim.files import ROOT
from sim.output import write_whole
from sim.results import policy_digests
from sim.terminal import Terminal

MEASURED = ROOT / "benchmarks" / "measured"
ZOO = ROOT / "policy" / "zoo"
_MARK = re.compile(r"(<!-- figures: ([\w./-]+)(?: ([^\n]*?))? -->)(.*?)(<!-- end -->)", re.S)
_FENCE = re.compile(r"(^```.*?^```)", re.S | re.M)
_VALUE = re.compile(r"\{([\w.-]+)(?:([*/])([\d.e+-]+))?(?::([^{}]*))?\}")
_SUITES = (
    "survival", "survival_low", "survival_high", "survival_worst_map", "hopping_at_end", "pronks", "apex_error",
    "velocity_error", "yaw_rate_error", "touchdown_tilt_deg", "peak_force_lunar_bw", "knee_strikes", "power_w",
    "cost_of_transport",
)  # fmt: skip
_ESTIMATES = ("vz_rmse", "vz_rmse_touchdown", "height_rmse", "height_rmse_touchdown", "vxy_rmse", "vxy_rmse_touchdown")


@dataclass(frozen=True)
class Config:
    """Write the figures of README and docs anew from benchmarks/measured and the zoo's cards."""

    check: bool = False
    """Write nothing; say which pages differ from the files, and which files are older than what they measured."""


@dataclass(frozen=True)
class Source:
    """A file with results."""

    name: str
    command: str
    """That measured, as ``bench gpu``."""
    results: Mapping[str, Any]
    document: Mapping[str, Any]
    """The whole file."""

    def origin(self) -> str:
        """One line that says where the figures come from."""
        if self.name.startswith("zoo/"):
            return f"*`lunar {self.command}`, kept in the card of `policy/{self.name}`.*"
        known = {k: v for k in ("revision", "date", "machine") if (v := self.document.get(k, "unknown")) != "unknown"}
        parts = [f"`lunar {self.command}`", *(f"revision {v}" if k == "revision" else v for k, v in known.items())]
        parts += [f"`{policy}`" for policy in self.document.get("policies", {})]
        return f"*{', '.join(parts)}.*"

    def value(self, place: str) -> Any:
        """By dotted place in the results, else in the whole file.

        Raises:
            LunarError: there is none.
        """
        for root in (self.results, self.document):
            found: Any = root
            for key in place.split("."):
                if isinstance(found, list) and key.isdigit() and int(key) < len(found):
                    found = found[int(key)]
                else:
                    found = found.get(key) if isinstance(found, Mapping) else None
            if found is not None:
                return found
        raise LunarError(f"the results '{self.name}' hold no '{place}'")


def load_source(name: str) -> Source:
    """The results of this name.

    Raises:
        LunarError: there are none.
    """
    path = ZOO / name.removeprefix("zoo/") / "card.json" if name.startswith("zoo/") else MEASURED / f"{name}.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LunarError(f"no results '{name}': {path.relative_to(ROOT)} cannot be read ({error})") from None
    if name.startswith("zoo/"):
        return Source(name, "eval", document["metrics"], document)
    return Source(name, document["command"], document["results"], document)


def outdated(source: Source) -> list[str]:
    """Why the results are older than what they are of: a policy has other weights, or the measurement has changed."""
    found = []
    for policy, digest in source.document.get("policies", {}).items():
        if not (ROOT / policy / "card.json").is_file():
            found.append(f"{source.name}: the policy {policy} is gone")
        elif policy_digests([str(ROOT / policy)]) != {policy: digest}:
            found.append(f"{source.name}: {policy} has other weights than those measured")
    if source.command.startswith("bench ") and "version" in source.document:
        now = getattr(_bench(source.command), "VERSION", 1)
        if source.document["version"] != now:
            found.append(f"{source.name}: measured by version {source.document['version']} of a benchmark in its {now}")
    return [f"{text}; measure again with 'lunar {source.command} --json benchmarks/measured/…'" for text in found]


def figures(source: Source, words: str) -> str:
    """Markdown for a mark: values in a sentence when ``words`` names any, else tables whose title begins with them.

    Raises:
        LunarError: the source holds no such value or table.
    """
    if "{" in words:
        return _VALUE.sub(lambda m: _formatted(source, *m.groups()), words)
    tables = [t for t in _tables(source) if t.title.startswith(words)]
    if not tables:
        raise LunarError(f"the results '{source.name}' give no table '{words}'")
    parts = [f"**{t.title}**\n\n{_markdown(t)}" if t.title and not words else _markdown(t) for t in tables]
    return "\n\n" + "\n\n".join([*parts, source.origin()]) + "\n\n"


def rewrite(text: str) -> str:
    """A page with its marks filled; fenced blocks are left as they are.

    Raises:
        LunarError: a mark cannot be filled.
    """
    parts = _FENCE.split(text)
    for k in range(0, len(parts), 2):
        parts[k] = _MARK.sub(lambda m: f"{m[1]}{figures(load_source(m[2]), m[3] or '')}{m[5]}", parts[k])
    return "".join(parts)


def pages() -> list[Path]:
    """README and all pages of the docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def used(texts: Sequence[str]) -> list[str]:
    """Names of the sources that pages mark."""
    return sorted({m[2] for text in texts for part in _FENCE.split(text)[::2] for m in _MARK.finditer(part)})


def main(argv: Sequence[str]) -> None:
    """Entry of ``lunar bench report``."""
    cfg = parse(Config, argv, "lunar bench report")
    console = Terminal()
    texts = {page: page.read_text(encoding="utf-8") for page in pages()}
    fresh = {page: rewrite(text) for page, text in texts.items()}
    changed = {page: text for page, text in fresh.items() if text != texts[page]}
    stale = [text for name in used(list(texts.values())) for text in outdated(load_source(name))]
    if not cfg.check:
        write_whole(changed)
    for page in changed:
        console.print(f"{page.relative_to(ROOT)}: {'differs from its results' if cfg.check else 'written'}")
    if stale or (changed and cfg.check):
        raise LunarError("; ".join(stale) or "figures differ from their results: run 'lunar bench report'")
    if not changed:
        console.print("all figures are those of their results")


def _bench(command: str) -> Any:
    return importlib.import_module(f"benchmarks.{command.split()[1]}")


def _tables(source: Source) -> list[Shown]:
    shows: dict[str, Callable[[Any], None]] = {"eval": _show_eval, "fidelity": _show_fidelity}
    show = shows[source.command] if source.command in shows else _bench(source.command).show
    with shown() as tables, contextlib.redirect_stdout(io.StringIO()):
        show(source.results)
    return tables


def _show_eval(results: Mapping[str, Mapping[str, Any]]) -> None:
    for title, chosen in (("Suites", _SUITES), ("Estimates", _ESTIMATES)):
        found = {suite: metrics for suite, metrics in results.items() if chosen[0] in metrics}
        columns = list(zip(*metric_rows(found, chosen), strict=True))
        if columns:
            heads = [re.sub(r" (deg|ms|w|lunar bw)$", r", \1", name.replace("_", " ")) for name in columns[0]]
            show_table(title, ("suite", *heads), zip(found, *zip(*columns[1:], strict=True), strict=True))


def _show_fidelity(results: Mapping[str, Mapping[str, Any]]) -> None:
    show_table("Schemes", ("figure", *results), figure_rows(results))


def _formatted(source: Source, place: str, sign: str | None, factor: str | None, form: str | None) -> str:
    value = source.value(place)
    if factor:
        value = value * float(factor) if sign == "*" else value / float(factor)
    return format(value, form or "")


def _markdown(table: Shown) -> str:
    lines = [table.columns, ["---", *["---:"] * (len(table.columns) - 1)], *table.rows]
    text = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|').strip() for cell in line)} |" for line in lines)
    return f"{text}\n\n{table.caption}" if table.caption else text
