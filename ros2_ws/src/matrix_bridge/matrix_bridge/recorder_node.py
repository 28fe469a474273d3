"""Records the graph's topics as they pass, byte by byte, into a log that ``lunar replay`` and ``ros2 bag`` open."""

from __future__ import annotations

import sys
from collections.abc import Callable

from matrix_bridge.graph import GRAPH
from matrix_bridge.node import ERROR, OK, RIG, WARN, BridgeNode, Health, Parameter, run
from matrix_bridge.places import check_same_pace, rig_setup
from matrix_bridge.qos import RECORD, RECORD_STATE
from matrix_hil.link import HostClock
from matrix_hil.log import Recorder
from matrix_hil.run.run_log import attachments, log_folder
from sim.errors import LunarError


class RecorderNode(BridgeNode):
    """Configure opens the log, activate records, cleanup closes it. A full disk ends the recording, not the rig."""

    parameters = (
        Parameter("log", "", "Folder for the log; below runs/hil, named after date and time, when empty."),
        Parameter("config", "", "YAML file of the rig, kept in the log; configs/hil/virtual.yaml when empty."),
        RIG,
        Parameter("policy", "", "Folder of the policy whose card is kept in the log."),
    )

    def __init__(self) -> None:
        super().__init__("recorder")
        self._recorder: Recorder | None = None
        self._before = 0

    def configure(self) -> None:
        """Open the log and listen."""
        cfg = rig_setup(self.value("config"), self.value("rig"))
        check_same_pace(cfg)
        self.clock = HostClock(cfg.pace)
        try:
            kept = attachments(cfg, self.value("policy") or cfg.policy)
        except OSError as error:
            raise LunarError(f"the policy's card cannot be read: {error}") from None
        self._recorder = Recorder(log_folder(self.value("log")), kept, self.epoch * 1e-9)
        for row in GRAPH.values():
            if row.log:
                qos = RECORD_STATE if row.qos == "state" else RECORD
                self.subscribe(row.name, self._writer(row.log, self._recorder), raw=True, qos=qos)

    def release(self) -> None:
        """Close the log."""
        if self._recorder is not None:
            self._recorder.close()
            self._recorder = None

    def health(self) -> Health:
        """Messages per second, and why recording stopped."""
        recorder = self._recorder
        assert recorder is not None
        rate, self._before = recorder.messages - self._before, recorder.messages
        values = {"log": recorder.path, "messages": recorder.messages, "messages per second": rate}
        if recorder.warning:
            return Health(ERROR, recorder.warning, values)
        return Health(WARN if self.active and not rate else OK, "recording" if self.active else "inactive", values)

    def _writer(self, topic: str, recorder: Recorder) -> Callable[[bytes], None]:
        def on_bytes(data: bytes) -> None:
            if self.active:
                recorder.write_cdr(topic, data, self.now())

        return on_bytes


def main(args: list[str] | None = None) -> int:
    """Entry of ``recorder_node``."""
    return run(RecorderNode, args)


if __name__ == "__main__":
    sys.exit(main())
