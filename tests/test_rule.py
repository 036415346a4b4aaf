"""The one rule: a lesson is DataTrove, and what is the course's own stays small and outside."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest
from conftest import LESSONS, REPO

import datatrove_kit
import examples_common

TEACHING = [path for path in LESSONS if path.name < "08"]
OURS = ("examples_common", "datatrove_kit")
#: The one thing that the helper takes from the kit.
SUPERVISION = "datatrove_kit.guard.processes"


def lines(*paths: Path) -> int:
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)


def imported(path: Path) -> set[str]:
    """Absolute names of all that a file imports, in functions too: ``module.name`` for a name."""
    found = set()
    package = [*path.relative_to(REPO).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def within(names: set[str], *packages: str) -> set[str]:
    return {name for name in names if name.partition(".")[0] in packages}


@pytest.mark.parametrize("script", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_is_short(script):
    most = 200 if script.name > "08" else 110 if script.name > "06" else 90
    assert lines(script) <= most


@pytest.mark.parametrize("script", TEACHING, ids=lambda path: path.stem)
def test_a_lesson_needs_six_names_at_most(script):
    """All of them from the package itself, so that a reader finds them in one list."""
    names = within(imported(script), *OURS)
    assert len(names) <= 6
    assert names <= {f"examples_common.{name}" for name in examples_common.__all__}


@pytest.mark.parametrize("script", TEACHING, ids=lambda path: path.stem)
def test_a_lesson_runs_an_executor_of_datatrove(script):
    """With its constructor and ``run()`` in full view, and no class of the course in a pipeline."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = {getattr(func, "attr", getattr(func, "id", "")) for func in calls}
    assert "run" in called and {"LocalPipelineExecutor", "SlurmPipelineExecutor"} & called
    names = {name.rpartition(".")[2] for name in within(imported(script), *OURS)}
    assert not [name for name in names if inspect.isclass(getattr(examples_common, name))]


def test_the_helper_has_functions_alone():
    """Which give nothing that a pipeline could take for a step."""
    for name in examples_common.__all__:
        assert inspect.isfunction(getattr(examples_common, name)), name


def files_of(package: str) -> list[Path]:
    return sorted((REPO / package).rglob("*.py"))


def test_imports_run_one_way():
    lessons = {path.stem for path in REPO.glob("examples_*/*.py")} | {"examples_local"}
    for path in files_of("datatrove_kit"):
        assert not within(imported(path), "examples_common", *lessons), path
    for path in files_of("examples_common"):
        names = within(imported(path), "datatrove_kit", *lessons)
        assert all(name.startswith(f"{SUPERVISION}.") for name in names), path


def test_lesson_08_takes_public_names_of_the_kit_alone():
    """A name in ``__all__`` of a part, or a part, of which only such names are used."""
    (script,) = [path for path in LESSONS if path.name.startswith("08")]
    text = script.read_text(encoding="utf-8")
    names = within(imported(script), "datatrove_kit")
    assert len(names) > 10
    for name in names:
        module, _, last = name.rpartition(".")
        if last not in importlib.import_module(module).__all__:
            used = set(re.findall(rf"\b{last}\.(\w+)", text))
            assert used and used <= set(importlib.import_module(name).__all__), name


@pytest.mark.parametrize("package", [datatrove_kit, examples_common], ids=lambda p: p.__name__)
def test_every_module_can_be_imported(package):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)


def test_the_helper_is_small():
    files = [path for path in files_of("examples_common") if path.parent.name != "samples"]
    assert lines(*files) <= 670


def test_the_kit_is_small():
    """Its parts for any script; cluster, report and what lesson 08 adds stand beside them."""
    parts = ("card", "fast", "guard", "plan", "readers", "status")
    assert lines(*(path for part in parts for path in files_of(f"datatrove_kit/{part}"))) <= 2800
