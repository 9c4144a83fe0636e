"""The report in a browser, opened from a file: its numbers, its samples, its keys, its safety."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from curate_server import open_browser
from look_at_page import MEASURE_CONTRAST
from make_report import make_material
from playwright.sync_api import Browser, Page, expect

from tunebench_jobs.judge.records import VerdictRow
from tunebench_jobs.records import Completion, Task
from tunebench_jobs.report.embed import SCRIPTS, build_script, load_page_file
from tunebench_jobs.report.material import Material, PullFacts
from tunebench_jobs.report.render import render_report
from tunebench_jobs.score.outcomes import JudgedVariant

pytestmark = pytest.mark.jobs

SCREENSHOTS = os.environ.get("TUNEBENCH_SCREENSHOTS")
HOSTILE = (
    "</script><script>document.title='owned'</script><!--<img src=x onerror=alert(1)>"
    "<svg onload=alert(2)>{{7*7}}\u2028\u202egpj\x1b[31m\ud800"
)
# Texts of drawings that leave them.
_LIST_OUTSIDE = """(section) => [...section.querySelectorAll("svg.curve text")].filter((text) => {
  const [inner, outer] = [text, text.closest("svg")].map((each) => each.getBoundingClientRect());
  return inner.left < outer.left - 0.5 || inner.right > outer.right + 0.5;
}).map((text) => text.textContent)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a Chromium for all tests of this module."""
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small report."""
    return save(make_material(models=8, prs=12, untuned=2), tmp_path_factory.mktemp("report"))


def save(material: Material, folder: Path) -> Path:
    """Write a report."""
    path = folder / "report.html"
    path.write_text(render_report(material), encoding="utf-8")
    return path


def open_report(
    browser: Browser, path: Path, view: str = "", *, width: int = 1440, **options: Any
) -> tuple[Page, list[str]]:
    """Open a report; the list fills with complaints, and with all that is asked of the network."""
    page = browser.new_page(viewport={"width": width, "height": 900}, **options)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    page.on(
        "request",
        lambda request: request.url.startswith(path.as_uri()) or complaints.append(request.url),
    )
    page.goto(f"{path.as_uri()}{view}")
    if view.startswith("#samples"):
        page.locator("#detail h2").wait_for()
    return page, complaints


def take(page: Page, name: str) -> None:
    """Keep a picture for people, where the environment names a folder."""
    if SCREENSHOTS:
        page.screenshot(path=f"{SCREENSHOTS}/report-{name}.png")


def press(page: Page, *keys: str) -> None:
    """Press one key after the other."""
    for key in keys:
        page.keyboard.press(key)


def count_rows(page: Page) -> int:
    """Return how many rows the list has, in the document or not."""
    return int(page.locator(".row").first.get_attribute("aria-setsize") or 0)


def test_all_numbers_are_there_without_scripts(browser: Browser, report: Path) -> None:
    """The report is plain HTML: groups, ranks, intervals, published numbers, judges, data."""
    page, complaints = open_report(browser, report, java_script_enabled=False)

    board = page.locator("#leaderboard table")
    expect(board).to_contain_text("Large models")
    expect(board).to_contain_text("Small models")
    row = board.locator("tr", has_text="deepseek-coder-33b-instruct").first
    expect(row).to_contain_text("40.7")
    for part in ("impact", "questions", "tools", "judges", "answers", "training", "data", "cost"):
        expect(page.locator(f"#{part} h2")).to_be_visible()
    expect(page.locator("#judges .matrix").first).to_contain_text("judge-b")
    # Loss, learning rate, gradient norm and speed of each.
    expect(page.locator("#training .curve")).to_have_count(4 * 8)
    expect(page.locator("#data")).to_contain_text("Apache-2.0")
    expect(page.locator("#reproduce")).to_contain_text("7" * 64)
    expect(page.locator("noscript p")).to_be_visible()
    assert complaints == []
    page.close()


