"""The quickstart as the README shows it, on a real model."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from make_tiny_run import run_tunebench

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

RUN = Path(__file__).parents[2] / "manifests" / "samples" / "quickstart.yaml"


def test_quickstart_shows_what_fine_tuning_buys(tmp_path: Path) -> None:
    """Fine-tuned beats un-tuned in valid answers and in wins; controls behave; no work twice."""
    store = tmp_path / "store"
    first = run_tunebench("run", str(RUN), "--store", str(store), "-o", "json", timeout=3500)
    assert first.returncode == 0, first.stderr
    began = time.monotonic()

    second = run_tunebench("run", str(RUN), "--store", str(store), "-o", "json")

    rows: dict[str, dict[str, Any]] = {
        row["name"]: row for row in json.loads(first.stdout)["leaderboard"]
    }
    (untuned,) = [row for row in rows.values() if row["kind"] == "Untuned"]
    tuned = rows["smollm2-135m-lora"]
    assert float(tuned["schemaValidPct"]) > float(untuned["schemaValidPct"])
    assert float(tuned["winRate"]["pct"]) > float(untuned["winRate"]["pct"])
    assert float(rows["self control"]["winRate"]["pct"]) == 0
    assert float(rows["null control"]["winRate"]["pct"]) < float(tuned["winRate"]["pct"])
    assert json.loads(second.stdout)["leaderboard"] == list(rows.values())
    assert time.monotonic() - began < 30
    again = run_tunebench("score", "quickstart", "--store", str(store), "-o", "json")
    (results,) = store.glob("score/*/results.json")
    assert again.stdout == results.read_text(), again.stderr
