"""The exercises of lesson 06: a pipeline for Slurm; what a step takes along to a node."""

from __future__ import annotations

import gzip
import json
import random
import re
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

from . import (
    Exercise,
    Findings,
    Ran,
    Verdict,
    content,
    count,
    differences,
    documents,
    id_of,
    records,
)

TASKS = 2
MIN_CHARS = 300
SINCE = date(2024, 7, 1)


def write_shards(data: Path, documents: list[dict], shards: int = 4) -> None:
    """Documents in a fixed order that looks like none, in some files."""
    random.Random("06").shuffle(documents)
    for shard in range(shards):
        with gzip.open(data / f"texts-{shard:05d}.jsonl.gz", "wt", encoding="utf-8") as lines:
            for document in documents[shard::shards]:
                lines.write(json.dumps(document, ensure_ascii=False) + "\n")


def make_texts(data: Path, out: Path) -> None:
    """Articles in five languages, and single paragraphs of the English ones."""
    from examples_common import language_model
    from examples_common.samples.articles import articles

    english = articles("en")
    found = [{"text": article.text, "language": "en"} for article in english[:60]]
    for article in english[60:]:
        found += [{"text": text, "language": "en"} for text in article.paragraphs[:2]]
    for language in ("de", "fr", "it", "pl"):
        found += [{"text": one.text, "language": language} for one in articles(language)]
    # The limit itself.
    found += [{"text": text, "language": "en"} for text in at_the_limit(english[0].text)]
    write_shards(data, found)
    shutil.copy(language_model(), data)


def at_the_limit(text: str) -> list[str]:
    """The beginning of a text, one character too short and long enough."""
    return [f"{text[: length - 1]}.".replace("\n", " ") for length in (MIN_CHARS - 1, MIN_CHARS)]


def run_on_slurm(out: Path, said: Findings) -> bool:
    """Whether each task came to its end, on Slurm or not, from what DataTrove left."""
    script, complete = out / "logs/launch_script.slurm", out / "logs/completions"
    if not script.exists():
        said.wrong(
            "Nothing was submitted to Slurm: OUT/logs has no launch_script.slurm. Which executor "
            "writes one, and does it run?"
        )
        return (complete / "00000").exists()
    tasks = 1 + int(re.search(r"--array=0-(\d+)", script.read_text(encoding="utf-8"))[1])
    if tasks != TASKS:
        said.wrong(f"The array has {count(tasks, 'element')}. It should have 2, one for each task.")
    if not any((out / "slurm_logs").glob("*.out")):
        said.wrong("OUT/slurm_logs is empty: what Slurm says of each task should stand there.")
    failed = [rank for rank in range(tasks) if not (complete / f"{rank:05d}").exists()]
    if not failed:
        said.right(f"Submitted to Slurm as an array, and complete: {count(tasks, 'task')}.")
        return True
    error = why_it_failed(out, failed[0])
    said.wrong(f"{count(len(failed), 'task')} did not end well. Task {failed[0]}: {error}")
    if "NameError" in error:
        said.wrong("The node got the step without what the script defines: page 06, dill.")
    if re.search("not found|No such file", error):
        said.wrong("Which Python does the node use? venv_path or env_command says so.")
    return False


def why_it_failed(out: Path, rank: int) -> str:
    """The error in the log of a task, or else the last word of its shell."""
    logs = [out / f"logs/logs/task_{rank:05d}.log", *sorted(out.glob(f"slurm_logs/*_{rank}.out"))]
    for log in logs:
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        errors = re.findall(r"(?m)^(?:\d+: )?(\S*(?:Error|Exception)\b.*)$", text)
        if errors:
            return errors[-1].strip()
        if log.parent.name == "slurm_logs" and text.strip():
            return next(line for line in reversed(text.splitlines()) if line.strip())
    return "OUT/logs and OUT/slurm_logs hold no word of it."


def judge_texts(data: Path, out: Path, ran: Ran) -> Verdict:
    read, said = records(data), Findings()
    if not run_on_slurm(out, said):
        return said.verdict()
    good = {
        content(record): record["language"] == "en" and len(record["text"]) >= MIN_CHARS
        for record in read
    }
    judge_folders(out, good, said)
    return said.verdict()


