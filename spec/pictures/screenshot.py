"""The report of a run, as a browser shows it."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from pathlib import Path

from chromium import CHROMIUM, FLAGS
from PIL import Image
from playwright.sync_api import sync_playwright
from style import IMAGES

SIZE = {"width": 1200, "height": 780}
LIMIT = 150_000  # bytes


def shoot(run: Path, reason: str, name: str) -> None:
    """Make the report of a run, and ``spec/images/NAME.png`` of the texts dropped for a reason.

    Without Chromium the picture that is there stays, and a line on stderr says so.

    Raises:
        ValueError: the picture has 150 kB or more.
    """
    report = run / "report.html"
    command = [sys.executable, "-m", "datatrove_kit", "report", str(run), "--output", str(report)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    if not CHROMIUM:
        print(f"no chromium here: {name}.png stays as it is (make browser)", file=sys.stderr)
        return
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = chromium.new_page(viewport=SIZE, color_scheme="light")
        page.goto(report.as_uri())
        page.get_by_role("link", name=reason).first.click()
        shot = Image.open(BytesIO(page.screenshot())).convert("RGB")
        chromium.close()
    target = IMAGES / f"{name}.png"
    # A page has few colours: a palette keeps letters sharp in a third of the bytes.
    shot.quantize(128, dither=Image.Dither.NONE).save(target, optimize=True)
    if target.stat().st_size >= LIMIT:
        raise ValueError(f"{target.name} has {target.stat().st_size} bytes: show less of the page")
