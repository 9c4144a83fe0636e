"""The curation page in a browser, driven by keys, and its server as a process."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from curate_server import CurateServer, open_browser, open_page
from look_at_page import MEASURE_CONTRAST
from make_pulls import ANSWERS, make_row, save_rows
from playwright.sync_api import Browser, Page, expect

from tunebench_jobs.data.decisions import Choice, Decision, parse_decisions

pytestmark = pytest.mark.jobs

SCREENSHOTS = os.environ.get("TUNEBENCH_SCREENSHOTS")
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a Chromium for all tests of this module."""
    with open_browser() as browser:
        yield browser


def make_varied_rows(count: int) -> list[dict[str, Any]]:
    """Return pull requests of several languages, sizes and kinds."""
    titles = ("Fix the count", "Add a count", "docs: say how to count", "Rename the count")
    rows = []
    for number in range(1, count + 1):
        language, suffix = (("Python", "py"), ("Go", "go"), ("Rust", "rs"))[number % 3]
        lines = "".join(f"+count = {number + line}\n" for line in range(number % 5 * 10 + 1))
        files = [{"path": f"src/a.{suffix}", "patch": f"@@ -1 +1,9 @@\n-count = 0\n{lines}"}]
        moment = f"2024-01-01T00:00:{number % 60:02}Z"
        row = {"title": titles[number % 4], "language": language, "files": files}
        rows.append(make_row(number, merged_at=moment, **row))
    return rows


def load(path: Path) -> list[Decision]:
    """Return the decisions on the disk."""
    return list(parse_decisions(path.read_bytes(), path)) if path.exists() else []


def take(page: Page, name: str) -> None:
    """Keep a picture for people, where the environment names a folder."""
    if SCREENSHOTS:
        page.screenshot(path=f"{SCREENSHOTS}/{name}.png")


def selected(page: Page) -> str:
    """Return the id that the page shows."""
    return page.locator("#meta").inner_text().split(" · ")[0]


