"""``lunar eval``: the suites are what they say, trials are recorded as they happened, and results come out as data."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from matrix_hil.cli import main as lunar
from policy.evaluation.cli import main
from policy.evaluation.evaluate import evaluate
from policy.evaluation.metrics import summarise
from policy.evaluation.pictures import ground_along
from policy.evaluation.report import print_table
from policy.evaluation.suites import ALL, load_suite, suite_names, world_for
from policy.evaluation.trials import run_trials
from policy.networks.actor import ActorOutput
from policy.networks.policy_file import ZOO
from policy.runtime.card import ESTIMATES, Card
from sim.envs.world import PronkWorld
from sim.errors import LunarError
from sim.robots.identity import ROBOTS
from sim.spec.gravity import MOON
from sim.spec.observation import ScanGrid
from sim.terrain.generators import make_terrain

PRONK = ZOO / "pronk"


def world_of(name: str, robots: int, seed: int = 1000) -> PronkWorld:
    cfg = world_for(load_suite(name), Card.load(PRONK / "card.json"), robots)
    return PronkWorld(cfg, seed, restart=False)


class Puppet(nn.Module):
    """Stands still and estimates what ``believe`` says."""

    def __init__(self, believe=lambda: torch.zeros(0)) -> None:
        super().__init__()
        self.believe = believe
        self.seen: list[int] = []

    def forward(self, observation: torch.Tensor) -> ActorOutput:
        n = len(observation)
        self.seen.append(observation.shape[1])
        nothing = torch.zeros(n, 12)
        return ActorOutput(nothing, nothing, self.believe().expand(n, -1), torch.zeros(n, 0), torch.zeros(n, 0))


def test_suites_ask_for_the_same_under_the_same_noise():
    suites = {name: load_suite(name) for name in [*ALL, "rough"]}
    flat = suites["flat"].world
    assert flat.commands.apex_gain == (0.15, 0.40) and flat.commands.period == 0.0 and flat.resets.air_fraction == 0.0
    for suite in suites.values():
        assert suite.duration == 20.0 or suite is suites["recover"]
        world = suite.world
        assert suite.about and world.commands == flat.commands
        assert world.noise == flat.noise or suite is suites["sensors"]
        assert world.resets == flat.resets or suite is suites["recover"]
        assert world.maps == (1 if world.terrain.kind in ("flat", "rough") else 8)


def test_the_gravity_suite_spans_its_range_and_tells_the_parts_apart():
    world = world_of("gravity", 256)
    trials = run_trials(Puppet(), world, 0.5)
    assert trials.gravity.min() == pytest.approx(0.85, abs=0.05)
    assert trials.gravity.max() == pytest.approx(3.7, abs=0.05)
    parts = summarise(trials)["by_gravity"]
    assert sum(part["robots"] for part in parts) == 256 and min(part["robots"] for part in parts) > 40
    assert parts[0]["gravity"][0] == pytest.approx(trials.gravity.min())


def test_the_payload_suite_loads_robots_by_up_to_three_kilograms():
    world = world_of("payload", 32)
    world.reset()
    for _ in range(200):
        world.step(torch.zeros(32, 12))
    load = world.physics.foot_force[:, -1].sum(1) / MOON - world.physics.mass  # of standing robots
    assert load.min() > -0.3 and load.max() < 3.3
    assert load.max() - load.min() > 2.0


def test_the_rim_suite_is_no_steeper_than_a_motion_platform():
    world = load_suite("rim").world
    bare = replace(world.terrain, rocks=type(world.terrain.rocks)(coefficient=0.0) if world.terrain.rocks else None)
    terrain = make_terrain(bare, 1000)
    x = np.linspace(-20.0, 20.0, 400)
    x, y = np.meshgrid(x, x)
    slope = np.degrees(np.arctan(np.hypot(*(
        (terrain.height(x + dx, y + dy) - terrain.height(x - dx, y - dy)) / 0.4 for dx, dy in ((0.2, 0.0), (0.0, 0.2))
    ))))  # fmt: skip
    assert 10.0 < np.percentile(slope, 99) < 15.0


def test_pushes_come_in_their_phase_and_change_momentum_by_their_impulse():
    world = world_of("push", 64)
    low, high = world.cfg.pushes.impulse
    world.reset()
    given = {world.pushes.IN_STANCE: 0, world.pushes.IN_FLIGHT: 0}
    last = torch.zeros(64, dtype=torch.uint8)
    for k in range(300):
        if k % 60 == 0:
            world.physics.reset(*lifted(world))  # what stands is never pushed in flight
        in_flight, before = world.state.in_flight, world.physics.com_velocity[:, -1, :2].clone()
        world.step(torch.zeros(64, 12))
        kind = world.pushes.kind
        hit = kind > 0
        assert torch.equal(kind[hit] == world.pushes.IN_FLIGHT, in_flight[hit])
        assert not (kind[hit] == last[hit]).any()  # by turns
        last[hit] = kind[hit]
        for which in given:
            given[which] += int((kind == which).sum())
        free = hit & in_flight & world.state.in_flight
        # sensors lag one of the step's four physics steps
        impulse = world.physics.mass * (world.physics.com_velocity[free, -1, :2] - before[free]).norm(dim=1) / 0.75
        assert ((impulse > 0.99 * low) & (impulse < 1.01 * high)).all()
    assert min(given.values()) > 30


def lifted(world: PronkWorld):
    qpos = world.physics.qpos.clone()
    qpos[:, 2] = 0.7
    qpos[:, 3:7] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    qpos[:, 7:] = world.nominal
    return world.everyone, qpos, torch.zeros(len(qpos), 18)


def test_estimates_are_held_against_the_state_that_was_seen():
    world = world_of("joints", 16)

    def truth() -> torch.Tensor:
        s = world.state
        return torch.cat([s.velocity, s.com_height[:, None], s.gravity[:, None], s.joint_rub], dim=1)

    names = tuple(ESTIMATES)
    quantities = ("vz", "vxy", "height", "gravity", "joint_friction", "joint_damping")
    exact = summarise(run_trials(Puppet(truth), world, 1.0, estimates=names))
    assert all(exact[f"{name}_rmse"] == 0.0 for name in quantities)
    world = world_of("joints", 16)
    off = torch.tensor([0.3, 0.4, -0.2, 0.05, 0.1, -0.06, 0.7])
    wrong = summarise(run_trials(Puppet(lambda: truth() + off), world, 1.0, estimates=names))
    of = [wrong[f"{name}_rmse"] for name in quantities]
    assert of == pytest.approx([0.2, 0.5, 0.05, 0.1, 0.06, 0.7], abs=1e-6)


def test_a_policy_that_sees_is_fed_the_scan_of_its_card():
    card = Card.load(ZOO / "pronk" / "card.json")
    seeing = replace(card, observation=replace(card.observation, scan=ScanGrid()))
    for shown, size in ((card, card.observation.size), (seeing, card.observation.size + 152)):
        puppet = Puppet()
        run_trials(puppet, PronkWorld(world_for(load_suite("flat"), shown, 4), 0), 0.1)
        assert set(puppet.seen) == {size}


def test_robots_that_stand_make_no_hop_and_spend_little():
    result = summarise(run_trials(Puppet(), world_of("flat", 16), 3.0))
    assert result["survival"] == 1.0 and result["hops"] == 0 and result["flight_fraction"] < 0.1
    assert result["power_w"] < 1.0 and result["cost_of_transport"] > 0.0
    assert np.isnan(result["apex_gain"]) and np.isnan(result["peak_force_lunar_bw"])


def test_who_falls_is_counted_until_then_and_not_after():
    world = world_of("flat", 16)

    class Tripped(Puppet):
        def forward(self, observation):
            if len(self.seen) == 50:
                _, qpos, qvel = lifted(world)
                qpos[:, 3:7] = torch.tensor([0.7071, 0.7071, 0.0, 0.0])  # on its side
                world.physics.reset(world.everyone[:8], qpos[:8], qvel[:8])
            return super().forward(observation)

    trials = run_trials(Tripped(), world, 3.0)
    assert not trials.survived[:8].any() and trials.survived[8:].all()
    ends = trials.alive.sum(axis=0)
    assert (ends[:8] > 51).all() and (ends[:8] < 110).all() and (ends[8:] == 150).all()  # on the ground, not in flight
    assert (np.diff(trials.alive.astype(int), axis=0) <= 0).all()  # nobody rises again
    assert summarise(trials)["survival"] == 0.5
    first = world_of("flat", 16)
    first.reset()
    np.testing.assert_array_equal(trials.command, first.command)  # not the next trials'


def test_the_shipped_policy_pronks_and_one_seed_gives_one_result():
    seen = []
    first = evaluate(PRONK, "flat", robots=16, duration=6.0, tick=lambda *at: seen.append(at))
    again = evaluate(PRONK, ["flat"], robots=16, duration=6.0)
    for name, value in first["flat"].items():
        assert value == pytest.approx(again["flat"][name], nan_ok=True, abs=0.0)
    assert seen == [("flat", 300)] * 300
    flat = first["flat"]
    assert flat["survival"] == 1.0 and flat["pronks"] > 8.0
    # lifting M by the apex gain takes at least M g h a hop
    assert flat["power_w"] > flat["hops"] / 20.0 * 15.2 * 1.62 * flat["apex_gain"]
    assert 0.2 < flat["torque_share_max"] <= 1.0 and flat["speed_share_max"] < 1.2


def test_names_of_suites():
    assert suite_names("all") == list(ALL) and suite_names("flat, mare") == ["flat", "mare"]
    for wrong, message in (("mars", "suite 'mars' is unknown"), ("flat,all", "named twice")):
        with pytest.raises(LunarError, match=message):
            suite_names(wrong)


def test_ones_own_ground_and_robot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site.yaml").write_text("about: Mine.\nduration: 0.2\nworld: {terrain: {kind: my.yaml}}\n")
    (tmp_path / "my.yaml").write_text("slope: {angle: 3.0}\nsize: 8.0\n")
    text = (ROBOTS / "go2" / "go2.xml").read_text()
    (tmp_path / "my.xml").write_text(text.replace('mass="6.921"', 'mass="9.0"'))
    assert list(evaluate("pronk", "site.yaml", robots=2)) == ["site"]
    masses = []
    monkeypatch.setattr("policy.evaluation.evaluate.run_trials", lambda actor, world, *_: masses.append(
        (world.physics.mass, world.physics.terrain.is_flat)))  # fmt: skip
    monkeypatch.setattr("policy.evaluation.evaluate.summarise", lambda trials: {})
    for changes in ({}, {"robot": "my.xml"}, {"terrain": "my.yaml"}, {"terrain": "mare"}):
        evaluate("pronk", robots=2, **changes)
    (go2, flat), heavy, sloping, mare = masses
    assert flat and heavy == (pytest.approx(go2 + 9.0 - 6.921, abs=1e-3), True)
    assert sloping == mare == (go2, False)
    for options in (["--suite", "site.yaml"], ["--robot", "my.xml"]):
        with pytest.raises(LunarError, match="--save"):
            main(["--policy", "pronk", "--save", *options])


def test_the_ground_of_a_video_is_the_ground_near_the_robot():
    terrain = make_terrain(load_suite("craters").world.terrain, 0)
    way = np.array([[-3.0, 2.0], [1.0, 4.0]])
    near = ground_along(terrain, way)
    x0, x1, y0, y1 = near.extent
    assert x0 <= -9.8 and x1 >= 7.8 and y0 <= -4.8 and y1 >= 10.8 and near.heights.size < 241**2
    at = near.origin[0] + near.resolution * np.array([3, 70]), near.origin[1] + near.resolution * np.array([5, 40])
    np.testing.assert_allclose(near.height(*at), terrain.height(*at), atol=1e-6)
    corner = ground_along(terrain, np.array([[23.9, -23.9]]))
    assert corner.extent[1] <= terrain.extent[1] + 1e-6 and corner.height(23.0, -23.0) == pytest.approx(
        terrain.height(23.0, -23.0), abs=1e-6
    )


def test_the_command_writes_data_card_page_pictures_and_videos(tmp_path, capsys):
    folder, out, data = tmp_path / "policy", tmp_path / "pages", tmp_path / "eval.json"
    shutil.copytree(PRONK, folder)
    lunar([
        "eval", "--policy", str(folder), "--suite", "flat,push", "--quick", "--save", "--json", str(data),
        "--out", str(out), "--video", "0.4",
    ])  # fmt: skip
    document = json.loads(data.read_text())
    results = document["results"]
    assert document["command"] == "eval" and document["seed"] == 1000 and set(results) == {"flat", "push"}
    for key in (
        "survival", "survival_low", "hops", "pronks", "longest_run", "flight_fraction", "apex_gain", "apex_error",
        "velocity_error", "yaw_rate_error", "touchdown_tilt_deg", "liftoff_spread_ms", "touchdown_spread_ms",
        "peak_force_lunar_bw", "peak_force_lunar_bw_p95", "power_w", "cost_of_transport", "torque_share_p95",
        "speed_share_max", "power_share_p95", "vz_rmse", "vxy_rmse", "height_rmse", "vz_rmse_touchdown",
        "vxy_rmse_touchdown", "height_rmse_touchdown",
    ):  # fmt: skip
        assert key in results["flat"], key
    assert results["flat"]["vz_rmse"] is None  # this policy estimates nothing
    assert results["push"]["pushes_flight"] > 0
    printed = capsys.readouterr().out
    assert "apex_error, m " in printed and "torque_share" not in printed and "more metrics with --all" in printed
    print_table(results, Console(width=80), every=True)
    printed = capsys.readouterr().out
    assert "torque_share_p95, of limit" in printed and "velocity_error, m/s" in printed and "--all" not in printed
    card = Card.load(folder / "card.json")
    assert card.metrics["push"]["hops"] == pytest.approx(results["push"]["hops"], rel=1e-3)
    assert "vz_rmse" not in card.metrics["flat"]
    page = (out / "index.html").read_text()
    for name in ("flat", "push"):
        assert (out / f"{name}.png").stat().st_size > 10_000 and f'src="{name}.png"' in page
        if (out / f"{name}.mp4").is_file():  # needs EGL
            assert imageio_ffmpeg.count_frames_and_secs(str(out / f"{name}.mp4"))[0] == 10
        else:
            assert "no video" in page
