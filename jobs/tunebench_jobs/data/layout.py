"""Names of the sets and of the files that hold them."""

from __future__ import annotations

TRAIN, EVAL = "train", "eval"
# For the stages of a run.
TRAIN_FILE = "train.parquet"
EVAL_FILE = "eval.jsonl"
# In place of it where pull requests are written, not tasks.
EVAL_ROWS_FILE = "eval.parquet"
DROPPED_FILE = "dropped.parquet"
MANIFEST_FILE = "manifest.json"
