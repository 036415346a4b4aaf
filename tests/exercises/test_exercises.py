"""Each stub fails as a reader should see it, each solution passes, each wrong answer is named."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

import check
import pytest
from truth import exercises

KNOWN = exercises()
TABLES = [runpy.run_path(str(p)) for p in sorted(Path(__file__).parent.glob("wrong/lesson_*.py"))]
STUBS = {name: words for table in TABLES for name, words in table["STUBS"].items()}
WRONG = [
    pytest.param(name, changes, words, id=f"{name} {why}")
    for table in TABLES
    for name, answers in table["WRONG"].items()
    for why, (changes, words) in answers.items()
]


def solution(name: str) -> Path:
    return check.script_of(name, check.HERE / "solutions")


def test_each_exercise_has_all_its_parts():
    scripts = {path.name for path in check.HERE.glob("[0-9]*.py")}
    assert scripts == {path.name for path in check.HERE.glob("solutions/*.py")}
    assert [name[:3] for name in sorted(scripts)] == sorted(KNOWN) == sorted(STUBS)
    assert {param.values[0] for param in WRONG} == set(KNOWN)
    for exercise in KNOWN.values():
        assert 2 <= len(exercise.hints) <= 3


@pytest.mark.parametrize("name", KNOWN)
def test_scripts_are_plain_datatrove(name):
    """What a reader writes must run at work, where nothing of this course is."""
    for script in (check.script_of(name), solution(name)):
        for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
            names = [alias.name for alias in getattr(node, "names", [])]
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            course = {"examples_common", "datatrove_kit", "truth", "check"}
            assert not course & {name.split(".")[0] for name in names}


@pytest.mark.parametrize("name", KNOWN)
def test_a_stub_as_delivered(name, tmp_path):
    verdict = check.check(KNOWN[name], check.script_of(name), tmp_path / "place")
    assert not verdict.solved
    assert STUBS[name] in "\n".join(verdict.lines)


@pytest.mark.parametrize("name", KNOWN)
def test_a_solution(name, tmp_path):
    verdict = check.check(KNOWN[name], solution(name), tmp_path / "place")
    assert verdict.solved, verdict.lines
    assert verdict.lines


@pytest.mark.parametrize(("name", "changes", "words"), WRONG)
def test_a_wrong_answer(name, changes, words, tmp_path):
    text = solution(name).read_text(encoding="utf-8")
    for old, new in changes.items():
        assert text.count(old) == 1, f"the solution of {name} has {old!r} {text.count(old)} times"
        text = text.replace(old, new)
    script = tmp_path / solution(name).name
    script.write_text(text, encoding="utf-8")
    verdict = check.check(KNOWN[name], script, tmp_path / "place")
    assert not verdict.solved
    if isinstance(words, list):  # these lines, and no other
        assert verdict.lines == words
    else:
        assert words in "\n".join(verdict.lines)
