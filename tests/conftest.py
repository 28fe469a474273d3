"""For all tests: small networks are fastest on one thread, and on a busy machine by far."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports torch; processes that tests start have it too
