"""The blinded sheet: what experts say that a filter did to a map, next to what was counted. One HTML page to fill in, a
key that is kept from them, and the tally of their answers."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import show_table
from benchmarks.maps import ground, rows, tasks
from benchmarks.maps.degrade import NOISE
from benchmarks.maps.picture import shown
from policy.evaluation.metrics import wilson
from sim.errors import LunarError
from sim.html_page import page, section
from sim.output import write_whole
from sim.terrain.filters import filter_names
from sim.terrain.height_field import HeightField
from sim.terrain.preview import hillshade

Answers = Mapping[str, Mapping[str, bool]]
"""By item and question."""
ITEMS, REPEATS = 30, 5
EDGE = 96
"""Samples along an edge of what is shown."""
QUESTIONS = {
    "changed": "Have rocks or rims changed or gone?",
    "shifted": "Have the level or the slope of whole regions shifted?",
    "invented": "Are there structures that were not there?",
    "land": "Would you let the robot land in the marked 0.5 m?",
}
_SCRIPT = """
<script>
function save() {
  const out = {expert: document.getElementById("expert").value, answers: {}};
  for (const item of document.querySelectorAll("[data-item]")) {
    const own = {};
    for (const q of item.querySelectorAll("[data-question]")) {
      const picked = q.querySelector("input:checked");
      if (picked) own[q.dataset.question] = picked.value === "yes";
    }
    out.answers[item.dataset.item] = own;
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(out, null, 1)], {type: "application/json"}));
  link.download = "answers.json";
  link.click();
}
</script>
<p>Your name: <input id="expert"> <button onclick="save()">Save the answers</button></p>
"""


def write(folder: Path, seed: int) -> Path:
    """Write ``sheet.html`` for experts and ``key.json``, which they must not see; returns the page's path."""
    rng = np.random.default_rng(seed)
    noises, methods = [*NOISE], [*filter_names(), rows.INVENTS]
    key: dict[str, dict[str, Any]] = {}
    pictures: dict[str, str] = {}
    chosen = [(str(rng.choice(noises)), str(m)) for m in rng.permutation((methods * ITEMS)[:ITEMS])]
    for k, (noise, method) in enumerate(chosen):
        key[f"item {k}"], pictures[f"item {k}"] = _item(noise, method, ground.TEST + 5000 + k, rng)
    for again in rng.choice(ITEMS, REPEATS, replace=False):
        key[f"item {len(key)}"] = {**key[f"item {again}"], "repeats": f"item {again}"}
        pictures[f"item {len(pictures)}"] = pictures[f"item {again}"]
    names = {name: f"{k + 1}" for k, name in enumerate(rng.permutation(list(key)))}
    shown = sorted(names, key=lambda name: int(names[name]))
    body = [section(f"Map {names[name]}", _form(names[name], pictures[name])) for name in shown]
    document = page(
        "What did the filter do to this map?",
        "Left: what the sensor measured. Middle: what a filter made of it. Right: the ground as it was. Sun from the "
        "left; below, the heights along the middle row.",
        ["Which filter and which noise it was is not said. Five maps come twice."],
        [*body, _SCRIPT],
    )
    hidden = {names[name]: {**entry, **({"repeats": names[entry["repeats"]]} if "repeats" in entry else {})}
              for name, entry in key.items()}  # fmt: skip
    write_whole({folder / "sheet.html": document, folder / "key.json": json.dumps(hidden, indent=1) + "\n"})
    return folder / "sheet.html"


