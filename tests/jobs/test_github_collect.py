"""Pull requests come from a server that behaves like GitHub's: all of them, once, within limits."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from github_collecting import FAST, TOKEN, collect, list_merged
from github_server import Fault, GitHubServer
from github_world import FakePull, FakeRepository, make_moment, make_repository

from tunebench_api.contract import PreflightConfig
from tunebench_api.v1alpha1 import GitHubSource
from tunebench_jobs.data.github import GitHubPlace, open_github
from tunebench_jobs.data.github.client import GitHubClient
from tunebench_jobs.data.github.search import find_repositories, parse_results
from tunebench_jobs.errors import InputError, RetryableError
from tunebench_jobs.preflight import check_sources

pytestmark = pytest.mark.jobs


def test_a_row_has_all_that_github_tells(
    github: GitHubServer, shop: FakeRepository, tmp_path: Path
) -> None:
    """Title, body, branch, author, moments, commit, commits, files, languages and licence."""
    shop.parent = "upstream/shop"
    _, rows = collect(github, tmp_path)

    assert [row.id for row in rows] == list_merged(shop)
    newest = rows[0]
    assert newest.title == "Change 29"
    assert newest.description == "It was not counted."
    assert (newest.branch, newest.author) == ("topic-29", "ann")
    assert newest.merged_at == make_moment(29)
    assert newest.commit.endswith("1d")
    assert newest.commits == ("Count",)
    assert newest.files[0].patch == "@@ -1 +1 @@\n-a = 0\n+a = 29"
    assert newest.languages == {"Python": 1000, "C": 10}
    assert (newest.license, newest.fork_of) == ("MIT", "upstream/shop")


def test_a_second_run_asks_for_what_is_new_only(
    github: GitHubServer, shop: FakeRepository, tmp_path: Path
) -> None:
    """Nothing new costs nothing; a new pull request costs its own requests, and the list's."""
    collect(github, tmp_path)
    github.asked.clear()
    again, rows = collect(github, tmp_path)
    assert [row.id for row in rows] == list_merged(shop)
    assert github.count("", counted=True) == 0
    assert again.usage.not_modified == 3

    github.asked.clear()
    shop.pulls.append(FakePull(31, make_moment(500), make_moment(500), title="New"))
    shop.pulls[0].title, shop.pulls[0].updated_at = "Written anew", make_moment(501)
    _, rows = collect(github, tmp_path)

    assert [row.id for row in rows] == list_merged(shop)
    assert {row.title for row in rows} >= {"New", "Written anew"}
    assert github.count("", counted=True) == 3
    assert github.breaches == []


def test_the_newest_are_taken_whenever_they_changed(tmp_path: Path) -> None:
    """The list is sorted by the last change; the limit is about the merge."""
    shop = make_repository(7, "acme/shop", 450, unmerged_every=3)
    server = GitHubServer(shop)
    # Old ones that someone has commented on today come first in the list.
    for pull in shop.pulls[:30]:
        pull.updated_at = make_moment(9000 + pull.number)
    found, rows = collect(server, tmp_path, limit=20)
    server.close()

    assert [row.id for row in rows] == list_merged(shop)[:20]
    assert found.facts["pulls_seen"] == 20
    # Three pages would be left.
    assert server.count(r"/pulls\?") <= 3


def test_only_what_was_merged_after_a_moment(github: GitHubServer, tmp_path: Path) -> None:
    """Any offset of RFC 3339 will do."""
    _, rows = collect(github, tmp_path, mergedAfter="2024-01-01T22:00:00+01:00")

    assert [row.id for row in rows] == [
        f"acme/shop#{number}" for number in (29, 28, 27, 26, 24, 23, 22, 21)
    ]
    with pytest.raises(InputError, match=r"`spec\.dataset\.train\.gitHub\.mergedAfter` must be"):
        collect(github, tmp_path, mergedAfter="yesterday")


