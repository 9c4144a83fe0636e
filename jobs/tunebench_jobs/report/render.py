"""From all that is known of a run to the text of one HTML file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from tunebench_jobs.report import words
from tunebench_jobs.report.board import (
    build_board,
    build_changes,
    build_judge_grid,
    build_tool_grid,
    build_valid_rows,
)
from tunebench_jobs.report.costs import build_costs
from tunebench_jobs.report.embed import (
    build_policy,
    build_script,
    build_style,
    embed_code,
    pack,
)
from tunebench_jobs.report.material import Material
from tunebench_jobs.report.panel import (
    build_matrices,
    describe_kinship,
    format_coefficient,
    list_other_warnings,
)
from tunebench_jobs.report.published_2024 import load_published
from tunebench_jobs.report.questions import build_questions
from tunebench_jobs.report.samples import build_blocks, build_index
from tunebench_jobs.report.sources import build_sources
from tunebench_jobs.report.trainings import build_curves, build_training_rows

_TEMPLATE = "report.html"


def render_report(material: Material) -> str:
    """Render the report; the same material gives the same text."""
    script, style = build_script(), build_style()
    return (
        _build_environment()
        .get_template(_TEMPLATE)
        .render(
            script=embed_code(script),
            style=embed_code(style),
            policy=build_policy(script, style),
            index=pack(build_index(material)),
            blocks=_pack_blocks(material),
            **_build_views(material),
        )
    )


def _pack_blocks(material: Material) -> Iterator[str]:
    # One at a time: all texts at once would be in memory several times.
    return map(pack, build_blocks(material))


def _build_views(material: Material) -> dict[str, Any]:
    changes_axis, changes = build_changes(material)
    results = material.results
    return {
        "results": results,
        "warnings": list_other_warnings(results),
        "best": next((row for row in results.variants if row.kind == "FineTuned"), None),
        "comparisons": len(material.variants) * len(material.tasks) * len(results.judges),
        "board": build_board(material),
        "changes": changes,
        "changes_axis": changes_axis,
        "questions": build_questions(material),
        "tool_grid": build_tool_grid(material),
        "judge_grid": build_judge_grid(material),
        "valid_rows": build_valid_rows(material),
        "matrices": build_matrices(results),
        "training_rows": build_training_rows(material),
        "curves": build_curves(material),
        "sources": build_sources(material),
        "costs": build_costs(material),
        "published": load_published(),
        "files": material.files,
    }


def _build_environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tunebench_jobs.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=words.finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": words.format_number,
        "pct": words.format_pct,
        "signed": words.format_signed,
        "ends": words.format_ends,
        "signed_ends": words.format_signed_ends,
        "rank": words.format_rank,
        "usd": words.format_usd,
        "hours": words.format_hours,
        "kind": words.name_kind,
        "coefficient": format_coefficient,
        "kinship": describe_kinship,
    }
    environment.globals |= {"count": words.format_count, "samples": words.link_samples}
    return environment
