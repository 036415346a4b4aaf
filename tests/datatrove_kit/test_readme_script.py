"""The script of the kit's README, plain and with the kit: the same documents, other endings."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "datatrove_kit/README.md"
WEATHER = random.Random(0)


@pytest.fixture
def scripts(tmp_path) -> dict[str, Path]:
    """The two scripts, as they stand in the README."""
    blocks = re.findall(r"```python\n(import sys.*?)```", README.read_text(), re.S)
    assert len(blocks) == 2
    found = {}
    for name, block in zip(("plain", "kit"), blocks, strict=True):
        found[name] = tmp_path / f"{name}.py"
        found[name].write_text(block)
    return found


@pytest.fixture
def data(tmp_path) -> Path:
    """Two files of a hundred records."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in "ab":
        (folder / f"{name}.jsonl").write_bytes(b"".join(lines(100)))
    return folder


def lines(number: int) -> list[bytes]:
    """Records of 20 to 120 words."""
    texts = [
        " ".join(WEATHER.choices(["rain", "sun", "fog"], k=WEATHER.randrange(20, 120)))
        for _ in range(number)
    ]
    return [json.dumps({"text": text}).encode() + b"\n" for text in texts]


def run(script: Path, data: Path, *more: str) -> subprocess.CompletedProcess:
    words = [sys.executable, script.name, data.name, f"out_{script.stem}", *more]
    return subprocess.run(words, cwd=script.parent, capture_output=True, text=True, timeout=120)


def kept(script: Path) -> set[str]:
    found = set()
    for path in (script.parent / f"out_{script.stem}/kept").glob("*.gz"):
        found |= {json.loads(li)["text"] for li in gzip.decompress(path.read_bytes()).splitlines()}
    return found


def wanted(data: Path) -> set[str]:
    """What the script's filter keeps of all records that are JSON, links followed."""
    texts = set()
    for folder, _, names in os.walk(data, followlinks=True):
        for line in b"".join(Path(folder, name).read_bytes() for name in names).splitlines():
            if b"\xff" not in line:
                texts.add(json.loads(line)["text"])
    return {text for text in texts if len(text) >= 200}


def test_the_same_documents(scripts, data):
    for script in scripts.values():
        done = run(script, data)
        assert done.returncode == 0, done.stderr[-2000:]
        assert kept(script) == wanted(data)
    assert "The run is whole. Input: 2 files, 200 records, 200 read, 0 rejected." in done.stdout


def test_the_kit_takes_few_lines(scripts):
    plain, kit = (scripts[name].read_text().splitlines() for name in ("plain", "kit"))
    new = [line for line in kit if line.strip() and line.strip() not in map(str.strip, plain)]
    assert [line for line in new if "kit" in line or "tolerant(" in line or "guard." in line]
    assert len(new) <= 7
    assert len([line for line in plain if line.strip()]) <= 20


def test_a_line_that_is_not_utf8(scripts, data):
    whole = (data / "b.jsonl").read_bytes().splitlines(keepends=True)
    whole[40] = b'{"text": "\xff"}\n'
    (data / "b.jsonl").write_bytes(b"".join(whole))
    assert run(scripts["plain"], data).returncode == 0
    assert kept(scripts["plain"]) < wanted(data)
    done = run(scripts["kit"], data)
    assert done.returncode == 0, done.stderr[-2000:]
    assert kept(scripts["kit"]) == wanted(data)
    assert "200 records, 199 read, 1 rejected." in done.stdout
    rejected = b"".join(
        path.read_bytes()
        for path in (data.parent / "out_kit/rejected").rglob("*")
        if path.is_file()
    )
    assert b"b.jsonl" in rejected


def test_a_changed_filter(scripts, data):
    for script in scripts.values():
        assert run(script, data).returncode == 0
        script.write_text(script.read_text().replace(">= 200", ">= 300"))
    before = kept(scripts["plain"])
    assert run(scripts["plain"], data).returncode == 0
    assert kept(scripts["plain"]) == before
    assert "holds a finished run" in run(scripts["kit"], data).stderr
    done = run(scripts["kit"], data, "resume")
    assert done.returncode == 1
    assert "filter_function of step 2 (LambdaFilter) of logs was" in done.stderr
    assert run(scripts["kit"], data, "overwrite").returncode == 0
    assert kept(scripts["kit"]) == {text for text in wanted(data) if len(text) >= 300}


def test_a_link_to_a_folder(scripts, data):
    (data.parent / "more").mkdir()
    (data.parent / "more/c.jsonl").write_bytes(b"".join(lines(100)))
    (data / "more").symlink_to(data.parent / "more")
    for script in scripts.values():
        script.write_text(script.read_text().replace('"*.jsonl"', '"**/*.jsonl"'))
        assert run(script, data).returncode == 0
    assert kept(scripts["plain"]) < wanted(data)
    assert kept(scripts["kit"]) == wanted(data)


def test_a_killed_worker(scripts, data):
    """The first task ends the process that runs it."""
    step = "            lambda data, rank, world_size: fatal(data, rank),\n"
    fatal = (
        "import os, signal\n\n\ndef fatal(data, rank):\n    for document in data:\n"
        "        if rank == 0 and not os.path.exists('mended'):\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n        yield document\n\n\n"
    )
    for script in scripts.values():
        text = script.read_text().replace("def main", f"{fatal}def main")
        script.write_text(re.sub(r"( +LambdaFilter\()", rf"{step}\1", text))
    with subprocess.Popen(
        [sys.executable, "plain.py", "data", "out_plain"],
        cwd=data.parent,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as waiting:
        second = data.parent / "out_plain/logs/completions/00001"
        end = time.monotonic() + 60
        while not second.exists() and time.monotonic() < end:
            time.sleep(0.1)
        done = run(scripts["kit"], data)  # takes longer than the plain one would
        assert waiting.poll() is None
        os.killpg(waiting.pid, signal.SIGKILL)
    assert done.returncode == 1
    assert "a process of the run was killed" in done.stderr
    (data.parent / "mended").touch()
    done = run(scripts["kit"], data, "resume")
    assert done.returncode == 0, done.stderr[-2000:]
    assert kept(scripts["kit"]) == wanted(data)
