"""`python -m tunebench_jobs stage --config FILE`: run one stage of a run.

Exit codes: 0 done, 1 may be retried, 2 the user must act.
"""

from __future__ import annotations

import sys

from tunebench_jobs.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
