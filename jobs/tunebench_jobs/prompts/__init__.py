"""Prompt sets in PR-Agent's layout: loading, checking and rendering them."""

from tunebench_jobs.prompts.check import PromptSetReport, TextReport, check_prompt_set
from tunebench_jobs.prompts.load import builtin_prompts_dir, load_prompt_set
from tunebench_jobs.prompts.prompt_set import Messages, PromptSet, PromptTemplate
from tunebench_jobs.prompts.variables import (
    TaskVariables,
    asks_for_files,
    build_task,
    build_variables,
)

__all__ = [
    "Messages",
    "PromptSet",
    "PromptSetReport",
    "PromptTemplate",
    "TaskVariables",
    "TextReport",
    "asks_for_files",
    "build_task",
    "build_variables",
    "builtin_prompts_dir",
    "check_prompt_set",
    "load_prompt_set",
]
