"""Lesson 06 against its local twin: the same documents, on Slurm and from an object store."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import REPO, lesson, read_documents, run_script, s3_filesystem

from datatrove_kit.cluster.object_store import ObjectStore

FOLDERS = ("kept", "dropped/1_short", "dropped/2_keywords", "dropped/3_lists", "dropped/4_sampled")
DILL = 'dill.settings["recurse"] = True'


@pytest.fixture
def slurm(cluster, tmp_path):
    """Run lesson 06 on the cluster; ``toml`` changes slurm.toml as ``changes`` does the script."""

    def call(*args: object, toml: dict | None = None, env: dict | None = None, **how):
        text = (REPO / "examples_slurm" / "slurm.toml").read_text(encoding="utf-8")
        for old, new in (toml or {}).items():
            assert text.count(old) == 1
            text = text.replace(old, new)
        mine = tmp_path / "examples_slurm" / "slurm.toml"
        mine.parent.mkdir(exist_ok=True)
        mine.write_text(text, encoding="utf-8")
        env = {**cluster, **(env or {})}
        return run_script(lesson("06"), *args, cwd=tmp_path, env=env, **how)

    return call


def command(cluster, *words: str) -> str:
    env = {**os.environ, **cluster}
    return subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout


def queue(cluster) -> str:
    return command(cluster, "squeue", "--noheader").strip()


def assert_same_documents(folder: Path, twin: Path) -> None:
    """Where a document was read from is the one thing in which they may differ."""
    for name in FOLDERS:
        mine, theirs = read_documents(folder / name), read_documents(twin / name)
        assert mine and len(mine) == len(theirs)
        for doc in mine + theirs:
            doc["metadata"].pop("file_path")
        assert mine == theirs, name


def test_the_same_documents_as_the_local_twin(bare):
    assert_same_documents(bare("06").folder, bare("01").folder)
    merged = json.loads((bare("06").folder / "logs/stats.json").read_text())
    local = json.loads((bare("01").folder / "logs/stats.json").read_text())
    assert [s["name"] for s in merged] == [s["name"] for s in local]
    for one, other in zip(merged, local, strict=True):
        for key in ("total", "dropped", "forwarded"):
            # The two write the same number in different shapes.
            totals = [x["stats"].get(key, 0) for x in (one, other)]
            assert len({t["total"] if isinstance(t, dict) else t for t in totals}) == 1


def test_local(run, bare):
    done = run("06", "--local", env={"PATH": "/usr/bin:/bin", "SLURM_CONF": "/nowhere"})
    assert done.code == 0, done.stderr[-2000:]
    assert done.stdout == bare("06").stdout
    assert_same_documents(done.folder, bare("01").folder)


def test_the_twins_have_one_pipeline():
    """What defines the pipeline is the same to the letter; only the executor differs."""
    parts = {}
    for number in ("01", "06"):
        text = lesson(number).read_text(encoding="utf-8")
        found = parts[number] = {}
        for node in ast.parse(text).body:
            names = [t.id for t in getattr(node, "targets", []) if isinstance(t, ast.Name)]
            for name in names or [getattr(node, "name", "")]:
                if name not in ("", "main", "show", "steps", "DOCUMENTS"):
                    found[name] = ast.get_source_segment(text, node)
        steps = re.search(r"(?:pipeline=|return )\[\n(\s+# Without.*?)\n +\],?\n", text, re.S)[1]
        found["pipeline"] = [line.strip() for line in steps.splitlines()]
    assert parts["01"] == parts["06"]
    assert len(parts["01"]["pipeline"]) >= 7


def test_without_recurse_constants_stay_behind(slurm, cluster):
    done = slurm("--wait", changes={DILL: ""})
    assert done.code == 1
    assert "4 of 4 tasks of filter did not complete, the first is task 0" in done.error
    assert "task_00000.log: NameError: name 'MIN_CHARS' is not defined" in done.error
    assert queue(cluster) == ""


def test_submitted_followed_and_not_submitted_twice(slurm, cluster, bare):
    command(cluster, "scontrol", "update", "partition=learn", "state=down")
    try:
        first = slurm()
        assert first.code == 0, first.stderr
        job = re.fullmatch(r"submitted: job (\d+)\. .*--resume --wait\n", first.stdout)[1]
        ranks = (first.folder / "logs/ranks_to_run.json").read_text()
        for again in (slurm(), slurm("--resume", "--wait")):
            assert again.code == 1 and again.stdout == ""
            assert re.search(rf"in the queue \({job}, \d+\)", again.error)
            assert f"scancel {job}" in again.error
        assert (first.folder / "logs/ranks_to_run.json").read_text() == ranks
    finally:
        command(cluster, "scontrol", "update", "partition=learn", "state=up")
    deadline = time.monotonic() + 120
    while queue(cluster) and time.monotonic() < deadline:
        time.sleep(0.5)
    done = slurm("--resume")  # all is complete, so there is nothing to wait for
    assert done.code == 0, done.stderr
    assert done.stdout == bare("06").stdout


def test_resume_submits_what_is_missing(slurm, bare):
    first = slurm("--wait")
    (first.folder / "logs/completions/00002").unlink()
    (first.folder / "kept/00002.jsonl.gz").write_bytes(b"half a file")
    done = slurm("--resume", "--wait")
    assert done.code == 0, done.stderr
    assert json.loads((done.folder / "logs/ranks_to_run.json").read_text()) == [2]
    assert done.stdout == bare("06").stdout


def test_slurm_toml_reaches_sbatch(slurm, bare):
    arguments = {
        '"00:30:00"': '"00:07:00"',
        "# max_array_size = 1001": "max_array_size = 2",
        '# [sbatch_args]\n# account = "my-project"': '[sbatch_args]\ncomment = "mine"',
    }
    done = slurm("--wait", toml=arguments)
    assert done.code == 0, done.stderr[-2000:]
    assert done.stdout == bare("06").stdout  # two arrays, the same result
    script = (done.folder / "logs/launch_script.slurm").read_text()
    for line in ("time=00:07:00", "mem-per-cpu=1G", "comment=mine", "array=0-1", "partition=learn"):
        assert f"#SBATCH --{line}\n" in script
    assert "qos" not in script


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ({'"learn"': '"gpu"'}, "invalid partition"),
        ({'"00:30:00"': '"soon"'}, "Invalid --time"),
        ({'qos = ""': 'qos = "gold"'}, "qos"),
        ({"mem_per_cpu_gb = 1": "mem_per_cpu_gb = 900"}, "[Mm]emory"),
    ],
)
def test_what_sbatch_refuses_loses_nothing(toml, says, slurm, cluster, tmp_path):
    mine = tmp_path / "output" / "06_local_to_slurm"
    (mine / "kept").mkdir(parents=True)
    (mine / "kept" / "00000.jsonl.gz").write_bytes(b"a run of last week")
    (tmp_path / "output" / ".06_local_to_slurm.lock").touch()
    done = slurm("--wait", toml=toml)
    assert done.code == 1 and done.stdout == ""
    assert re.search(f"sbatch: error: .*{says}", done.stderr)
    assert "sbatch refused a job" in done.error and "slurm.toml" in done.error
    assert "Traceback" not in done.stderr
    where = done.error.strip().rpartition(" is in ")[2]
    assert (tmp_path / where / "kept" / "00000.jsonl.gz").read_bytes() == b"a run of last week"
    assert queue(cluster) == ""


def test_without_slurm_the_way_out_is_named(run):
    done = run("06", "--wait", env={"PATH": "/nowhere"})
    assert done.code == 1
    assert "squeue is not here: run this on a login node" in done.error
    assert "local_cluster.py up" in done.error and "--local" in done.error
    assert "Traceback" not in done.stderr


def test_a_wrong_slurm_toml_is_refused(slurm):
    done = slurm("--wait", toml={"mem_per_cpu_gb": "memory"})
    assert done.code == 1
    assert "no setting of a cluster is called memory" in done.error


def test_from_and_to_an_object_store(slurm, bare, tmp_path, cluster):
    """With the commands on the page; keys come from the environment and stand nowhere else."""
    page = (REPO / "spec" / "06_local_to_slurm.md").read_text(encoding="utf-8")
    put = next(c for c in re.findall(r"```python\n(.*?)```", page, re.S) if "s3fs" in c)
    store = ObjectStore(tmp_path / "store")
    store.start()
    try:
        env = {**os.environ, **store.environment()}
        words = [sys.executable, "-c", put]
        subprocess.run(words, cwd=REPO, env=env, check=True, timeout=120)
        done = slurm(
            "--wait",
            "--input",
            "s3://lesson/c4",
            env=store.environment(),
            changes={"DOCUMENTS": '"s3://lesson/out"'},
        )
        assert done.code == 0, done.stderr[-2000:]
        assert done.stdout == bare("06").stdout
        assert {p.name for p in done.folder.iterdir()} == {"logs", "slurm_logs"}
        s3_filesystem(env).get("lesson/out", str(tmp_path / "out"), recursive=True)
        assert_same_documents(tmp_path / "out", bare("01").folder)
        secret = env["AWS_SECRET_ACCESS_KEY"].encode()
        for path in (tmp_path / "output").rglob("*"):
            assert path.is_dir() or secret not in path.read_bytes(), path
        assert queue(cluster) == ""
    finally:
        store.stop()
