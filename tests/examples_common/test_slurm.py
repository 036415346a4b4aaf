"""The cluster's arguments and the waiting of lessons 06 and 07, on a real Slurm."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from datatrove.executor import SlurmPipelineExecutor
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

from examples_common import slurm_toml, wait_for
from examples_common.errors import LessonError
from examples_common.slurm import cancel, queued


@pytest.fixture
def toml(tmp_path, monkeypatch):
    """What slurm_toml() makes of a text."""
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "script.py")])

    def read(text: str) -> dict:
        (tmp_path / "slurm.toml").write_text(text)
        return slurm_toml()

    return read


@pytest.fixture
def on_cluster(cluster, monkeypatch):
    for name, value in cluster.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def executor(on_cluster, tmp_path):
    """A run of two tasks, each with a file of one document."""
    (tmp_path / "data").mkdir()
    for name in "ab":
        (tmp_path / "data" / f"{name}.jsonl").write_text(json.dumps({"text": name}) + "\n")

    def build(name: str = "copy", data: str = "data", **more) -> SlurmPipelineExecutor:
        out = tmp_path / "out"
        arguments = {
            "pipeline": [JsonlReader(str(tmp_path / data)), JsonlWriter(str(out / name))],
            "tasks": 2,
            "time": "00:05:00",
            "partition": "learn",
            "qos": "",
            "mem_per_cpu_gb": 1,
            "env_command": f"export PATH={sys.prefix}/bin:$PATH",
            "job_name": name,
            "logging_dir": str(out / "logs" / name),
            "slurm_logs_folder": str(out / "slurm_logs" / name),
        }
        return SlurmPipelineExecutor(**arguments | more)

    return build


def squeue() -> str:
    words = ["squeue", "--noheader"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def update(*words: str) -> None:
    subprocess.run(["scontrol", "update", "partition=learn", *words], check=True)


# ---- slurm.toml ------------------------------------------------------------------------------


def test_arguments_are_handed_on_as_they_are(toml):
    found = toml(
        'partition = "cpu"\ntime = "1-00:00:00"\nqos = ""\nvenv_path = "/v/bin/activate"\n'
        'mem_per_cpu_gb = 4\nmax_array_size = 50\n[sbatch_args]\naccount = "me"\n'
    )
    assert found == {
        "partition": "cpu",
        "time": "1-00:00:00",
        "qos": "",
        "venv_path": "/v/bin/activate",
        "mem_per_cpu_gb": 4,
        "max_array_size": 50,
        "sbatch_args": {"account": "me"},
    }
    executor = SlurmPipelineExecutor(pipeline=[], tasks=1, logging_dir="/tmp", **found)
    assert executor.max_array_size == 50


def test_without_an_environment_it_is_the_one_of_the_script(toml):
    found = toml('partition = "cpu"\ntime = "01:00:00"\n')
    words = ["bash", "-c", f"{found['env_command']}; command -v launch_pickled_pipeline"]
    place = subprocess.run(words, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert place.stdout.strip() == f"{sys.prefix}/bin/launch_pickled_pipeline"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('partition = "cpu"\ntime = "1:0:0"\npartitoin = 3', "called partitoin; .* partition,"),
        ('partition = "cpu"\ntime = "1:0:0"\ntasks = 3', "no setting of a cluster is called tasks"),
        ('time = "1:0:0"', "slurm.toml lacks partition"),
        ("", "lacks partition and time"),
        ("partition = cpu", "slurm.toml cannot be read: "),
    ],
)
def test_a_wrong_file_is_named(toml, text, says):
    with pytest.raises(LessonError, match=says):
        toml(text)


def test_a_missing_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "script.py")])
    with pytest.raises(LessonError, match=r"slurm.toml cannot be read: .*No such file"):
        slurm_toml()


# ---- the queue -------------------------------------------------------------------------------


def test_queued_are_the_jobs_of_one_folder(executor, tmp_path):
    update("state=down")
    try:
        run = executor()
        run.run()
        other = executor("other", logging_dir=str(tmp_path / "b"), slurm_logs_folder="/tmp/b")
        other.run()
        jobs = queued(tmp_path / "out")
        assert len(jobs) == 2 and run.job_id in jobs  # the array, and the one that merges
        assert other.job_id not in jobs
        (tmp_path / "link").symlink_to(tmp_path / "out")
        assert queued(tmp_path / "link") == jobs
        cancel(jobs)
        assert queued(tmp_path / "out") == []
        assert other.job_id in squeue()
    finally:
        subprocess.run(["scancel", "--me"], check=True)
        update("state=up")


def test_a_folder_without_jobs_needs_no_slurm(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert queued(tmp_path) == []


def test_a_queue_that_does_not_answer(tmp_path, monkeypatch):
    (tmp_path / "squeue").write_text("#!/bin/sh\necho Unable to contact controller >&2; exit 1\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    run = SlurmPipelineExecutor([], 1, "1:0", "learn", logging_dir=str(tmp_path / "logs"))
    with pytest.raises(LessonError, match=r"no cluster answers(.|\n)*Unable to contact"):
        wait_for(run)


# ---- waiting ---------------------------------------------------------------------------------


def test_waits_for_all_stages(executor, capfd):
    first = executor("first")
    second = executor("second", depends=first)
    second.run()
    wait_for(first, second)
    progress = capfd.readouterr().err.splitlines()
    assert progress[-1].startswith("first 2/2  second 2/2")
    assert first.get_incomplete_ranks() == second.get_incomplete_ranks() == []
    assert squeue() == ""


def test_a_task_that_fails_is_named_and_what_waits_for_it_is_cancelled(executor, tmp_path):
    first = executor("first", data="none")
    second = executor("second", depends=first)
    second.run()
    with pytest.raises(LessonError) as caught:
        wait_for(first, second)
    said = str(caught.value)
    assert said.startswith("2 of 2 tasks of first did not complete, the first is task 0.\n")
    assert f"{tmp_path}/out/logs/first/logs/task_00000.log: " in said
    assert "No such file or directory" in said or "No files found" in said
    assert f"{tmp_path}/out/slurm_logs/first" in said and "--resume" in said
    assert queued(tmp_path / "out") == []


def test_a_job_that_slurm_will_never_start(executor, tmp_path):
    update("MaxTime=2")
    try:
        run = executor(time="00:10:00")
        run.run()
        with pytest.raises(LessonError, match=r"tasks of copy .*\nPartitionTimeLimit\n"):
            wait_for(run)
        assert queued(tmp_path / "out") == []
    finally:
        update("MaxTime=INFINITE")