def test_what_moves_to_the_front_meanwhile_is_found(tmp_path: Path) -> None:
    """A pull request that changes while the list is read is past where we are."""
    shop = make_repository(7, "acme/shop", 250)
    server = GitHubServer(shop)
    last = shop.list_closed()[-1]
    last.merged_at = last.merged_at or make_moment(1)

    def move(path: str) -> None:
        if "page=2" in path and "/pulls?" in path:
            last.updated_at = make_moment(9000)

    server.before = move
    _, rows = collect(server, tmp_path)
    server.close()

    assert sorted(row.id for row in rows) == sorted(list_merged(shop))


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault("status", status=500), id="500"),
        pytest.param(Fault("status", status=502, times=3), id="502 three times"),
        pytest.param(Fault("status", status=503), id="503"),
        pytest.param(Fault("dropped"), id="no answer"),
        pytest.param(Fault("truncated"), id="a body that is cut off"),
        pytest.param(Fault("cut"), id="a body of half the JSON"),
        pytest.param(Fault("html"), id="a page of a proxy"),
        pytest.param(Fault("slow", seconds=1.0), id="slow"),
        pytest.param(Fault("secondary", status=403), id="secondary limit 403"),
        pytest.param(Fault("secondary", status=429), id="secondary limit 429"),
    ],
)
def test_each_fault_alone_loses_nothing(
    github: GitHubServer, shop: FakeRepository, tmp_path: Path, fault: Fault
) -> None:
    """Whatever goes wrong for a moment: for the repository, the list, the files, the commits."""
    places = (r"/repos/acme/shop$", r"/pulls\?", "/pulls/29/files", "/pulls/28/commits")
    github.faults = [
        Fault(fault.kind, place, fault.times, fault.seconds, fault.status) for place in places
    ]
    found, rows = collect(github, tmp_path, limit=6)

    assert [row.id for row in rows] == list_merged(shop)[:6]
    assert found.facts["pulls_dropped"] == {}
    assert found.usage.retries >= 4 * fault.times
    assert not any(each.times for each in github.faults)
    assert github.breaches == []


def test_the_limit_is_never_exceeded(
    github: GitHubServer, shop: FakeRepository, tmp_path: Path
) -> None:
    """25 requests in two seconds: the collector waits for each window's end."""
    github.limits["core"], github.latency = (25, 2.0), 0.005
    said: list[str] = []
    source = GitHubSource.from_wire({"repositories": ["acme/shop"], "apiBase": github.url})
    place = GitHubPlace(tmp_path, report=said.append)
    found = open_github(source, field="f", token=TOKEN, place=place, settings=FAST)
    rows = [row.pr.id for row in found.rows]

    assert rows == list_merged(shop)
    assert github.breaches == []
    assert 1 < github.most_in_flight <= FAST.concurrency
    assert found.usage.waited_seconds > 0
    assert any("as GitHub's limit asks" in text for text in said)


def test_without_a_token_the_limit_is_kept_too(
    github: GitHubServer, shop: FakeRepository, tmp_path: Path
) -> None:
    """Then even what was not modified counts."""
    github.limits["core"] = (12, 2.0)
    source = GitHubSource.from_wire(
        {"repositories": ["acme/shop"], "apiBase": github.url, "limit": 5}
    )
    for _ in range(2):
        place = GitHubPlace(tmp_path)
        found = open_github(source, field="f", token=None, place=place, settings=FAST)
        rows = [row.pr.id for row in found.rows]

    assert rows == list_merged(shop)[:5]
    assert github.breaches == []
    assert {each.token for each in github.asked} == {""}


def test_a_renamed_repository_is_followed_and_not_taken_twice(
    github: GitHubServer, shop: FakeRepository, tmp_path: Path
) -> None:
    """Its old name, its new one and another case are one repository, by its name of now."""
    shop.old_names = ("old/shop",)
    found, rows = collect(
        github, tmp_path, repositories=["old/shop", "acme/shop", "ACME/Shop"], limit=4
    )

    assert [row.id for row in rows] == list_merged(shop)[:4]
    assert found.facts["repositories"] == ["acme/shop"]


def test_the_token_goes_to_no_other_server(github: GitHubServer, tmp_path: Path) -> None:
    """A redirect elsewhere is refused, and the repository is named."""
    stranger = GitHubServer(make_repository(9, "acme/moved", 3, old_names=("acme/gone",)))
    stranger.repositories[0].pulls[0].title = "Not ours"
    github.repositories.append(stranger.repositories[0])
    github.leads_to = stranger.url
    found, _ = collect(github, tmp_path, repositories=["acme/shop", "acme/gone"], limit=2)
    stranger.close()

    assert found.facts["repositories_unavailable"] == {"acme/gone": "Broken"}
    assert stranger.asked == []


def test_a_repository_that_is_gone_is_named(
    github: GitHubServer, shop: FakeRepository, tmp_path: Path
) -> None:
    """Deleted, private or taken down: the others are collected."""
    github.gone = {"acme/blocked": 451, "acme/empty": 409}
    names = ["acme/absent", "acme/blocked", "acme/shop", "acme/empty"]
    found, rows = collect(github, tmp_path, repositories=names, limit=3)

    assert [row.id for row in rows] == list_merged(shop)[:3]
    assert found.facts["repositories_unavailable"] == {
        "acme/absent": "Gone",
        "acme/blocked": "Blocked",
        "acme/empty": "Gone",
    }
    with pytest.raises(InputError, match=r"`spec\.dataset\.train\.gitHub`.*acme/absent: Gone"):
        collect(github, tmp_path, repositories=["acme/absent"])


def test_a_refused_token_ends_at_once(github: GitHubServer, tmp_path: Path) -> None:
    """The message names the field, and not the token."""
    github.tokens = {"another"}

    with pytest.raises(InputError, match=r"gitHub\.secretRef` must name a token.*401") as caught:
        collect(github, tmp_path)
    assert TOKEN not in str(caught.value)
    assert len(github.asked) == 1


