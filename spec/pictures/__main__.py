"""Draws the pictures of the pages from runs of the lessons on the sample: make pictures

    python spec/pictures              all lessons
    python spec/pictures 01 05        these lessons
    python spec/pictures --again 01   from the run that is there, without a new one

The runs are in output/pictures, the pictures in spec/images. A few minutes. With lesson 02 comes
spec/images/report.png, the report of its run in Chromium, where there is one.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from screenshot import shoot

REPO = Path(__file__).resolve().parents[2]
RUNS = REPO / "output" / "pictures"


def lesson(script: Path, again: bool) -> tuple[Path, str]:
    """The folder that a lesson wrote, and what it printed, of a new run or ``again`` of the last.

    Raises:
        SystemExit: the lesson failed, or has not run yet; with what to do.
    """
    run, number = RUNS / script.stem, script.name[:2]
    printed, options = run.with_suffix(".txt"), ["--output", str(run)]
    RUNS.mkdir(parents=True, exist_ok=True)
    if number > "05":
        options.append("--local")
    if number == "08":  # a dump beside those of the reader
        settings = run.with_suffix(".yaml")
        settings.write_text("dump: pictures\n", encoding="utf-8")
        options = ["--local", "--overwrite", "--config", str(settings)]
        run = REPO / "output" / script.stem / "dumps" / "pictures"
    if again:
        if not printed.exists():
            sys.exit(f"error: {script.stem} has not run: leave out --again.")
        return run, printed.read_text(encoding="utf-8")
    if number != "08":
        shutil.rmtree(run, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, str(script), *options],
        cwd=REPO,
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        print(done.stderr[-3000:], file=sys.stderr)
        sys.exit(f"error: {script.name} ended with exit code {done.returncode}: see above.")
    printed.write_text(done.stdout, encoding="utf-8")
    return run, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("lessons", nargs="*", metavar="NN", help="numbers of lessons; all without")
    parser.add_argument("--again", action="store_true", help="draw from the last runs")
    options = parser.parse_args()
    for script in sorted(REPO.glob("examples_*/[0-9][0-9]_*.py")):
        number = script.name[:2]
        if number in options.lessons or not options.lessons:
            print(script.stem, flush=True)
            run, printed = lesson(script, options.again)
            importlib.import_module(f"draw_{number}").draw(run, printed)
            if number == "02":
                shoot(run, "dup_line_frac", "report")


if __name__ == "__main__":
    main()
