"""A server that says what is not so neither stops the collector nor gets its token elsewhere."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from github_collecting import collect, list_merged
from github_server import Fault, GitHubServer
from github_world import FakeRepository, make_moment, make_repository

from tunebench_jobs.data.github.search import find_repositories

pytestmark = pytest.mark.jobs

LIST = r"/pulls\?"
ALWAYS = 10_000


def make_next(url: str) -> dict[str, str]:
    """Return the header that names the next page."""
    return {"link": f'<{url}>; rel="next"'}


def dump(value: Any) -> bytes:
    """Return JSON as a server may send it, lone surrogates too."""
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(
            Fault("lie", body=b'{"message": "Bad gateway"}', status=200), id="an error with 200"
        ),
        pytest.param(Fault("lie", body=b"null", status=200), id="null"),
        pytest.param(Fault("lie", body=b"[" * 100_000, status=200), id="a deep nest"),
        pytest.param(Fault("lie", body=b"\xff\xfe", status=200), id="no UTF-8"),
    ],
)
def test_a_wrong_body_is_asked_for_again(
    github: GitHubServer, shop: FakeRepository, tmp_path: Path, fault: Fault
) -> None:
    """Nothing is left out for good because of what a proxy said for a moment."""
    places = (r"/repos/acme/shop$", LIST, "/pulls/29/files", "/pulls/28/commits")
    github.faults = [Fault("lie", place, body=fault.body, status=200) for place in places]
    found, rows = collect(github, tmp_path, limit=3)

    assert [row.id for row in rows] == list_merged(shop)[:3]
    assert found.facts["pulls_dropped"] == {}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"resources": None}, id="no resources"),
        pytest.param({"resources": [1]}, id="a list"),
        pytest.param({"resources": {"core": {"remaining": "many", "reset": 10**30}}}, id="words"),
        pytest.param([], id="no object"),
    ],
)
def test_limits_of_another_shape_are_none(
    github: GitHubServer, shop: FakeRepository, tmp_path: Path, body: Any
) -> None:
    """What is told of the limits is believed only where it is a limit."""
    github.faults = [Fault("lie", "/rate_limit", body=dump(body), status=200)]
    _, rows = collect(github, tmp_path, limit=2)

    assert [row.id for row in rows] == list_merged(shop)[:2]


def test_the_next_page_is_asked_of_no_other_server(github: GitHubServer, tmp_path: Path) -> None:
    """Nor is a redirect followed there; no request with the token reaches it."""
    stranger = GitHubServer(make_repository(9, "acme/shop", 3))
    github.faults = [
        Fault("lie", LIST, status=200, headers=make_next(f"{stranger.url}/repos/acme/shop/pulls")),
        Fault("lie", "/tools$", status=302, headers={"location": f"{stranger.url}/x"}),
    ]
    github.repositories += [make_repository(8, "acme/tools", 3), make_repository(10, "acme/ok", 3)]
    names = ["acme/shop", "acme/tools", "acme/ok"]
    found, _ = collect(github, tmp_path, repositories=names, mergedAfter=make_moment(-1))
    stranger.close()

    assert found.facts["repositories_unavailable"] == dict.fromkeys(names[:2], "Broken")
    assert found.facts["repositories"] == ["acme/ok"]
    assert stranger.asked == []


@pytest.mark.parametrize("target", ["http://[", "{url}", "{url}?page=2", "//", "\\\\x"])
def test_addresses_that_are_none_end_nothing(
    github: GitHubServer, tmp_path: Path, target: str
) -> None:
    """The repository whose list leads there is named, and the others are collected."""
    github.repositories.append(make_repository(8, "acme/tools", 3))
    headers = make_next(target.format(url=github.url))
    github.faults = [Fault("lie", "/shop/pulls", status=200, headers=headers, times=ALWAYS)]
    found, _ = collect(github, tmp_path, repositories=["acme/shop", "acme/tools"])

    assert "acme/tools" in found.facts["repositories"]
    assert set(found.facts["repositories_unavailable"]) == {"acme/shop"}


def test_a_list_without_end_ends(github: GitHubServer, tmp_path: Path) -> None:
    """A next page that is the page itself is no list."""
    github.repositories.append(make_repository(8, "acme/tools", 3))
    page = f"{github.url}/repos/acme/shop/pulls?page=1"
    github.faults = [Fault("lie", "/shop/pulls", status=200, headers=make_next(page), times=ALWAYS)]
    found, _ = collect(github, tmp_path, repositories=["acme/shop", "acme/tools"])

    assert found.facts["repositories_unavailable"] == {"acme/shop": "Broken"}
    assert github.count("/shop/pulls") <= 4


def test_pages_of_details_that_repeat_are_refused(
    github: GitHubServer, shop: FakeRepository, tmp_path: Path
) -> None:
    """Files that a list tells again and again are no pull request of that many files."""
    page = f"{github.url}/repositories/7/pulls/29/files?page=1"
    github.faults = [Fault("lie", "/29/files", status=200, headers=make_next(page), times=ALWAYS)]
    found, rows = collect(github, tmp_path, limit=2)

    assert [row.id for row in rows] == list_merged(shop)[1:2]
    assert found.facts["pulls_dropped"] in ({"TooLarge": 1}, {"Broken": 1})


def test_words_in_odd_places_end_nothing(
    github: GitHubServer, shop: FakeRepository, tmp_path: Path
) -> None:
    """Moments that no calendar has, sizes that no integer holds, marks that no header carries."""
    github.repositories.append(make_repository(8, "acme/tools", 3))
    shop.languages = {"\ud800": 1, "Python": 10**400}
    by_number = {each.number: each for each in shop.pulls}
    by_number[29].merged_at = "2024-13-45T99:99:99Z"
    by_number[28].updated_at = "\ud800"
    for place in ("/shop$", LIST):
        github.faults.append(Fault("lie", place, status=200, headers={"etag": 'W/"\xe9"'}))
    names = ["acme/shop", "acme/tools"]
    _, rows = collect(github, tmp_path, repositories=names)
    _, later = collect(github, tmp_path, repositories=names)

    ids = [row.id for row in rows]
    assert ids[0] == "acme/shop#27"
    assert set(ids) == {*list_merged(shop), *list_merged(github.repositories[1])} - {
        "acme/shop#29",
        "acme/shop#28",
    }
    assert rows[0].languages == {}
    assert later == rows


async def test_a_search_that_always_finds_more_ends() -> None:
    """A total that is not so, and a page that follows itself."""
    asked = []

    async def fetch(url: str) -> tuple[Any, str | None]:
        asked.append(url)
        item = {"name": "a/b", "stars": 1}
        return {"total_count": 900, "incomplete_results": False, "items": [item]}, url

    found = await find_repositories(
        "stars:>1", fetch, limit=5000, now=datetime(2024, 1, 1, tzinfo=UTC)
    )

    assert list(found.stars) == ["a/b"]
    assert len(asked) == 10
