"""``lunar bench maps``: what filters for height maps cost a robot, at matched false alarms, on ground that is known."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.harness import show_table
from benchmarks.maps import ground, images, networks, picture, policy_task, real, rows, sheet
from benchmarks.maps.calibrate import cards as cards_from
from benchmarks.maps.degrade import HELD_OUT, NOISE
from benchmarks.maps.summary import other_ground_claim, show_claims, summarise
from sim.errors import LunarError
from sim.output import write_whole
from sim.terrain.cards import SHELF, FilterCard, card_json, file_digest, load_card
from sim.terrain.filters import filter_names, named_filter
from sim.terrain.restore import FILTERS

QUICK_METHODS = ("fill", "gauss2", "wiener", "adaptive")
SUITES = {"heights": tuple(NOISE), "super": tuple(n for n in NOISE if n.startswith("coarse"))}
TWIN_NOISE, TWIN_SIDE = "engine-3m", 62
"""The class of the rig's twin, and the samples along an edge of its patch."""


@dataclass(frozen=True)
class Config:
    """Filters for height maps, judged by what robots do with the maps: rocks lost and invented, unsafe ground called
    safe, the platform's command, a path."""

    suite: Literal["heights", "images", "super"] = "heights"
    """Noise of all kinds, pictures in little light, or only maps that are coarser than the ground is looked at."""
    method: str = ""
    """Also judge this: file.py:function, called with heights (R, C) in m, NaN where unknown, and m per sample; or
    file.onnx. Its limits are found first, and its card is written to ``out``."""
    patches: int = 24
    """Patches of 12.8 m, or scenes of pictures, that filters are judged on."""
    calibration: int = 24
    """Other patches, on which limits are found; those of the shipped cards were found on as many."""
    train: int = 0
    """Train the three learned filters for so many steps each, put them beside the shipped ones, find all limits anew;
    800 take half an hour on two idle cores. 0 leaves all as it is."""
    calibrate: bool = False
    """Find the limits of all shipped filters anew, and write their cards."""
    out: str = "runs/bench/maps"
    """Folder that keeps what was measured: a run that was interrupted goes on there."""
    jobs: int = 0
    """Processes; 0 takes one per core."""
    seed: int = 0
    """Of the bootstrap."""
    dem: str = ""
    """Also repeat slopes and footholds on this real elevation model, with its pixels taken for 5 cm."""
    band: int = 0
    """Band of that file which holds the heights, from 1; 0 takes the only one."""
    policy: str = ""
    """Also run this policy, which must look at the ground, on the true ground with heights ahead from restored maps."""
    picture: str = ""
    """Instead, draw what some filters do to one patch, or to one scene of pictures, to this file."""
    sheet: str = ""
    """Instead, write a blinded sheet for experts to this folder."""
    tally: str = ""
    """Instead, count the answers of experts: files of the sheet's answers, with commas between."""
    quick: bool = False
    """Four patches and four filters, under a minute on two idle cores."""
    json: str = ""
    """File for the results."""


