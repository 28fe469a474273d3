"""Pictures of a robot: what is seen is the robot on its ground, with the sky behind it."""

import numpy as np

from sim.physics.scene import PhysicsConfig
from sim.robots.load import load_robot
from sim.terrain.height_field import HeightField
from sim.view.moon import EARTH_DISTANCE
from sim.view.render import Renderer


def test_the_earth_is_in_the_sky_and_not_around_the_robot():
    flat = HeightField(np.zeros((2, 2)), 10.0, (-5.0, -5.0))
    renderer = Renderer(PhysicsConfig(), flat, 96, 72)
    robot = load_robot("go2")
    try:
        for x in (0.0, 20.0):
            state = np.array([x, 0.0, robot.standing_height, 1.0, 0.0, 0.0, 0.0, *robot.nominal_pose])
            picture = renderer.frame(state)
            away = renderer.data.mocap_pos[0] - state[:3]
            assert abs(np.linalg.norm(away) - EARTH_DISTANCE) < 1e-6
            assert picture[: len(picture) // 4].mean() < 40.0  # a black sky
            assert picture[-len(picture) // 4 :].mean() > 20.0  # above grey ground
    finally:
        renderer.close()
