"""The frame around a lesson: its options, its output folder, and errors as a sentence."""

from __future__ import annotations

import argparse
import inspect
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from fasteners import InterProcessLock

from datatrove_kit.guard.processes import Stopped, supervised

from .errors import LessonError
from .samples import sample as sample_folder
from .slurm import cancel, queued

RESUME = "the same command with --resume continues"
HELP = {
    "input": "read the files in this folder, not the sample",
    "output": "write to this folder, not to output/NN_name",
    "resume": "keep the output, and skip the tasks that it completed",
    "local": "run here, without Slurm",
    "wait": "follow the jobs to their end",
    "compare": "compare two text files of your own, and no more",
}


def lesson(main: Callable[..., None], sample: str) -> None:
    """Run a lesson: ``main(data, out)`` with the folder to read and the one to write.

    The command line has ``--input`` (the sample set ``sample`` without it), ``--output`` (else
    ``output/NN_name`` beside the folder of the script) and ``--resume``, and an option for each
    other parameter of ``main``: a flag if it is False, two files if it is None.

    A fresh run starts in an empty folder; what was there is moved to ``.before`` beside it. Ends
    with a sentence on stderr and exit code 1 when something is wrong, 2 for a wrong option.
    """
    script = Path(inspect.getfile(main)).resolve()
    more = {p.name: p.default for p in list(inspect.signature(main).parameters.values())[2:]}
    parser = argparse.ArgumentParser(description=str(sys.modules[main.__module__].__doc__))
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    for name, default in {"input": "", "output": "", "resume": False, **more}.items():
        how = {False: {"action": "store_true"}, None: {"nargs": 2}}.get(default, {})
        parser.add_argument(f"--{name}", help=HELP[name], **how)
    chosen = vars(parser.parse_args())
    out = Path(chosen["output"] or script.parent.parent / "output" / script.stem).resolve()
    before = None
    try:
        if chosen.get("compare"):  # needs no sample, and writes nothing
            for file in chosen["compare"]:
                _text_file(file)
            main("", "", compare=chosen["compare"])
            return
        data = _input(chosen["input"]) if chosen["input"] else _shown(sample_folder(sample))
        with _alone_in(out, data):
            before = _prepare(out, chosen["resume"])
            with supervised():
                main(data, _shown(out), **{name: chosen[name] for name in more})
        return
    except KeyboardInterrupt:
        text, code = f"stopped: {RESUME}", 130
    except Stopped as stop:
        text, code = (f"error: {stop}: {RESUME}", 1) if stop.args else (f"stopped: {RESUME}", 143)
    except Exception as error:
        text, code = f"error: {_sentence(error, script, out)}", 1
    _say(text)
    if before:
        _say(f"What {_shown(out)} held before this run is in {_shown(before)}")
    sys.exit(code)


def _text_file(path: str) -> None:
    try:
        Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LessonError(f"--compare {path}: it cannot be read as text: {error}.") from error


def _input(folder: str) -> str:
    """The reader's own folder, checked if it is on a disk; a URL as it is."""
    path = Path(folder).expanduser()
    if "://" in folder:
        return folder
    if path.is_dir() and any(path.iterdir()):
        return _shown(path.resolve())
    what = "is empty" if path.is_dir() else "is a file" if path.exists() else "does not exist"
    raise LessonError(f"--input {folder} {what}: give the folder in which your files are.")


def _shown(path: Path) -> str:
    """A path as the reader would type it: relative where it is below the working folder."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def _alone_in(out: Path, data: str) -> Iterator[None]:
    """Hold the lock of an output folder; it stands beside it, and says that a lesson wrote it."""
    source, path = Path(data).resolve(), out.with_name(f".{out.name}.lock")
    wrong = ""
    if "://" not in data and (out.is_relative_to(source) or source.is_relative_to(out)):
        wrong = f"and the input {data} lie in one another, and a reader would read what is written"
    elif out.is_file() or (out.exists() and any(out.iterdir()) and not path.exists()):
        wrong = "holds files that no lesson wrote"
    lock = InterProcessLock(path)
    try:
        if not wrong:
            out.mkdir(parents=True, exist_ok=True)
            wrong = "" if lock.acquire(blocking=False) else "is at work: another run writes there"
    except OSError as error:
        wrong = f"cannot be written ({error.strerror})"
    if wrong:
        raise LessonError(f"the output {_shown(out)} {wrong}: choose another --output.")
    try:
        yield
    finally:
        lock.release()


def _prepare(out: Path, resume: bool) -> Path | None:
    """Make the folder ready; returns where that is which was in it and had to make room."""
    shown = _shown(out)
    if jobs := queued(out):
        raise LessonError(
            f"jobs of the run in {shown} are in the queue ({', '.join(jobs)}). Submitted again, "
            "their tasks would run other files or none, and nobody would notice: wait for their "
            f"end, or cancel them first: scancel {' '.join(jobs)}"
        )
    if resume and not any(out.iterdir()):
        raise LessonError(f"there is no run to resume in {shown}: leave out --resume.")
    if resume:
        done = sum(1 for _ in out.glob("**/completions/[0-9]*"))
        _say(
            f"resuming {shown}: {done} tasks are complete and are skipped. Has the script or its "
            "input changed since? Then start afresh, without --resume."
        )
    if resume or not any(out.iterdir()):
        return None
    kept = out.parent / ".before"
    kept.mkdir(exist_ok=True)
    names = (out.name if n == 1 else f"{out.name}.{n}" for n in count(1))
    aside = next(kept / name for name in names if not (kept / name).exists())
    out.rename(aside)
    out.mkdir()
    _say(f"what was in {shown} is in {_shown(aside)} now")
    return aside


def _sentence(error: Exception, script: Path, out: Path) -> str:
    """What is wrong and how to mend it; of an error that nobody has logged yet, where it was."""
    text = str(error).strip() or type(error).__name__
    if isinstance(error, LessonError):
        return text
    if isinstance(error, subprocess.CalledProcessError) and "sbatch" in error.cmd:
        cancel(queued(out))
        return (
            "sbatch refused a job, and says why above. What it was asked for stands in slurm.toml "
            "and in the script; jobs that were submitted before are cancelled."
        )
    if isinstance(error, FileNotFoundError) and error.filename in ("sbatch", "squeue"):
        return (
            f"{error.filename} is not here: run this on a login node of your cluster, start a "
            "cluster of your own (python examples_slurm/local_cluster.py up), or use --local."
        )
    if isinstance(error, ImportError):
        return f"{text}\nInstall what the lessons need: pip install -e {script.parent.parent}"
    if text.startswith("No files found on "):
        return (
            f"{text[:-1]}. Is this your input? Then no file's name fits the glob_pattern of the "
            "reader. Is this an output of the lesson? Then every document was dropped before."
        )
    if "_run_for_rank" not in traceback.format_exc():  # with what a worker's error was caused by
        traceback.print_exc()
        return f"{type(error).__name__}: {text}"
    return (
        f"a task failed with {type(error).__name__}: {text}\nDataTrove has logged it above, and in "
        f"{_shown(out)}/logs. Mend the cause, then run afresh, or with --resume if no step changed."
    )
