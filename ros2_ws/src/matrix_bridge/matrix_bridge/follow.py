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
_STANDING = ("armed", "hold")


class PlanServer:
    """Serves one goal at a time. What the plan asks of the robot the loop asks itself; here are ``run`` and ``hold``.

    Args:
        node: whose action it is.
        loop: operated.
        guide: who follows the plan in the loop.
    """

    def __init__(self, node: BridgeNode, loop: Loop, guide: Guide) -> None:
        self._node, self._loop, self._guide = node, loop, guide
        self._timer: Any = None  # of the goal that is followed
        row = ACTIONS["follow_plan"]
        assert row.server == node.role
        self._server = ActionServer(
            node, FollowPlan, row.name, self._execute, goal_callback=self._accept,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )  # fmt: skip

    def destroy(self) -> None:
        """Take the action away; nobody hears the end of a goal that is followed."""
        self._rest()
        self._server.destroy()

    def _refusal(self) -> str:
        """Why no goal can be followed now; empty when one can."""
        state = self._loop.supervisor.state
        if not self._node.active:
            return "the node is not active"
        if self._timer is not None:
            return "the plan is being followed already"
        return "" if state in _STANDING else f"the rig is in '{state}'; it must be armed or hold"

    def _accept(self, _: Any) -> GoalResponse:
        if why := self._refusal():
            self._node.get_logger().warning(f"follow_plan is refused: {why}")
        return GoalResponse.REJECT if why else GoalResponse.ACCEPT

    async def _execute(self, goal: Any) -> Any:
        if why := self._refusal():  # another goal was accepted just before
            goal.abort()
            return FollowPlan.Result(message=why)
        ended: Future = Future(executor=self._node.executor)
        began: tuple[float, int] | None = None  # s and cycle in which the rig began to run

        def look() -> None:
            nonlocal began
            loop, now = self._loop, self._node.now()
            state, cancelled = loop.supervisor.state, goal.is_cancel_requested
            assert loop.last is not None
            if ended.done():
                return
            if began is None and state in _STANDING and not cancelled:
                if loop.stand_left(now) <= 0.0 and loop.run(now)[0]:
                    began = now, loop.last.number
            elif began is None or state != "run" or cancelled:
                ended.set_result(False)
            elif loop.last.number > began[1]:  # until then the guide is where the last run left it
                goal.publish_feedback(self._feedback(now - began[0]))
                if self._guide.pilot.arrived:
                    ended.set_result(True)

        self._timer = self._node.timer(_PERIOD, look)
        arrived = await ended
        self._rest()
        if self._loop.supervisor.state == "run":
            self._loop.hold(self._node.now())
        state, reason = self._loop.supervisor.state, self._loop.supervisor.reason
        if arrived:
            goal.succeed()
        elif goal.is_cancel_requested:
            goal.canceled()
        else:
            goal.abort()
        text = f"{state}: {reason}" if reason else state
        return FollowPlan.Result(arrived=arrived, message="at the goal" if arrived else text)

    def _rest(self) -> None:
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None

    def _feedback(self, seconds: float) -> Any:
        pilot, plan = self._guide.pilot, self._guide.plan
        return FollowPlan.Feedback(
            segment=pilot.segment + 1, segments=len(plan.segments), option=pilot.option.title,
            progress=pilot.progress, length=plan.sum("length"), seconds=seconds,
            seconds_expected=plan.sum("seconds"),
        )  # fmt: skip
