"""A lesson without the course's helper is the same pipeline: it writes the same documents.

The helper's lines are taken out of the script, as a reader would do at work: its imports, the calls
of its names, and what only shows their results. What is left runs in a process in which neither the
helper nor the kit can be imported.
"""

from __future__ import annotations

import ast
import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import LESSONS, run_script

from examples_common import language_model
from examples_common.samples import sample

SCRIPTS = [path for path in LESSONS if path.name < "08"]
BLOCKER = '''
import sys


class Blocker:
    """No part of the course can be imported."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in ("examples_common", "datatrove_kit", "environment"):
            raise ModuleNotFoundError(f"{name} is not here")


sys.meta_path.insert(0, Blocker)
'''


def mentions(node: ast.AST | None, names: set[str]) -> bool:
    return node is not None and any(
        isinstance(inner, ast.Name) and inner.id in names for inner in ast.walk(node)
    )


class Values(ast.NodeTransformer):
    """Puts values in the place of the two calls that a pipeline may take something from."""

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        values = {"language_model": language_model(), "slurm_toml": {}}
        name = getattr(node.func, "id", None)
        return ast.parse(repr(values[name]), mode="eval").body if name in values else node


def taken_out(body: list[ast.stmt], names: set[str]) -> list[ast.stmt]:
    """Statements without those that mention ``names``; what these assign is added to the names."""
    kept = []
    for node in body:
        if isinstance(node, (ast.If, ast.For, ast.With)):
            if mentions(getattr(node, "test", getattr(node, "iter", None)), names):
                continue
            node.body = taken_out(node.body, names) or [ast.Pass()]
            if not isinstance(node, ast.With):
                node.orelse = taken_out(node.orelse, names)
        elif mentions(node, names):
            stored = (n for n in ast.walk(node) if isinstance(getattr(n, "ctx", None), ast.Store))
            names |= {n.id for n in stored if isinstance(n, ast.Name)}
            continue
        kept.append(node)
    return kept


def without_helper(text: str, arguments: str) -> str:
    """The script around ``main`` without the helper, and the blocker before it."""
    tree = Values().visit(ast.parse(text))
    names: set[str] = set()
    definitions = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module.startswith("examples_common"):
            names |= {alias.asname or alias.name for alias in node.names}
        elif not (isinstance(node, ast.Import) and node.names[0].name == "environment"):
            definitions.append(node)
    assert isinstance(definitions.pop(), ast.If)  # if __name__ == "__main__"
    (main,) = (node for node in definitions if getattr(node, "name", "") == "main")
    showing = {n for n in definitions if isinstance(n, ast.FunctionDef) and n is not main}
    while tainted := {node for node in showing if mentions(node, names)}:
        names |= {node.name for node in tainted}
        showing -= tainted
        definitions = [node for node in definitions if node not in tainted]
    main.body = taken_out(main.body, names)
    tree.body = definitions
    call = f'if __name__ == "__main__":\n    main(sys.argv[1], sys.argv[2]{arguments})\n'
    return f"{BLOCKER}\n{ast.unparse(tree)}\n\n{call}"


def written(folder: Path) -> dict[str, bytes]:
    """What the files of a run hold, but for its logs and charts.

    The metadata of token files tell where the tokenizer was, which is in the run's own folder.
    """
    found = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if (
            path.is_file()
            and not re.match(r"(slurm_)?logs/", name)
            and path.suffix not in (".png", ".metadata")
        ):
            content = path.read_bytes()
            found[name] = gzip.decompress(content) if name.endswith(".gz") else content
    return found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_same_documents_without_the_helper(script, bare, tmp_path):
    text = script.read_text(encoding="utf-8")
    on_slurm = script.parent.name == "examples_slurm"
    plain = tmp_path / "plain.py"
    plain.write_text(without_helper(text, ", local=True" if on_slurm else ""), encoding="utf-8")
    data = sample(re.search(r'lesson\(main, sample="(\w+)"\)', text)[1])
    done = subprocess.run(
        [sys.executable, plain, data, tmp_path / "out"],
        cwd=tmp_path,
        env={**os.environ, "TLDEXTRACT_PUBLIC_SUFFIX_LIST_URLS": ""},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    if on_slurm:
        lesson = run_script(script, "--local", cwd=tmp_path / "lesson")
    else:
        lesson = bare(script.name[:2])
    assert lesson.code == 0, lesson.stderr
    mine, theirs = written(tmp_path / "out"), written(lesson.folder)
    assert mine.keys() == theirs.keys()
    assert any(mine.values())
    differing = [name for name in mine if mine[name] != theirs[name]]
    assert not differing


def test_the_course_cannot_be_imported_there(tmp_path):
    """Or the test above would show nothing."""
    for name in ("examples_common", "examples_common.samples", "datatrove_kit", "environment"):
        (tmp_path / "plain.py").write_text(f"{BLOCKER}\nimport {name}\n")
        done = subprocess.run([sys.executable, tmp_path / "plain.py"], capture_output=True)
        assert b"ModuleNotFoundError" in done.stderr
