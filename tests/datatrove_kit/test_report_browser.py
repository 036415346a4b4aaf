"""The page of a report in a real Chromium, opened from disk, with hostile texts in it."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from chromium import CHROMIUM, FLAGS
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.filters import GopherRepetitionFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from matplotlib import rc_context
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from datatrove_kit.report import write_report
from datatrove_kit.report.model import (
    Cluster,
    Comparison,
    Distribution,
    Failure,
    Mark,
    Moved,
    Pile,
    Report,
    Stage,
    Step,
    Task,
    Text,
    Tokens,
)
from datatrove_kit.report.page import SHOWN, render

PROSE = (
    "The mill stands where two brooks meet, below the village and above the old bridge. Its wheel "
    "has not turned since the flood of 1954, when the water took the sluice, the shed and a cart "
    "with two barrels of flour.\n\nLast spring the council asked a carpenter, Ilse Brandt, what it "
    "would cost to mend it. She walked around the wheel twice, knocked on every paddle, and said "
    "that the oak was better than the plan.\n\nThe work began in June. Nine pupils of the trade "
    "school came on Saturdays, and a farmer lent his crane. By October the wheel turned again, "
    "slowly at first, and the swallows left the gutter in protest."
)
MENU = "Home\nShop\nHome\nCart\nHome\nYour account\nHome\nContact\nHome\nImprint"
SCRIPTS = {
    "ar": "عاد الماء صباح الأحد إلى فلج القرية بعد انقطاع دام تسع سنوات، وتجمع الأهالي عند الشريعة "
    "ليشاهدوا أول دفقة تصل إلى بساتين النخيل (2021).",
    "he": "הספרייה של השכונה נפתחה מחדש ביום שלישי, אחרי שלוש שנים של שיפוצים. ABC 123.",
    "zh": "村口的老槐树下，王师傅每天清晨都会摆出修鞋摊。三十年来，他修过的鞋子足够绕村子三圈。",
    "ja": "港の朝は早い。まだ暗いうちから漁師たちが網を繕い、猫がその横で朝食を待っている。",
    "hi": "गाँव के पुराने कुएँ पर हर शाम लोग इकट्ठा होते हैं और दिन भर की बातें करते हैं। क्षत्रिय",
}
HOSTILE = {
    "script": "<script>document.title = 'ran'</script>",
    "close": "</div></article></main></script><script>document.title = 'ran'</script>",
    "style": "<style>* { display: none !important }</style>",
    "iframe": '<iframe src="https://example.invalid/frame"></iframe>',
    "handlers": "<img src=https://example.invalid/x.png onerror=\"document.title='ran'\">"
    "<svg onload=\"document.title='ran'\"><b onclick=document.title='ran'>press</b>",
    "link": '<link rel=stylesheet href="https://example.invalid/a.css"><base href="//a.invalid/">',
    "refresh": '<meta http-equiv="refresh" content="0; url=https://example.invalid/">',
    "template": "{{ 7 * 7 }} {% include 'report.css' %} &lt;b&gt; &amp;amp; ${document.title}",
    "comment": "<!-- <script> --> <![CDATA[ ]]> <plaintext><textarea><title>",
    "bidi": "invoice\u202egpj.exe and \u2066isolated\u2069",
    "control": "null \x00 bell \x07 escape \x1b[31m, lone \ud83d, last \uffff, soft\u00adhyphen",
    "zalgo": "h" + "\u0335\u0321\u0322\u0300\u0301" * 40 + "i",
}
AWKWARD_ID = """<b id="x">'quoted" &amp; \u202ereversed</b>"""


def text(name: str, content: str, **more) -> Text:
    more.setdefault("characters", len(content))
    more.setdefault(
        "metadata", {"url": f"https://example.org/{name}", "file_path": "00001.warc.gz"}
    )
    return Text(id=name, text=content, place=f"kept/00000.jsonl.gz, line {len(name)}", **more)


