"""The command: its list, verdicts, hints, differences; scripts that raise, hang or vanish."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import check
import pytest
from truth import Exercise, Ran, Unreadable, Verdict, differences, documents

REPO = Path(check.REPO)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A copy of the exercises in a repository of its own, so that no one's scripts are touched."""
    home = tmp_path_factory.mktemp("course")
    shutil.copytree(REPO / "exercises", home / "exercises")
    (home / "examples_local").mkdir()
    shutil.copy(REPO / "examples_local/environment.py", home / "examples_local")
    return home


@pytest.fixture
def command(course, tmp_path):
    """Run check.py of the copy, from another folder."""

    def call(*words: str) -> subprocess.CompletedProcess:
        script = course / "exercises" / "check.py"
        words = [sys.executable, str(script), *words]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)

    return call


def toy(tmp_path: Path, text: str, limit: int = 60) -> Verdict:
    """The verdict on a script, of an exercise that wants the word ``done`` in a file."""

    def judge(data: Path, out: Path, ran: Ran) -> Verdict:
        if not (out / "word").exists():
            raise Unreadable("there is no word")
        return Verdict((out / "word").read_text() == "done", [ran.stdout.strip()])

    script = tmp_path / "00a_toy.py"
    script.write_text(text)
    exercise = Exercise(
        "00a", "a toy", "write", [], judge, prepare=lambda data, out: None, limit=limit
    )
    return check.check(exercise, script, tmp_path / "place")


def test_from_the_list_to_a_solution(command, course):
    """What a reader does: list, check, hints, edit, check, and the list again."""
    listed = command()
    assert listed.returncode == 0
    assert "01a  write" in listed.stdout and "not tried" in listed.stdout
    script = course / "exercises/01a_common_word.py"
    stub, before = script.read_bytes(), listed.stdout.count("not tried")

    failed = command("01a")
    assert failed.returncode == 1
    assert failed.stdout.startswith("01a: not yet\nNothing was dropped")
    assert "checked/01a/out" in failed.stdout
    assert command().stdout.count("not tried") == before - 1

    hints = [command("01a", "--hint").stdout for _ in range(4)]
    assert [hint.split(":")[0] for hint in hints[:3]] == [f"Hint {i} of 3" for i in (1, 2, 3)]
    assert hints[3] == hints[0]

    diff = command("01a", "--solution")
    assert diff.returncode == 0
    assert "\n-        # Your part:" in diff.stdout and "\n+        words = Counter(" in diff.stdout
    assert script.read_bytes() == stub
    patch = ["patch", "--silent", str(script)]
    subprocess.run(patch, input=diff.stdout, text=True, check=True)
    assert "is the solution" in command("01a", "--solution").stdout
    assert command().stdout.count("not tried") == before, "an edited script counts as not tried"

    solved = command("01a")
    assert solved.returncode == 0, solved.stdout
    assert solved.stdout.startswith("01a: solved\nkept/ holds the 164 documents")
    assert "1 of " in command().stdout

    script.write_bytes(stub)
    state = course / "output/exercises/state.json"
    assert json.loads(state.read_text())["01a"]["hints"] == 1
    state.write_text("{ broken")
    assert command().stdout.count("not tried") == before


def test_words_that_name_no_exercise(command):
    assert "invalid choice: '99z'" in command("99z").stderr
    assert "of which exercise?" in command("--hint").stderr
    assert command("99z").returncode == 2


def test_a_reader_that_has_enough(course):
    """`check.py | head -3` ends without a word on the pipe."""
    read, write = os.pipe()
    os.close(read)
    words = [sys.executable, str(course / "exercises/check.py")]
    ran = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert ran.stderr == ""


def test_a_script_that_is_gone_or_there_twice(tmp_path):
    (tmp_path / "01a_mine.py").touch()
    assert check.script_of("01a", tmp_path).name == "01a_mine.py"
    (tmp_path / "01a_copy.py").touch()
    with pytest.raises(SystemExit, match=r"there is: 01a_copy\.py, 01a_mine\.py"):
        check.script_of("01a", tmp_path)
    with pytest.raises(SystemExit, match="there is: none"):
        check.script_of("01b", tmp_path)