def post(url: str, call: str, body: dict[str, Any]) -> dict[str, Any]:
    """Ask the server as the page does."""
    origin = "/".join(url.split("/")[:3])
    request = urllib.request.Request(  # noqa: S310 - http, on this machine
        f"{url}api/{call}",
        json.dumps(body).encode(),
        {"content-type": "application/json", "origin": origin},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - likewise
        document: dict[str, Any] = json.load(answer)
    return document


def press(page: Page, *keys: str) -> None:
    """Press one key after the other."""
    for key in keys:
        page.keyboard.press(key)


def test_decisions_are_made_by_keys(browser: Browser, tmp_path: Path) -> None:
    """Accept, reject with a reason and a note, and undo, without a mouse."""
    candidates = save_rows(tmp_path / "c.jsonl", make_varied_rows(40))
    decisions = tmp_path / "decisions.jsonl"
    with CurateServer(candidates, decisions, "--per-tool", "12") as server:
        page, complaints = open_page(browser, server.url)
        said = page.locator("#said")
        first = selected(page)
        press(page, "p", "a")
        expect(said).to_have_text(f"Accepted {first}")
        expect(page.locator("#total")).to_have_text("1 of 12 · 39 to read")
        second = selected(page)
        press(page, "r", "3", "Tab")
        page.keyboard.type("two things: a and r")
        take(page, "reject")
        press(page, "Control+Enter")
        expect(said).to_have_text(f"Rejected {second}")
        third = selected(page)
        press(page, "a")
        expect(said).to_have_text(f"Accepted {third}")
        press(page, "u")
        expect(said).to_have_text(f"Undone: {third}")
        expect(page.locator("#meta")).to_contain_text(third)
        take(page, "undone")
        code, words = server.stop(signal.SIGINT)
    made = {each.pr: each for each in load(decisions)}

    assert complaints == []
    assert set(made) == {first, second}
    assert made[second].reason == "several changes in one"
    assert made[second].note == "two things: a and r"
    assert code == 0, words
    assert "1 accepted, 1 rejected" in words


def test_answers_are_edited_by_keys(browser: Browser, tmp_path: Path) -> None:
    """An edit is checked as it is typed, refused while it breaks its schema, and found again."""
    candidates = save_rows(tmp_path / "c.jsonl", make_varied_rows(8))
    decisions = tmp_path / "decisions.jsonl"
    with CurateServer(candidates, decisions) as server:
        page, complaints = open_page(browser, server.url)
        edited = selected(page)
        press(page, "e")
        page.locator("#edit-title").fill("Count it all")
        field, problem = page.locator("#edit-Describe"), page.locator("#problem-Describe")
        field.fill("title: x")
        expect(problem).to_contain_text("breaks its schema: `type`")
        press(page, "Control+Enter")
        expect(page.locator("#notice")).to_contain_text("the answer to Describe must hold to its")
        press(page, "Escape")
        expect(page.locator("#said")).to_contain_text("once more discards them")
        field.fill(ANSWERS["Describe"].replace("Counts stock.", "Counts all stock."))
        expect(problem).to_have_text("holds to its schema")
        take(page, "edit")
        press(page, "Control+Enter")
        expect(page.locator("#said")).to_have_text(f"Accepted {edited}")
        press(page, "/")
        page.keyboard.type("is:edited")
        press(page, "Enter")
        expect(page.locator(".row")).to_have_count(1)
        expect(page.locator("#title")).to_have_text("Count it all")
        expect(page.locator("#verdict")).to_contain_text("Accepted with edits by Ada")
        press(page, "?")
        expect(page.locator("#help")).to_be_visible()
        take(page, "help")
        press(page, "Escape", "e", "Escape")
        expect(page.locator("#edit-title")).to_have_count(0)
    (made,) = load(decisions)

    # The browser itself tells of the refusal.
    assert [each for each in complaints if "409" not in each] == []
    assert (made.pr, made.edits.title) == (edited, "Count it all")
    assert list(made.edits.answers) == ["Describe"]


def test_strangers_words_stay_words(browser: Browser, tmp_path: Path) -> None:
    """No tag is made, no script runs, nothing is loaded, and what hides or turns is shown."""
    path = f"src/{HOSTILE}.py"
    patch = f"@@ -1 +1 @@ {HOSTILE}\n-\x1b[31mred\u2066\n+{HOSTILE}\u200b\u0007\n+{'x' * 300_000}"
    row = make_row(
        1,
        title=f"{HOSTILE}\u202egpj",
        description=HOSTILE,
        branch=HOSTILE,
        author=HOSTILE,
        language=HOSTILE,
        url='https://example.com/"onclick=alert(1)',
        license=HOSTILE,
        commits=[HOSTILE],
        files=[{"path": path, "patch": patch}],
        answers={"Describe": f"title: {HOSTILE}\n\x1b[2J", "Review": "{{{{"},
    )
    candidates = save_rows(tmp_path / "c.jsonl", [row])
    decisions = tmp_path / "decisions.jsonl"
    with CurateServer(candidates, decisions) as server:
        page, complaints = open_page(browser, server.url)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.keyboard.press("p")
        diff = page.locator("#diff")
        expect(diff).to_contain_text(HOSTILE)
        expect(diff).to_contain_text("U+001B[31mredU+2066")
        expect(diff).to_contain_text("U+200BU+0007")
        expect(diff.locator(".more")).to_have_text("298,001 more characters")
        expect(page.locator("#title")).to_have_text(f"{HOSTILE}U+202Egpj")
        expect(page.locator("#words")).to_contain_text("U+001B[2J")
        take(page, "hostile")
        page.keyboard.press("r")
        page.keyboard.press("7")
        page.keyboard.press("Enter")
        expect(page.locator("#said")).to_have_text("Rejected acme/shop#1")

        assert page.title() == "Curate · tunebench"
        assert page.locator("img, #pull script, #pull [onclick], iframe").count() == 0
        # The loader takes no address of another kind, such as `javascript:`.
        assert page.locator("#pull a").get_attribute("href").startswith("https://example.com/")
        assert all(url.startswith(server.url) for url in asked)
    assert complaints == []
    assert load(decisions)[0].decision is Choice.REJECTED


def test_many_candidates_and_a_large_diff_are_fast(browser: Browser, tmp_path: Path) -> None:
    """5,000 candidates are a short document, and a diff of 1 MB shows at once."""
    rows = make_varied_rows(5000)
    lines = "".join(f"+total = total + {number} * price\n" for number in range(34_000))
    rows[0]["files"] = [{"path": "big.py", "patch": f"@@ -0,0 +1,34000 @@\n{lines}"}]
    rows[0]["title"] = "The large one"
    assert len(lines) > 1_000_000
    with CurateServer(save_rows(tmp_path / "c.jsonl", rows), tmp_path / "d.jsonl") as server:
        start = time.monotonic()
        page, _ = open_page(browser, server.url)
        loaded = time.monotonic() - start
        page.keyboard.press("G")
        expect(page.locator("#row-4999")).to_be_visible()
        count = page.locator(".row").count()
        page.keyboard.press("/")
        page.keyboard.type("large one")
        start = time.monotonic()
        page.keyboard.press("Enter")
        expect(page.locator("#title")).to_have_text("The large one")
        page.locator(".l", has_text="+total = total + 1499 * price").wait_for()
        shown = time.monotonic() - start
        page.locator(".l", has_text="+total = total + 33999 * price").wait_for(state="attached")
        whole = time.monotonic() - start
        page.keyboard.press("a")
        expect(page.locator("#said")).to_have_text("Accepted acme/shop#1")

    assert count < 60
    # Tenfold what quiet machines need.
    assert loaded < 15
    assert shown < 10
    assert whole < 30


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_and_reached(browser: Browser, tmp_path: Path, scheme: str) -> None:
    """Contrast is at least 4.5 in either scheme, controls have names, and Tab reaches them."""
    candidates = save_rows(tmp_path / "c.jsonl", make_varied_rows(12))
    with CurateServer(candidates, tmp_path / "d.jsonl", "--per-tool", "5") as server:
        page, _ = open_page(browser, server.url, color_scheme=scheme)
        page.keyboard.press("p")
        page.keyboard.press("a")
        expect(page.locator("#said")).to_contain_text("Accepted")
        page.keyboard.press("k")
        take(page, scheme)
        session = page.context.new_cdp_session(page)
        tree = session.send("Accessibility.getFullAXTree")["nodes"]
        weak = page.evaluate(MEASURE_CONTRAST)
        reached = set()
        for _ in range(30):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.id"))
    roles = {"button", "textbox", "searchbox", "listbox", "option", "radio", "progressbar"}
    controls = [node for node in tree if node.get("role", {}).get("value") in roles]
    nameless = [node for node in controls if not node.get("name", {}).get("value")]

    assert weak == []
    assert len(controls) > 10
    assert nameless == []
    assert {"filter", "list", "diff", "words", "do-accept", "do-reject", "do-edit"} <= reached


def test_killed_at_any_moment_it_keeps_what_it_answered(tmp_path: Path) -> None:
    """Ten times the server is killed between two decisions; each that was answered is there."""
    candidates = save_rows(tmp_path / "c.jsonl", make_varied_rows(60))
    decisions = tmp_path / "decisions.jsonl"
    answered: set[str] = set()
    for turn in range(10):
        with CurateServer(candidates, decisions) as server:
            bases = get_times(server.url)
            # Later each time, so that the moments differ.
            killer = threading.Timer(0.03 * turn, server.process.kill)
            killer.start()
            for place in (number % 60 for number in range(20 * turn, 20 * turn + 1000)):
                wish = {"place": place, "decision": "Accepted", "base": bases.get(place)}
                try:
                    decision = post(server.url, "decide", wish)["decision"]
                except (OSError, http.client.HTTPException):
                    break
                bases[place] = decision["at"]
                answered.add(f"{decision['pr']} {decision['at']}")
                last = decision
            killer.join()
        kept = {each.pr: each for each in load(decisions)}

        # A file is never cut off; of one pull request, the last answer counts, or one in flight.
        assert {each.split(" ")[0] for each in answered} <= set(kept)
        assert not answered or kept[last["pr"]].at >= last["at"]
    assert len(answered) > 10


def get_times(url: str) -> dict[int, str]:
    """Return the times of all decisions by place, as the page knows them."""
    with urllib.request.urlopen(f"{url}api/decisions", timeout=30) as answer:  # noqa: S310 - local
        decisions = json.load(answer)["decisions"]
    return {int(place): decision["at"] for place, decision in decisions.items()}


def test_many_pages_at_once_lose_nothing(tmp_path: Path) -> None:
    """Two servers on one file and eight pages on each: every decision is in the file."""
    candidates = save_rows(tmp_path / "c.jsonl", make_varied_rows(64))
    decisions = tmp_path / "decisions.jsonl"
    problems: list[BaseException] = []

    def work(url: str, places: range) -> None:
        try:
            for place in places:
                post(url, "decide", {"place": place, "decision": "Accepted"})
        except (OSError, http.client.HTTPException) as error:
            problems.append(error)

    with CurateServer(candidates, decisions) as one, CurateServer(candidates, decisions) as two:
        threads = [
            threading.Thread(target=work, args=(server.url, range(start, 64, 16)))
            for start, server in enumerate([one, two] * 8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert problems == []
    assert len(load(decisions)) == 64


def test_only_this_machine_is_served(tmp_path: Path) -> None:
    """The server listens on loopback alone, tells no token, and refuses a rebound name."""
    candidates = save_rows(tmp_path / "c.jsonl", make_varied_rows(2))
    with CurateServer(candidates, tmp_path / "d.jsonl") as server:
        match = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/([\w-]{32})/", server.url)
        assert match
        port = int(match[1])
        listening = [
            line.split()[1]
            for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
            if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
        ]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", f"/{match[2]}/", headers={"host": f"evil.example:{port}"})
        refused = connection.getresponse()
        refused.read()
        connection.close()
        _, words = server.stop(signal.SIGINT)

    assert listening == [f"0100007F:{port:04X}"]
    assert refused.status == 403
    assert match[2] not in words


@pytest.mark.parametrize(
    ("rows", "decisions", "options", "words"),
    [
        pytest.param("{", "", [], "c.jsonl:1: broken row", id="broken row"),
        pytest.param("", "", [], "must hold at least one pull request", id="no rows"),
        pytest.param(None, "nonsense", [], "d.jsonl:1: must be a decision", id="broken decision"),
        pytest.param(None, "", ["--port", "TAKEN"], "must be free and allowed", id="taken port"),
        pytest.param(None, "", ["--by", "a" * 201], "must have at most 200 char", id="long name"),
    ],
)
def test_mistakes_end_with_code_2(
    tmp_path: Path, rows: str | None, decisions: str, options: list[str], words: str
) -> None:
    """What a person must mend is named before an address is told."""
    holder = socket.create_server(("127.0.0.1", 0))
    taken = str(holder.getsockname()[1])
    candidates = save_rows(tmp_path / "c.jsonl", make_varied_rows(1))
    if rows is not None:
        candidates.write_text(rows)
    (tmp_path / "d.jsonl").write_text(decisions)
    command = [sys.executable, "-m", "tunebench_operator", "dataset", "curate", str(candidates)]
    command += ["--decisions", str(tmp_path / "d.jsonl"), "-o", "json"]
    command += [option.replace("TAKEN", taken) for option in options]
    with holder:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 2
    assert words in json.loads(done.stdout)["problems"][0]["message"]
    assert "Traceback" not in done.stderr
