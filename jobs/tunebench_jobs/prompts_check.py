"""`tunebench prompts check`: load a prompt set and render all of it for a made-up pull request."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tunebench_jobs.failures import run_tool
from tunebench_jobs.prompts import PromptSetReport, TextReport, check_prompt_set


def main(arguments: Sequence[str]) -> int:
    """Print what the prompt set holds and return the exit code."""
    parser = argparse.ArgumentParser(prog="tunebench prompts check", description=__doc__)
    parser.add_argument("directory", type=Path, help="folder of TOML files in PR-Agent's layout")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    options = parser.parse_args(arguments)

    def check() -> str:
        report = check_prompt_set(options.directory)
        as_json = options.output == "json"
        return json.dumps(asdict(report), indent=1) if as_json else _build_text(report)

    return run_tool(check, options.output)


def _build_text(report: PromptSetReport) -> str:
    lines = [
        f"prompt set {report.name}: renders",
        f"  layout   {report.format}",
        f"  licence  {report.licence or 'not given'}",
        f"  sha256   {report.sha256}",
        f"  diff     {', '.join(f'{name} {value}' for name, value in report.diff.items())}",
    ]
    lines += [_build_line(str(tool), text) for tool, text in report.tools.items()]
    if report.evaluate:
        lines.append(_build_line("evaluate", report.evaluate))
    else:
        lines.append("  evaluate is absent: LLM judges cannot be asked with this set")
    if report.quality:
        lines.append(_build_line("quality", report.quality))
    return "\n".join(lines)


def _build_line(name: str, text: TextReport) -> str:
    variables = ", ".join(text.variables)
    return f"  {name:<8} {text.scaffold_characters} characters without the diff; reads {variables}"
