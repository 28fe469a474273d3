"""``lunar film``: a moving picture of a policy or of a HIL log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.progress import Progress

from matrix_hil.replay.film.config import FilmConfig
from matrix_hil.replay.film.footage import DT, Footage, of_log, of_policy
from matrix_hil.replay.film.movie import check_name, write_movie
from matrix_hil.replay.film.overlay import chosen, overlaid
from matrix_hil.replay.film.stage import Stage
from sim.config import parse
from sim.errors import LunarError
from sim.files import find_policy
from sim.terminal import Terminal


def film(cfg: FilmConfig, console: Terminal) -> None:
    """Make the film.

    Raises:
        LunarError: nothing is named to be filmed, a value makes no sense, a log or policy cannot be used, this machine
            cannot draw, or the file cannot be written.
    """
    path, names = check_name(cfg.out), chosen(cfg.overlay)
    _check(cfg)
    with Progress(*Progress.get_default_columns(), console=console, transient=True) as bar:
        footages: list[Footage] = []
        for source in (cfg.log, cfg.policy, cfg.beside):
            if source:
                task = bar.add_task(f"reading {Path(source).name}", total=1.0)
                footages += _footages(source, cfg, lambda share, task=task: bar.update(task, completed=share))  # type: ignore[misc]
                bar.update(task, completed=1.0)
        stages = [Stage(footage, cfg.camera, cfg.width, cfg.height, cfg.looks) for footage in footages]
        length = DT * (min(map(len, footages)) - 1)
        count = max(2, int(length / cfg.speed * cfg.frame_rate))
        task = bar.add_task("filming", total=count)
        try:
            pictures = _pictures(stages, count, cfg, names)
            write_movie(path, bar.track(pictures, task_id=task), cfg.frame_rate)
        finally:
            for stage in stages:
                stage.close()
    size = path.stat().st_size / 1e6
    console.print(f"{path}: {count / cfg.frame_rate:.1f} s, {size:.1f} MB", soft_wrap=True)


def main(argv: Sequence[str]) -> None:
    """``lunar film LOG | --policy POLICY [--beside OTHER] [--out FILE]``."""
    film(parse(FilmConfig, argv, "lunar film", first=("log",)), Terminal())


def _check(cfg: FilmConfig) -> None:
    if bool(cfg.log) == bool(cfg.policy):
        raise LunarError("name a log or --policy to be filmed, and with --beside a second one")
    limits = {
        "duration": (0.1, 600.0), "speed": (0.01, 10.0), "frame_rate": (1.0, 60.0), "width": (64, 3840),
        "height": (64, 2160), "begin": (0.0, 1e6),
    }  # fmt: skip
    for name, (low, high) in limits.items():
        if not low <= getattr(cfg, name) <= high:
            raise LunarError(f"{name} is {getattr(cfg, name):g}; it must lie between {low:g} and {high:g}")
    if cfg.camera.distance < 0.5 or cfg.camera.orbit_time <= 0.0:
        raise LunarError("camera: distance must be at least 0.5 m and orbit_time above 0 s")


def _footages(source: str, cfg: FilmConfig, progress: Callable[[float], None]) -> list[Footage]:
    if source != cfg.policy and (source == cfg.log or Path(source).suffix == ".mcap" or _is_log(Path(source))):
        return of_log(source, cfg)
    return [of_policy(find_policy(source), cfg, progress)]


def _is_log(folder: Path) -> bool:
    return any(folder.glob("*.mcap"))


def _pictures(stages: Sequence[Stage], count: int, cfg: FilmConfig, names: tuple[str, ...]) -> Iterator[np.ndarray]:
    for k in range(count):
        film_time = k / cfg.frame_rate
        time = film_time * cfg.speed
        views = [overlaid(s.draw(time, film_time), s.footage, time, names, cfg.speed) for s in stages]
        yield np.concatenate(views, axis=1)
