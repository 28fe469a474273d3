"""``lunar bench estimator``: how far back must an encoder look, and how should it be built?

A policy of the zoo hops with a little exploration noise; encoders of several windows and shapes then learn, from the
same frames, the velocities and height that the simulator knows, and are judged on robots that they never saw. This is
regression only: what training a policy adds (one that changes, latents) is measured by ``lunar bench dhim``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.harness import bar, show_table
from policy.networks.config import EncoderConfig
from policy.networks.encoder import Encoders
from policy.networks.policy_file import ZOO, load_actor
from sim.envs.world import PronkWorld
from sim.physics.threads import physics_first
from sim.spec.observation import PRONK_OBSERVATION
from sim.tasks.config import WorldConfig
from sim.terrain.generators import TerrainConfig

NOW = (0, 1, 2, 3, 4, 5)
WINDOWS = {0.1: NOW, 0.9: (*NOW, *range(10, 46, 5)), 1.6: (*NOW, *range(10, 81, 5)), 2.0: (*NOW, *range(10, 101, 5))}
"""Control steps back of the frames, by the length of the window in s: the newest 0.1 s, then every fifth frame."""
QUICK = ("window 0.1 s", "window 1.6 s", "dual, short horizon given the long one")
ALL = ("vx", "vy", "vz", "height")
LANDING = 5  # control steps before touch-down that are judged apart, 0.1 s


@dataclass(frozen=True)
class Config:
    """Errors of encoders by window and shape, on held-out robots."""

    policy: str = str(ZOO / "pronk")
    """Folder of the policy that hops; it needs no encoders."""
    robots: int = 512
    """Robots; one in eight is held out."""
    steps: int = 400
    """Control steps recorded, after two seconds of hopping."""
    level: int = 9
    """Level of the mare ground."""
    noise: float = 0.1
    """1. Standard deviation of the noise on the actions."""
    epochs: int = 40
    """Passes over the recorded samples."""
    seed: int = 0
    """Of worlds, noise and networks."""
    json: str = ""
    """File for the results as data."""
    quick: bool = False
    """Half the robots and steps, fewer passes, and only the networks of ``QUICK``."""


class TemporalConvolution(nn.Module):
    """Two convolutions along time over frames (N, A, 42), newest first, then layers over what they found."""

    def __init__(self, frames: int, frame_size: int, outputs: int) -> None:
        super().__init__()
        self.frames, self.frame_size = frames, frame_size
        self.convolutions = nn.Sequential(
            nn.Conv1d(frame_size, 32, 5), nn.ELU(), nn.Conv1d(32, 32, 3, stride=2), nn.ELU(), nn.Flatten()
        )
        width = 32 * ((frames - 4 - 3) // 2 + 1)
        self.head = nn.Sequential(nn.Linear(width, 128), nn.ELU(), nn.Linear(128, 64), nn.ELU(), nn.Linear(64, outputs))

    def forward(self, observation: Tensor) -> Tensor:
        """(N, size) to estimates (N, outputs)."""
        frames = observation[:, : self.frames * self.frame_size].unflatten(1, (self.frames, self.frame_size))
        return self.head(self.convolutions(frames.transpose(1, 2)))


class Estimates(nn.Module):
    """The estimates of a policy's encoders alone."""

    def __init__(self, horizons: dict[str, EncoderConfig], ages: tuple[int, ...]) -> None:
        super().__init__()
        self.encoders = Encoders(horizons, ages, PRONK_OBSERVATION.frame_size)

    def forward(self, observation: Tensor) -> Tensor:
        """(N, size) to estimates (N, 4)."""
        return self.encoders(observation)[0]


def contenders() -> dict[str, tuple[tuple[int, ...], nn.Module]]:
    """By name, the frames that a network sees and the network."""

    def single(ages: tuple[int, ...], **shape: Any) -> nn.Module:
        return Estimates({"all": EncoderConfig(ages=ages, estimates=ALL, **shape)}, ages)

    long = WINDOWS[1.6]
    dual = {
        "long": EncoderConfig(ages=long, estimates=("vx", "vy", "height")),
        "short": EncoderConfig(ages=NOW, estimates=("vz",)),
    }
    found: dict[str, tuple[tuple[int, ...], nn.Module]] = {
        f"window {window} s": (ages, single(ages)) for window, ages in WINDOWS.items()
    }
    found["1.6 s, no layers per frame"] = (long, single(long, frame=(), hidden=(256, 128)))
    found["1.6 s, two layers per frame"] = (long, single(long, frame=(64, 32)))
    found["1.6 s, temporal convolution"] = (
        long,
        TemporalConvolution(len(long), PRONK_OBSERVATION.frame_size, len(ALL)),
    )
    found["dual, short horizon alone with vz"] = (long, Estimates(dual, long))
    given = dual | {"short": replace(dual["short"], given="long")}
    found["dual, short horizon given the long one"] = (long, Estimates(given, long))
    return found


@dataclass
class Record:
    """T moments of N robots."""

    frames: Tensor
    """(T, N, A * 42) frames at the ages of the longest window, half precision."""
    truth: Tensor
    """(T, N, 4) vx, vy, vz in m/s, height in m."""
    landing: Tensor
    """(T, N) bool, in flight with touch-down within 0.1 s."""


