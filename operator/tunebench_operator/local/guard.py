"""Waits until the supervisor is gone, then kills what it left: `python -m ... TOKEN`."""

from __future__ import annotations

import signal
import sys

from tunebench_operator.local.processes import kill_children_of


def main() -> None:
    """Block on the pipe from the supervisor; it closes when that process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    said_goodbye = sys.stdin.buffer.read() == b"done"
    # Twice, because a process may have been starting another one at the first look.
    for _ in range(0 if said_goodbye else 2):
        kill_children_of(sys.argv[1])


if __name__ == "__main__":
    main()
