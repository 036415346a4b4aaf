"""Settings in YAML: what is taken, what is refused and by which name."""

from __future__ import annotations

import subprocess

import pytest
import yaml
from datatrove.pipeline.filters import GopherQualityFilter, LanguageFilter

from datatrove_kit import KitError
from datatrove_kit.config import Jobs, Settings, arguments, stages, written
from datatrove_kit.config.config import read


class Mine(Settings):
    languages: list[str]
    steps: arguments(GopherQualityFilter, LanguageFilter, without=("languages",))
    slurm: Jobs
    stages: stages("first", "second")


DEFAULTS = """\
# What to keep.
languages: [en]
steps:
  GopherQualityFilter: {min_doc_words: 50}  # words
  LanguageFilter: {}
slurm: {}
stages:
  first: {tasks: 2, time: 00:20:00}
  second: {tasks: 1, time: "1-00:00:00"}
"""


@pytest.fixture
def files(tmp_path):
    def call(text: str):
        (tmp_path / "defaults.yaml").write_text(DEFAULTS)
        (tmp_path / "mine.yaml").write_text(text)
        return tmp_path / "defaults.yaml", tmp_path / "mine.yaml"

    return call


def test_a_file_goes_before_the_defaults_key_by_key(files):
    made = read(Mine, *files("steps: {GopherQualityFilter: {max_avg_word_length: 10.5}}"))
    assert made.languages == ["en"]
    given = dict(**made.steps.GopherQualityFilter)
    assert given == {"min_doc_words": 50, "max_avg_word_length": 10.5}
    assert type(given["min_doc_words"]) is int
    assert dict(**made.stages["first"]) == {"tasks": 2, "time": "00:20:00"}
    GopherQualityFilter(**given)


def test_yaml_is_that_of_today(files):
    made = read(Mine, *files("languages: [no, on, y]\nstages: {first: {time: 1:30:00}}"))
    assert made.languages == ["no", "on", "y"]
    assert made.stages["first"].time == "1:30:00"
    assert yaml.safe_load("[no, 1:30:00]") == [False, 5400]  # as YAML 1.1 has it


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages: {first: {mem_per_cpu_gb: 2.5}}", "stages.first.mem_per_cpu_gb: "),
        ("stages: {first: {time: 90}}", "stages.first.time: "),
        ("stages: {first: {time: 1:75:00}}", "stages.first.time: "),
        ("stages: {first: {pipeline: []}}", "stages.first: there is no key 'pipeline'"),
        ("stages: {third: {tasks: 1}}", "there is no key 'third'; there are first, second."),
        ("slurm: {tasks: 1}", "slurm: there is no key 'tasks'"),
        ("steps: {LanguageFilter: {languages: [en]}}", "there is no key 'languages'"),
        ("steps: {LanguageFilter: {language_treshold: 1}}", "is it language_threshold?"),
        ("steps: {LanguageFilter: {language_threshold: high}}", "language_threshold: Input"),
        ("- a\n- b", "holds no settings"),
    ],
)
def test_what_cannot_be_is_named(files, text, message):
    with pytest.raises(KitError) as error:
        read(Mine, *files(text))
    assert message in str(error.value) and "mine.yaml" in str(error.value)


def test_of_the_ways_to_name_an_environment_one_is_left(tmp_path):
    of_cluster = {"partition": "cpu", "env_command": "export MINE=1", "qos": ""}
    made = Jobs().over(of_cluster)
    assert {**made, "env_command": ""} == {**of_cluster, "env_command": ""}
    assert bash(f"{made['env_command']}\necho $MINE") == (0, "1\n")
    mine = Jobs(condaenv="mine", partition="gpu").over(of_cluster)
    assert mine.keys() == {"partition", "qos", "env_command"} and mine["partition"] == "gpu"
    assert "conda activate mine" in mine["env_command"]
    (tmp_path / "activate").write_text("HERE=1")
    venv = Jobs(venv_path=f"{tmp_path}/activate").over({"condaenv": "other"})
    assert bash(f"{venv['env_command']}\necho $HERE") == (0, "1\n")


@pytest.mark.parametrize(
    "wrong",
    [{"condaenv": "nope"}, {"venv_path": "/nope/activate"}, {"env_command": "false; false"}],
)
def test_a_job_ends_where_its_environment_is_not_there(wrong):
    assert bash(f"{Jobs(**wrong).over({})['env_command']}\necho goes on") == (1, "")


def bash(script: str) -> tuple[int, str]:
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    return done.returncode, done.stdout


def test_what_is_written_has_its_comments_and_reads_back(files, tmp_path):
    given = files("languages: [de]")
    text = written(*given, changes={"stages": {"first": {"tasks": 9}}}, comment="A plan\nof two")
    assert text.startswith("# A plan\n# of two\n# What to keep.\nlanguages: [de]\n")
    assert "# words" in text
    (tmp_path / "again.yaml").write_text(text)
    again = read(Mine, tmp_path / "again.yaml")
    assert again.stages["first"].tasks == 9
    assert again.languages == ["de"] and again.stages["second"].time == "1-00:00:00"
