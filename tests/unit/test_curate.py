"""What the curation page's server does, without a socket."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from make_pulls import ANSWERS, make_pull

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.curate.app import build_app
from tunebench_jobs.curate.candidates import Candidates
from tunebench_jobs.curate.decision_file import ChangedMeanwhileError, DecisionFile
from tunebench_jobs.curate.desk import Desk, RefusedError, Wish
from tunebench_jobs.data.decisions import Choice, parse_decisions
from tunebench_jobs.data.opened import Row
from tunebench_jobs.errors import InputError

TOKEN = "secret"  # noqa: S105 - of a test
HOST = "127.0.0.1:8765"
ORIGIN = {"origin": f"http://{HOST}", "content-type": "application/json"}


def make_candidates(count: int = 4, **columns: Any) -> Candidates:
    """Return candidates that differ in their patch only, unless `columns` say otherwise."""
    rows = (Row(make_pull(n, **columns), f"c.jsonl:{n}") for n in range(1, count + 1))
    return Candidates(rows, io.BytesIO(), per_tool=2, seed=1)


def make_clock() -> Iterator[str]:
    """Yield one second after the other."""
    return (f"2026-01-01T00:00:{second:02}Z" for second in range(60))


@pytest.fixture
def file(tmp_path: Path) -> DecisionFile:
    """Return an empty file of decisions."""
    return DecisionFile(tmp_path / "kept" / "decisions.jsonl")


@pytest.fixture
def desk(file: DecisionFile) -> Desk:
    """Return a desk with four candidates."""
    clock = make_clock()
    return Desk(make_candidates(), file, by="Ada", clock=lambda: next(clock))


@pytest.fixture
async def client(desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of the application that names the right host."""
    transport = httpx.ASGITransport(build_app(desk, port=8765, token=TOKEN))
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
        yield client


def load(file: DecisionFile) -> list[Any]:
    """Return the decisions on the disk."""
    return list(parse_decisions(file.path.read_bytes(), file.path))


def test_decision_is_on_the_disk_when_it_is_answered(desk: Desk, file: DecisionFile) -> None:
    """The file has the decision with its signature, and undoing removes it again."""
    desk.decide(Wish(place=0, decision=Choice.REJECTED, reason="trivial", note=" one digit "))
    desk.decide(Wish(place=1, decision=Choice.ACCEPTED))
    rejected = next(each for each in load(file) if each.decision is Choice.REJECTED)

    assert (rejected.by, rejected.reason, rejected.note) == ("Ada", "trivial", "one digit")
    assert desk.count() == {Choice.ACCEPTED: 1, Choice.REJECTED: 1}
    assert desk.undo()["place"] == 1
    assert load(file) == [rejected]
    assert desk.undo() == {"place": 0, "decision": None}
    assert load(file) == []
    with pytest.raises(RefusedError, match="nothing to undo"):
        desk.undo()


def test_undo_brings_an_earlier_decision_back(desk: Desk, file: DecisionFile) -> None:
    """What was decided before comes back with its own time, to the byte."""
    first = desk.decide(Wish(place=0, decision=Choice.REJECTED, reason="trivial"))["decision"]
    before = file.path.read_bytes()
    desk.decide(Wish(place=0, decision=Choice.ACCEPTED, base=first["at"]))
    answer = desk.undo()

    assert answer["decision"] == first
    assert file.path.read_bytes() == before


def test_nobody_overwrites_what_they_have_not_seen(desk: Desk, file: DecisionFile) -> None:
    """Two pages on one pull request: the later one is told, and both files stay as they were."""
    desk.decide(Wish(place=0, decision=Choice.ACCEPTED))
    before = file.path.read_bytes()

    with pytest.raises(RefusedError, match="somebody else decided"):
        desk.decide(Wish(place=0, decision=Choice.REJECTED, reason="trivial", base=None))
    with pytest.raises(ChangedMeanwhileError):
        file.change(load(file)[0].key, None, expected=None)
    assert file.path.read_bytes() == before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("2026-03-01T00:00:00.5+01:00", "2026-02-28T23:00:00.501Z", id="ahead"),
        pytest.param("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.001Z", id="the same moment"),
        pytest.param("2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z", id="behind"),
        pytest.param("9999-12-31T23:59:59.999999Z", "2026-01-01T00:00:00Z", id="end of time"),
    ],
)
def test_a_clock_that_was_set_back_changes_no_order(
    file: DecisionFile, before: str, after: str
) -> None:
    """What replaces a decision is the newer one, also when both files are merged later."""
    candidates, moments = make_candidates(), iter([before, "2026-01-01T00:00:00Z"])
    desk = Desk(candidates, file, by="Ada", clock=lambda: next(moments))
    desk.decide(Wish(place=0, decision=Choice.REJECTED, reason="trivial"))
    desk.decide(Wish(place=0, decision=Choice.ACCEPTED, base=before))

    assert [(each.decision, each.at) for each in load(file)] == [(Choice.ACCEPTED, after)]


