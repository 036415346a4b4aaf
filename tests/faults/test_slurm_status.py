"""What --status says of a run without Slurm, and settings that need no cluster to be seen."""

from __future__ import annotations

import os
import re
import signal

import pytest
from drills import wait_until
from slurm import AT, SlurmDrill, assert_recovered, errors, rows, undisturbed_run


@pytest.fixture
def drill(tmp_path):
    with SlurmDrill("06", tmp_path, None, "--local") as drill:
        yield drill


def test_a_run_without_slurm(drill, tmp_path):
    """Seen at work, killed, resumed by the command that --status names, and whole."""
    (tmp_path / "other").mkdir()
    undisturbed = undisturbed_run("06", tmp_path / "other")
    drill.fault("wait", AT[1])
    drill.start()
    drill.at_fault(AT[1])
    done = drill.folder / "logs/completions"
    wait_until(lambda: len(list(done.glob("*"))) == 3, "the other tasks")
    status = drill.status()
    assert rows(status) == {"logs": ["4", "3", "0", "1", "0"]}
    assert status.endswith("Next: wait, and look again.\n")
    os.killpg(drill.process.pid, signal.SIGKILL)
    drill.end()
    status = drill.status()
    assert rows(status) == {"logs": ["4", "3", "1", "0", "0"]}
    assert errors(status) == {("logs", 1): "it left no message"}
    assert f"{drill.script} --local --resume\n" in status
    drill.mend()
    assert_recovered(drill.run_next(status), undisturbed)
    assert drill.status().endswith("Next: nothing, the run is whole.\n")


def test_the_error_of_a_task_without_slurm(drill):
    drill.fault("raise", AT[2])
    assert drill.run().code == 1
    status = drill.status()
    assert errors(status)["logs", 2] == f"ValueError: {AT[2]} is too much"


def test_it_needs_neither_input_nor_slurm(run, tmp_path):
    (tmp_path / "output/mine").mkdir(parents=True)
    done = run("08", "--status", "output/mine", env={"PATH": "/nowhere"})
    assert done.code == 1
    assert "error: there is no run in output/mine: give the folder" in done.stderr
    (tmp_path / "output/mine/run.json").write_text('{"command": "lesson.py --source gone"}')
    done = run("08", "--status", "output", env={"PATH": "/nowhere"})
    assert done.code == 1
    assert done.stderr == (
        "error: there is no run in output: give the folder that a run writes to, such as "
        "output/mine.\n"
    )
    done = run("08", "--status", "output/mine", env={"PATH": "/nowhere"})
    assert done.code == 0, done.stderr
    assert "Next: python lesson.py --source gone --wait --resume" in done.stdout
    assert sorted(path.name for path in (tmp_path / "output/mine").iterdir()) == ["run.json"]


@pytest.mark.parametrize("number", ["06", "07", "08"])
def test_the_time_that_is_set_holds_for_all_stages(run, number):
    done = run(number, "--dry-run", "--set", "partition=any", "--set", "time=07:00:00")
    assert done.code == 0, done.stderr[-2000:]
    assert set(re.findall(r"--time=(\S+)", done.stdout)) == {"07:00:00"}


def test_what_follows_depends_on_all_arrays_of_a_stage(run):
    done = run("07", "--dry-run", "--set", "partition=any", "--set", "max_array_size=2")
    assert done.code == 0, done.stderr[-2000:]
    scripts = done.stdout.split("# sbatch")[1:]
    names = [re.search(r"--job-name=(\w+)", script)[1] for script in scripts]
    waits = [re.search(r"--dependency=(\S+)", script) for script in scripts]
    arrays = {name: [] for name in names}
    for number, (name, script, wait) in enumerate(zip(names, scripts, waits, strict=True), 1):
        if "launch_pickled_pipeline" in script:
            arrays[name].append(f"JOB{number}")
        else:  # the merge of its statistics
            assert wait[1] == "afterok:" + ":".join(arrays[name])
    assert list(map(len, arrays.values())) == [2, 7, 1, 2]
    first = {name: waits[names.index(name)] for name in arrays}
    assert first["buckets"][1] == "afterok:" + ":".join(arrays["signatures"])
    assert first["clusters"][1] == "afterok:" + ":".join(arrays["buckets"])
    assert first["filter"][1] == "afterok:" + ":".join(arrays["clusters"])