def tally(files: Sequence[Path]) -> dict[str, Any]:
    """Rates of every question's yes by method with Wilson's 95%, how often experts repeat themselves, and Cohen's kappa
    between experts and between each expert and the automatic counts; of answer files that lie beside ``key.json``.

    Raises:
        LunarError: a file cannot be read, or has no key beside it.
    """
    answers: dict[str, Answers] = {}
    key: dict[str, Any] = {}
    for path in files:
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            key = json.loads((path.parent / "key.json").read_text(encoding="utf-8"))
            own = {
                str(i): {q: bool(v) for q, v in a.items() if q in QUESTIONS}
                for i, a in data["answers"].items()
                if i in key
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise LunarError(f"{path} is no file of answers with the sheet's key.json beside it ({error!r})") from None
        answers[f"{data.get('expert') or path.stem} ({path.name})"] = own
    said = {n: a for n, a in answers.items() if any(a.values())}
    if not said:
        return {"experts": "no expert has answered"}
    rates: dict[str, dict[str, Any]] = {}
    for method in sorted({e["method"] for e in key.values()}):
        for question in QUESTIONS:
            votes = [
                a[i][question] for a in said.values() for i in a if key[i]["method"] == method and question in a[i]
            ]
            if votes:
                low, high = wilson(sum(votes), len(votes))
                rates.setdefault(method, {})[question] = {"yes": sum(votes), "of": len(votes), "low": low, "high": high}
    counted = {i: {"invented": e["invented"] > 0, "changed": e["lost"] > 0} for i, e in key.items()}
    between = [kappa(_pairs(a, b, q)) for n, a in said.items() for m, b in said.items() if n < m for q in QUESTIONS]
    machine = {q: _mean([kappa(_pairs(a, counted, q)) for a in said.values()]) for q in ("invented", "changed")}
    repeats = [a[i].get(q) == a[e["repeats"]].get(q) for a in said.values() for i, e in key.items()
               if "repeats" in e and i in a and e["repeats"] in a for q in a[i]]  # fmt: skip
    return {
        "experts": len(said), "rates": rates, "same_when_repeated": _mean(repeats), "kappa_between": _mean(between),
        "kappa_with_counts": machine,
    }  # fmt: skip


def show(found: Mapping[str, Any]) -> None:
    """Print a tally."""
    if "rates" not in found:
        print(found["experts"])
        return
    lines = [
        (
            method,
            *(
                f"{a['yes']} of {a['of']} ({a['low']:.2f}–{a['high']:.2f})" if (a := own.get(q)) else "–"
                for q in QUESTIONS
            ),
        )
        for method, own in found["rates"].items()
    ]
    show_table(f"{found['experts']} experts: yes", ("method", *QUESTIONS), lines)
    print(
        f"the same answer again {found['same_when_repeated']:.2f}; kappa between experts {found['kappa_between']:.2f}, "
        f"with what was counted: invented {found['kappa_with_counts']['invented']:.2f}, changed "
        f"{found['kappa_with_counts']['changed']:.2f}"
    )


def kappa(pairs: Sequence[tuple[bool, bool]]) -> float:
    """Cohen's kappa of two raters' yes and no; NaN where chance alone would agree."""
    if not pairs:
        return float("nan")
    a, b = np.array(pairs, float).T
    chance = a.mean() * b.mean() + (1.0 - a.mean()) * (1.0 - b.mean())
    return float(((a == b).mean() - chance) / (1.0 - chance)) if chance < 1.0 else float("nan")


def _item(noise: str, method: str, seed: int, rng: np.random.Generator) -> tuple[dict[str, Any], str]:
    """What the key says of an item, and its picture."""
    truth = tasks.Truth(ground.patch(str(rng.choice(ground.PRESETS)), seed), seed)
    measured = rows.measured(truth, noise, seed)
    restored = rows.restored_by(method, measured, truth.resolution, seed)
    lost, invented = rows.lost_and_invented(truth, restored)
    n = truth.heights.shape[0]
    top, left = rng.integers(0, n - EDGE, 2)
    window = slice(top, top + EDGE), slice(left, left + EDGE)
    spot = rng.uniform(0.2, 0.8, 2) * EDGE
    origin = np.array(truth.terrain.field.origin) + np.array([left, top]) * truth.resolution
    inside = [np.abs((at - origin) / truth.resolution - EDGE / 2).max(1) < EDGE / 2 for at in (lost, invented)]
    entry = {
        "noise": noise,
        "method": method,
        "seed": seed,
        "lost": int(inside[0].sum()),
        "invented": int(inside[1].sum()),
    }
    return entry, _picture([m[window] for m in (shown(measured), restored, truth.heights)], truth.resolution, spot)


def _picture(maps: Sequence[np.ndarray], resolution: float, spot: np.ndarray) -> str:
    """PNG as HTML: hillshades with the spot to land on, and sections below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 4.4), layout="constrained")
    axes = figure.subplots(2, 3, height_ratios=(3, 1), sharey="row")
    for k, z in enumerate(maps):
        shade = hillshade(HeightField(np.where(np.isfinite(z), z, np.nanmin(z)), resolution, (0.0, 0.0)))
        seen = np.where(np.isfinite(z), shade**0.7, np.nan)
        axes[0, k].imshow(seen, cmap="gray", origin="lower", vmin=0.0, vmax=1.0)
        axes[0, k].set(xticks=[], yticks=[], facecolor="#446")
        reach = 0.25 / resolution
        axes[0, k].plot(
            *(spot[:, None] + reach * np.array([[-1, 1, 1, -1, -1], [-1, -1, 1, 1, -1]])), color="gold", lw=1
        )
        axes[1, k].plot(np.arange(len(z)) * resolution, z[len(z) // 2], lw=0.8, color="black")
        axes[1, k].set_xlabel("m")
    data = io.BytesIO()
    figure.savefig(data, dpi=80)
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}">'


def _form(name: str, picture: str) -> str:
    asked = "".join(
        f'<p data-question="{q}">{escape(text)} <label><input type="radio" name="{name} {q}" value="yes">yes</label> '
        f'<label><input type="radio" name="{name} {q}" value="no">no</label></p>'
        for q, text in QUESTIONS.items()
    )
    return f'<div data-item="{name}">{picture}{asked}</div>'


def _pairs(
    a: Mapping[str, Mapping[str, bool]], b: Mapping[str, Mapping[str, bool]], question: str
) -> list[tuple[bool, bool]]:
    return [(a[i][question], b[i][question]) for i in a if i in b and question in a[i] and question in b[i]]


def _mean(values: Sequence[float]) -> float:
    known = [float(v) for v in values if not np.isnan(v)]
    return float(np.mean(known)) if known else float("nan")
