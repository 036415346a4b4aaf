"""The frame around a lesson: its options, its output folder, and errors as a sentence."""

from __future__ import annotations

import argparse
import inspect
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from fasteners import InterProcessLock

from datatrove_kit.guard.processes import Stopped, belong_to_parent, supervised

from .errors import LessonError
from .samples import sample as sample_folder
from .slurm import cancel, queue, queued

# Workers are forked from a server that imports the script, and this with it. What a step forks, as
# Trafilatura does, would wait for ever for a worker that is gone.
os.register_at_fork(after_in_child=belong_to_parent)

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
    other parameter of ``main``: a flag if it is False, two files if it is None. With two files
    ``main`` reads them and nothing else, and writes nothing.

    A fresh run starts in an empty folder; what was there is moved to ``.before`` beside it. Ends
    with a sentence on stderr and exit code 1 when something is wrong, 2 for a wrong option.
    """
    script = Path(inspect.getfile(main)).resolve()
    more = {p.name: p.default for p in list(inspect.signature(main).parameters.values())[2:]}
    how = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        description=inspect.getmodule(main).__doc__, formatter_class=how
    )
    for name, default in {"input": "", "output": "", "resume": False, **more}.items():
        kind = {False: {"action": "store_true"}, None: {"nargs": 2}}.get(default, {})
        parser.add_argument(f"--{name}", help=HELP[name], **kind)
    chosen = vars(parser.parse_args())
    options = {name: chosen[name] for name in more}
    out = Path(chosen["output"] or script.parent.parent / "output" / script.stem).resolve()
    before: list[Path] = []
    try:
        if any(isinstance(value, list) for value in options.values()):
            return main("", "", **options)
        data = _input(chosen["input"] or str(sample_folder(sample)))
        if "wait" in options and not options["local"]:
            queue(out)  # a cluster that does not answer is noticed before anything is touched
        with _alone_in(out, data), supervised():
            before += _prepare(out, chosen["resume"])
            return main(data, _shown(out), **options)
    except KeyboardInterrupt:
        text, code = f"stopped: {RESUME}", 130
    except Stopped as stop:
        text, code = (f"error: {stop}: {RESUME}", 1) if stop.args else (f"stopped: {RESUME}", 143)
    except Exception as error:
        text, code = f"error: {_sentence(error, script, out)}", 1
    lines = [f"What {_shown(out)} held before this run is in {_shown(path)}" for path in before]
    _say(text, *lines)
    sys.exit(code)


def _say(*lines: str) -> None:
    print(*lines, sep="\n", file=sys.stderr, flush=True)


def _shown(path: Path) -> str:
    """A path as the reader would type it: relative where it is below the working folder."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _input(folder: str) -> str:
    """A folder to read, checked if it is on a disk; a URL as it is."""
    path = Path(folder).expanduser()
    if "://" in folder:
        return folder
    if path.is_dir() and any(path.iterdir()):
        return _shown(path.resolve())
    what = "is empty" if path.is_dir() else "is a file" if path.exists() else "does not exist"
    raise LessonError(f"--input {folder} {what}: give the folder in which your files are.")


@contextmanager
def _alone_in(out: Path, data: str) -> Iterator[None]:
    """Hold the lock of an output folder; it stands beside it, and says that a lesson wrote it."""
    source, lock = Path(data).resolve(), out.with_name(f".{out.name}.lock")
    if out.is_relative_to(source) or source.is_relative_to(out):
        why = f"and the input {data} lie in one another, and a reader would read what is written"
    elif out.is_file():
        why = "is a file"
    elif out.exists() and not lock.exists() and any(out.iterdir()):
        why = "holds files that no lesson wrote"
    else:
        out.mkdir(parents=True, exist_ok=True)
        why, held = "is at work: another run writes there", InterProcessLock(lock)
        if held.acquire(blocking=False):
            try:
                yield
            finally:
                held.release()
            return
    raise LessonError(f"the output {_shown(out)} {why}: choose another --output.")


def _prepare(out: Path, resume: bool) -> list[Path]:
    """Make a folder ready for a run; returns where that is which had to make room, if anything."""
    shown, is_empty = _shown(out), not any(out.iterdir())
    if jobs := queued(out):
        raise LessonError(
            f"jobs of the run in {shown} are in the queue ({', '.join(jobs)}), and a second run "
            f"would spoil their files: wait for their end, or cancel them: scancel {' '.join(jobs)}"
        )
    if resume and is_empty:
        raise LessonError(f"there is no run to resume in {shown}: leave out --resume.")
    if resume:
        done = sum(1 for _ in out.glob("**/completions/[0-9]*"))
        _say(f"resuming {shown}: {done} tasks are complete and are skipped. A changed script or")
        _say("changed input wants a fresh run, without --resume.")
    if resume or is_empty:
        return []
    names = (out.name if number == 1 else f"{out.name}.{number}" for number in count(1))
    places = (out.parent / ".before" / name for name in names)
    aside = next(place for place in places if not place.exists())
    aside.parent.mkdir(exist_ok=True)
    out.rename(aside)
    out.mkdir()
    _say(f"what was in {shown} is in {_shown(aside)} now")
    return [aside]


def _sentence(error: Exception, script: Path, out: Path) -> str:
    """What is wrong and how to mend it; of an error that nobody has logged yet, where it was."""
    text, kind = str(error).strip(), type(error).__name__
    in_task = "_run_for_rank" in traceback.format_exc()  # here, or in what a worker sent
    match error:
        case LessonError():
            return text
        case subprocess.CalledProcessError() if "sbatch" in error.cmd:
            cancel(queued(out))
            for script in out.glob("**/launch_script.slurm"):
                script.unlink()  # nothing is left of what it submitted
            return (
                "sbatch refused a job, and says why above. Mend slurm.toml or the script: jobs "
                "that were submitted before are cancelled."
            )
        case FileNotFoundError(filename="sbatch" | "squeue"):
            return (
                f"{error.filename} is not here: run this on a login node of your cluster, start a "
                "cluster of your own (python examples_slurm/local_cluster.py up), or use --local."
            )
        case ImportError():
            return f"{text}\nInstall what the lessons need: pip install -e {script.parent.parent}"
        case RuntimeError() if text.startswith("No files found on "):
            if str(out) in text:
                return (
                    f"{text[:-1]}: every document was dropped, or none was read. Is the text in "
                    "another field? See text_key on page 01, and DataTrove's warnings above."
                )
            return (
                f"{text[:-1]}: no file's name fits the glob_pattern of the reader. Files in "
                "subfolders need one such as **/*.jsonl*"
            )
        case OSError() | UnicodeDecodeError() if not in_task:
            return f"a file cannot be read as text, or a folder cannot be written to: {text}"
    if in_task:
        return (
            f"a task failed with {kind}: {text}\nDataTrove has logged it above, and in "
            f"{_shown(out)}/logs. Mend the cause. Then --resume goes on if no step has changed."
        )
    traceback.print_exc()
    return f"{kind}: {text}"
