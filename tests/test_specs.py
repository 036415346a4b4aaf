"""Specs and scripts mirror each other, and a block in a spec is what the script has or prints.

A block stands between ``<!-- KIND: WORDS -->`` and ``<!-- /KIND -->``:

- ``code: NAME ...``: the top-level definitions of the script with these names, or ``imports``, its
  imports of DataTrove; ``main.NAME`` is the statement in main that assigns NAME;
- ``output``: what the bare script prints, or the script with options, ``output: --local``;
- ``changed: NAME=VALUE``: the rows that are printed otherwise when a constant is another one, or in
  lesson 08 a setting, ``steps.C4QualityFilter.min_num_sentences=3``.

Lessons on Slurm run on a real cluster with ``--wait``. ``pytest --update-specs`` rewrites them all.
"""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from conftest import LESSONS, REPO, read_documents, run_script

from examples_common.samples import sample

BLOCK = re.compile(r"(<!-- (code|output|changed)(?:: (.*?))? -->\n)(.*?)(<!-- /\2 -->)", re.S)
SPECS = sorted((REPO / "spec").glob("[0-9][0-9]_*.md"))
BLOCKS = [
    pytest.param(spec, index, id=f"{spec.stem}-{index}-{match[2]}")
    for spec in SPECS
    for index, match in enumerate(BLOCK.finditer(spec.read_text(encoding="utf-8")))
]


def test_specs_mirror_scripts():
    assert [s.stem for s in SPECS] == sorted(path.stem for path in LESSONS)
    strays = {p.name for p in (REPO / "spec").iterdir()} - {s.name for s in SPECS}
    assert strays <= {"claude.md", "images", "pictures"}


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.stem)
def test_form_of_a_page(spec):
    text = spec.read_text(encoding="utf-8")
    kinds = [match[2] for match in BLOCK.finditer(text)]
    assert {"code", "output", "changed"} <= set(kinds)
    assert len(re.findall(r"<!-- (?:code|output|changed)", text)) == len(kinds), "an open block"
    code = "".join(match[4] for match in BLOCK.finditer(text) if match[2] == "code")
    assert "Executor(" in code and "Reader(" in code
    assert ".run()" in code or spec.stem.startswith("08")
    prose = re.sub(r"```.*?```", "", BLOCK.sub("", text), flags=re.S)
    assert len([line for line in prose.splitlines() if line.strip()]) <= (
        200 if spec.stem.startswith("08") else 150
    )


def code_of(script: Path, names: list[str]) -> str:
    """Source of the definitions with these names, in the order of the names."""
    text = script.read_text(encoding="utf-8")
    lines, found = text.splitlines(), {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.ImportFrom) and node.module.startswith("datatrove."):
            found["imports"] = [*found.get("imports", []), source(lines, node)]
        for name in names_of(node):
            found[name] = [source(lines, node)]
        for inner in getattr(node, "body", []) if names_of(node) == ["main"] else []:
            found |= {f"main.{name}": [source(lines, inner)] for name in names_of(inner)}
    text = ""
    for last, name in zip(["", *names], names, strict=False):
        between = "\n" if last.isupper() and name.isupper() else "\n\n\n"
        text += between * bool(text) + textwrap.dedent("\n".join(found[name]))
    return text


def names_of(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Assign):
        return [t.id for t in node.targets if isinstance(t, ast.Name)]
    return [node.name] if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else []


def source(lines: list[str], node: ast.stmt) -> str:
    """The lines of a node, with the comments right above."""
    start = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))]) - 1
    while start and lines[start - 1].strip().startswith("#"):
        start -= 1
    return "\n".join(lines[start : node.end_lineno])


def tables(stdout: str) -> list[list[str]]:
    return [part.splitlines() for part in re.split(r"\n\n(?=\S[^\n]*\n\n|The run is)", stdout)]


def changes(before: str, after: str) -> str:
    """The rows that differ in their tables, as a diff; how far apart columns are does not count."""
    old = {row for part in tables(before) for row in map(" ".join, map(str.split, part))}
    new = {row for part in tables(after) for row in map(" ".join, map(str.split, part))}
    shown = []
    for was, part in zip(tables(before), tables(after), strict=True):
        gone = [f"-{row}" for row in was if " ".join(row.split()) not in new]
        come = [f"+{row}" for row in part if " ".join(row.split()) not in old]
        rows = [row for row in gone + come if set(row[1:]) - set(" -")]
        heads = [f" {row}" for row in part[:1] if f"+{row}" not in come]
        shown += [*heads, *rows, ""] if rows else []
    return "\n".join(shown).strip("\n")


@pytest.mark.parametrize(("spec", "index"), BLOCKS)
def test_block(spec, index, tmp_path, pytestconfig, request):
    text = spec.read_text(encoding="utf-8")
    match = list(BLOCK.finditer(text))[index]
    kind, words = match[2], shlex.split(match[3] or "")
    script = next(path for path in LESSONS if path.stem == spec.stem)
    if kind == "code":
        block = f"```python\n{code_of(script, words)}\n```\n"
    else:
        constants = dict(w.split("=", 1) for w in words if re.match(r"[A-Z_]+=", w))
        options = [w for w in words if "=" not in w]
        if given := [w for w in words if re.match(r"[a-z]+\.", w)]:
            keys, _, setting = given[0].partition("=")
            for key in reversed(keys.split(".")):
                setting = f"{{{key}: {setting}}}"
            (tmp_path / "mine.yaml").write_text(setting)
            options += ["--config", tmp_path / "mine.yaml"]
        bare = request.getfixturevalue("bare")(spec.stem[:2])
        done = bare
        if words not in ([], ["--wait"]):
            env = request.getfixturevalue("cluster") if "--wait" in options else None
            done = run_script(script, *options, cwd=tmp_path, env=env, changes=constants)
        assert done.code == 0, done.stderr[-3000:]
        printed = done.stdout.strip()
        if kind == "changed":
            block = f"```diff\n{changes(bare.stdout.strip(), printed)}\n```\n"
        else:
            block = f"```text\n{printed}\n```\n"
    if pytestconfig.getoption("--update-specs"):
        start, end = match.span(4)
        spec.write_text(text[:start] + block + text[end:], encoding="utf-8")
    else:
        assert match[4] == block, f"run pytest --update-specs and read what changed in {spec.name}"


def test_the_script_in_the_readme(tmp_path):
    """It runs as it stands, and drops and keeps what plain Python says."""
    text = (REPO / "README.md").read_text(encoding="utf-8")
    script = re.search(r"<!-- script -->\n```python\n(.*?)```\n<!-- /script -->", text, re.S)[1]
    assert text.index("```python") == text.index("<!-- script -->") + len("<!-- script -->\n")
    (tmp_path / "mine.py").write_text(script.replace("data/samples/c4", str(sample("c4"))))
    done = subprocess.run([sys.executable, "mine.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    texts = [record["text"] for record in read_documents(sample("c4"))]
    kept, short = (read_documents(tmp_path / "output/mine" / name) for name in ("kept", "short"))
    assert sorted(d["text"] for d in short) == sorted(text for text in texts if len(text) < 600)
    assert 400 < len(kept) < 530
    assert {d["text"] for d in kept} <= {text for text in texts if len(text) >= 600}