def sample() -> Report:
    """A report with all kinds of content, as a run of a web crawl would give it."""
    repeated = [
        Mark(found.start(), found.end(), "repeated line") for found in re.finditer("Home", MENU)
    ]
    menus = [
        text(
            f"menu-{number}",
            f"{MENU}\nPage {number}",
            marks=[*repeated, Mark(10, 14, "short line"), Mark(49, 9999, "end")],
            note="38.2% of the characters are in repeated lines, at most 10% may be",
        )
        for number in range(1, 6)
    ]
    hostile = [
        text(
            name,
            content,
            metadata={content[:40]: content},
            note=content,
            marks=[Mark(2, 9, content)],
        )
        for name, content in HOSTILE.items()
    ]
    hostile += [
        text(AWKWARD_ID, "A text with an awkward id."),
        text("empty", ""),
        text("huge", "x" * 5_000_000 + "END", metadata={"key": "y" * 5_000_000}),
    ]
    once = text("again", "ding dong\n" * 60 + "bim", marks=[Mark(600, 603, "bim")])
    foreign = [
        text(f"language-{code}", content, metadata={"language": code, "language_score": "0.98"})
        for code, content in SCRIPTS.items()
    ]
    prose = [text("mill", PROSE), text("mill-2", PROSE.replace("mill", "old mill"))]
    stage = Stage(
        name="logs",
        tasks=24,
        complete=23,
        steps=[
            Step("WarcReader", "reader", 12.4, kept=4702, characters=13_799_370),
            Step(
                "Trafilatura",
                "extractor",
                903.2,
                4702,
                151,
                4551,
                8_156_130,
                piles=[Pile("no text", 151, missing="The extractor writes no dropped documents.")],
            ),
            Step(
                "LanguageFilter",
                "filter",
                17.9,
                4551,
                753,
                3798,
                7_144_090,
                folder="dropped/1_language",
                piles=[Pile("language", 753, foreign)],
            ),
            Step(
                "GopherRepetitionFilter",
                "filter",
                369.6,
                3798,
                1032,
                2766,
                5_120_000,
                folder="dropped/2_repetition",
                piles=[
                    Pile("dup_line_frac", 611, menus),
                    Pile("top_4_gram", 380, hostile),
                    Pile(
                        "duplicated_5_n_grams",
                        40,
                        [once],
                    ),
                    Pile("", 1, [text("single", "No reason.")]),
                ],
            ),
            Step(
                HOSTILE["script"],
                "filter",
                0.4,
                2766,
                3,
                2763,
                5_114_321,
                piles=[Pile(HOSTILE["handlers"], 3, prose[:1])],
            ),
            Step("JsonlWriter", "writer", 2.1, folder="kept"),
        ],
        times=[Task(rank, 400 / (rank + 2) ** 0.7, "CC-MAIN-00007.warc.gz") for rank in range(23)],
        failed=[Failure(23, HOSTILE["handlers"], "logs/logs/task_00023.log")],
    )
    changed = PROSE.replace("Nine pupils", "Eleven apprentices").replace(" in protest", "")
    return Report(
        title="02_extraction_filtering",
        folder="/data/runs/02_extraction_filtering",
        stages=[stage],
        kept=[("kept", Pile("", 2763, prose))],
        distributions=[
            Distribution(
                "Characters of a document",
                "histogram",
                {"100": 1, "200": 4, "400": 12, "800": 31, "1600": 44, "3200": 18, "6400": 3},
                {"100": 40, "200": 31, "400": 22, "800": 12, "1600": 6, "3200": 2, "6400": 9},
            ),
            Distribution(
                "Languages", "bars", {"en": 113}, {"en": 40, "de": 31, "ar": 22, "中文": 9}
            ),
            Distribution(
                "Domains",
                "bars",
                {"example.org": 40, "$x^2$ <b>\u202e": 22},
                {"a-very-long-name.of.a.domain.example.com": 9},
            ),
        ],
        clusters=[
            Cluster("near", [text("mill-3", changed)], prose[0], 0.861, 14),
            Cluster("exact", [text("copy-1", MENU), text("copy-2", MENU)], None),
            Cluster("near", hostile[:3], hostile[3], 0.9),
        ],
        tokens=[
            Tokens(
                "tokenizer.json",
                text("tokens", "The mill\nstands 🙂 <b>here</b>"),
                [
                    (0, 3, 464),
                    (3, 8, 3474),
                    (8, 9, 198),
                    (9, 15, 1302),
                    (15, 16, 220),
                    (16, 17, 8582),
                    (16, 17, 247),
                    (17, 21, 1279),
                    (21, 25, 1456),
                    (25, 29, 3556),
                ],
            ),
        ],
        sampling=[
            "Each text was drawn by reservoir sampling with seed 0 from at most 8 files.",
            HOSTILE["style"],
        ],
        comparison=Comparison(
            "/data/runs/looser",
            812,
            [Moved(menus[0], "GopherRepetitionFilter: dup_line_frac", "kept")],
            [Moved(text("gone", SCRIPTS["hi"]), "kept", "LanguageFilter: language")],
            [
                Moved(
                    text(AWKWARD_ID, HOSTILE["bidi"]), "LanguageFilter: language", HOSTILE["iframe"]
                )
            ],
            [("GopherRepetitionFilter.dup_line_frac", "0.3", "0.5"), ("x", HOSTILE["script"], "")],
            [("GopherRepetitionFilter", 2766, 2902), ("LanguageFilter", 3798, 3798)],
            {"kept": 137, "dropped": 1, "changed": 1},
        ),
        read=4702,
        facts=[("finished", "2026-11-26 14:02 UTC"), ("DataTrove", "0.10.1")],
        warnings=["logs: 23 of 24 tasks complete", HOSTILE["iframe"]],
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        why = "no chromium here: on Debian run `make browser`"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(sample()), encoding="utf-8")
    assert path.stat().st_size < 500_000  # although two strings have five million characters
    return path.as_uri()


