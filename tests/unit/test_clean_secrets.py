"""Secrets are found by kind wherever a prompt may show them; what only looks like one passes."""

from __future__ import annotations

from random import Random

import pytest
from make_pulls import make_pull
from plant_faults import EXACT_SECRETS, HARMLESS, NAMED_SECRETS, plant_line, plant_secret

from tunebench_jobs.data.clean.secret_names import is_random
from tunebench_jobs.data.clean.secrets import find_secret, hide_texts
from tunebench_jobs.data.drops import Finding, RowDrop

TURNS = 20


def draw(kind: str) -> str:
    """Return a secret of an exact kind."""
    return EXACT_SECRETS[kind](Random(kind))  # noqa: S311 - no secret


@pytest.mark.parametrize("kind", EXACT_SECRETS)
def test_each_exact_kind_is_found(kind: str) -> None:
    """In added and removed lines, however it is written."""
    random = Random(kind)  # noqa: S311 - no secret

    for _ in range(TURNS):
        finding = find_secret(plant_secret(make_pull(1), kind, random))

        assert finding is not None
        assert finding.reason is RowDrop.SECRET


@pytest.mark.parametrize("kind", NAMED_SECRETS)
def test_random_values_of_telling_names_are_found(kind: str) -> None:
    """By chance a random value may look like words, so nearly all are."""
    random = Random(kind)  # noqa: S311 - no secret
    found = [find_secret(plant_secret(make_pull(1), kind, random)) for _ in range(10 * TURNS)]

    assert sum(one is not None for one in found) >= 0.95 * len(found)


@pytest.mark.parametrize("kind", HARMLESS)
def test_what_only_looks_like_a_secret_passes(kind: str) -> None:
    """Examples, templates, digests and code that handles secrets are no secrets."""
    random = Random(kind)  # noqa: S311 - no secret

    for _ in range(TURNS):
        assert find_secret(plant_line(make_pull(1), HARMLESS[kind](random), random)) is None


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({"title": "Use {}"}, id="title"),
        pytest.param({"description": "It was\n{}\nbefore."}, id="description"),
        pytest.param({"commits": ["Add", "Drop {}"]}, id="commit"),
        pytest.param({"branch": "try-{}"}, id="branch"),
        pytest.param({"files": [{"path": "{}.txt", "patch": "@@ -1 +1 @@\n-a\n+b"}]}, id="path"),
        pytest.param(
            {"files": [{"path": "a", "patch": "@@ -1,2 +1,2 @@\n {}\n-a\n+b"}]}, id="context"
        ),
    ],
)
def test_secrets_are_found_in_every_text(columns: dict[str, object]) -> None:
    """Whatever a prompt shows of a row may be learnt."""
    token = draw("GitHub token")

    def fill(value: object) -> object:
        if isinstance(value, list):
            return [fill(entry) for entry in value]
        if isinstance(value, dict):
            return {key: fill(entry) for key, entry in value.items()}
        return str(value).replace("{}", token)

    finding = find_secret(make_pull(1, **{name: fill(value) for name, value in columns.items()}))

    assert finding is not None
    assert token not in finding.detail or columns.keys() == {"files"}


def test_finding_names_kind_and_place_and_not_the_secret() -> None:
    """The report on dropped rows must not spread what they were dropped for."""
    token = draw("Stripe key")
    finding = find_secret(plant_line(make_pull(1), f"key = '{token}'", Random(1)))  # noqa: S311

    assert finding == Finding(RowDrop.SECRET, "Stripe Access Key in `a.py`")


def test_files_that_hold_secrets_only_are_known_by_name() -> None:
    """Whatever their text is."""
    patch = "@@ -1 +1 @@\n-a\n+b"

    assert find_secret(make_pull(1, files=[{"path": "etc/.htpasswd", "patch": patch}]))
    assert not find_secret(make_pull(1, files=[{"path": "src/htpasswd.py", "patch": patch}]))


def test_secret_outside_of_the_change_hides_the_whole_text() -> None:
    """The diff can be learnt; context that a renderer would add to it cannot."""
    clean = {"path": "a.py", "patch": "@@ -1 +1 @@\n-a\n+b", "new_text": "b", "old_text": "a"}
    dirty = {**clean, "path": "b.py", "old_text": f"a\n{draw('private key')}"}
    pr = make_pull(1, files=[clean, dirty])
    hidden = hide_texts(pr)

    assert find_secret(pr) is None
    assert hidden.files[0] == pr.files[0]
    assert (hidden.files[1].old_text, hidden.files[1].new_text) == (None, None)
    assert hidden.files[1].patch == pr.files[1].patch


def test_line_that_is_marked_passes() -> None:
    """By the mark of detect-secrets, on its own line only."""
    token = draw("GitHub token")
    marked = f"key = '{token}'  # pragma: allowlist secret"

    assert find_secret(plant_line(make_pull(1), marked, Random(1))) is None  # noqa: S311
    assert find_secret(plant_line(make_pull(1), f"{marked}\nk = '{token}'", Random(1)))  # noqa: S311


def test_value_without_quotes_counts_in_settings_only() -> None:
    """In code it would be an expression."""
    value = NAMED_SECRETS["hexadecimal"](Random(1))  # noqa: S311 - no secret
    patch = f"@@ -0,0 +1 @@\n+SECRET_KEY={value}"

    for path in (".env", "conf/app.yaml", "Dockerfile", "run.sh"):
        assert find_secret(make_pull(1, files=[{"path": path, "patch": patch}]))
    assert not find_secret(make_pull(1, files=[{"path": "a.py", "patch": patch}]))


@pytest.mark.parametrize(
    "words",
    [
        "correct_horse_battery_staple",
        "AbstractSingletonProxyFactory2",
        "https-only-cookie-name-v2",
        "sha256WithRSAEncryption",
        "my.settings.SECRET_KEY_NAME",
        "0000000000000000000000000000",
    ],
)
def test_words_are_not_random(words: str) -> None:
    """Names in code are long and have digits, but they are read as words."""
    assert not is_random(words)