def judge_folders(out: Path, good: dict[tuple, bool], said: Findings) -> None:
    """Compare kept/ and dropped/ with whether each document is to be kept."""
    wanted = {
        "kept": [key for key in good if good[key]],
        "dropped": [k for k in good if not good[k]],
    }
    for folder, keys in wanted.items():
        found = list(map(content, documents(out / folder))) if any(out.glob(f"{folder}/*")) else []
        wrong = differences(keys, found, f"{folder}/", id_of)
        said.wrong(*wrong)
        if not wrong:
            said.right(f"{folder}/ holds the {count(len(keys))} that belong there.")


def make_dated(data: Path, out: Path) -> None:
    """Documents before and after the day, on it, without a date and with one that is none."""
    rng, found = random.Random("06b"), []
    for number in range(160):
        found.append({"text": f"Letter {number} to the editor.", "id": f"letter-{number:03d}"})
        if number % 8:
            year, month, day = rng.randrange(2019, 2026), rng.randrange(1, 13), rng.randrange(1, 29)
            found[-1]["date"] = SINCE.isoformat() if number == 1 else f"{year}-{month:02}-{day:02}"
        elif number % 24 == 0:
            found[-1]["date"] = rng.choice(("last spring", "", None))
    write_shards(data, found)


def since(record: dict) -> bool | None:
    """Whether a record is of the day or later; None where its date says nothing."""
    try:
        return date.fromisoformat(record["date"]) >= SINCE
    except (KeyError, TypeError, ValueError):
        return None


def judge_dated(data: Path, out: Path, ran: Ran) -> Verdict:
    said = Findings()
    recent = {content(record): since(record) for record in records(data)}
    if not run_on_slurm(out, said):
        return said.verdict()
    judge_folders(out, {key: one is not False for key, one in recent.items()}, said)
    kept = {content(document) for document in documents(out / "kept")}
    if kept == set(recent):
        said.wrong(
            "Every document is kept, whatever its date: is_recent compared no date on the node. It "
            "met an error there, which `except` took for a document without a date. Which error?"
        )
    elif kept == {key for key, one in recent.items() if one}:
        said.wrong("Those without a date that can be read should be kept.")
    if said.solved and swallows_errors(out / "logs/executor.pik"):
        said.wrong(
            "A fault of the script still counts as a document without a date: with a NameError in "
            "the filter each task would end well. Catch KeyError, TypeError and ValueError alone."
        )
    return said.verdict()


#: Calls the filters of a pipeline, as a node loads it, with metadata that no document can have.
PROBE = """
import sys

import dill
from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter

asked = []


class Broken(dict):
    def __getitem__(self, *key):
        asked.append(key)
        raise NameError("a fault of the script")

    __contains__ = get = __getitem__


with open(sys.argv[1], "rb") as file:
    pipeline = dill.load(file).pipeline
for step in pipeline:
    if isinstance(step, BaseFilter):
        asked.clear()
        try:
            step.filter(Document(text="", id="0", metadata=Broken()))
        except NameError:
            continue
        if asked:
            print("swallowed")
"""


def swallows_errors(pipeline: Path) -> bool:
    """Whether a filter that reads the metadata returns although that ended with a NameError."""
    probe = [sys.executable, "-c", PROBE, str(pipeline)]
    ran = subprocess.run(probe, capture_output=True, text=True)
    return ran.stdout.startswith("swallowed")


EXERCISES = [
    Exercise(
        "06a",
        "a pipeline of one machine, on Slurm",
        "write",
        [
            "SlurmPipelineExecutor takes the pipeline, tasks and logging_dir as they are. It needs "
            "time and partition besides.",
            'venv_path=f"{sys.prefix}/bin/activate" gives the nodes this Python; '
            'slurm_logs_folder=f"{out}/slurm_logs" takes what Slurm says.',
            "If the tasks end with a NameError: page 06 shows two lines with dill, which let the "
            "pipeline take along MIN_CHARS.",
        ],
        judge_texts,
        prepare=make_texts,
        slurm=True,
    ),
    Exercise(
        "06b",
        "on the nodes every document is recent",
        "mend",
        [
            "Which documents go to dropped/? Which should? What does is_recent return when it "
            "meets an error, whichever?",
            "Catch only what a document can cause: KeyError, TypeError, ValueError. Then read what "
            "the checker says of task 0.",
            'A node never sees the script. Without `dill.settings["recurse"] = True` neither SINCE '
            "nor `date` is there.",
        ],
        judge_dated,
        prepare=make_dated,
        slurm=True,
    ),
]
