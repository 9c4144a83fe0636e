"""Cleaning: what is left out of the data, what is taken out of a row, what is made harmless."""

from tunebench_jobs.data.clean.answers import check_answer, check_length
from tunebench_jobs.data.clean.cleaner import Cleaner, build_cleaner

__all__ = ["Cleaner", "build_cleaner", "check_answer", "check_length"]
