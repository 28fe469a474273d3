"""A robot that follows a plan: it stays on the way, changes policies at touch-down only, and arrives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from policy.play.config import PlayConfig
from policy.play.controls import Ground, Restart
from policy.play.session import Session
from policy.traverse.options import weights_of
from policy.traverse.plan import Plan, PlannedOption, PlannedSegment


@pytest.fixture(scope="module")
def plan() -> Plan:
    """Three segments of flat ground around a corner, the middle one by another policy."""
    options = [
        PlannedOption("dual", weights_of("dual").digest, "board", 7.0, 0.5, 0.2),
        PlannedOption("student_small", weights_of("student_small").digest, "mcu", 0.2, 0.4, 0.3),
    ]
    corners = [(1.0, 0.0), (2.5, 0.0), (4.0, 0.0), (4.0, 1.5)]
    segments = [
        PlannedSegment(a, b, k, 60.0, 3.0, 0.01, 0.02)
        for a, b, k in zip(corners[:-1], corners[1:], (0, 1, 0), strict=True)
    ]
    return Plan("flat", options=options, segments=segments)


@pytest.fixture
def session(plan: Plan, tmp_path: Path) -> Iterator[Session]:
    plan.save(tmp_path / "plan.yaml")
    with Session(PlayConfig(traverse=str(tmp_path / "plan.yaml"), port=0)) as started:
        yield started


def test_a_robot_follows_its_plan_and_begins_anew_when_it_is_put_down(session: Session, plan: Plan) -> None:
    robot, policy = session.robot, session.robot.policy
    assert robot.position.tolist() == [1.0, 0.0]
    names, loads, places = [], [], []
    for _ in range(round(25.0 / robot.dt)):
        loads.append(robot.loaded)
        session.tick()
        names.append(policy.folder.name)
        places.append(robot.position)
        if session.pilot is not None and session.pilot.arrived:
            break
    assert session.pilot is not None and session.pilot.arrived and "at the goal" in session.pilot.text
    assert np.hypot(*(robot.position - plan.points[-1])) < 0.6 and np.array(places)[:, 1].min() > -0.5
    changes = [k for k in range(1, len(names)) if names[k] != names[k - 1]]
    assert len(changes) == 2
    assert all(loads[k] and not loads[k - 1] for k in changes), "at touch-down"
    session.page.controls.actions.put(Restart())
    session.tick()
    assert session.pilot.segment == 0 and policy.folder.name == "dual" and np.hypot(*(robot.position - (1, 0))) < 0.1


def test_on_another_ground_the_user_steers(session: Session) -> None:
    session.tick()
    session.page.controls.actions.put(Ground("rough", 1))
    session.tick()
    assert session.pilot is None and session.robot.position.tolist() != [1.0, 0.0]
