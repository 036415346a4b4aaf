"""Lesson 06 against its local twin: the same documents, on Slurm and from an object store."""

from __future__ import annotations

import difflib
import json
import os
import re
import subprocess
import time

import pytest
from conftest import lesson, read_documents, run_script, s3_filesystem

from datatrove_kit.guard.jobs import Stage, jobs_of, write_stages
from datatrove_kit.cluster.object_store import ObjectStore
from examples_common.samples import sample

FOLDERS = ("kept", "excluded/1_short", "excluded/2_keywords", "excluded/3_lists")
FOLDERS += ("excluded/4_sampled",)


@pytest.fixture
def slurm(cluster, tmp_path):
    """Run lesson 06 with options on the cluster."""

    def call(*args: object, env: dict | None = None):
        return run_script(lesson("06"), *args, cwd=tmp_path, env={**cluster, **(env or {})})

    return call


def queue(cluster) -> str:
    env = {**os.environ, **cluster}
    done = subprocess.run(["squeue", "--noheader"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def without_places(documents: list[dict]) -> list[dict]:
    for document in documents:
        document["metadata"].pop("file_path")
    return documents


def assert_same_documents(folder, bare) -> None:
    for name in FOLDERS:
        mine = without_places(read_documents(folder / name))
        assert mine == without_places(bare("01").documents(name)), name


def test_the_same_documents_as_the_local_twin(bare):
    done = bare("06")
    assert done.stdout == bare("01").stdout
    assert (done.folder / "_SUCCESS").exists()
    assert_same_documents(done.folder, bare)
    merged = json.loads((done.folder / "logs/stats.json").read_text())
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
    assert done.stdout == bare("01").stdout


def test_the_scripts_differ_only_where_the_docstring_says():
    """Everything but the docstring, imports, build and main is the same to the letter."""
    bodies = []
    for number in ("01", "06"):
        text = lesson(number).read_text(encoding="utf-8")
        text = re.sub(r'\A""".*?"""\n', "", text, flags=re.S)
        text = re.sub(r"def build\(.*?\n\n\n", "", text, flags=re.S)
        text = re.sub(r"def main\(.*?\n\n\n", "", text, flags=re.S)
        bodies.append(text.splitlines())
    changed = [
        line[2:]
        for line in difflib.ndiff(*bodies)
        if line[0] in "+-" and not re.match(r"[+-] (from|import) ", line)
    ]
    assert [re.sub(r"\w*Executor", "Executor", line) for line in changed] == [
        "def show(run: Run, executor: Executor, stats: list) -> None:"
    ] * 2


def test_dry_run_submits_nothing_and_keeps_what_is_there(slurm, cluster, tmp_path):
    mine = tmp_path / "output" / "06_local_to_slurm"
    mine.mkdir(parents=True)
    (mine / "run.json").write_text("{}")
    done = slurm("--dry-run", "--set", "time=00:07:00", "--set", "memory=2", "--set", "account=me")
    assert done.code == 0, done.stderr
    for line in ("time=00:07:00", "mem-per-cpu=2G", "account=me", "array=0-3", "partition=learn"):
        assert f"#SBATCH --{line}\n" in done.stdout
    assert "launch_pickled_pipeline" in done.stdout and "merge_stats" in done.stdout
    assert [p.name for p in mine.iterdir()] == ["run.json"]
    assert queue(cluster) == ""


def test_settings_from_environment_and_file(slurm, tmp_path):
    (tmp_path / "slurm.toml").write_text('time = "00:01:00"\nmemory = 3\n')
    done = slurm("--dry-run", env={"SLURM_LESSON_TIME": "00:02:00"})
    assert "#SBATCH --time=00:02:00\n" in done.stdout  # the environment before the file
    assert "#SBATCH --mem-per-cpu=3G\n" in done.stdout
    done = slurm("--dry-run", "--set", "time=00:03:00", env={"SLURM_LESSON_TIME": "00:02:00"})
    assert "#SBATCH --time=00:03:00\n" in done.stdout  # the command line before both
    done = slurm("--dry-run", "--set", f"folder={tmp_path}/shared")
    assert f"{tmp_path}/shared/06_local_to_slurm/logs/executor.pik" in done.stdout


@pytest.mark.parametrize(
    ("options", "env", "words"),
    [
        (["--set", "partition=gpu"], {}, "no partition 'gpu'; this cluster has learn"),
        (["--set", "colour=red"], {}, "colour"),
        (["--set", "memory=much"], {}, "memory"),
        (["--set", "qos=gold"], {}, "gold|QOS|qos"),
        (["--set", "environment=/no/such/place"], {}, "cannot be imported|refused or failed"),
        (["--set", "memory=900"], {}, "refused or failed"),
        ([], {"PATH": "/usr/bin-none"}, "is not here: run this on a login node"),
        (
            ["--output", "s3://lesson/out"],
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
            "s3://lesson",
        ),
    ],
    ids=lambda value: str(value[-1]) if isinstance(value, list) and value else "",
)
def test_refused_before_submission(options, env, words, slurm, cluster):
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_MAX_ATTEMPTS": "1"}
    done = slurm("--wait", *options, env={**keys, **env})
    assert done.code == 1
    assert done.stdout == ""
    assert re.search(words, done.stderr.partition("\nerror: ")[2] or done.stderr), done.stderr
    assert not (done.folder / "_SUCCESS").exists()
    assert queue(cluster) == ""


def test_submitting_twice_is_refused(slurm, cluster, tmp_path):
    """While jobs wait, a second submission would overwrite their list of ranks."""
    env = {**os.environ, **cluster}
    subprocess.run(["scontrol", "update", "partition=learn", "state=down"], env=env, check=True)
    try:
        settings = ("--set", "partition=learn")
        # The check before submission needs a node, so the first run is made ready by hand.
        done = slurm("--dry-run", *settings)
        assert done.code == 0
        job = subprocess.run(
            ["sbatch", "--wrap=true", "--output=/dev/null"],
            env=env, capture_output=True, text=True, check=True,
        ).stdout.split()[-1]  # fmt: skip
        folder = tmp_path / "output" / "06_local_to_slurm"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text("{}")
        write_stages(folder, [Stage("filter", "logs", "slurm_logs", 1, arrays=[job])])
        again = slurm("--wait")
        assert again.code == 1
        assert f"scancel {job}" in again.stderr
        assert jobs_of(folder) == [job]
    finally:
        subprocess.run(["scontrol", "update", "partition=learn", "state=up"], env=env, check=True)
        subprocess.run(["scancel", job], env=env, check=True)
        while queue(cluster):
            time.sleep(0.5)


def test_from_and_to_an_object_store(slurm, bare, tmp_path, cluster):
    """Input and output on s3://, keys from the environment and nowhere else."""
    store = ObjectStore(tmp_path / "store")
    store.start()
    try:
        env = store.environment()
        fs = s3_filesystem(env)
        fs.mkdir("lesson")
        for path in sample("c4").iterdir():
            fs.put(str(path), f"lesson/c4/{path.name}")
        args = ("--wait", "--source", "s3://lesson/c4", "--output", "s3://lesson/out")
        done = slurm(*args, env=env)
        assert done.code == 0, done.stderr[-2000:]
        assert done.stdout == bare("01").stdout
        fs.invalidate_cache()
        fs.get("lesson/out", str(tmp_path / "out"), recursive=True)
        assert_same_documents(tmp_path / "out", bare)
        again = slurm(*args, env=env)  # a fresh run empties what the run before wrote
        assert again.code == 0, again.stderr[-2000:]
        wrong = slurm(*args, env=env | {"AWS_SECRET_ACCESS_KEY": "wrong"})
        assert wrong.code == 1
        missing = slurm("--wait", "--output", "s3://no-such-bucket/out", env=env)
        assert missing.code == 1
        assert "no-such-bucket" in missing.stderr.rpartition("error: ")[2]
        secret = env["AWS_SECRET_ACCESS_KEY"].encode()
        for path in (tmp_path / "output").rglob("*"):
            assert path.is_dir() or secret not in path.read_bytes(), path
        assert queue(cluster) == ""
    finally:
        store.stop()
