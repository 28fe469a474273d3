"""Processes that train together take the steps that one with all robots takes, and start and stop together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from policy.networks.policy_file import load_actor
from policy.training import checkpoint
from policy.training.distributed import ALONE, Group
from tests.policy.training.update_worker import prepared

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("size", [1, 2, 3])
def test_every_card_of_the_deck_is_held_by_one_process(size):
    robots, steps = 5, 4
    # a sample's value says whose it is: robots stand side by side, process after process
    deck = torch.stack(
        [torch.arange(steps).repeat_interleave(robots * size), torch.arange(robots * size).repeat(steps)]
    )
    batch = torch.randperm(deck.shape[1])[:17]
    for rank in range(size):
        mine = deck[:, deck[1] // robots == rank]
        rows = Group(rank, size).cards(batch, robots)
        assert torch.equal(mine[:, rows], deck[:, batch][:, deck[1, batch] // robots == rank])


def test_an_update_of_two_processes_is_that_of_one_with_all_robots(tmp_path):
    subprocess.run(
        [*TORCHRUN, "-m", "tests.policy.training.update_worker", str(tmp_path / "two.pt")], check=True, timeout=200
    )
    two, one = checkpoint.read(tmp_path / "two.pt"), prepared(ALONE)
    before = [p.detach().clone() for p in one.policy.parameters()]
    one.train()
    assert two["learning_rate"] == one.lr != one.config.learning_rate
    for ours, theirs in ((one.policy, two["policy"]), (one.estimator.targets, two["targets"])):
        assert ours.state_dict().keys() == theirs.keys()
        for name, value in ours.state_dict().items():
            assert (value - theirs[name]).abs().max() < 1e-6, name
    moved = [(p - b).abs().max() for p, b in zip(one.policy.parameters(), before, strict=True)]
    assert min(moved) > 1e-4  # else the comparison would say nothing


def test_torchrun_trains_one_policy_and_stops_at_ctrl_c(tmp_path):
    out = tmp_path / "run"
    lunar = ["--no-python", sys.executable, "-c", "from matrix_hil.cli import main; main()", "train", "--out", str(out)]
    small = ["--world.num_envs", "8", "--ppo.rollout", "8", "--ppo.minibatch", "64", "--ppo.model.hidden", "[16]"]
    process = subprocess.Popen(
        [*TORCHRUN, *lunar, *small, "--steps", "1000000000"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 150
    while not (out / "progress.csv").exists() or (out / "progress.csv").stat().st_size == 0:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=90)
    assert printed.count(b"policy in") <= 1  # the leader alone reports
    document = checkpoint.read(out / checkpoint.NAME)
    states = document["processes"]
    assert document["steps"] % 16 == 0 and len(states["levels"]) == 2
    assert not torch.equal(states["world"][0], states["world"][1])  # each has its own robots
    assert not torch.equal(states["torch"][0], states["torch"][1])
    assert load_actor(out)[1].training["processes"] == 2