WRITES = "import sys, pathlib\npathlib.Path(sys.argv[2], 'word').write_text('done')\nprint('so')\n"


def test_a_script_that_does_it(tmp_path):
    assert toy(tmp_path, WRITES) == Verdict(True, ["so"])


def test_what_an_earlier_check_left_is_gone(tmp_path):
    toy(tmp_path, WRITES)
    assert toy(tmp_path, "print(1)") == Verdict(False, ["there is no word"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\ny = x / 0\n", ["failed in line 2 of 00a_toy.py: ZeroDivisionError", "y = x / 0"]),
        ("x = (\n", ["failed in line 1 of 00a_toy.py: SyntaxError", "x = ("]),
        ("import sys\nsys.exit('no input')\n", ["ended with exit code 1: no input"]),
        ("import os\nos.kill(os.getpid(), 9)\n", ["was killed by signal 9"]),
        ("import nothing_like_it\n", ["line 1 of 00a_toy.py: ModuleNotFoundError"]),
    ],
)
def test_a_script_that_fails(tmp_path, text, words):
    verdict = toy(tmp_path, text)
    assert not verdict.solved
    assert all(word in "\n".join(verdict.lines) for word in words), verdict.lines


PIPELINE = """
from datatrove.executor import LocalPipelineExecutor

def step(data, rank=0, world_size=1):
    raise KeyError("colour")

if __name__ == "__main__":
    LocalPipelineExecutor([step], tasks=2, workers=2).run()
"""


def test_a_step_that_fails_in_a_worker(tmp_path):
    """The place is that in the step, not that of executor.run()."""
    lines = toy(tmp_path, PIPELINE).lines
    assert lines == [
        "The script failed in line 5 of 00a_toy.py: KeyError: 'colour'",
        '    raise KeyError("colour")',
    ]


def test_a_script_that_hangs(tmp_path):
    """It is stopped with all that it started."""
    text = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "open(sys.argv[2] + '/pid', 'w').write(str(child.pid))\n"
        "print('reading', file=sys.stderr, flush=True)\n"
        "time.sleep(600)\n"
    )
    verdict = toy(tmp_path, text, limit=8)
    assert "did not end within 8 seconds" in verdict.lines[0]
    assert verdict.lines[0].endswith("reading")
    pid = int((tmp_path / "place/out/pid").read_text())
    for _ in range(100):
        if not alive(pid):
            break
        time.sleep(0.1)
    assert not alive(pid)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")  # one that init has yet to bury is dead
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


def test_slurm_exercises_run_here_without_a_cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    script = tmp_path / "00a_toy.py"
    script.write_text("import shutil\nassert shutil.which('sbatch')\n")
    judge = lambda data, out, ran: Verdict(True, ["fine."])  # noqa: E731
    exercise = Exercise("00a", "a toy", "write", [], judge, slurm=True)
    verdict = check.check(exercise, script, tmp_path / "place")
    assert verdict == Verdict(True, ["fine.", "Its tasks ran here: no cluster answers."])


def test_documents_that_cannot_be_read(tmp_path):
    with pytest.raises(Unreadable, match=r"kept/ .* holds no documents"):
        documents(tmp_path / "kept")
    (tmp_path / "kept").mkdir()
    for text in ("{", "[1]"):
        (tmp_path / "kept/a.jsonl").write_text(text)
        with pytest.raises(Unreadable, match=r"kept/a\.jsonl cannot be read"):
            documents(tmp_path / "kept")
    (tmp_path / "kept/a.jsonl.gz").write_bytes(b"\x1f\x8b\x08")
    (tmp_path / "kept/a.jsonl").unlink()
    with pytest.raises(Unreadable, match=r"a\.jsonl\.gz cannot be read"):
        documents(tmp_path / "kept")


def test_differences_name_what_is_missing_doubled_and_strange():
    assert differences("abc", "cba", "kept/") == []
    assert differences("aabc", "abbd", "kept/") == [
        "kept/ lacks 1 document of 4, for example c.",
        "kept/ holds 1 document that does not belong there, for example d.",
        "kept/ holds 1 document too often, for example b.",
        "kept/ holds 1 document too few, for example a.",
    ]