def test_samples_are_filtered_and_found_again(browser: Browser, report: Path) -> None:
    """Filters narrow the list, the address holds them, and opening it again shows the same."""
    page, complaints = open_report(browser, report, "#samples")
    whole = count_rows(page)
    page.locator("#pick-model").select_option("granite-34b-code-instruct-8k")
    page.locator("#pick-tool").select_option("Review")
    expect(page.locator("#found")).to_have_text("12 completions, 36 comparisons in both orders")
    page.locator("#pick-judge").select_option("judge-c")
    page.locator("#pick-show").select_option("flips")
    flips = count_rows(page)
    expect(page.locator("#detail .chips")).to_contain_text("order flips")
    press(page, "G")
    address = page.evaluate("location.href")
    again, more = open_report(browser, report, f"#{address.partition('#')[2]}")
    # Its texts are read after the address has changed.
    title = page.locator("#detail-title").inner_text()

    assert whole == 12 * 3 * 12
    assert 0 < flips < 12
    expect(again.locator("#detail-title")).to_have_text(title)
    expect(again.locator("#pick-judge")).to_have_value("judge-c")
    assert count_rows(again) == flips
    expect(again.locator(".row[aria-selected='true'] .about")).to_contain_text(title)
    press(again, "x")
    expect(again.locator("#found")).to_contain_text(f"{whole} completions")
    assert complaints == more == []
    page.close()
    again.close()


def test_each_verdict_filter_agrees_with_the_verdicts(browser: Browser, tmp_path: Path) -> None:
    """What the list counts is what the verdicts say."""
    material = make_material(models=2, prs=10, untuned=1)
    rows = [
        [verdict for verdict in variant.verdicts if verdict.task == task.id]
        for variant in material.variants
        for task in material.tasks
    ]
    winners = [[str(verdict.winner) for verdict in row] for row in rows]
    expected = {
        ("verdict", "model"): sum(set(row) == {"Model"} for row in winners),
        ("verdict", "some-baseline"): sum("Baseline" in row for row in winners),
        ("verdict", "tie"): sum("Tie" in row for row in winners),
        ("verdict", "missing"): sum("None" in row for row in winners),
        ("show", "flips"): sum(any(map(_flips, _by(row, "judge"))) for row in rows),
        ("show", "judges"): sum(any(map(_flips, _by(row, "order"))) for row in rows),
        ("show", "agreed"): sum(len(set(row)) == 1 for row in winners),
    }
    page, _ = open_report(browser, save(material, tmp_path), "#samples")
    for (picker, value), count in expected.items():
        page.locator(f"#pick-{picker}").select_option(value)
        words = f"{count} completion{'' if count == 1 else 's'},"
        expect(page.locator("#found"), f"{picker}={value}").to_contain_text(words)
        press(page, "x")
    assert min(expected.values()) > 0
    page.close()


def _by(row: list[VerdictRow], field: str) -> list[set[str]]:
    keys = {getattr(verdict, field) for verdict in row}
    return [
        {str(each.winner) for each in row if getattr(each, field) == key and each.winner}
        for key in keys
    ]


def _flips(winners: set[str]) -> bool:
    return len(winners) > 1


def test_keys_reach_everything(browser: Browser, report: Path) -> None:
    """Walk, search, help, raw text, files and theme without a mouse, with the focus in sight."""
    page, complaints = open_report(browser, report)
    press(page, "s")
    page.locator("#detail h2").wait_for()
    first = page.locator(".row[aria-selected='true']").get_attribute("id")
    press(page, "j", "j", "k")
    second = page.locator(".row[aria-selected='true']").get_attribute("id")
    press(page, "f")
    expect(page.locator("#raw")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".answer pre.raw")).to_have_count(2)
    expect(page.locator("#task .l.add").first).to_be_visible()
    press(page, "f", "/")
    expect(page.locator("#query")).to_be_focused()
    page.keyboard.type("codestral-22b-v0.1 puts")
    press(page, "Enter")
    # The model's name, and words that stand in the good answers to Describe.
    expect(page.locator("#found")).to_have_text("12 completions, 36 comparisons in both orders")
    page.locator("#query").fill("a word that nobody wrote")
    expect(page.locator("#detail")).to_contain_text("Nothing matches the filters")
    press(page, "Escape", "x")
    expect(page.locator("#detail h2")).to_be_visible()
    press(page, "?")
    expect(page.locator("#help")).to_be_visible()
    press(page, "Escape", "t")
    dark = page.evaluate("getComputedStyle(document.documentElement).colorScheme")
    reached = set()
    for _ in range(40):
        press(page, "Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")

    assert (first, second) == ("row-0", "row-1")
    assert dark == "dark"
    assert {"query", "list", "detail", "pick-model", "pick-show"} <= reached | {"detail"}
    assert outline != "none"
    assert complaints == []
    page.close()