def test_a_run_that_has_done_nothing_yet(browser, tmp_path):
    steps = [Step("JsonlReader", "reader", 0.0), Step("LambdaFilter", "filter", 0.0, 0, 0, 0)]
    stage = Stage("logs", 3, 0, steps, [Task(0, 0.0), Task(1, 0.0)])
    spread = [Distribution("Lengths", "histogram", {"10": 0}, {"10": 0})]
    spread.append(Distribution("Languages", "bars", {}, {}))
    clusters, tokens = [Cluster("exact", [], None)], [Tokens("t", text("nothing", ""), [])]
    kept = [("kept", Pile("", 0, missing="No file was written."))]
    page = browser.new_page()
    for report in (
        Report("run", "/run", [stage], kept, spread, clusters, tokens, []),
        Report("run", "/run", [], [], [], [], [], []),
    ):
        errors = []
        page.on("pageerror", lambda error, errors=errors: errors.append(error))
        (tmp_path / "report.html").write_text(render(report), encoding="utf-8")
        page.goto((tmp_path / "report.html").as_uri())
        assert page.get_by_role("heading", name="The funnel").is_visible() and not errors
        assert ("only 0 of 3 tasks complete" in page.inner_text("main")) == bool(report.stages)
    page.close()


@pytest.fixture
def visit(browser, address) -> Iterator[Callable[..., Page]]:
    """Open the page: ``visit("#pile-1", width=360, javascript=False, dark=True)``.

    At the end of the test: no request but the page's own, nothing on the console, no dialogue,
    and no text of the web has run.
    """
    contexts, heard = [], []

    def call(place: str = "", *, width=1400, javascript=True, dark=False) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            java_script_enabled=javascript,
            color_scheme="dark" if dark else "light",
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("dialog", lambda dialog: heard.append(dialog.message))
        context.on("request", lambda request: heard.append(request.url))
        page.goto(address + place)
        return page

    yield call
    for context in contexts:
        assert [page.title() for page in context.pages] == ["02_extraction_filtering"]
        context.close()
    assert {url.partition("#")[0] for url in heard} == {address}, heard


def body_of(page: Page, name: str):
    """The text of a document of the page, by its id; the first if it is there twice."""
    card = page.locator(".card").filter(has=page.locator(f"[data-id={json.dumps(name)}]"))
    return card.first.locator(".body")


@pytest.mark.parametrize("javascript", [True, False])
def test_hostile_texts_stay_texts(visit, javascript):
    page = visit(javascript=javascript)
    told = {
        **HOSTILE,
        "bidi": "invoiceU+202Egpj.exe and U+2066isolatedU+2069",
        "control": "null U+0000 bell U+0007 escape U+001B[31m, lone U+D83D, last U+FFFF, "
        "softU+00ADhyphen",
    }
    for name, content in told.items():
        assert body_of(page, name).text_content() == content
    tags = page.evaluate(
        "[...new Set([...document.querySelectorAll('main *')].map(e => e.tagName))]"
    )
    hostile = {"SCRIPT", "STYLE", "IFRAME", "IMG", "LINK", "META", "BASE", "TEXTAREA", "PLAINTEXT"}
    assert not hostile & {tag.upper() for tag in tags}
    inline = "e => [...e.attributes].some(a => a.name.startsWith('on') || a.name === 'style')"
    assert not page.evaluate(f"[...document.querySelectorAll('main *')].some({inline})")


