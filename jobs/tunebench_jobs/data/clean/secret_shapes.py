"""Secrets that are known by their shape, found by the plugins of detect-secrets.

Each plugin is asked only about the surroundings of a text that its secrets contain, so most rows
cost no more than looking for those texts, and no pattern ever sees more than a few hundred
characters, whatever a stranger wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from detect_secrets.plugins.aws import AWSKeyDetector
from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
from detect_secrets.plugins.base import RegexBasedDetector
from detect_secrets.plugins.basic_auth import BasicAuthDetector
from detect_secrets.plugins.github_token import GitHubTokenDetector
from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
from detect_secrets.plugins.jwt import JwtTokenDetector
from detect_secrets.plugins.mailchimp import MailchimpDetector
from detect_secrets.plugins.npm import NpmDetector
from detect_secrets.plugins.openai import OpenAIDetector
from detect_secrets.plugins.private_key import PrivateKeyDetector
from detect_secrets.plugins.pypi_token import PypiTokenDetector
from detect_secrets.plugins.sendgrid import SendGridDetector
from detect_secrets.plugins.slack import SlackDetector
from detect_secrets.plugins.square_oauth import SquareOAuthDetector
from detect_secrets.plugins.stripe import StripeDetector
from detect_secrets.plugins.telegram_token import TelegramBotTokenDetector
from detect_secrets.plugins.twilio import TwilioKeyDetector


class VendorTokenDetector(RegexBasedDetector):  # type: ignore[misc]  # untyped library
    """Finds tokens with a fixed beginning that detect-secrets does not know yet."""

    secret_type = "Vendor Token"  # noqa: S105 - a kind of secret
    denylist = (
        re.compile(r"github_pat_[A-Za-z0-9_]{36,255}"),
        re.compile(r"xapp-\d-[A-Z0-9]{8,20}-\d{8,20}-[a-f0-9]{32,64}"),
        re.compile(r"AIza[0-9A-Za-z_-]{35}"),
        re.compile(r"hf_[A-Za-z0-9]{34,40}"),
        re.compile(r"npm_[A-Za-z0-9]{36}"),
        re.compile(r"sk-ant-[A-Za-z0-9_-]{24,200}"),
        re.compile(r"sk-(?:proj|svcacct)-[A-Za-z0-9_-]{40,200}"),
        re.compile(r"do[opr]_v1_[a-f0-9]{64}"),
        re.compile(r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"),
        re.compile(r"dapi[a-f0-9]{32}"),
        re.compile(r"AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}"),
    )


@dataclass(frozen=True)
class Shape:
    """What looks like a secret; `start` and `end` are its place in the text."""

    kind: str
    value: str
    start: int
    end: int


@dataclass(frozen=True)
class _Probe:
    """A plugin, texts that its secrets contain, and how far around one of them they reach.

    whole: Whether the secret has a fixed length, so that it ends where its word ends.
    exact: What follows the mark in full, where the plugin's own pattern would take too long.
    """

    plugin: Any
    marks: tuple[str, ...]
    reach: int
    before: int = 0
    whole: bool = False
    exact: re.Pattern[str] | None = None


# A token is read from the beginning of its word only.
_JWT = re.compile(r"(?<![\w-])eyJ[\w=-]{8,3000}\.eyJ[\w=-]{8,6000}", re.ASCII)
_TOKEN = re.compile(r"[\w.=+/-]{1,300}", re.ASCII)
_SHORT = 8
_BASIC_AUTH = BasicAuthDetector.secret_type


def iter_shapes(text: str) -> Iterator[Shape]:
    """Yield what looks like a secret; none of it is filtered yet."""
    for probe in _build_probes():
        for mark in probe.marks:
            place = text.find(mark)
            while place >= 0:
                yield from _ask(probe, mark, text, place)
                # Windows overlap by half, so each secret lies in one of them.
                place = text.find(mark, place + (len(mark) if probe.exact else probe.reach))


def _ask(probe: _Probe, mark: str, text: str, place: int) -> Iterator[Shape]:
    start, end = max(0, place - probe.before), place + 2 * probe.reach
    if probe.exact:
        match = probe.exact.match(text, place)
        if match is None:
            return
        start, end = match.span()
    window = text[start:end]
    for value in probe.plugin.analyze_string(window):
        # A login may repeat its user as its password.
        place = window.find(f":{value}@") + 1 or window.find(value or mark)
        shape = _locate(probe, value, mark, text, start + max(0, place))
        if shape:
            yield shape


def _locate(probe: _Probe, value: str, mark: str, text: str, found: int) -> Shape | None:
    """Say where a secret is, unless it is the middle of a word."""
    if len(value) < _SHORT:
        # Some plugins return a group of their pattern instead of the secret.
        match = _TOKEN.match(text, text.find(mark, found))
        value = match[0] if match else value
    end = found + len(value)
    kind = probe.plugin.secret_type
    if kind != _BASIC_AUTH and found and text[found - 1].isalnum():
        return None
    if probe.whole and text[end : end + 1].isalnum():
        return None
    return Shape(kind, value, found, end)


@cache
def _build_probes() -> tuple[_Probe, ...]:
    github = ("ghp_", "gho_", "ghu_", "ghs_", "ghr_")
    gitlab = ("glpat-", "gldt-", "glft-", "glsoat-", "glrt-", "GR1348941", "glcbt-", "glimt-")
    vendors = ("github_pat_", "xapp-", "AIza", "hf_", "npm_", "sk-ant-", "sk-proj-", "sk-svcacct-")
    others = ("doo_v1_", "dop_v1_", "dor_v1_", "shpat_", "shpca_", "shppa_", "shpss_", "dapi")
    return (
        _Probe(PrivateKeyDetector(), ("PRIVATE KEY", "PuTTY-User-Key-File-"), 40, before=40),
        # The plugin's second pattern, for secret keys, is left to the names they are assigned to.
        _Probe(AWSKeyDetector(), ("AKIA", "ASIA", "ABIA", "ACCA", "A3T"), 24, whole=True),
        _Probe(GitHubTokenDetector(), github, 60),
        _Probe(GitLabTokenDetector(), (*gitlab, "glptt-", "gloas-"), 100),
        _Probe(GitLabTokenDetector(), ("glagent-",), 1100),
        _Probe(SlackDetector(), ("xoxa-", "xoxb-", "xoxp-", "xoxo-", "xoxs-", "xoxr-"), 200),
        _Probe(SlackDetector(), ("hooks.slack.com/services/",), 200, before=10),
        _Probe(StripeDetector(), ("sk_live_", "rk_live_"), 40),
        _Probe(JwtTokenDetector(), ("eyJ",), 1, exact=_JWT),
        _Probe(BasicAuthDetector(), ("://",), 300),
        _Probe(AzureStorageKeyDetector(), ("AccountKey=",), 110),
        _Probe(NpmDetector(), (":_authToken=",), 60, before=100),
        _Probe(OpenAIDetector(), ("T3BlbkFJ",), 40, before=24),
        _Probe(PypiTokenDetector(), ("pypi-AgE",), 400),
        _Probe(SendGridDetector(), ("SG.",), 80),
        _Probe(SquareOAuthDetector(), ("sq0csp-",), 60),
        _Probe(MailchimpDetector(), ("-us",), 6, before=32, whole=True),
        _Probe(TelegramBotTokenDetector(), (":AA",), 40, before=10, whole=True),
        _Probe(TwilioKeyDetector(), ("AC", "SK"), 40, whole=True),
        _Probe(VendorTokenDetector(), (*vendors, *others, "AGE-SECRET-KEY-1"), 300),
    )
