"""The log of a HIL run: MCAP files of ROS 2 messages that ``ros2 bag``, Foxglove and ``read_log`` open.

``topics`` is the table of what is logged and as which ROS 2 type; ``Recorder`` writes, ``read_log`` reads, also what a
killed or full machine left behind.
"""

from matrix_hil.log.reader import Log, Lost, Series, read_log
from matrix_hil.log.recorder import Recorder
from matrix_hil.log.topics import (
    TOPICS,
    Fault,
    FootContacts,
    ImuSample,
    JointSample,
    Pose,
    SyncStamp,
    WireBytes,
)

__all__ = [
    "TOPICS",
    "Fault",
    "FootContacts",
    "ImuSample",
    "JointSample",
    "Log",
    "Lost",
    "Pose",
    "Recorder",
    "Series",
    "SyncStamp",
    "WireBytes",
    "read_log",
]
