"""The file of the report."""

from __future__ import annotations

from pathlib import Path

from tunebench_jobs.context import StageContext
from tunebench_jobs.files import save_text
from tunebench_jobs.report.collect import collect_material
from tunebench_jobs.report.render import render_report
from tunebench_jobs.score.outputs import Scored
from tunebench_jobs.score.results import REPORT_FILE


def save_report(scored: Scored, context: StageContext, folder: Path) -> str:
    """Write the report of a scored run and return its name; `context` has what stages left."""
    save_text(folder / REPORT_FILE, render_report(collect_material(scored, context)))
    return REPORT_FILE
