"""The benchmarks at tiny size, for their checks alone: no time is tested."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import bench
from harness import Line

SIZES = {
    "base": 100,
    "signatures": 100,
    "tokenizing": 100,
    "exact": 400,
    "guard": 400,
    "scaling": 1000,
    "starting": 0,
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in ("base", "exact") else name
        for name in SIZES
    ],
)
def test_results_are_the_same(name, tmp_path, monkeypatch):
    """Every group raises when a faster step gives another result."""
    monkeypatch.chdir(tmp_path)
    bench.OUTPUT.mkdir(parents=True)
    lines = bench.GROUPS[name](SIZES[name], 1)
    assert lines
    assert all(line.ratios and line.ratio > 0 for line in lines)


def test_another_result_is_an_error():
    with pytest.raises(RuntimeError, match="documents differ"):
        bench.same("documents", {"a": 1}, {"a": 2})


def test_the_table_and_its_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = Line("ours", "theirs", "10 documents", [2.0, 4.0, 3.0], goal=3.5)
    most = Line("ours", "a limit", "10 documents", [2.0], goal=3.5, at_most=True)
    assert (line.ratio, line.met, most.met) == (3.0, False, True)
    bench.report([line, most], tmp_path)
    assert re.search(
        r"ours +theirs +10 documents +3.00 +2.00-4.00 +>= 3.5 +no", capsys.readouterr()[0]
    )
    assert "| ours | theirs | 10 documents | 3.00 |" in (tmp_path / "bench.md").read_text()
    found = json.loads((tmp_path / "bench.json").read_text())
    assert [entry["met"] for entry in found["lines"]] == [False, True]
    assert "datatrove==" in found["machine"]
    assert (tmp_path / "bench.png").stat().st_size > 0


def test_an_unknown_name_is_refused(tmp_path):
    script = Path(bench.__file__)
    command = [sys.executable, str(script), "--only", "nothing"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "there is no benchmark nothing: take base, signatures" in done.stderr
