"""What models answer: reading it, however broken, and writing the answer that people gave."""

from tunebench_jobs.answers.human import build_human_describe_answer
from tunebench_jobs.answers.parse import ParsedAnswer, answer_text, parse_answer
from tunebench_jobs.answers.tolerant_yaml import parse_yaml_tolerant

__all__ = [
    "ParsedAnswer",
    "answer_text",
    "build_human_describe_answer",
    "parse_answer",
    "parse_yaml_tolerant",
]
