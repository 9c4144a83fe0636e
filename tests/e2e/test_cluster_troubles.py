"""What is wrong with a run, as `kubectl describe` alone tells it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from make_cluster_run import Bench
from space import Space

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]


def place_on(pool: str) -> dict[str, Any]:
    """Return the part of a run that has its only model trained in a pool, and nothing served."""
    return {"resources": {"pool": pool}, "evaluateUntuned": "Disabled"}


def test_describe_says_what_is_wrong(make_space: Callable[[str], Space], bench: Bench) -> None:
    """Each cause has its reason, the cluster's own words and a remedy; all at once."""
    space = make_space("troubles")
    absent = [bench.judge_spec | {"secretRef": {"name": "no-such-secret", "key": "KEY"}}]
    runs = {
        "image": bench.place(space, "image", model=place_on("no-image"), seed=1),
        "node": bench.place(space, "node", model=place_on("nowhere"), seed=2),
        "memory": bench.place(space, "memory", model=place_on("small"), seed=3, retries=0),
        "pool": bench.place(space, "pool", model=place_on("no-such-pool"), seed=4),
        "secret": bench.place(space, "secret", judges=absent, seed=5),
        "claim": bench.place(space, "claim", storage={"uri": "pvc://no-such-claim/x"}, seed=6),
    }
    told = {
        "image": ("ImagePullFailed", "no-such-image", "imagePullSecrets"),
        "node": ("Unschedulable", "node affinity/selector"),
        "memory": ("OutOfMemory", "raise the pool's memory"),
        "pool": ("InvalidSpec", "must be one of default"),
        "secret": ("MissingCredential", "no-such-secret"),
        "claim": ("MissingClaim", "no-such-claim"),
    }
    for manifest in runs.values():
        space.kubectl("apply", "--filename=-", text=manifest)

    for name, words in told.items():
        space.wait(
            lambda name=name, words=words: all(
                word in space.kubectl("describe", "brun", name) for word in words
            ),
            f"{', '.join(words)} in what describes {name}",
            run=name,
            seconds=300,
        )
        events = space.kubectl("events", "--for", f"benchmarkrun/{name}", "--types=Warning")
        # What has told its trouble takes no more of the node.
        space.kubectl("delete", "brun", name, "--wait=false")

        assert words[0] in events
