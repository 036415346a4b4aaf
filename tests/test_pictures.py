"""The pictures of the pages: there, named, described, and with the numbers that the page shows."""

from __future__ import annotations

import importlib
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib
import pytest
from conftest import LESSONS, REPO
from test_specs import BLOCK, SPECS

IMAGES = REPO / "spec" / "images"
DRAWN = sorted(IMAGES.glob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"
NUMBER = re.compile(r"(?<!\w)\d+(?:[.,]\d+)*")
# Groups of an SVG whose numbers are no facts: the ticks of an axis, and text of a document.
EXEMPT = re.compile(r"(xtick|ytick|quote)_\d+$")


def named_images() -> dict[Path, list[str]]:
    """Each image that the README or a page shows, and its alternative texts there."""
    found: dict[Path, list[str]] = {}
    for page in [REPO / "README.md", *SPECS]:
        for alternative, target in re.findall(
            r"!\[(.*?)\]\((.*?)\)", page.read_text(encoding="utf-8"), re.S
        ):
            if "://" not in target:
                found.setdefault((page.parent / target).resolve(), []).append(alternative)
    return found


def visible(svg: Path) -> list[str]:
    """The texts that a reader sees, but those of axis ticks and documents."""
    texts = []

    def look(element: ET.Element) -> None:
        if EXEMPT.match(element.get("id", "")):
            return
        if element.tag == f"{SVG}text":
            texts.append("".join(element.itertext()))
        for inner in element:
            look(inner)

    look(ET.parse(svg).getroot())
    return texts


def metadata(svg: Path) -> dict:
    return json.loads(ET.parse(svg).getroot().find(f"{SVG}metadata").text)


def test_every_image_is_shown_and_every_shown_image_is_there():
    named = named_images()
    assert set(named) == set(IMAGES.iterdir())
    for image, alternatives in named.items():
        assert image.stat().st_size < 150_000, image.name
        for alternative in alternatives:
            assert len(alternative.split()) > 5, f"{image.name}: say what it shows"


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.stem)
def test_every_page_shows_a_picture_of_its_lesson(spec):
    pictures = re.findall(r"!\[[^]]+\]\(images/(\d\d)_\w+\.svg\)", spec.read_text(encoding="utf-8"))
    assert pictures and set(pictures) == {spec.stem[:2]}


@pytest.mark.parametrize("svg", DRAWN, ids=lambda svg: svg.stem)
def test_it_says_what_it_is_has_a_ground_and_loads_nothing(svg):
    root = ET.parse(svg).getroot()
    ground = root.find(f"{SVG}rect")  # legible on a dark page whose reader has a light system
    assert ground.get("id") == "ground" and "var(--ground" in ground.get("style")
    assert root.find(f"{SVG}title").text and len(root.find(f"{SVG}desc").text.split()) > 10
    assert not [element for element in root.iter() if element.tag == f"{SVG}script"]
    links = re.findall(r'href="([^"]*)|url\(([^)]*)', svg.read_text(encoding="utf-8"))
    assert all("".join(link).startswith("#") for link in links)


@pytest.mark.parametrize("svg", DRAWN, ids=lambda svg: svg.stem)
def test_its_numbers_are_those_of_the_page(svg):
    facts = metadata(svg)["facts"]
    page = next(spec for spec in SPECS if spec.stem.startswith(svg.stem[:2]))
    blocks = [match[4] for match in BLOCK.finditer(page.read_text(encoding="utf-8"))]
    rows = [row.lstrip("+- ") for row in "\n".join(blocks).splitlines()]
    for label, numbers in facts.items():
        mine = [row for row in rows if re.match(rf"{re.escape(label)}(?!\w)", row)]
        for number in numbers:
            whole = re.compile(rf"(?<![\d.]){re.escape(number)}(?![\d]|\.\d)")
            assert any(whole.search(row[len(label) :]) for row in mine), (label, number)
    known = {number for label, numbers in facts.items() for number in [*numbers, label]}
    known = set(NUMBER.findall(" ".join(known)))
    for text in visible(svg):
        assert set(NUMBER.findall(text)) <= known, text


@pytest.mark.parametrize("script", LESSONS, ids=lambda script: script.stem)
def test_it_is_what_a_run_of_the_lesson_gives(script, bare, tmp_path, monkeypatch):
    """Drawn anew: the same words and numbers, and with the matplotlib of then the same bytes."""
    style, number = importlib.import_module("style"), script.stem[:2]
    monkeypatch.setattr(style, "IMAGES", tmp_path)
    done = bare(number)
    run = done.folder / "dumps" / "sample-1" if number == "08" else done.folder
    importlib.import_module(f"draw_{number}").draw(run, done.stdout)
    committed = sorted(IMAGES.glob(f"{number}_*.svg"))
    assert [path.name for path in sorted(tmp_path.iterdir())] == [path.name for path in committed]
    for old in committed:
        new = tmp_path / old.name
        assert visible(new) == visible(old), "run make pictures, and look at what changed"
        if metadata(old)["matplotlib"] == matplotlib.__version__:
            assert new.read_bytes() == old.read_bytes(), "run make pictures"
