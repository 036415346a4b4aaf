"""Settings from YAML files, checked against the classes that get them."""

from __future__ import annotations

import argparse
import difflib
import inspect
import io
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, TypeVar

from datatrove.executor import SlurmPipelineExecutor
from pydantic import BaseModel, Field, PositiveInt, ValidationError, create_model, model_validator
from ruamel.yaml import YAML, YAMLError

from datatrove_kit.errors import KitError
from datatrove_kit.status import show_status


class Settings(BaseModel, extra="forbid", frozen=True, arbitrary_types_allowed=True):
    """Base of a file and its sections, which are handed on as ``**section``.

    A key that is not known is an error that names the nearest one.
    """

    @model_validator(mode="before")
    @classmethod
    def _knows_its_keys(cls, found: Any) -> Any:
        for key in found if isinstance(found, Mapping) else ():
            if key not in cls.model_fields:
                near = difflib.get_close_matches(str(key), cls.model_fields, 1, 0.5)
                known = f"is it {near[0]}?" if near else f"there are {', '.join(cls.model_fields)}."
                raise ValueError(f"there is no key {key!r}; {known}")
        return found

    def keys(self) -> set[str]:
        return self.model_fields_set

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)


def _arguments(of: type, without: tuple[str, ...], **types: Any) -> type[Settings]:
    """A section with the arguments of a class, by the names and types of its ``__init__``.

    Folders and writers, in which a pipeline hangs together, are a script's own.
    """
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(of, eval_str=True).parameters.items():
        own = name in without or re.search("DataFolder|DiskWriter", str(parameter.annotation))
        if not own and parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            # Thresholds that may be None are annotated as int, and DataTrove takes 3.5 as well.
            known = {parameter.empty: Any, int | None: float | int | None}
            known = known.get(parameter.annotation, parameter.annotation)
            fields[name] = types.get(name, known), None
    return create_model(of.__name__, __base__=Settings, **fields)


def arguments(*classes: type, without: tuple[str, ...] = ()) -> type[Settings]:
    """A section with a section for each class, by its name, that holds arguments of the class.

    Args:
        without: arguments that no file can set, besides those that are folders or writers.
    """
    fields = {of.__name__: (_arguments(of, without), ...) for of in classes}
    return create_model("arguments", __base__=Settings, **fields)


OF_SCRIPT = ("pipeline", "job_name", "depends", "logging_dir", "slurm_logs_folder")
#: A time limit as sbatch takes it, down to the second: "00:20:00", "1-12:00:00".
TIME = Annotated[str, Field(pattern=r"^(\d+-)?\d{1,2}:[0-5]\d:[0-5]\d$")]
ENVIRONMENT = {"venv_path", "condaenv", "env_command"}


class Jobs(_arguments(SlurmPipelineExecutor, (*OF_SCRIPT, "tasks", "time"))):
    """Arguments of SlurmPipelineExecutor for all stages of a chain."""

    def over(self, others: Mapping) -> dict[str, Any]:
        """These and what they leave of others, with one way to name an environment.

        It becomes an ``env_command`` that ends the job where it fails; DataTrove would go on in
        whatever environment the job was submitted from.
        """
        out = ENVIRONMENT if ENVIRONMENT & self.keys() else set()
        made = {name: v for name, v in others.items() if name not in out} | dict(self)
        conda, venv = (quote(made.pop(name, None) or "") for name in ("condaenv", "venv_path"))
        first = made.get("env_command") or (f"source {venv}" if venv != "''" else "true")
        if conda != "''" and not made.get("env_command"):
            first = f'eval "$(conda shell.bash hook)" && conda activate {conda}'
        return made | {"env_command": f"{{ {first}\n}} || exit 1"}


#: And for one stage.
StageJobs = _arguments(
    SlurmPipelineExecutor, OF_SCRIPT, time=TIME, tasks=PositiveInt, mem_per_cpu_gb=PositiveInt
)