def test_the_policy_stops_what_would_get_through(browser, address):
    page = browser.new_page()
    answered = []
    page.on("requestfinished", lambda request: answered.append(request.url))
    page.goto(address)
    page.evaluate(
        """() => {
            window.refused = [];
            addEventListener("securitypolicyviolation", (e) => refused.push(e.effectiveDirective));
            const html = `<b id=press onclick="document.title = 'ran'">x</b>
                <img src="https://example.invalid/x.png" onerror="document.title = 'ran'">
                <iframe src="https://example.invalid/"></iframe>
                <style>main { display: none }</style>`;
            document.body.insertAdjacentHTML("beforeend", html);
            const script = document.createElement("script");
            script.textContent = "document.title = 'ran'";
            document.body.append(script);
            document.getElementById("press").click();
            fetch("https://example.invalid/").catch(() => 0);
        }"""
    )
    kinds = ["script-src-attr", "script-src-elem", "style-src-elem"]
    kinds += ["img-src", "frame-src", "connect-src"]
    page.wait_for_function("kinds => kinds.every((kind) => refused.includes(kind))", arg=kinds)
    assert page.title() == "02_extraction_filtering" and page.locator("h1").is_visible()
    assert answered == [address]
    page.close()


def texts_of(report: Report) -> int:
    piles = [pile for stage in report.stages for step in stage.steps for pile in step.piles]
    texts = sum(len(pile.texts) for pile in piles) + len(report.kept[0][1].texts)
    clusters = sum(len(c.removed) + bool(c.kept) for c in report.clusters)
    return texts + clusters + len(report.tokens) + 3  # that moved


def test_texts_without_javascript(visit):
    page = visit(javascript=False)
    cards = page.locator(".card:has(.body)")
    assert cards.count() == texts_of(sample())
    assert all(card.is_visible() for card in cards.all())
    assert not page.locator("#search").is_visible()
    page.get_by_role("link", name="duplicated_5_n_grams").first.click()
    heading = page.get_by_role("heading", name="duplicated_5_n_grams")
    assert 0 <= heading.bounding_box()["y"] < 900


def test_a_reason_in_the_funnel_shows_its_texts(visit):
    page = visit()
    row = page.locator(".funnel > li").filter(has_text="LanguageFilter").inner_text()
    assert " ".join(row.split()) == (
        "LanguageFilter dropped/1_language 3,798 of 4,551 7,144,090 characters language 753 16.5%"
    )
    page.locator(".funnel").get_by_role("link", name="dup_line_frac").click()
    shown = page.locator(".pile:visible")
    assert shown.count() == 1 and shown.locator(".card:visible").count() == 1
    assert "Dropped by GopherRepetitionFilter dup_line_frac" in shown.inner_text().replace(
        "\n", " "
    )
    assert "611 documents dropped, 5 shown" in shown.inner_text()
    assert "38.2% of the characters are in repeated lines" in shown.inner_text()
    assert 0 <= shown.bounding_box()["y"] < 300
    page.locator(".funnel").get_by_role("link", name="top_4_gram").click()
    page.go_back()
    shown.get_by_role("heading", name="dup_line_frac").wait_for()
    page.locator(".list").get_by_role("link", name="kept").click()
    assert page.locator(".pile:visible .id:visible").inner_text() == "mill"
    page.locator(".funnel").get_by_role("link", name="no text").click()
    assert (
        "The extractor writes no dropped documents." in page.locator(".pile:visible").inner_text()
    )


def test_next_and_previous(visit):
    page = visit("#pile-3")
    pile = page.locator("#pile-3")
    back, forth = (
        pile.get_by_role("button", name="Previous"),
        pile.get_by_role("button", name="Next"),
    )
    assert back.is_disabled() and pile.get_by_role("status").inner_text() == "Text 1 of 5"
    for number in range(2, 6):
        forth.click()
        assert pile.locator(".id:visible").all_inner_texts() == [f"menu-{number}"]
    assert forth.is_disabled()
    back.click()
    assert pile.locator(".id:visible").inner_text() == "menu-4"


