"""What may a robot do with a filtered map? Degradations, tasks, limits, rankings; ``lunar bench maps`` runs them."""

from benchmarks.maps.protocol import Config, run, show

__all__ = ["Config", "run", "show"]
