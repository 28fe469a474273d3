"""Map filters that are learned: one small network, trained by pairs, by noise alone, or by unpaired maps, and written
as ONNX. All see the same 400 measured patches; stripes and wild matches are kept from them."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from benchmarks.harness import bar
from benchmarks.maps import ground, rows, tasks
from benchmarks.maps.degrade import NOISE, UNSEEN
from sim.output import write_whole
from sim.terrain.filters import network_input

PATCHES, EDGE, BATCH = 400, 64, 8
"""Measured patches of 6.4 m; samples along the edge of what is trained on, and how many of those at once."""
WIDTH = 16
LEARNED = ("paired", "self", "unpaired")


class Unet(nn.Module):
    """(N, 2, R, C) heights above their course and what is known, to (N, 1, R, C) what is to be added; R and C are
    multiples of 4."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.first, self.second = _block(2, width), _block(width, 2 * width)
        self.deep = _block(2 * width, 4 * width)
        self.third, self.last = _block(6 * width, 2 * width), _block(3 * width, width)
        self.out = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.first(x)
        b = self.second(nn.functional.avg_pool2d(a, 2))
        c = self.deep(nn.functional.avg_pool2d(b, 2))
        b = self.third(torch.cat([nn.functional.interpolate(c, scale_factor=2.0), b], 1))
        a = self.last(torch.cat([nn.functional.interpolate(b, scale_factor=2.0), a], 1))
        added: Tensor = self.out(a)
        return added


def train(folder: Path, steps: int, seed: int) -> None:
    """Train all of ``LEARNED`` for ``steps`` and write ``NAME.onnx`` for each to ``folder``."""
    torch.manual_seed(seed)
    data = _data()
    for name in LEARNED:
        net = {"paired": _paired, "self": _self_supervised, "unpaired": _unpaired}[name](data, steps, seed)
        write_whole({folder / f"{name}.onnx": _onnx(net)})


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="replicate"), nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, padding_mode="replicate"), nn.ReLU(),
    )  # fmt: skip


def _data() -> list[tuple[np.ndarray, np.ndarray]]:
    """Inputs (2, R, C) of measured maps, and what must be added to each, (R, C), both in the input's unit."""
    kinds = [n for n in NOISE if n not in UNSEEN]
    pairs = []
    with bar() as progress:
        for preset, seed in progress.track(ground.patches(PATCHES, ground.TRAINING), description="patches"):
            truth = tasks.Truth(ground.patch(preset, seed, 6.4), seed)
            x, unit, z = network_input(rows.measured(truth, kinds[seed // len(ground.PRESETS) % len(kinds)], seed))
            pairs.append((x.astype(np.float32), ((truth.heights - z) / unit).astype(np.float32)))
    return pairs


def _batch(data: list[tuple[np.ndarray, np.ndarray]], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Random windows, turned and mirrored: (B, 2, E, E) and (B, 1, E, E)."""
    xs, ys = [], []
    for k in rng.integers(0, len(data), BATCH):
        x, y = data[k]
        i, j = rng.integers(0, x.shape[1] - EDGE, 2)
        turn, flip = rng.integers(0, 4), rng.integers(0, 2)
        window = np.concatenate([x, y[None]])[:, i : i + EDGE, j : j + EDGE]
        window = np.rot90(window, int(turn), (1, 2))[:, :, :: 1 - 2 * flip]
        xs.append(window[:2].copy())
        ys.append(window[2:].copy())
    return torch.from_numpy(np.stack(xs)), torch.from_numpy(np.stack(ys))


def _fit(net: nn.Module, steps: int, name: str, loss_of: Callable[[], Tensor]) -> None:
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    with bar() as progress:
        for _ in progress.track(range(steps), description=name):
            optimiser.zero_grad()
            loss_of().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()


def _paired(data: list[tuple[np.ndarray, np.ndarray]], steps: int, seed: int) -> nn.Module:
    """Measured and true map of the same ground: the error, the more the steeper, is to be small in every sample."""
    net, rng = Unet(), np.random.default_rng([seed, 0])

    def loss() -> Tensor:
        x, y = _batch(data, rng)
        error = net(x) - y
        return error.abs().mean() + 2.0 * (error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean())

    _fit(net, steps, "paired", loss)
    return net


def _self_supervised(data: list[tuple[np.ndarray, np.ndarray]], steps: int, seed: int) -> nn.Module:
    """Measured maps alone (Noise2Void, Krull et al. 2019): samples that are replaced by a neighbour are to be foretold
    from what is around them."""
    net, rng = Unet(), np.random.default_rng([seed, 1])

    def loss() -> Tensor:
        x, _ = _batch(data, rng)
        hidden = (torch.from_numpy(rng.random((BATCH, 1, EDGE, EDGE))) < 0.03) & (x[:, 1:] > 0.5)
        shifted = torch.roll(x[:, :1], tuple(int(s) for s in rng.choice([-2, -1, 1, 2], 2)), (2, 3))
        seen = torch.where(hidden, shifted, x[:, :1])
        error = seen + net(torch.cat([seen, x[:, 1:]], 1)) - x[:, :1]
        return (error.square() * hidden).sum() / hidden.sum()

    _fit(net, steps, "self", loss)
    return net


def _unpaired(data: list[tuple[np.ndarray, np.ndarray]], steps: int, seed: int) -> nn.Module:
    """Measured maps, and true maps of other ground (adversarial, with the change kept small, as in regularised optimal
    transport): a critic must not tell the restored maps from true ones."""
    net, rng = Unet(), np.random.default_rng([seed, 2])
    critic = nn.Sequential(
        nn.Conv2d(1, 16, 4, 2), nn.LeakyReLU(0.2), nn.Conv2d(16, 32, 4, 2), nn.LeakyReLU(0.2), nn.Conv2d(32, 1, 4, 2)
    )
    judge = torch.optim.Adam(critic.parameters(), 4e-4, betas=(0.5, 0.9))
    half = len(data) // 2

    def loss() -> Tensor:
        x, _ = _batch(data[:half], rng)
        other, y = _batch(data[half:], rng)
        real = other[:, :1] + y
        made = x[:, :1] + net(x)
        judge.zero_grad()
        gap = (critic(real) - 1.0).square().mean() + (critic(made.detach()) + 1.0).square().mean()
        gap.backward()  # type: ignore[no-untyped-call]
        judge.step()
        return 0.1 * (critic(made) - 1.0).square().mean() + ((made - x[:, :1]) * x[:, 1:]).square().mean() * 0.1

    _fit(net, steps, "unpaired", loss)
    return net


def _onnx(net: nn.Module) -> bytes:
    size = {0: "batch", 2: "rows", 3: "columns"}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        path = Path(folder, "net.onnx")
        warnings.simplefilter("ignore")  # torch recommends its other exporter, which needs ten times as long
        torch.onnx.export(
            net.eval(), (torch.zeros(1, 2, EDGE, EDGE),), str(path), input_names=["map"], output_names=["added"],
            dynamic_axes={"map": size, "added": size}, opset_version=18, dynamo=False, verbose=False,
        )  # fmt: skip
        model = onnx.load(path)
    for part in (model.graph, *model.graph.node):  # stack traces that name files of the computer it ran on
        part.doc_string = ""
    return bytes(model.SerializeToString())