def test_a_long_text_shows_its_first_mark(visit):
    page = visit("#pile-5")
    body = page.locator(".pile:visible .body:visible")
    box, mark = body.bounding_box(), body.locator("mark").bounding_box()
    assert box["y"] < mark["y"] and mark["y"] + mark["height"] < box["y"] + box["height"]


def test_search(visit):
    page = visit()
    search, cards = page.locator("#search"), page.locator(".card:visible")
    search.fill("ILSE  brandt")
    bodies = cards.locator(".body").all_inner_texts()
    # Two kept ones, the one under the awkward reason, and a cluster of two.
    assert len(bodies) == 5 and all("Ilse Brandt" in body for body in bodies)
    drawn = texts_of(sample())
    assert page.locator("#found").inner_text().startswith(f"5 of the {drawn} drawn texts")
    search.fill("فلج القرية")
    assert cards.locator(".id").all_inner_texts() == ["language-ar"]
    search.fill(".*")
    assert cards.count() == 0
    assert page.locator("#found").inner_text().startswith(f"No hit in the {drawn} drawn texts.")
    search.fill("example.org/mill-2")  # in the metadata
    assert cards.locator(".id").all_inner_texts() == ["mill-2"]
    assert cards.locator("dd").first.is_visible()
    lit = "[...CSS.highlights.get('found')].map(range => range.toString())"
    assert page.evaluate(lit) == ["example.org/mill-2"]
    search.press("Escape")
    assert search.input_value() == "" and page.locator(".pile:visible").count() == 1
    assert page.locator("details[open]").count() == 0


def stop_the_clock(page: Page) -> None:
    """The page's timers run when the test says so, however busy the machine is."""
    page.clock.install()
    page.clock.pause_at(page.evaluate("Date.now()") + 3_600_000)


#: The hit that the search went to: its card's id, and whether a reader sees the words.
HERE = """() => {
    const [hit] = CSS.highlights.get("here") ?? [];
    if (!hit) return null;
    const { x, y, width, height } = hit.getBoundingClientRect();
    const seen = document.elementFromPoint(x + width / 2, y + height / 2);
    const card = hit.startContainer.parentElement.closest(".card");
    return [card.querySelector(".id").textContent, seen?.contains(hit.startContainer) ?? false];
}"""


@pytest.mark.parametrize("width", [360, 1400])
def test_enter_goes_from_hit_to_hit_and_escape_returns(visit, width):
    page = visit(width=width)
    stop_the_clock(page)
    found, focused = page.locator("#found"), "document.activeElement.id"
    page.keyboard.press("/")
    page.keyboard.type("swallows")
    ids = page.locator(".card:visible .id").all_inner_texts()
    assert len(ids) == 5 and page.evaluate(HERE) is None
    for number, name in enumerate([*ids, ids[0]]):
        page.keyboard.press("Enter")
        assert page.evaluate(HERE) == [name, True]
        assert f"this is number {number % 5 + 1}. Enter shows the next" in found.inner_text()
        assert page.evaluate(focused) == "search"
        assert 0 <= page.locator("#search").bounding_box()["y"] < 100
    page.keyboard.press("Escape")
    assert page.evaluate("scrollY") == 0 and found.inner_text() == ""

    page.locator(".list").get_by_role("link", name="top_4_gram").click()
    place = page.evaluate("scrollY")
    page.keyboard.press("/")
    page.keyboard.type("bim")  # at the end of a text that scrolls in its box
    page.keyboard.press("Enter")
    assert page.evaluate(HERE) == ["again", True]
    page.keyboard.press("Escape")
    assert place and page.evaluate("scrollY") == place
    assert page.evaluate(focused) == "pile-4-title"


def test_a_pause_in_typing_shows_the_first_hit(visit):
    page = visit()
    stop_the_clock(page)
    page.keyboard.press("/")
    page.keyboard.type("swallows")
    first, second = page.locator(".card:visible .id").all_inner_texts()[:2]
    assert page.evaluate(HERE) is None
    page.clock.run_for(5000)
    assert page.evaluate(HERE) == [first, True]
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.press("Enter")
    assert page.evaluate(HERE) == [second, True]


