"""``lunar bench subset``: which choice of k of thousands of hops finds the rare, keeps averages, and stands for all.

Hops of a policy in ``PronkWorld`` are described by the features of ``lunar log keep``. In some, something rare is
planted for about one hop: twelve kinds that were looked at while the choice was made, and twelve that were not. Each
draw is 4096 hops, ten of each kind among them. They are simulated once and kept below ``cache``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import bar, show_table, spread
from matrix_hil.log.hops import FEATURES, hops_of
from matrix_hil.log.keep import calibrated, choose, scaled
from matrix_hil.log.signals import Signals
from policy.monitor.nominal import Disturbance, world_of
from policy.monitor.nominal import run as feed
from policy.networks.policy_file import load_actor
from policy.runtime.card import Card
from policy.subset import rivals
from policy.subset.greedy import PUBLISHED_GAMMA, SHARPNESS, greedy, nearest, scale_free, shares, squared
from policy.subset.transport import exact_w2
from sim.envs.world import PronkWorld
from sim.errors import LunarError
from sim.files import find_policy
from sim.mdp.state import State
from sim.spec.gravity import MOON
from sim.spec.joints import JOINT_NAMES
from sim.spec.observation import SENSORS

HOPS, RARE = 4096, 10  # of a draw, and of each kind in it
SIZES = (12, 24, 48, 96)
_K = 48  # at which the bars are
_AVERAGES = (
    "work", "peak_force", "apex_error", "flight_time", "pitch", "touchdown_spread", "velocity_x_error", "spin",
    "stance", "share_FL",
)  # fmt: skip
_ONE_HOP = 65  # control steps
_CALM = 250  # steps after something rare in which a robot's hops belong to nothing
_BEGUN, _FALLING = 4.0, 3.0  # s of a trial's beginning and before a fall in which hops belong to nothing either
_SUBSETS = 60  # of a claim on rank correlation
_PLACES = {s.name: sum(x.size for x in SENSORS[:i]) for i, s in enumerate(SENSORS)}
_SCALES = {s.name: s.scale for s in SENSORS}


@dataclass(frozen=True)
class Config:
    """Which choice of hops finds the rare and keeps averages."""

    policy: str = "policy/zoo/dual"
    """Folder of a policy, or a name in the zoo."""
    robots: int = 192
    """Trials per set of rare kinds."""
    seconds: float = 40.0
    """s of each."""
    draws: int = 10
    """Draws of hops that each choice is tried on."""
    seed: int = 0
    """Of everything."""
    cache: str = "runs/bench/subset"
    """Folder for the hops that were simulated."""
    quick: bool = False
    """Two draws of the hops that are in ``cache``; nothing is simulated."""
    json: str = ""
    """File for the results as data."""


# ---- rare kinds ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rare:
    """What is planted: any of the three, in the robots ``ids``; ``on`` is False when it is to be undone."""

    sense: Callable[[Tensor], None] | None = None
    """Changes the rows of a frame, scaled, in place."""
    move: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
    """Of actions now, two steps ago and at the onset: what the joints get instead."""
    strike: Callable[[PronkWorld, Tensor, bool], None] | None = None
    """Changes the world."""
    steps: int = _ONE_HOP


def _add(sensor: str, index: int, value: float) -> Rare:
    at, change = _PLACES[sensor] + index, value * _SCALES[sensor]

    def sense(rows: Tensor) -> None:
        rows[:, at] += change

    return Rare(sense=sense)


def _push(x: float, y: float, steps: int = 10) -> Rare:
    def strike(world: PronkWorld, ids: Tensor, on: bool) -> None:
        world.physics.set_push(ids, torch.tensor([[x, y]]).repeat(len(ids), 1) * on)

    return Rare(strike=strike, steps=steps)


def _load(kg: float, x: float, steps: int) -> Rare:
    def strike(world: PronkWorld, ids: Tensor, on: bool) -> None:
        place = torch.tensor([[x, 0.0, 0.1]]).repeat(len(ids), 1)
        world.physics.set_payload(ids, torch.full((len(ids),), kg * on), place, torch.zeros(len(ids), 3))

    return Rare(strike=strike, steps=steps)


def _gravity(value: float) -> Rare:
    def strike(world: PronkWorld, ids: Tensor, on: bool) -> None:
        world.physics.set_gravity(ids, torch.full((len(ids),), value if on else MOON), torch.zeros(len(ids)))

    return Rare(strike=strike)


def _ice(friction: float) -> Rare:
    def strike(world: PronkWorld, ids: Tensor, on: bool) -> None:
        world.physics.set_friction(ids, torch.full((len(ids),), friction) if on else world.friction[ids])

    return Rare(strike=strike)


def _motors(strength: float, stiffness: float = 1.0, delay: float = 0.0) -> Rare:
    def strike(world: PronkWorld, ids: Tensor, on: bool) -> None:
        one = torch.ones(len(ids))
        values = (stiffness, 1.0, strength, delay) if on else (1.0, 1.0, 1.0, 0.0)
        world.physics.set_motors(ids, *(v * one for v in values))

    return Rare(strike=strike)


def _leg(leg: int, share: float) -> Rare:
    def move(now: Tensor, _: Tensor, __: Tensor) -> Tensor:
        out = now.clone()
        out[:, 3 * leg : 3 * leg + 3] *= share
        return out

    return Rare(move=move)


def _stuck(joint: str, steps: int) -> Rare:
    j = JOINT_NAMES.index(f"{joint}_joint")

    def move(now: Tensor, _: Tensor, first: Tensor) -> Tensor:
        out = now.clone()
        out[:, j] = first[:, j]
        return out

    return Rare(move=move, steps=steps)


def _offset(joint: str, angle: float) -> Rare:
    j = JOINT_NAMES.index(f"{joint}_joint")

    def move(now: Tensor, _: Tensor, __: Tensor) -> Tensor:
        out = now.clone()
        out[:, j] += angle / 0.35
        return out

    return Rare(move=move)


def _noise(factor: float) -> Rare:
    generator = torch.Generator().manual_seed(5)

    def sense(rows: Tensor) -> None:
        at = slice(_PLACES["joint_position"], _PLACES["joint_position"] + 24)
        rows[:, at] += factor * (2.0 * torch.rand(len(rows), 24, generator=generator) - 1.0)

    return Rare(sense=sense)


SHOWN: dict[str, Rare] = {
    "pushed by 25 N for 0.4 s": _push(0.0, 25.0, 20),
    "front left leg at 40%": _leg(0, 0.4),
    "rear knee stuck for 0.4 s": _stuck("RL_calf", 20),
    "pulled back by 60 N for 0.1 s": _push(-60.0, 0.0, 5),
    "actions 40 ms late": Rare(move=lambda _, old, __: old),
    "3 kg on the trunk for ten hops": _load(3.0, 0.1, 10 * _ONE_HOP),
    "encoder off by 0.3 rad": _add("joint_position", JOINT_NAMES.index("RL_thigh_joint"), 0.3),
    "IMU off by 0.2": _add("projected_gravity", 0, 0.2),
    "ice": _ice(0.05),
    "gravity 2.6": _gravity(2.6),
    "motors at half strength": _motors(0.5),
    "noisy joints": _noise(0.3),
}
"""Looked at while the choice was made."""
HELD: dict[str, Rare] = {
    "pushed ahead by 30 N for 0.4 s": _push(30.0, 0.0, 20),
    "rear right leg at 40%": _leg(3, 0.4),
    "front hip stuck for 0.4 s": _stuck("FR_thigh", 20),
    "shoved by 80 N for 0.1 s": _push(0.0, -80.0, 5),
    "servos 20 ms late": _motors(1.0, delay=0.02),
    "4 kg at the tail for ten hops": _load(4.0, -0.15, 10 * _ONE_HOP),
    "hip off by 0.25 rad": _offset("FL_thigh", 0.25),
    "gyro off by 1.5 rad/s": _add("angular_velocity", 1, 1.5),
    "gravity 0.9": _gravity(0.9),
    "servos at half stiffness": _motors(1.0, 0.5),
    "abduction off by 0.3 rad": _offset("RR_hip", 0.3),
    "encoder off by 0.3 rad in a knee": _add("joint_position", JOINT_NAMES.index("FR_calf_joint"), 0.3),
}
"""Not looked at."""


class Planted(Disturbance):
    """Robot i gets kind i % 12, once, from its onset on."""

    def __init__(self, kinds: dict[str, Rare]) -> None:
        self._kinds = list(kinds.values())

    def begin(self, world: PronkWorld, onset: Tensor) -> None:
        super().begin(world, onset)
        self._past: list[Tensor] = []
        self._first = torch.zeros(world.num_envs, 12)
        self._kind = torch.arange(world.num_envs) % len(self._kinds)
        self._until = onset + torch.tensor([kind.steps for kind in self._kinds])[self._kind]

    def _rows(self, k: int) -> Tensor:
        return ((self._kind == k) & (self.onset <= self.step) & (self.step < self._until)).nonzero()[:, 0]

    def sense(self, frame: Tensor) -> Tensor:
        for k, kind in enumerate(self._kinds):
            if kind.strike is not None:
                for edge, on in ((self.onset, True), (self._until, False)):
                    if len(ids := ((self._kind == k) & (edge == self.step)).nonzero()[:, 0]):
                        kind.strike(self.world, ids, on)
            if kind.sense is not None and len(ids := self._rows(k)):
                rows = frame[ids]
                kind.sense(rows)
                frame[ids] = rows
        return frame

    def move(self, action: Tensor) -> Tensor:
        self._past = [action, *self._past[:2]]
        self._first = torch.where((self.onset == self.step)[:, None], action, self._first)
        moved = action.clone()
        for k, kind in enumerate(self._kinds):
            if kind.move is not None and len(ids := self._rows(k)):
                moved[ids] = kind.move(action[ids], self._past[-1][ids], self._first[ids])
        return moved


# ---- hops ------------------------------------------------------------------------------------------------------------


def simulate(cfg: Config, kinds: dict[str, Rare], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (m, f) of the hops of all trials up to their falls, and the kind (m,) that each is of: -1 of none."""
    folder = Path(find_policy(cfg.policy))
    actor, card = load_actor(folder)
    world_cfg = world_of("mare", card, cfg.robots)
    world_cfg = replace(
        world_cfg,
        physics=replace(world_cfg.physics, joint_sensors=True),
        commands=replace(world_cfg.commands, period=2.0 * cfg.seconds),
    )
    world = PronkWorld(world_cfg, seed, restart=False, privileged=False)
    steps, physics = round(cfg.seconds / world.dt), world.physics
    rng = np.random.default_rng(seed)
    longest = max(kind.steps for kind in kinds.values())
    onset = rng.integers(200, max(201, steps - longest), cfg.robots)
    kept: dict[str, list[np.ndarray]] = {}

    def visit(_: int, s: State) -> None:
        rows = {
            "force": physics.foot_force, "height": physics.base_height, "qpos": physics.qpos,
            "gravity": s.projected_gravity, "rates": physics.qvel[:, 3:6], "joint_velocity": physics.qvel[:, 6:],
            "work": (physics.joint_torque * physics.joint_speed).clamp(min=0.0).sum(2),
            "targets": world.nominal + world.cfg.action_scale * world.last_action, "command": world.command,
        }  # fmt: skip
        for name, value in rows.items():
            kept.setdefault(name, []).append(value.numpy().astype(np.float32))

    trials = feed(actor, world, steps, Planted(kinds), onset, visit)
    rows = {name: np.stack(values) for name, values in kept.items()}
    samples = rows["height"].shape[2]
    dt = world.dt / samples
    features, labels = [], []
    for i in range(cfg.robots):
        end = int(trials.fell[i])
        if end < 200:
            continue

        def every(name: str, i: int = i, end: int = end) -> np.ndarray:
            return np.repeat(rows[name][:end, i], samples, axis=0)

        height = rows["height"][:end, i].reshape(-1)
        qpos = every("qpos")
        signals = Signals(
            np.arange(len(height)) * dt,
            {
                "force": rows["force"][:end, i].reshape(-1, 4), "gravity": every("gravity"), "rates": every("rates"),
                "base": np.concatenate([qpos[:, :2] - qpos[:1, :2], height[:, None]], axis=1),
                "joint_position": qpos[:, 7:], "joint_velocity": every("joint_velocity"), "targets": every("targets"),
                "command": every("command"),
            },
        )  # fmt: skip
        hops = hops_of(signals, physics.mass)
        if not len(hops):
            continue
        power = rows["work"][:end, i].reshape(-1)
        values = hops.values
        values[:, list(FEATURES).index("offset")] = np.nan  # there is no pulley
        for k in range(len(hops)):
            inside = slice(signals.at(hops.start[k]), signals.at(hops.end[k]) + 1)
            values[k, list(FEATURES).index("work")] = power[inside].sum() * dt / physics.mass
        begin, over = onset[i] * world.dt, (onset[i] + list(kinds.values())[i % len(kinds)].steps) * world.dt
        label = np.full(len(hops), -1)
        odd = (hops.end > begin) & (hops.start < over + _CALM * world.dt)
        odd |= (hops.start < _BEGUN) | ((end < steps) & (hops.end > end * world.dt - _FALLING))
        label[odd] = -2
        shared = np.minimum(hops.end, over) - np.maximum(hops.start, begin)
        if shared.max() > 0.0:
            # of a short one the hop that it strikes most, of a long one all that lie in it
            label[(shared == shared.max()) | (shared >= 0.8 * (hops.end - hops.start))] = i % len(kinds)
        labels.append(label)
        features.append(values)
    values, kind = np.concatenate(features), np.concatenate(labels)
    return values[kind > -2], kind[kind > -2]