def run(cfg: Config) -> dict[str, Any]:
    """Judge all filters, or write or count expert sheets.

    Raises:
        LunarError: a filter or its card cannot be used, or an answer file cannot be read.
    """
    out, jobs = Path(cfg.out), cfg.jobs or os.cpu_count() or 1
    if cfg.picture:
        (picture.draw_pictures if cfg.suite == "images" else picture.draw)(Path(cfg.picture))
        return {"picture": cfg.picture}
    if cfg.sheet:
        return {"sheet": str(sheet.write(Path(cfg.sheet), cfg.seed))}
    if cfg.tally:
        return {"tally": sheet.tally([Path(p) for p in cfg.tally.split(",")])}
    if min(cfg.patches, cfg.calibration) < len(ground.PRESETS):
        raise LunarError(f"--patches and --calibration must be at least {len(ground.PRESETS)}, one per preset")
    if cfg.quick and (cfg.calibrate or cfg.train):
        raise LunarError("--quick looks at too few patches for the limits of a card; leave it out")
    if cfg.suite == "images":
        for name in ("method", "train", "calibrate", "dem", "policy"):
            if getattr(cfg, name):
                raise LunarError(f"--suite images judges its own methods for pictures: leave out --{name}")
        return images.run(4 if cfg.quick else cfg.patches, jobs, cfg.seed)
    if cfg.train:
        networks.train(SHELF, cfg.train, cfg.seed)
    noises, names = SUITES[cfg.suite], filter_names()
    if cfg.calibrate or cfg.train:
        _write_cards(_found(cfg, names, out, jobs), SHELF)
    cards = {name: load_card(name) for name in names}
    if cfg.quick:
        cards = {name: cards[name] for name in QUICK_METHODS}
    if cfg.method:
        named_filter(cfg.method, code=True, card=False)
        own = {n: replace(c, recommended=()) for n, c in _found(cfg, (cfg.method,), out, jobs).items()}
        _write_cards(own, out)
        cards |= own
    methods = (*cards, *(() if cfg.quick else (rows.INVENTS,)))
    patches = ground.patches(4 if cfg.quick else cfg.patches, ground.TEST)
    held = () if cfg.quick or cfg.suite != "heights" else tuple(HELD_OUT)
    measured = rows.collect(rows.judged, patches, (*noises, *held), methods, cards, out, jobs, "maps")
    found = summarise(measured, cards, cfg.seed)
    if held:
        other = [(ground.HELD_OUT_PRESET, seed) for _, seed in ground.patches(max(4, cfg.patches // 4), ground.TEST)]
        measured = rows.collect(rows.judged, other, noises, tuple(cards), cards, out, jobs, ground.HELD_OUT_PRESET)
        there = summarise(measured, cards, cfg.seed)["noise"]
        found["held_out"] |= {f"{n} on {ground.HELD_OUT_PRESET}": entry for n, entry in there.items()}
        found["claims"].append(other_ground_claim(there, ground.HELD_OUT_PRESET))
    by_method = {name: _milliseconds(name) for name in cards}
    twin = next((n for n, c in cards.items() if TWIN_NOISE in c.recommended), "fill")
    answers = "no expert has answered"
    return {"suite": cfg.suite, "method": cfg.method, "patches": len(patches)} | found | {
        "filter_ms": by_method[twin], "filter_ms_by_method": by_method, "experts": answers,
        "dem": real.slopes_and_footholds(cfg.dem, cfg.band, cards, cfg.seed) if cfg.dem else None,
        "policy": policy_task.survival(cfg.policy) if cfg.policy else "no shipped policy looks at a map",
    }  # fmt: skip


def show(found: dict[str, Any]) -> None:
    """Print it."""
    if "picture" in found:
        print(f"wrote {found['picture']}")
        return
    if "sheet" in found:
        print(f"wrote {found['sheet']}: let experts open it, then count their files with --tally")
        return
    if "tally" in found:
        sheet.show(found["tally"])
        return
    if found["suite"] == "images":
        images.show(found)
        return
    held = {n: e for n, e in found["held_out"].items() if not n.endswith(ground.HELD_OUT_PRESET)}
    classes = found["noise"] | held
    lines = [
        (n, e["recommended"], f"{e['unsafe_called_safe_nominal']:.2f}", f"{e['unsafe_called_safe_calibrated']:.2f}",
         f"{e['false_alarms']:.2f}", f"{e['rocks_found_12cm']:.2f}", f"{e['invented_per_100m2']:+.1f}")
        for n, e in classes.items()
    ]  # fmt: skip
    show_table(f"unsafe ground called safe by the recommended filter, {found['patches']} patches",
               ("noise", "filter", "nominal", "by its card", "alarms", "rocks", "invented"), lines,
               "alarms: safe ground called unsafe by its card; rocks: of 12 cm and more, found at 5 false ones per 100 "
               "m2; invented: rocks per 100 m2 beyond those of true maps")  # fmt: skip
    best = [
        (n, e["psnr_best"], f"{e['psnr_best_unsafe_called_safe_nominal']:.2f}", f"{e['psnr_best_unsafe_missed']:.2f}",
         f"{e['unsafe_missed']:.2f}", f"{e['psnr_best_rocks_found_12cm']:.2f}")
        for n, e in classes.items()
    ]  # fmt: skip
    show_table("the filter with the best PSNR", ("noise", "filter", "nominal", "missed", "recommended", "rocks"), best,
               "missed, and by the recommended filter: unsafe ground called safe at 10% false alarms")  # fmt: skip
    finer = [(n, *_against_fill(by)) for n, by in found["scores"].items() if n in SUITES["super"]]
    heads = ("noise", "missed", "least by another", "rocks", "most by another", f"invented by {rows.INVENTS}")
    if finer:
        show_table("maps coarser than the ground, drawn finer", heads, finer,
                   "by fill, cubic between the samples, and by the best other filter: unsafe ground called safe at 10% "
                   "false alarms, and rocks of 12 cm and more")  # fmt: skip
    if own := found["method"]:
        mine = [
            (n, f"{e['unsafe_called_safe_nominal']:.2f}", f"{e['unsafe_called_safe_calibrated']:.2f}",
             f"{e['false_alarms']:.2f}", f"{found['noise'][n]['unsafe_called_safe_calibrated']:.2f}",
             f"{e['rocks_found_12cm']:.2f}", f"{e['invented_per_100m2']:.1f}", f"{e['psnr']:.1f}")
            for n, e in ((n, found["scores"][n][own]) for n in found["noise"])
        ]  # fmt: skip
        columns = ("noise", "nominal", "calibrated", "false alarms", "recommended filter", "rocks", "invented", "PSNR")
        show_table(f"{own}: unsafe ground called safe", columns, mine)
    clean = found["clean"]
    print(
        f"on true maps: rocks of 20 cm and more found {clean['rock_recall_20cm']:.2f}, craters F1 "
        f"{clean['crater_f1']:.2f}; the twin's filter takes {found['filter_ms']:.2f} ms; experts: {found['experts']}"
    )
    if dem := found["dem"]:
        real_ = [(n, e["recommended"], *(f"{e[k]:.2f}" for k in list(e)[1:])) for n, e in dem["noise"].items()]
        title = f"{dem['file']}, {dem['unsafe']} of {dem['samples']} pixels unsafe: called safe; kappa of slopes"
        heads_ = ("noise", "filter", "nominal", "calibrated", "false alarms", "over 7 pixels", "over 40")
        show_table(title, heads_, real_)
    if isinstance(seen := found["policy"], dict):
        told = "sensitive" if seen["sensitive"] else "not sensitive: left out of rankings"
        runs = [(n, f"{e['survival']:.3f}", f"{e['low']:.3f}–{e['high']:.3f}") for n, e in seen["survival"].items()]
        show_table(f"{seen['policy']} is {told}", ("map", "survives", "95%"), runs)
    show_claims(found["claims"])


def _against_fill(by: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
    """A class's scores of ``fill`` beside the best of the others, and what a filter invents that does so on purpose."""
    others = [m for m in by if m not in ("fill", rows.INVENTS)]
    least = min(others, key=lambda m: by[m]["unsafe_missed"])
    most = max(others, key=lambda m: by[m]["rocks_found_12cm"])
    made = f"{by[rows.INVENTS]['invented_per_100m2']:+.0f}" if rows.INVENTS in by else "–"
    return (f"{by['fill']['unsafe_missed']:.3f}", f"{least} {by[least]['unsafe_missed']:.3f}",
            f"{by['fill']['rocks_found_12cm']:.2f}", f"{most} {by[most]['rocks_found_12cm']:.2f}", made)  # fmt: skip


def _found(cfg: Config, methods: Any, out: Path, jobs: int) -> dict[str, FilterCard]:
    """Cards of methods, from patches of their own."""
    patches = ground.patches(4 if cfg.quick else cfg.calibration, ground.CALIBRATION)
    nets = {n: (Path(n) if n.endswith(".onnx") else SHELF / f"{n}.onnx") for n in methods if n not in FILTERS}
    digests = {n: file_digest(p) for n, p in nets.items() if p.is_file()}
    kept = rows.collect(rows.calibrated, patches, tuple(NOISE), tuple(methods), {}, out, jobs, "limits")
    about = (
        f"{len(patches)} patches of {', '.join(ground.PRESETS)}, seeds from {ground.CALIBRATION}, {ground.SIZE:g} m, "
        f"{ground.RESOLUTION:g} m per sample"
    )
    return cards_from(kept, about, digests)


def _write_cards(cards: dict[str, FilterCard], folder: Path) -> None:
    stems = {n: Path(n).name.partition(".py:")[0].removesuffix(".onnx") for n in cards}
    files: dict[Path, bytes | str] = {folder / f"{stems[n]}.json": card_json(c) for n, c in cards.items()}
    write_whole(files)
    print(f"wrote {', '.join(str(path) for path in files)}")


def _milliseconds(name: str) -> float:
    """ms of computing for a patch of the rig's twin."""
    patch = ground.patch("mare", ground.TEST).field.heights[:TWIN_SIDE, :TWIN_SIDE].astype(float)
    measured, filter_ = (
        NOISE[TWIN_NOISE](patch, ground.RESOLUTION, np.random.default_rng(0)),
        named_filter(name, code=True),
    )
    filter_(measured, ground.RESOLUTION)
    begin = time.process_time()
    for _ in range(20):
        filter_(measured, ground.RESOLUTION)
    return 1e3 * (time.process_time() - begin) / 20