def test_copy_id(visit):
    page = visit()
    page.locator("#search").fill("awkward id")
    stop_the_clock(page)  # the button says so for a moment
    button = page.locator(".copy:visible")
    button.click()
    page.get_by_role("button", name="Copied").wait_for()
    page.clock.run_for(60_000)
    assert button.inner_text() == "Copy id"
    page.locator("#search").fill("")
    page.locator("#search").press("Control+V")
    assert page.locator("#search").input_value() == AWKWARD_ID


def test_keyboard_alone(visit):
    page = visit()
    focused = "document.activeElement"
    for _ in range(30):
        page.keyboard.press("Tab")
        outline = page.evaluate(f"getComputedStyle({focused}).outlineStyle")
        assert outline == "solid", page.evaluate(f"{focused}.outerHTML")
        box = page.evaluate(f"(({{x, y}}) => [x, y])({focused}.getBoundingClientRect())")
        assert 0 <= box[0] < 1400 and 0 <= box[1] < 900
    page.reload()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the link that skips the navigation
    page.wait_for_function(f"{focused}.id === 'main'")
    while page.evaluate(f"{focused}.hash") != "#pile-3":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate(f"{focused}.id") == "pile-3-title"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert page.locator(".pile:visible .id:visible").inner_text() == "menu-2"
    while page.evaluate(f"{focused}.hash") != "#pile-3":
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowDown")
    assert page.evaluate(f"{focused}.hash") == "#pile-4"
    assert page.locator(".pile:visible").get_attribute("id") == "pile-4"
    page.keyboard.press("/")
    page.keyboard.type("swallows")
    assert page.locator("#found").inner_text().startswith("5 of")


def test_arrows_turn_the_texts_in_view(visit):
    page = visit()
    texts, clusters = page.locator("#texts .place:visible"), page.locator("#duplicates .place")
    page.evaluate("document.getElementById('texts').scrollIntoView()")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert texts.inner_text() == "Text 2 of 5"
    page.evaluate("document.getElementById('duplicates').scrollIntoView()")
    page.keyboard.press("ArrowRight")
    assert clusters.inner_text() == "Cluster 2 of 3" and texts.inner_text() == "Text 2 of 5"
    page.locator("#search").focus()
    page.keyboard.press("ArrowRight")
    assert clusters.inner_text() == "Cluster 2 of 3"
    page.locator("#pile-2 h3").focus()
    page.keyboard.press("ArrowRight")
    assert clusters.inner_text() == "Cluster 2 of 3" and texts.inner_text() == "Text 3 of 5"


def test_first_and_last_reason(visit):
    page = visit()
    chosen = page.locator(".list [aria-current]")
    chosen.focus()
    page.keyboard.press("End")
    assert chosen.inner_text().split() == ["kept", "2,763"]
    assert page.evaluate("document.activeElement.hash") == "#pile-8"
    page.keyboard.press("Home")
    assert chosen.inner_text().split() == ["no", "text", "151"]
    assert page.locator(".pile:visible").get_attribute("id") == "pile-1"


@pytest.mark.parametrize("width", [360, 700, 900])
def test_tables_are_seen_whole(visit, width):
    page = visit(width=width)
    cells = page.locator("tbody th, tbody td")
    assert cells.count() == 6 + 2 * 3 + 2 * 4
    for cell in cells.all():
        box = cell.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width, cell.inner_text()
    lines = """cell => {
        const range = new Range();
        range.selectNodeContents(cell);
        return new Set([...range.getClientRects()].map(({ top }) => top)).size;
    }"""
    for name in ("GopherRepetitionFilter", "LanguageFilter"):
        heading = page.locator("#runs").get_by_role("rowheader", name=name, exact=True)
        assert heading.evaluate(lines) == 1
    label = "cell => getComputedStyle(cell, '::before').content"
    change = page.locator("td").filter(has_text="+136")
    assert change.evaluate(label) == ('"Change"' if width < 900 else "none")


@pytest.mark.parametrize("dark", [False, True])
def test_a_list_that_goes_on_says_so(visit, dark):
    page = visit(width=360, dark=dark)
    reasons = page.locator(".list")

    def edges() -> list[tuple[int, int, int]]:
        """The ground of the list near its upper and near its lower edge."""
        picture = Image.open(io.BytesIO(reasons.screenshot())).convert("RGB")
        rows = (picture.crop((20, y, picture.width - 20, y + 1)) for y in (3, picture.height - 4))
        return [max(row.getcolors())[1] for row in rows]

    ground, shadow = edges()
    assert shadow != ground
    reasons.evaluate("list => list.scrollTo(0, list.scrollHeight)")
    shadow, lower = edges()
    assert shadow != ground and lower == ground