def test_undo_leaves_what_somebody_else_wrote(desk: Desk, file: DecisionFile) -> None:
    """A decision that changed after ours is not ours to undo."""
    at = desk.decide(Wish(place=0, decision=Choice.ACCEPTED))["decision"]["at"]
    other = Desk(make_candidates(), DecisionFile(file.path), by="Lin", clock=lambda: "2026-02-02")
    other.decide(Wish(place=0, decision=Choice.REJECTED, reason="trivial", base=at))

    with pytest.raises(RefusedError, match="somebody else decided"):
        desk.undo()
    assert [each.by for each in load(file)] == ["Lin"]


def test_what_git_wrote_meanwhile_is_kept(desk: Desk, file: DecisionFile, tmp_path: Path) -> None:
    """A change of the file from outside is read before the next decision is added."""
    desk.decide(Wish(place=0, decision=Choice.ACCEPTED))
    other = Desk(make_candidates(), DecisionFile(tmp_path / "o"), by="Lin", clock=lambda: "2026")
    with pytest.raises(ValueError, match="RFC 3339"):
        other.decide(Wish(place=1, decision=Choice.ACCEPTED))
    other = Desk(
        make_candidates(), DecisionFile(tmp_path / "o"), by="Lin", clock=lambda: "20260101"
    )
    other.decide(Wish(place=1, decision=Choice.ACCEPTED))
    file.path.write_bytes(file.path.read_bytes() + (tmp_path / "o").read_bytes())
    desk.decide(Wish(place=2, decision=Choice.ACCEPTED))

    assert sorted(each.by for each in load(file)) == ["Ada", "Ada", "Lin"]
    assert sorted(desk.build_decisions()["decisions"]) == ["0", "1", "2"]


def test_a_file_that_broke_is_not_overwritten(desk: Desk, file: DecisionFile) -> None:
    """A conflict that git left is named by its line, and stays for a person to mend."""
    file.path.write_text("<<<<<<< HEAD\n")

    with pytest.raises(InputError, match=r"decisions\.jsonl:1"):
        desk.decide(Wish(place=0, decision=Choice.ACCEPTED))
    assert file.path.read_text() == "<<<<<<< HEAD\n"


