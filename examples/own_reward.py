"""Train with a reward term of your own: feet that are drawn up in flight, so that they clear rocks.

Run from the clone:  .venv/bin/python examples/own_reward.py --steps 10200000 --out runs/high_feet
"""

import sys
from dataclasses import replace

from torch import Tensor

from policy.training.config import TrainConfig
from policy.training.train import run
from sim.config import parse
from sim.mdp.state import State
from sim.tasks.config import Shaping
from sim.tasks.pronk import reward


@reward
def foot_clearance(s: State, p: Shaping) -> Tensor:
    """In flight, mean height of the feet above the ground, m."""
    return s.in_flight * s.foot_height.mean(1)


def main() -> None:
    """Add the term to the shipped configuration and train."""
    cfg = parse(TrainConfig, sys.argv[1:], "own_reward", default="train/pronk.yaml")
    world = replace(cfg.world, rewards={**cfg.world.rewards, "foot_clearance": 1.0})
    print(run(replace(cfg, world=world), "examples/own_reward.py"))


if __name__ == "__main__":
    main()