def test_a_server_that_stays_away_ends_with_what_came(
    github: GitHubServer, shop: FakeRepository, tmp_path: Path
) -> None:
    """It may be started again, and asks for the rest."""
    github.faults = [Fault("status", "/pulls/[0-9]/", times=10**6)]
    with pytest.raises(RetryableError, match="start again, what came is kept"):
        collect(github, tmp_path)
    kept = {each.path for each in github.asked if each.status == 200 and "/commits" in each.path}
    github.faults, asked = [], len(github.asked)
    _, rows = collect(github, tmp_path)

    assert [row.id for row in rows] == list_merged(shop)
    assert kept
    assert not kept & {each.path for each in github.asked[asked:]}


def test_one_pull_request_that_github_fails_at_is_left_out(
    github: GitHubServer, shop: FakeRepository, tmp_path: Path
) -> None:
    """It is counted and named, and asked for again the next time."""
    github.faults = [Fault("status", "/pulls/27/files", times=4)]
    found, rows = collect(github, tmp_path, limit=5)
    assert "acme/shop#27" not in {row.id for row in rows}
    assert found.facts["pulls_dropped"] == {"Unanswered": 1}
    assert [each["id"] for each in found.facts["dropped_pulls"]] == ["acme/shop#27"]

    _, rows = collect(github, tmp_path, limit=5)

    assert [row.id for row in rows] == list_merged(shop)[:5]


async def test_a_search_finds_more_than_github_shows() -> None:
    """It is split by the moment when repositories were made, within the limit of searches."""
    server = GitHubServer(
        *(
            FakeRepository(
                number,
                f"acme/r{number}",
                stars=number,
                created_at=f"20{8 + number % 16:02}-0{1 + number % 9}-11T00:00:00Z",
            )
            for number in range(1, 2501)
        )
    )
    server.limits["search"] = (25, 1.0)
    async with GitHubClient(server.url, TOKEN, field="f", settings=FAST) as client:

        async def fetch(url: str) -> tuple[Any, str | None]:
            answer = await client.get(url)
            return parse_results(answer.data), answer.next_url

        now = datetime(2024, 1, 1, tzinfo=UTC)
        found = await find_repositories("x", fetch, limit=2200, now=now)
    server.close()

    assert not found.is_incomplete
    assert found.choose(2200) == [f"acme/r{number}" for number in range(2500, 300, -1)]
    assert server.breaches == []


def test_what_a_search_finds_is_collected(
    github: GitHubServer, shop: FakeRepository, tmp_path: Path
) -> None:
    """The repositories with most stars first; asked again, it costs nothing."""
    github.repositories.append(make_repository(8, "acme/big", 4, stars=99))
    github.repositories.append(make_repository(9, "acme/small", 4, stars=1))
    for _ in range(2):
        github.asked.clear()
        found, rows = collect(
            github, tmp_path, search="language:python", maxRepositories=2, limit=2
        )

    assert found.facts["search_complete"]
    assert [row.id for row in rows] == ["acme/big#4", "acme/big#3", *list_merged(shop)[:2]]
    assert github.count("", counted=True) == 0


def test_the_preflight_asks_with_the_token(github: GitHubServer) -> None:
    """One free request says whether GitHub is there, is an API, and takes the token."""
    secret = {"name": "github", "key": "SHOP_TOKEN"}

    def check(address: str, token: str) -> None:
        source = {"repositories": ["acme/shop"], "apiBase": address, "secretRef": secret}
        config = make_config(gitHub=[{"field": "spec.dataset.eval.gitHub", "source": source}])
        check_sources(config, {"github.SHOP_TOKEN": token})

    github.tokens = {TOKEN}
    check(github.url, TOKEN)
    assert github.count("", counted=True) == 0
    assert len(github.asked) == 1

    with pytest.raises(InputError, match=r"`spec\.dataset\.eval\.gitHub\.secretRef`.*401"):
        check(github.url, "expired")
    with pytest.raises(InputError, match=r"`spec\.dataset\.eval\.gitHub\.secretRef`.*is set"):
        check(github.url, "")
    with pytest.raises(InputError, match=r"`spec\.dataset\.eval\.gitHub\.apiBase`.*HOST/api/v3"):
        check(f"{github.url}/enterprise", TOKEN)
    github.close()
    with pytest.raises(RetryableError, match="no answer"):
        check(github.url, TOKEN)


def make_config(**changes: Any) -> PreflightConfig:
    """Return a config of a preflight that asks no model."""
    raw = {
        "bases": [],
        "judges": [],
        "baseline": {"name": "stored", "completions": {"uri": "baseline.jsonl"}},
        "prompts": {"builtin": "compact"},
        "tools": ["Describe"],
    }
    return PreflightConfig.from_wire({**raw, **changes})