def test_a_link_is_followed(tmp_path: Path) -> None:
    """A file that is linked from elsewhere is written where it lies."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "real" / "d.jsonl")
    clock = make_clock()
    file = DecisionFile(tmp_path / "link.jsonl")
    desk = Desk(make_candidates(), file, by="Ada", clock=lambda: next(clock))
    desk.decide(Wish(place=0, decision=Choice.ACCEPTED))

    assert (tmp_path / "link.jsonl").is_symlink()
    assert len((tmp_path / "real" / "d.jsonl").read_text().splitlines()) == 1


def test_only_edits_that_hold_are_saved(desk: Desk, file: DecisionFile) -> None:
    """What is as before is no edit; what breaks its schema or has no words is refused."""
    title = desk.build_pull(0)["title"]
    improved = ANSWERS["Describe"].replace("Counts stock.", "Counts all stock.")
    answers = {Tool.DESCRIBE: improved, Tool.REVIEW: ANSWERS["Review"]}
    wish = {"place": 0, "decision": "Accepted", "edits": {"title": title, "answers": answers}}
    desk.decide(Wish.model_validate(wish))

    assert load(file)[0].edits.model_dump() == {"title": None, "answers": {"Describe": improved}}
    for edits, words in (
        ({"answers": {"Improve": "Looks good."}}, "the answer to Improve must hold to its schema"),
        ({"answers": {"Describe": "title: x\ndescription: y\ntype: [a]"}}, "`pr_files` must be"),
        ({"answers": {"Review": " "}}, "there is no answer"),
        ({"title": " "}, "the title must have words"),
    ):
        with pytest.raises(RefusedError, match=words):
            desk.decide(Wish.model_validate({"place": 1, "decision": "Accepted", "edits": edits}))
    assert len(load(file)) == 1


def test_listing_begins_with_what_differs_most(file: DecisionFile) -> None:
    """The list is in the order of choice, and says what a diverse choice would have."""
    languages = ["Go", "Go", "Go", "Rust"]
    rows = [Row(make_pull(n, language=each), f"c:{n}") for n, each in enumerate(languages, start=1)]
    candidates = Candidates(rows, io.BytesIO(), per_tool=2, seed=1)
    listing = Desk(candidates, file, by="", clock=lambda: "").build_listing()

    assert {item["language"] for item in listing["items"][:2]} == {"Go", "Rust"}
    assert [item["suggested"] for item in listing["items"]] == [True, True, False, False]
    assert listing["wanted"]["language"] == {"Go": 1, "Rust": 1}
    assert listing["wanted"]["total"] == 2
    assert listing["tools"] == (Tool.DESCRIBE, Tool.REVIEW, Tool.IMPROVE)
    with pytest.raises(InputError, match="must be unique"):
        Candidates([rows[0], rows[0]], io.BytesIO(), per_tool=1, seed=1)


async def test_page_and_its_files_forbid_scripts_of_strangers(client: httpx.AsyncClient) -> None:
    """Every answer has the policy, and the document has no script or style of its own."""
    kinds = {"": "html", "app.js": "javascript", "palette.css": "css", "style.css": "css"}
    for name, kind in kinds.items():
        answer = await client.get(f"/secret/{name}")

        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(f"text/{kind}")
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "require-trusted-types-for 'script'" in policy
        assert "unsafe" not in policy
    html = (await client.get("/secret/")).text
    assert "<style" not in html
    assert " style=" not in html
    assert html.count("<script") == html.count('<script type="module" src="app.js"></script>') == 1


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        pytest.param("/", {}, id="no token"),
        pytest.param("/secreT/", {}, id="wrong token"),
        pytest.param("/secret", {}, id="token without the slash"),
        pytest.param("/secret/", {"host": "evil.example:8765"}, id="rebound name"),
        pytest.param("/secret/", {"host": "127.0.0.1"}, id="another port"),
        pytest.param("/secret/api/candidates", {"origin": "http://evil.example"}, id="other site"),
        pytest.param("/secret/api/candidates", {"origin": "null"}, id="sandboxed frame"),
    ],
)
async def test_strangers_are_refused(
    client: httpx.AsyncClient, path: str, headers: dict[str, str]
) -> None:
    """Without the whole address, by another name or from another site, nothing is told."""
    answer = await client.get(path, headers=headers)

    assert answer.status_code == 403
    assert "acme/shop" not in answer.text
    assert "content-security-policy" in answer.headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param(ORIGIN, 200, id="the page itself"),
        pytest.param({"content-type": "application/json"}, 403, id="no origin"),
        pytest.param({**ORIGIN, "origin": "http://localhost:8765"}, 403, id="its other name"),
        pytest.param({**ORIGIN, "content-type": "text/plain"}, 403, id="a form"),
        pytest.param({**ORIGIN, "host": "evil.example"}, 403, id="rebound name"),
    ],
)
async def test_only_the_page_may_decide(
    client: httpx.AsyncClient, file: DecisionFile, headers: dict[str, str], status: int
) -> None:
    """A form or a script of another site changes nothing, even if it knew the token."""
    body = json.dumps({"place": 0, "decision": "Accepted"})
    answer = await client.post("/secret/api/decide", content=body, headers=headers)

    assert answer.status_code == status
    assert len(file.load()) == (1 if status == 200 else 0)


@pytest.mark.parametrize(
    ("call", "body", "status", "words"),
    [
        pytest.param("decide", {"place": 99, "decision": "Accepted"}, 409, "no candidate", id="99"),
        pytest.param("decide", {"place": -1, "decision": "Accepted"}, 422, "place", id="negative"),
        pytest.param("decide", {"place": 0, "decision": "Maybe"}, 422, "decision", id="no choice"),
        pytest.param("decide", {"place": 0, "decision": None}, 409, "to take back", id="nothing"),
        pytest.param("check", {"place": 0, "tool": "Ask", "text": ""}, 422, "tool", id="no tool"),
        pytest.param("undo", {}, 409, "nothing to undo", id="nothing to undo"),
        pytest.param("check", "x" * (1 << 20), 413, "bytes", id="too much"),
    ],
)
async def test_wrong_requests_are_told_why(
    client: httpx.AsyncClient, call: str, body: object, status: int, words: str
) -> None:
    """Every refusal is JSON with words for the page's reader."""
    content = json.dumps(body)
    answer = await client.post(f"/secret/api/{call}", content=content, headers=ORIGIN)

    assert answer.status_code == status
    assert words in answer.json()["problem"]


async def test_names_of_requests_are_no_paths(client: httpx.AsyncClient) -> None:
    """Nothing outside the page's own files can be asked for."""
    for name in ("..%2fapp.py", "%2e%2e/desk.py", "__init__.py", "api/candidates/9"):
        answer = await client.get(f"/secret/{name}")

        assert answer.status_code in {403, 404, 409}
        assert "import" not in answer.text


async def test_answers_are_checked_as_they_are_typed(client: httpx.AsyncClient) -> None:
    """The level and the problem are those of the schema."""
    body = {"place": 0, "tool": "Describe", "text": "title: Count\n"}
    answer = await client.post("/secret/api/check", json=body, headers=ORIGIN)
    pull = (await client.get("/secret/api/candidates/0")).json()

    assert answer.json()["level"] == "invalid"
    assert "type" in answer.json()["problem"]
    assert pull["answers"]["Review"] == {
        "text": ANSWERS["Review"],
        "level": "strict",
        "problem": None,
    }