def test_a_long_reason_is_a_short_heading(visit):
    page = visit("#pile-7", width=360)
    reason = page.locator("#pile-7 h3 > bdi")
    assert reason.text_content() == HOSTILE["handlers"]
    height = "element => element.clientHeight / parseFloat(getComputedStyle(element).lineHeight)"
    assert round(reason.evaluate(height)) == 3
    assert reason.evaluate("element => element.scrollHeight > element.clientHeight")


@pytest.mark.parametrize("javascript", [True, False])
@pytest.mark.parametrize("width", [360, 1400])
def test_nothing_sticks_out(visit, width, javascript):
    page = visit(width=width, javascript=javascript)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    if javascript:
        page.locator("#search").fill("e")  # shows nearly all texts at once
        assert page.evaluate("document.documentElement.scrollWidth") == width
    # CSS pixels of the letters in charts
    sizes = page.evaluate(
        "[...document.querySelectorAll('figure text')].map((text) => "
        "parseFloat(getComputedStyle(text).fontSize)"
        " * Math.hypot(text.getScreenCTM().c, text.getScreenCTM().d))"
    )
    assert len(sizes) > 30 and min(sizes) >= 10


#: All texts that are seen, as [text, colour, background].
COLOURS = """() => {
    const seen = [];
    for (const element of document.querySelectorAll("body *")) {
        const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
        const unread = ":disabled, script, style, title, desc";
        if (!own || !element.checkVisibility() || element.closest(unread)) continue;
        const style = getComputedStyle(element);
        let ground = element;
        while (getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)")
            ground = ground.parentElement;
        const colour = element.tagName === "text" ? style.fill : style.color;
        seen.push([element.textContent, colour, getComputedStyle(ground).backgroundColor]);
    }
    return seen;
}"""


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it, of an opaque ``rgb(...)``."""
    found = re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", colour)
    assert found, f"not an opaque colour: {colour}"
    linear = [
        value / 12.92 if (value := int(part) / 255) <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for part in found.groups()
    ]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("dark", [False, True])
def test_contrast_of_all_texts(visit, dark):
    page = visit("#pile-3", dark=dark)
    page.locator("#search").fill("e")
    seen = page.evaluate(COLOURS)
    assert len(seen) > 200
    for content, colour, ground in seen:
        lighter, darker = sorted([luminance(colour), luminance(ground)], reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (content, colour, ground)
    page_colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (luminance(page_colour) < 0.1) == dark


def test_charts_take_nothing_from_the_style_of_the_process():
    page = render(sample())
    with rc_context({"ytick.labelcolor": "#59636e", "xtick.labelsize": 30}):
        assert render(sample()) == page


def test_structure(visit):
    page = visit(javascript=False)
    levels = [
        int(level)
        for level in page.evaluate(
            "[...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map((h) => h.tagName[1])"
        )
    ]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((element) => element.id)")
    assert len(ids) == len(set(ids))
    targets = page.evaluate("[...document.querySelectorAll('a')].map((link) => link.hash.slice(1))")
    assert targets and set(targets) <= set(ids)
    assert page.get_by_role("main").count() == 1
    for name in ("Sections", "Reasons"):
        assert page.get_by_role("navigation", name=name).count() == 1
    chart = page.get_by_role("img", name="Characters of a document")
    ticks = chart.locator("text").all_text_contents()
    assert [ticks[0], ticks[7]] == ["100", "13k"]  # both ends of the axis; its last bin is full
    assert "800: 27.43%" in chart.locator("desc").text_content()  # 31 of 113
    assert page.get_by_role("img", name="3,798 in, 1,032 dropped, 2,766 kept").count() == 1


def test_scripts_and_lengths(visit):
    page = visit(javascript=False)
    for code, content in SCRIPTS.items():
        body = body_of(page, f"language-{code}")
        assert body.text_content() == content and body.get_attribute("lang") == code
        direction = body.evaluate("element => getComputedStyle(element).direction")
        assert direction == ("rtl" if code in ("ar", "he") else "ltr")
    assert body_of(page, "huge").text_content() == "x" * SHOWN
    card = page.locator(".card").filter(has=page.locator("[data-id=huge]"))
    assert "The page shows the first 5,000 of 5,000,003 characters." in card.inner_text()
    assert body_of(page, "empty").inner_text() == "This text is empty."


def test_marks_and_tokens(visit):
    page = visit(javascript=False)
    menu = body_of(page, "menu-2")
    assert menu.locator("mark[title='repeated line']").all_inner_texts() == ["Home"] * 3
    assert menu.locator("mark[title='short line']").all_inner_texts() == ["Home"]
    assert menu.locator("mark[title=end]").inner_text().endswith("Imprint\nPage 2")
    assert menu.text_content() == f"{MENU}\nPage 2"
    tokens = body_of(page, "tokens")
    assert tokens.text_content() == "The mill\nstands 🙂 <b>here</b>"
    pieces = tokens.locator(".token")
    assert pieces.all_text_contents()[5:8] == ["🙂", " <b>", "here"]
    assert pieces.nth(5).get_attribute("title") == "8582 247"


def test_differences_of_duplicates(visit):
    page = visit(javascript=False)
    cluster = page.locator(".cluster").first
    assert "2 of 14 documents of this cluster shown, 86.1% of the first one" in cluster.inner_text()
    sides = [card.locator(".only").all_text_contents() for card in cluster.locator(".card").all()]
    assert [" / ".join(side) for side in sides] == [
        "Nine pupils / gutter in protest.",
        "Eleven apprentices / gutter.",
    ]
    assert cluster.locator(".tag").all_inner_texts() == ["kept", "removed"]
    exact = page.locator(".cluster").nth(1)
    assert "was kept is not among those that were looked at" in exact.inner_text()
    assert exact.locator(".only").count() == 0 and exact.locator(".card .body").count() == 2


def test_numbers_of_the_run_and_of_two_runs(visit):
    page = visit(javascript=False)
    tiles = " ".join(page.locator(".tiles").inner_text().split())
    assert tiles.startswith("4,702 documents read 2,763 documents kept, 58.8% 1,032 dropped by")
    assert page.get_by_role("heading", name="Newly kept 1 shown of the 137 that").count() == 1
    row = page.get_by_role("row").filter(has_text="CC-MAIN-00007.warc.gz").inner_text()
    assert row.split()[-7:] == ["4", "min", "6", "s", "task", "0:", "CC-MAIN-00007.warc.gz"]


def test_a_run_of_datatrove(browser, tmp_path):
    """From a plain pipeline to its page: what fell, marked, and what stayed."""
    documents = [{"id": f"mill-{at}", "text": f"{PROSE}\n\nNumber {at}."} for at in range(4)]
    documents += [{"id": f"menu-{at}", "text": f"{MENU}\nPage {at}"} for at in range(7)]
    documents += [{"id": name, "text": f"{PROSE}\n\n{HOSTILE[name]}"} for name in ("close", "bidi")]
    (tmp_path / "data").mkdir()
    lines = "".join(json.dumps(document) + "\n" for document in documents)
    (tmp_path / "data" / "00.jsonl").write_text(lines, encoding="utf-8")
    dropped = JsonlWriter(f"{tmp_path}/run/dropped")
    LocalPipelineExecutor(
        [
            JsonlReader(f"{tmp_path}/data", glob_pattern="*.jsonl"),
            GopherRepetitionFilter(top_n_grams=(), dup_n_grams=(), exclusion_writer=dropped),
            JsonlWriter(f"{tmp_path}/run/kept"),
        ],
        logging_dir=f"{tmp_path}/run/logs",
    ).run()
    page = browser.new_page()
    heard = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("request", lambda request: heard.append(request.url))
    page.goto(write_report(str(tmp_path / "run")).as_uri())
    page.locator(".funnel").get_by_role("link", name="dup_line_frac 7").click()
    shown = page.locator(".pile:visible .card:visible")
    assert re.fullmatch("menu-[0-6]", shown.locator(".id").inner_text())
    assert shown.locator(".body mark").all_inner_texts() == ["Home"] * 4  # all but the first
    page.locator(".list").get_by_role("link", name="kept").click()
    assert page.locator(".pile:visible").get_by_text("6 documents kept, 5 shown").count() == 1
    tiles = " ".join(page.locator(".tiles").inner_text().split())
    assert tiles.startswith("13 documents read 6 documents kept, 46.2%")
    assert page.title() == "run" and len(heard) == 1, heard
    page.close()