def stages(*names: str) -> type[Settings]:
    """A section that holds for each stage of a chain what it asks of Slurm."""
    return create_model("stages", __base__=Settings, **dict.fromkeys(names, (StageJobs, ...)))


Model = TypeVar("Model", bound=Settings)


def read(model: type[Model], *files: str | Path) -> Model:
    """Settings out of YAML files; a later file replaces values of an earlier one, key by key.

    Raises KitError that names file and key for what cannot be read, is not known or cannot be.
    """
    merged: dict = {}
    for file in files:
        try:
            # YAML 1.2: no is a language and 00:20:00 a time, not False and 1200 as in YAML 1.1.
            found = YAML(typ="safe", pure=True).load(Path(file).read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, YAMLError) as error:
            raise KitError(f"{file} cannot be read: {error}") from error
        if not isinstance(found, dict):
            raise KitError(f"{file} holds no settings: write lines such as `dump: crawl-1`.")
        _merge(merged, found)
    try:
        return model.model_validate(merged)
    except ValidationError as error:
        wrong = [
            f"{'.'.join(map(str, e['loc'])) or 'it'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        ]
        raise KitError(f"{files[-1]}: {'; '.join(wrong)}") from None


def written(*files: str | Path, changes: Mapping | None = None, comment: str = "") -> str:
    """The text of the first file with the values of the others and ``changes``; comments stay.

    A ``comment`` of any lines comes before it.
    """
    yaml, stream = YAML(), io.StringIO()
    yaml.width = 100
    text, *more = (yaml.load(Path(file).read_text(encoding="utf-8")) for file in files)
    for change in (*more, changes or {}):
        _merge(text, change)
    yaml.dump(text, stream)
    return "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines()) + stream.getvalue()


def _merge(into: Any, values: Mapping) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), Mapping):
            _merge(into[key], value)
        else:
            into[key] = value


def command_line(
    main: Callable[[Model, argparse.Namespace], None],
    model: type[Model],
    defaults: str | Path,
    errors: tuple[type[Exception], ...] = (),
) -> None:
    """Call ``main`` with the settings and the other options, or answer what needs no run.

    The options are ``--config FILE`` (its values go before ``defaults``), ``--print-config`` and
    ``--status RUN``; and for ``main``: ``local``, ``plan`` (a number of files, or None), ``cores``,
    ``files`` (the settings' files), ``wait``, ``again`` (the words of this command, to resume
    the run), and ``how``, the keyword arguments ``resume`` and ``overwrite`` of ``guard.run``.

    A KitError and ``errors`` end the script with their message and exit code 1.
    """
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=sys.modules[main.__module__].__doc__,
    )
    option, flag = parser.add_argument, {"action": "store_true"}
    option("--config", metavar="FILE", help="settings, in place of the defaults")
    option("--print-config", help="print the settings, as a file for --config", **flag)
    option("--resume", help="continue the run: what is complete is not run again", **flag)
    option("--overwrite", help="remove the run that is there, and start afresh", **flag)
    option("--local", help="run here, without Slurm", **flag)
    option("--wait", help="on Slurm: follow the jobs to their end", **flag)
    option("--status", metavar="RUN", help="show how far the run in a folder is")
    option("--plan", metavar="FILES", help="print settings for so many WARC files (90000)")
    option("--cores", type=int, default=1000, help="that --plan counts on (1000)")
    chosen = parser.parse_args()
    chosen.how = {"resume": chosen.resume, "overwrite": chosen.overwrite}
    words = [word for word in sys.argv if word not in ("--resume", "--overwrite", "--wait")]
    chosen.again = ["python", *words, "--resume"]
    chosen.files = [defaults, chosen.config] if chosen.config else [defaults]
    try:
        if chosen.status:
            show_status(chosen.status)
            return
        settings = read(model, *chosen.files)
        if chosen.print_config:
            print(written(*chosen.files), end="")
        else:
            main(settings, chosen)
    except (KitError, *errors) as error:
        # What the kit calls resume=True is an option here.
        sys.exit("error: " + re.sub(r"\b(resume|overwrite)=True", r"--\1", str(error)))