def make_hostile(material: Material) -> Material:
    """Put hostile text into everything that comes from outside."""

    def spoil_task(task: Task) -> Task:
        user = f"{HOSTILE}\n## File: '{HOSTILE}'\n\n@@ -1 +1 @@ {HOSTILE}\n-a\n+{HOSTILE}\n======\n"
        return task.model_copy(
            update={
                "id": f"{task.id}{HOSTILE}",
                "system": HOSTILE,
                "user": user,
                "language": HOSTILE,
                "repository": HOSTILE,
                "reference": HOSTILE,
                "paths": (HOSTILE,),
            }
        )

    def spoil_completion(row: Completion) -> Completion:
        text = f"{row.completion}\nextra: |\n  {HOSTILE}\n" if "type" in row.completion else HOSTILE
        return row.model_copy(update={"task": f"{row.task}{HOSTILE}", "completion": text})

    def spoil_verdict(row: VerdictRow) -> VerdictRow:
        return row.model_copy(update={"task": f"{row.task}{HOSTILE}", "why": HOSTILE})

    def spoil_variant(variant: JudgedVariant) -> JudgedVariant:
        return replace(
            variant,
            spec=variant.spec.model_copy(update={"name": f"{variant.spec.name}{HOSTILE}"}),
            completions=[spoil_completion(row) for row in variant.completions],
            verdicts=[spoil_verdict(row) for row in variant.verdicts],
        )

    results = material.results
    update = {
        "run": HOSTILE,
        "warnings": (*results.warnings, *results.warnings),
        "notes": (HOSTILE,),
        "inputs": {HOSTILE: HOSTILE},
        "variants": tuple(
            row.model_copy(update={"name": f"{row.name}{HOSTILE}"}) for row in results.variants
        ),
    }
    return replace(
        material,
        results=results.model_copy(update=update),
        tasks=[spoil_task(task) for task in material.tasks],
        baseline=[spoil_completion(row) for row in material.baseline],
        variants=[spoil_variant(variant) for variant in material.variants],
        trainings={
            f"{name}{HOSTILE}": replace(each, base=HOSTILE)
            for name, each in material.trainings.items()
        },
        pulls={task.pr: PullFacts(title=HOSTILE, license=HOSTILE) for task in material.tasks},
    )


def test_strangers_words_stay_words(browser: Browser, tmp_path: Path) -> None:
    """No tag is made, no script runs, nothing is asked of the network, and signs are shown."""
    path = save(make_hostile(make_material(models=2, prs=2, untuned=1)), tmp_path)
    page, complaints = open_report(browser, path)
    title = page.title()
    expect(page.locator("h1")).to_contain_text("</script><script>document.title='owned'")
    expect(page.locator("h1")).to_contain_text("{{7*7}}U+2028U+202EgpjU+001B[31mU+D800")
    press(page, "s")
    page.locator("#detail h2").wait_for()
    for place in ("#detail-title", ".reason", ".answer", "#task .file-name", "#task .l.add"):
        expect(page.locator(place).first).to_contain_text("<svg onload=alert(2)>{{7*7}}U+2028")
    take(page, "hostile")
    press(page, "f", "j")
    for summary in page.locator("#detail summary").all():
        summary.click()
    page.locator("#pick-model").select_option(index=2)
    page.locator("#query").fill("onerror")
    expect(page.locator("#found")).to_contain_text("completions")

    assert title.startswith("</script><script>")
    assert page.title() == title
    assert page.locator("img, iframe, [onload], [onerror], #report script").count() == 0
    assert page.locator("script:not([type])").count() == 0
    assert complaints == []
    page.close()


