"""Put a robot of your own on the Moon: any quadruped by its MJCF (docs/robots.md).

Run from the clone:  .venv/bin/python examples/own_robot.py path/to/robot.xml
Here the shipped Go2 carries a 2 kg instrument box; the environment is Gymnasium's.
"""

import sys
import tempfile

import gymnasium
import mujoco

import sim.envs  # registers LunarPronk-v0
from sim.physics.scene import PhysicsConfig
from sim.robots.load import robot_spec


def heavier_go2(folder: str) -> str:
    """Write a variant of the Go2 and return its path."""
    spec = robot_spec("go2")
    box = spec.body("base").add_body(name="instrument", pos=[0, 0, 0.1])
    box.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.08, 0.06, 0.04], mass=2.0, contype=0, conaffinity=0)
    path = f"{folder}/go2_with_box.xml"
    spec.compile()
    with open(path, "w", encoding="utf-8") as file:
        file.write(spec.to_xml())
    return path


with tempfile.TemporaryDirectory() as folder:
    robot = sys.argv[1] if len(sys.argv) > 1 else heavier_go2(folder)
    world = sim.envs.WorldConfig(physics=PhysicsConfig(robot=robot))
    env = gymnasium.make("LunarPronk-v0", config=world)
    observation, _ = env.reset(seed=0)
    for _ in range(100):
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample() * 0.05)
    print(f"{robot}: {env.unwrapped.world.physics.mass:.2f} kg, base {env.unwrapped.world.state.height[0]:.3f} m")
