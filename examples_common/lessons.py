"""The frame around a lesson: its options, its output folder, and errors as a sentence."""

from __future__ import annotations

import argparse
import inspect
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fasteners import InterProcessLock

from datatrove_kit.guard.processes import Stopped, supervised

from .errors import LessonError
from .samples import sample as sample_folder
from .slurm import cancel, queued

OPTIONS = {  # of main's own parameters
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
    usage = inspect.getdoc(sys.modules[main.__module__]) or script.stem
    parser = argparse.ArgumentParser(description=usage.partition("\n")[0])
    parser.add_argument("--input", metavar="FOLDER", help="read your own files, not the sample")
    parser.add_argument(
        "--output", metavar="FOLDER", help=f"where to write (output/{script.stem} without it)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="keep the output, and skip the tasks it completed"
    )
    extra = list(inspect.signature(main).parameters.values())[2:]
    for parameter in extra:
        how = {"action": "store_true"} if parameter.default is False else {"nargs": 2}
        parser.add_argument(f"--{parameter.name}", help=OPTIONS[parameter.name], **how)
    chosen = parser.parse_args()
    more = {parameter.name: getattr(chosen, parameter.name) for parameter in extra}
    out = Path(chosen.output or script.parent.parent / "output" / script.stem).resolve()
    before: list[Path] = []
    try:
        data = _input(chosen.input) if chosen.input else _shown(sample_folder(sample))
        with _alone_in(out, data, chosen.resume) as aside:
            before += aside
            with supervised():
                main(data, _shown(out), **more)
    except KeyboardInterrupt:
        _end(out, before, "stopped: the same command with --resume continues", 130)
    except Stopped as stop:
        what = f"error: {stop}" if stop.args else "stopped"
        code = 1 if stop.args else 143
        _end(out, before, f"{what}: the same command with --resume continues", code)
    except Exception as error:
        _end(out, before, f"error: {_sentence(error, out)}", 1)


def _input(folder: str) -> str:
    """The reader's own folder, checked if it is on a disk; a URL as it is."""
    if "://" in folder:
        return folder
    path = Path(folder).expanduser()
    if not path.is_dir():
        what = "is a file: give the folder that it is in" if path.exists() else "does not exist"
        raise LessonError(f"--input {folder} {what}.")
    if not any(path.iterdir()):
        raise LessonError(f"--input {folder} is empty.")
    return _shown(path.resolve())


def _shown(path: Path) -> str:
    """A path as the reader would type it: relative where it is below the working folder."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


@contextmanager
def _alone_in(out: Path, data: str, resume: bool) -> Iterator[list[Path]]:
    """Hold the lock of an output folder and prepare it; gives what was moved aside, if anything.

    The lock stands beside the folder, and says that a lesson wrote it.
    """
    shown = _shown(out)
    if "://" not in data:
        source = Path(data).resolve()
        if out.is_relative_to(source) or source.is_relative_to(out):
            raise LessonError(
                f"the output {shown} and the input {data} lie in one another, and a reader would "
                "read what the run writes: choose another --output."
            )
    path = out.with_name(f".{out.name}.lock")
    if out.exists() and any(out.iterdir()) and not (resume or path.exists()):
        raise LessonError(f"{shown} holds files that no lesson wrote: choose another --output.")
    lock = InterProcessLock(path)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        alone = lock.acquire(blocking=False)
    except OSError as error:
        raise LessonError(f"{shown} cannot be written: {error.strerror or error}.") from error
    if not alone:
        raise LessonError(
            f"another run is at work in {shown}: wait for its end, or choose another --output."
        )
    try:
        yield _prepare(out, shown, resume)
    finally:
        lock.release()


def _prepare(out: Path, shown: str, resume: bool) -> list[Path]:
    if jobs := queued(out):
        raise LessonError(
            f"jobs of the run in {shown} are in the queue ({', '.join(jobs)}). Submitted again, "
            "their tasks would run other files or none, and nobody would notice: wait for their "
            f"end, or cancel them first: scancel {' '.join(jobs)}"
        )
    if resume:
        if not out.exists():
            raise LessonError(f"there is no run to resume in {shown}: leave out --resume.")
        done = sum(1 for _ in out.glob("**/completions/[0-9]*"))
        _say(
            f"resuming {shown}: {done} tasks are complete and are skipped. Has the script or its "
            "input changed since? Then start afresh, without --resume."
        )
        return []
    if not out.exists() or not any(out.iterdir()):
        out.mkdir(exist_ok=True)
        return []
    kept, number = out.parent / ".before", 1
    aside = kept / out.name
    while aside.exists():
        number += 1
        aside = kept / f"{out.name}.{number}"
    kept.mkdir(exist_ok=True)
    out.rename(aside)
    out.mkdir()
    _say(f"what was in {shown} is in {_shown(aside)} now")
    return [aside]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _end(out: Path, before: list[Path], text: str, code: int) -> None:
    """End with a text, and with where the run is that was here before."""
    _say(text)
    if before:
        _say(f"What {_shown(out)} held before this run is in {_shown(before[0])}")
    sys.exit(code)


def _sentence(error: Exception, out: Path) -> str:
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
        return f"{text}\nInstall what the lessons need: pip install -e ."
    if text.startswith("No files found on "):
        return (
            f"{text[:-1]}. Is this your input? Then no file's name fits the glob_pattern of the "
            "reader. Is this an output of the lesson? Then every document was dropped before."
        )
    frames = traceback.extract_tb(error.__traceback__)
    in_task = type(error.__cause__).__name__ == "RemoteTraceback" or any(
        frame.name == "_run_for_rank" for frame in frames
    )
    if not in_task:
        traceback.print_exc()
        return f"{type(error).__name__}: {text}"
    return (
        f"a task failed with {type(error).__name__}: {text}\nDataTrove has logged it above, and in "
        f"{_shown(out)}/logs. Mend the cause, then run afresh, or with --resume if no step changed."
    )
