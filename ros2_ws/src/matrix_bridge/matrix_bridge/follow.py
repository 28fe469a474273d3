"""The action ``follow_plan``: run the rig along the plan that it was configured with, and say how far it is."""

from __future__ import annotations

from typing import Any

from matrix_msgs.action import FollowPlan
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.task import Future

from matrix_bridge.graph import ACTIONS
from matrix_bridge.node import BridgeNode
from matrix_hil.run.loop import Loop
from matrix_hil.run.traverse import Guide

_PERIOD = 0.1  # s between feedbacks


class PlanServer:
    """Serves one goal at a time. What the plan asks of the robot the loop asks itself; here are ``run`` and ``hold``.

    Args:
        node: whose action it is.
        loop: operated.
        guide: who follows the plan in the loop.
    """

    def __init__(self, node: BridgeNode, loop: Loop, guide: Guide) -> None:
        self._node, self._loop, self._guide = node, loop, guide
        self._busy = False
        row = ACTIONS["follow_plan"]
        assert row.server == node.role
        self._server = ActionServer(
            node, FollowPlan, row.name, self._execute, goal_callback=self._accept,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )  # fmt: skip

    def destroy(self) -> None:
        """Take the action away."""
        self._server.destroy()

    def _accept(self, _: Any) -> GoalResponse:
        return GoalResponse.ACCEPT if self._node.active and not self._busy else GoalResponse.REJECT

    async def _execute(self, goal: Any) -> Any:
        node, loop, guide = self._node, self._loop, self._guide
        begin = node.now()
        done, message = loop.run(begin)
        if not done:
            goal.abort()
            return FollowPlan.Result(arrived=False, message=message)
        self._busy = True
        ended: Future = Future(executor=node.executor)

        def look() -> None:
            pilot, state, now = guide.pilot, loop.supervisor.state, node.now()
            goal.publish_feedback(FollowPlan.Feedback(
                segment=pilot.segment + 1, segments=len(guide.plan.segments), option=pilot.option.title,
                progress=pilot.progress, length=guide.plan.sum("length"), seconds=now - begin,
                seconds_expected=guide.plan.sum("seconds"),
            ))  # fmt: skip
            if state != "run" or pilot.arrived or goal.is_cancel_requested:
                if state == "run":
                    loop.hold(now)
                ended.set_result(pilot.arrived and state == "run")

        timer = node.timer(_PERIOD, lambda: None if ended.done() else look())
        try:
            arrived = await ended
        finally:
            node.destroy_timer(timer)
            self._busy = False
        text = "at the goal" if arrived else f"{loop.supervisor.state}: {loop.supervisor.reason}".rstrip(": ")
        if arrived:
            goal.succeed()
        elif goal.is_cancel_requested:
            goal.canceled()
        else:
            goal.abort()
        return FollowPlan.Result(arrived=arrived, message=text)
