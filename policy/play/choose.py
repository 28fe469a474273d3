"""Which shipped policy suits a ground, by the evaluations in their cards."""

from __future__ import annotations

from policy.runtime.card import Card
from sim.files import ROOT

_SUITES = {"crater-field": "craters", "crater-rim": "rim"}  # of a terrain; the others have its name
_ELSEWHERE = "craters"  # the suite that decides where no policy was measured
_ALIKE = 0.01  # share of survival within which the velocity error decides


def best_policy(terrain: str) -> tuple[str, str]:
    """Of the shipped policies the one that is surest to survive on a terrain: by the lower bound of its survival there,
    and among those within a point of the best by the least velocity error.

    Args:
        terrain: a preset, or the path of a file.

    Returns:
        Its folder, and why it was chosen, in a sentence.
    """
    cards = {path.parent: Card.load(path) for path in sorted((ROOT / "policy/zoo").glob("*/card.json"))}
    suite = _SUITES.get(terrain, terrain)
    known = any(suite in card.metrics for card in cards.values())
    suite = suite if known else _ELSEWHERE
    found = {folder: card.metrics[suite] for folder, card in cards.items() if suite in card.metrics}
    surest = max(metrics["survival_low"] for metrics in found.values())
    alike = [folder for folder, metrics in found.items() if metrics["survival_low"] >= surest - _ALIKE]
    folder = min(alike, key=lambda folder: found[folder]["velocity_error"])
    where = suite if known else f"{suite} ({terrain} was not measured)"
    why = (
        f"the shipped policy that does best on {where}: {found[folder]['survival']:.1%} of robots stay up, by its card"
    )
    return str(folder.relative_to(ROOT)), why
