"""Import this before a fork, so that a judge stage starts in a moment in each child."""

from __future__ import annotations

import tunebench_jobs.judge.stage
from tunebench_jobs.llm import load_litellm

STAGE = tunebench_jobs.judge.stage.run_judge
# Not a bare import, which would ask the network for prices.
LITELLM = load_litellm()