def draw(values: np.ndarray, kind: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """``HOPS`` hops in which ``RARE`` are of each kind, or all that there are."""
    rare = [rng.permutation(np.flatnonzero(kind == k))[:RARE] for k in range(kind.max() + 1)]
    count = sum(map(len, rare))
    usual = rng.permutation(np.flatnonzero(kind < 0))[: HOPS - count]
    rows = np.sort(np.concatenate([*rare, usual]))
    return values[rows], kind[rows]


# ---- choices ---------------------------------------------------------------------------------------------------------


def methods(values: np.ndarray, features: np.ndarray) -> dict[str, Callable[[int, np.random.Generator], np.ndarray]]:
    """Rows that each choice takes, given k and what is random."""
    m, phi = len(features), squared(features)
    energy = float(np.square(phi).sum(1).mean())
    return {
        "random": lambda k, rng: rivals.random(m, k, rng),
        "every n-th": lambda k, _: rivals.every_nth(m, k),
        "k-medoids": lambda k, rng: rivals.k_medoids(features, k, rng),
        "herding": lambda k, _: rivals.herding(features, k),
        "k-centre": lambda k, _: rivals.k_centre(features, k),
        "DivPrune": lambda k, _: rivals.divprune(features, k),
        "OTPrune as published": lambda k, _: greedy(phi, k, PUBLISHED_GAMMA).order,
        "OTPrune, scale-free": lambda k, _: greedy(phi, k, SHARPNESS / energy).order,
        "log-det": lambda k, _: greedy(features, k, scale_free(features)).order,
        "lunar log keep": lambda k, _: np.array([kept.row for kept in choose(values, k).kept]),
    }


def run(cfg: Config) -> dict[str, Any]:
    """Simulate what the cache lacks, choose and measure.

    Raises:
        LunarError: ``quick`` and nothing in the cache.
    """
    card = Card.load(Path(find_policy(cfg.policy)) / "card.json")
    kept = Path(cfg.cache, f"{card.weights[:12]}-{cfg.robots}x{cfg.seconds:g}-{cfg.seed}")
    sets = {}
    for number, (name, kinds) in enumerate((("shown", SHOWN), ("held out", HELD))):
        path = kept / f"{name}.npz"
        if not path.is_file():
            if cfg.quick:
                raise LunarError(f"{path} is not there: run 'lunar bench subset' without --quick first")
            values, kind = simulate(cfg, kinds, cfg.seed + number)
            kept.mkdir(parents=True, exist_ok=True)
            np.savez(path, values=values, kind=kind)
        sets[name] = np.load(path)
    rows: list[dict[str, Any]] = []
    claims: list[dict[str, Any]] = []
    draws = 2 if cfg.quick else cfg.draws
    with bar() as progress:
        task = progress.add_task("subset", total=len(sets) * draws)
        for name, hops in sets.items():
            for seed in range(draws):
                rng = np.random.default_rng((cfg.seed, seed))
                values, kind = draw(hops["values"], hops["kind"], rng)
                rows += _measure(name, seed, values, kind, rng)
                if seed == 0 and name == "held out":
                    claims = _claims(values, rng)
                progress.advance(task)
    mean = {key: _mean(rows, key) for key in ("rare", "mean_error", "w2_weighted")}
    found = {method: mean["rare"][("held out", method, _K)] for method in ("log-det", "random", "k-centre", "DivPrune")}
    claims.append({
        "claim": "log-det finds more rare kinds than DivPrune",
        "measured": found["log-det"] - found["DivPrune"], "holds": found["log-det"] > found["DivPrune"],
    })  # fmt: skip
    w2 = mean["w2_weighted"]
    return {
        "rare_found": found["log-det"],
        "rare_found_shown": mean["rare"][("shown", "log-det", _K)],
        "rare_random": found["random"],
        "rare_k_centre": found["k-centre"],
        "mean_error_deviations": mean["mean_error"][("held out", "lunar log keep", _K)],
        "w2_over_random": w2[("held out", "k-medoids", _K)] / w2[("held out", "random", _K)],
        "select_8000_s": _time_of_8000(sets["held out"]["values"]),
        "hops": {name: len(hops["kind"]) for name, hops in sets.items()},
        "claims": claims,
        "rows": rows,
    }


def _measure(
    name: str, seed: int, values: np.ndarray, kind: np.ndarray, rng: np.random.Generator
) -> list[dict[str, Any]]:
    features, used, _ = scaled(values)
    averages = [used.index(feature) for feature in _AVERAGES if feature in used]
    rows = []
    for method, take in methods(values, features).items():
        for k in SIZES:
            begin = time.process_time()
            chosen = take(k, rng)
            seconds = time.process_time() - begin
            share = shares(features, chosen)
            row = {"set": name, "seed": seed, "method": method, "k": k, "seconds": seconds}
            row |= {"rare": len(set(kind[chosen].tolist()) - {-1})}
            for key, weights in (("mean_error", calibrated(features, chosen, share)), ("mean_error_shares", share)):
                off = np.abs(weights @ features[chosen] - features.mean(0))[averages]
                row[key] = float(off.mean())
            row["w2_weighted"] = float(np.square(features - features[chosen][nearest(features, chosen)]).sum(1).mean())
            row["w2"] = exact_w2(features, chosen) if k == _K else None
            rows.append(row)
    return rows


def _claims(values: np.ndarray, rng: np.random.Generator) -> list[dict[str, Any]]:
    """What the paper says of its choice."""
    features = scaled(values)[0]
    phi = squared(features)
    energy = np.argsort(-np.square(phi).sum(1))[:_K]
    same = len(np.intersect1d(greedy(phi, _K, PUBLISHED_GAMMA).order, energy)) / _K
    surrogate, distance = [], []
    for _ in range(_SUBSETS):
        rows = rivals.random(len(features), _K, rng)
        kernel = np.eye(_K) + PUBLISHED_GAMMA * phi[rows] @ phi[rows].T
        surrogate.append(float(np.linalg.slogdet(kernel)[1]))
        distance.append(exact_w2(features, rows))
    ranks = [np.argsort(np.argsort(v)) for v in (surrogate, distance)]
    rho = float(np.corrcoef(ranks[0], ranks[1])[0, 1])
    return [
        {"claim": "a larger surrogate means a smaller W2 (rank correlation below -0.5)", "measured": rho,
         "holds": rho < -0.5},
        {"claim": "the published gamma chooses otherwise than by energy (half or more differ)", "measured": 1.0 - same,
         "holds": same <= 0.5},
    ]  # fmt: skip


def _time_of_8000(values: np.ndarray) -> float:
    """s of computing for ``lunar log keep`` to choose 200 of 8000 hops."""
    rng = np.random.default_rng(0)
    many = values[rng.integers(len(values), size=8000)] * rng.normal(1.0, 1e-6, (8000, 1))
    begin = time.process_time()
    choose(many, 200)
    return time.process_time() - begin


def _mean(rows: list[dict[str, Any]], key: str) -> dict[tuple[str, str, int], float]:
    groups: dict[tuple[str, str, int], list[float]] = {}
    for row in rows:
        groups.setdefault((row["set"], row["method"], row["k"]), []).append(row[key])
    return {group: float(np.mean(values)) for group, values in groups.items()}


def show(results: dict[str, Any]) -> None:
    """Print tables."""
    rows = results["rows"]
    for name in dict.fromkeys(row["set"] for row in rows):
        cells = []
        for method in dict.fromkeys(row["method"] for row in rows):
            mine = [row for row in rows if (row["set"], row["method"]) == (name, method)]
            at = {k: [row for row in mine if row["k"] == k] for k in SIZES}
            cells.append([
                method, *(spread(row["rare"] for row in at[k]) for k in SIZES),
                *(spread(row[key] for row in at[_K]) for key in ("mean_error", "w2_weighted", "w2")),
                f"{np.mean([row['seconds'] for row in at[_K]]):.2f}",
            ])  # fmt: skip
        columns = ["choice", *(f"of 12, k = {k}" for k in SIZES), "mean error", "W2² weighted", "W2²", "CPU s"]
        show_table(f"rare kinds found, {name}; errors in deviations at k = {_K}", columns, cells)
    show_table(
        "claims", ["claim", "measured", "holds"],
        [[c["claim"], f"{c['measured']:.2f}", "yes" if c["holds"] else "no"] for c in results["claims"]],
        f"200 of 8000 hops chosen in {results['select_8000_s']:.1f} s of computing",
    )  # fmt: skip
