"""What models answer: reading it, however broken, and writing the answer that people gave."""

from tunebench_jobs.answers.human import build_answer_yaml, build_human_describe_answer
from tunebench_jobs.answers.parse import ParsedAnswer, answer_text, parse_answer
from tunebench_jobs.answers.tolerant_yaml import parse_yaml_tolerant, strip_fences

__all__ = [
    "ParsedAnswer",
    "answer_text",
    "build_answer_yaml",
    "build_human_describe_answer",
    "parse_answer",
    "parse_yaml_tolerant",
    "strip_fences",
]