@torch.no_grad()
@physics_first()
def record(cfg: Config, robots: int, steps: int) -> Record:
    """Let the policy hop and note what it felt and what was true."""
    actor, card = load_actor(cfg.policy)
    ages = WINDOWS[2.0]
    terrain = TerrainConfig(kind="mare", level=cfg.level)
    world = PronkWorld(WorldConfig(num_envs=robots, terrain=terrain, ages=ages), cfg.seed)
    size = PRONK_OBSERVATION.frame_size
    sees = [ages.index(age) for age in card.observation.ages]
    torch.manual_seed(cfg.seed)
    observation = world.reset()["policy"]
    frames, truth, flight, alive = [], [], [], []
    for t in range(100 + steps):
        stack = observation[:, :-5].unflatten(1, (len(ages), size))
        action = actor(torch.cat([stack[:, sees].flatten(1), observation[:, -5:]], dim=1)).action
        observation = world.step(action + cfg.noise * torch.randn_like(action)).observations["policy"]
        s = world.state
        if t >= 100:
            frames.append(observation[:, :-5].half())
            truth.append(torch.cat([s.velocity, s.com_height[:, None]], dim=1))
            flight.append(s.in_flight)
            alive.append(world.steps > 0)
    in_flight = torch.stack(flight)
    touches = torch.zeros_like(in_flight)
    for ahead in range(1, LANDING + 1):  # a touch-down soon, in the same trial
        same = torch.stack(alive)[ahead:]
        touches[:-ahead] |= ~in_flight[ahead:] & same
    return Record(torch.stack(frames), torch.stack(truth), in_flight & touches)


def learn(
    network: nn.Module, places: list[int], data: Record, epochs: int, seed: int
) -> tuple[dict[str, float], float]:
    """Train on seven of eight robots; RMSE on the others, and microseconds per sample and epoch."""
    size = PRONK_OBSERVATION.frame_size
    seen = data.frames.unflatten(2, (-1, size))[:, :, places].flatten(2)
    apart = seen.shape[1] - seen.shape[1] // 8
    scale = torch.tensor([1.0, 1.0, 1.0, 2.0])  # as in the critic's observation
    x, y = seen[:, :apart].flatten(0, 1), data.truth[:, :apart].flatten(0, 1) * scale
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(seed)
    start = time.perf_counter()
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 if epoch < epochs // 2 else 3e-4
        for batch in torch.randperm(len(x), generator=generator).split(4096):
            loss = (network(x[batch].float()) - y[batch]).square().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    cost = 1e6 * (time.perf_counter() - start) / (epochs * len(x))
    with torch.no_grad():
        error = network(seen[:, apart:].flatten(0, 1).float()) / scale - data.truth[:, apart:].flatten(0, 1)
    landing = data.landing[:, apart:].flatten()
    results: dict[str, float] = {}
    for suffix, rows in (("", slice(None)), ("_touchdown", landing)):
        e = error[rows]
        results |= {
            f"vz_rmse{suffix}": _rms(e[:, 2]), f"height_rmse{suffix}": _rms(e[:, 3]),
            f"vxy_rmse{suffix}": _rms(e[:, :2].norm(dim=1)),
        }  # fmt: skip
    return results, cost


def run(cfg: Config) -> dict[str, Any]:
    """Record once, train every contender: ``{rows}``, one for each."""
    robots, steps, epochs = (256, 200, 15) if cfg.quick else (cfg.robots, cfg.steps, cfg.epochs)
    data = record(cfg, robots, steps)
    torch.manual_seed(cfg.seed)
    networks = {name: n for name, n in contenders().items() if not cfg.quick or name in QUICK}
    rows = []
    with bar() as progress:
        task = progress.add_task("estimators", total=len(networks))
        for name, (ages, network) in networks.items():
            progress.update(task, description=name)
            places = [WINDOWS[2.0].index(age) for age in ages]
            errors, cost = learn(network, places, data, epochs, cfg.seed)
            parameters = sum(p.numel() for p in network.parameters())
            rows.append({"network": name, "parameters": parameters, "us_per_sample": cost, **errors})
            progress.advance(task)
    return {"rows": rows, "samples": data.landing.numel(), "landing_share": data.landing.float().mean().item()}


def show(results: dict[str, Any]) -> None:
    """One row per network."""
    columns = ("network", "parameters", "µs/sample", "vz", "height", "vxy", "vz td", "height td", "vxy td")
    rows = []
    for row in results["rows"]:
        errors = [f"{row[n + s]:.3f}" for s in ("", "_touchdown") for n in ("vz_rmse", "height_rmse", "vxy_rmse")]
        rows.append((row["network"], f"{row['parameters']:,}", f"{row['us_per_sample']:.1f}", *errors))
    title = "RMSE on held-out robots: vz and vxy in m/s, height in m; td: last 0.1 s before touch-down"
    show_table(title, columns, rows)


def _rms(values: Tensor) -> float:
    return values.square().mean().sqrt().item()
