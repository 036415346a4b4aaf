"""Specs and scripts mirror each other, and every output block in a spec is what a run prints.

A block stands between ``<!-- output -->`` and ``<!-- /output -->``. ``<!-- output: NAME=VALUE -->``
runs the lesson with that constant changed; ``<!-- output: --flag value -->`` with these options.
Lessons on Slurm run on a real cluster with ``<!-- output: --wait -->``.
"""

from __future__ import annotations

import re
import shlex

import pytest
from conftest import LESSONS, REPO, run_script, with_constants

BLOCK = re.compile(r"(<!-- output(?:: (.*?))? -->\n)(.*?)(<!-- /output -->)", re.S)
SPECS = sorted((REPO / "spec").glob("[0-9][0-9]_*.md"))
BLOCKS = [
    pytest.param(spec, index, id=f"{spec.stem}-{index}")
    for spec in SPECS
    for index, _ in enumerate(BLOCK.finditer(spec.read_text(encoding="utf-8")))
]


def test_specs_mirror_scripts():
    assert [s.stem for s in SPECS] == sorted(path.stem for path in LESSONS)
    strays = {p.name for p in (REPO / "spec").iterdir()} - {s.name for s in SPECS}
    assert strays == {"claude.md"}


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.stem)
def test_spec_shows_the_bare_run(spec):
    arguments = [m[2] for m in BLOCK.finditer(spec.read_text(encoding="utf-8"))]
    bare = "--wait" if (REPO / "examples_slurm" / f"{spec.stem}.py").exists() else None
    assert bare in arguments, "no block of the bare run"
    assert len(arguments) > 1, "no block that answers the exercise"


@pytest.mark.parametrize(("spec", "index"), BLOCKS)
def test_output_block(spec, index, tmp_path, pytestconfig, request):
    text = spec.read_text(encoding="utf-8")
    match = list(BLOCK.finditer(text))[index]
    script = next(path for path in LESSONS if path.stem == spec.stem)
    words = shlex.split(match[2] or "")
    changes = dict(w.split("=", 1) for w in words if re.match(r"[A-Z_]+=", w))
    options = [w for w in words if not re.match(r"[A-Z_]+=", w)]
    if changes:
        script = with_constants(script, changes, tmp_path)
    if words in ([], ["--wait"]):
        done = request.getfixturevalue("bare")(spec.stem[:2])
    else:
        env = request.getfixturevalue("cluster") if "--wait" in options else None
        done = run_script(script, *options, cwd=tmp_path, env=env)
    assert done.code == 0, done.stderr[-3000:]
    block = f"```text\n{done.stdout.strip()}\n```\n"
    if pytestconfig.getoption("--update-specs"):
        start, end = match.span(3)
        spec.write_text(text[:start] + block + text[end:], encoding="utf-8")
    else:
        assert match[3] == block, f"run pytest --update-specs and read what changed in {spec.name}"
