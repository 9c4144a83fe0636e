"""The dataset card: what a dataset holds, how it was made and what it cannot show."""

from __future__ import annotations

from tunebench_jobs.data.card.write import CARD_FILES, write_card

__all__ = ["CARD_FILES", "write_card"]
