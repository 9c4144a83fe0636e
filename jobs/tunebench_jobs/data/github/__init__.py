"""Merged pull requests out of the API of GitHub, kept in a journal so that none is asked twice."""

from tunebench_jobs.data.github.source import GitHubPulls, find_github_token, open_github

__all__ = ["GitHubPulls", "find_github_token", "open_github"]