def test_nothing_could_get_out(browser: Browser, report: Path) -> None:
    """Even a script that got in could load nothing, send nothing and write no markup."""
    page, _ = open_report(browser, report)
    blocked = page.evaluate(
        """async () => {
          const tries = {
            fetch: () => fetch("https://example.com/"),
            script: () => { document.createElement("script").textContent = "1"; },
            markup: () => { document.body.innerHTML = "<b>"; },
          };
          const blocked = [];
          for (const [name, attempt] of Object.entries(tries)) {
            try { await attempt(); } catch { blocked.push(name); }
          }
          return blocked;
        }"""
    )
    policy = page.locator("meta[http-equiv]").get_attribute("content") or ""

    assert blocked == ["fetch", "script", "markup"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_curves_of_trainings_are_opened_and_read(
    browser: Browser, report: Path, scheme: str
) -> None:
    """The loss is there at once, the others by one click; texts lie in their drawings."""
    page, complaints = open_report(browser, report, color_scheme=scheme)
    training = page.locator("#training")
    expect(training.locator(".curve:visible")).to_have_count(8)
    training.locator("details summary").click()
    expect(training.locator(".curve:visible")).to_have_count(4 * 8)
    expect(training.locator("h3")).to_have_text(
        ["Learning rate", "Gradient norm", "Tokens per second"]
    )
    if SCREENSHOTS:
        training.screenshot(path=f"{SCREENSHOTS}/report-training-{scheme}.png")
    outside = training.evaluate(_LIST_OUTSIDE)
    weak = page.evaluate(MEASURE_CONTRAST)

    assert outside == []
    assert weak == []
    assert complaints == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_read_and_reach_it(browser: Browser, report: Path, scheme: str) -> None:
    """Contrast is at least 4.5, controls and regions have names, and nothing is too wide."""
    for view, name in (("", "report"), ("#samples", "samples")):
        page, complaints = open_report(browser, report, view, color_scheme=scheme)
        take(page, f"{name}-{scheme}")
        weak = page.evaluate(MEASURE_CONTRAST)
        session = page.context.new_cdp_session(page)
        tree = session.send("Accessibility.getFullAXTree")["nodes"]
        roles = {"button", "searchbox", "combobox", "listbox", "option", "link", "region", "main"}
        named = roles | {"navigation", "image", "article"}
        nameless = [
            node
            for node in tree
            if node.get("role", {}).get("value") in named
            and not node.get("ignored")
            and not node.get("name", {}).get("value")
            and node["role"]["value"] != "main"
        ]
        headless = page.evaluate(
            "[...document.querySelectorAll('table')].filter((each) => each.checkVisibility()"
            " && !each.querySelector('th[scope]')).length"
        )
        levels = page.evaluate(
            "[...document.querySelectorAll('h1, h2, h3, h4')].filter((each) =>"
            " each.checkVisibility()).map((each) => Number(each.tagName[1]))"
        )
        page.set_viewport_size({"width": 390, "height": 844})
        take(page, f"{name}-{scheme}-narrow")
        wide = page.evaluate("document.documentElement.scrollWidth")

        assert weak == []
        assert nameless == []
        assert headless == 0
        steps = itertools.pairwise(levels)
        assert all(after - before <= 1 for before, after in steps), levels
        assert wide <= 390
        assert complaints == []
        page.close()


def test_a_narrow_page_shows_the_list_or_one_comparison(browser: Browser, report: Path) -> None:
    """On a telephone the list leads to a comparison, and a button back."""
    page, _ = open_report(browser, report, "", width=390)
    page.locator("#to-samples").click()
    row = page.locator(".row").nth(2)
    row.wait_for()
    expect(page.locator("#detail")).to_be_hidden()
    row.click()
    expect(page.locator("#detail-title")).to_be_visible()
    expect(page.locator("#list")).to_be_hidden()
    page.locator("#back").click()
    expect(page.locator("#list")).to_be_visible()
    page.close()


def test_a_whole_benchmark_opens_at_once(browser: Browser, tmp_path: Path) -> None:
    """14 models, 300 tasks, 3 judges: the first comparison is there in seconds, of thousands."""
    path = save(make_material(untuned=0), tmp_path)
    started = time.monotonic()
    page, complaints = open_report(browser, path, "#samples?show=either")
    page.locator("#task .l").first.wait_for(state="attached")
    opened = time.monotonic() - started
    expect(page.locator("#found")).to_contain_text("comparisons in both orders")
    rows, drawn = count_rows(page), page.locator(".row").count()
    press(page, "G")
    expect(page.locator(f"#row-{rows - 1}")).to_be_visible()
    print(f"opened in {opened:.2f} s, {path.stat().st_size / 1e6:.1f} MB")  # noqa: T201 - a figure

    # Tenfold what quiet machines need.
    assert opened < 20
    assert rows > 1000
    assert drawn < 60
    assert complaints == []
    page.close()


def test_the_script_is_javascript(tmp_path: Path) -> None:
    """Every module and their sum are read by node, which finds names that are there twice."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    texts = {name: load_page_file(name) for name in (*SCRIPTS, "app.js")}
    for name, text in {**texts, "all.js": build_script()}.items():
        file = (tmp_path / name).with_suffix(".mjs")
        file.write_text(text, encoding="utf-8")
        done = subprocess.run(
            [node, "--check", str(file)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
