"""Which files a reader is to read: the oracle is what was put into the folder."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pytest
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

from datatrove_kit import KitError
from datatrove_kit.readers import tolerant
from datatrove_kit.readers.listing import input_files

LINE = '{"text": "rain", "id": "%s"}\n'


def put(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(LINE % name.encode("utf-8", "replace").decode())
    return folder


def ids(reader) -> list[str]:
    return sorted(document.id for document in tolerant([reader], "unused")[0]())


@pytest.mark.parametrize("recursive", [True, False])
@pytest.mark.parametrize(
    "pattern",
    [None, "*.jsonl", ".jsonl", "*/*.jsonl", "b/*.jsonl", "**/*.jsonl", "b/**/*.jsonl", "?.jsonl"],
)
def test_an_ordinary_folder_as_datatrove_lists_it(pattern, recursive, tmp_path):
    put(tmp_path, "a.jsonl", "b/c.jsonl", "b/d/e.jsonl", "[f]/g.jsonl", "b/x")
    (tmp_path / "b" / "x").unlink()
    reader = JsonlReader(str(tmp_path), glob_pattern=pattern, recursive=recursive)
    names = reader.data_folder.list_files(recursive=recursive, glob_pattern=pattern)
    files, left_out = input_files(reader)
    assert list(files) == names
    assert files == {name: (tmp_path / name).stat().st_size for name in names}
    assert left_out == {}


def test_links(tmp_path):
    """To files and folders elsewhere they are read; to what is read anyway, or upwards, not."""
    put(tmp_path / "there", "b.jsonl", "deep/c.jsonl")
    put(tmp_path / "in", "a.jsonl")
    for name, target in {
        "b.jsonl": "../there/b.jsonl",
        "more": "../there/deep",
        "0.jsonl": "a.jsonl",
        "up": "..",
        "again.jsonl": "../there/b.jsonl",
    }.items():
        (tmp_path / "in" / name).symlink_to(target)
    (tmp_path / "there" / "deep" / "back").symlink_to("../../there")
    files, left_out = input_files(JsonlReader(str(tmp_path / "in")))
    real = [os.path.realpath(tmp_path / "in" / name) for name in files]
    everything = [tmp_path / "in/a.jsonl", *(tmp_path / "there").rglob("?.jsonl")]
    assert sorted(real) == sorted(map(os.path.realpath, everything))
    assert "a.jsonl" in files
    assert left_out["0.jsonl"] == "a link to a.jsonl"
    assert ids(JsonlReader(str(tmp_path / "in"))) == ["a.jsonl", "b.jsonl", "deep/c.jsonl"]

    (tmp_path / "in" / "lost.jsonl").symlink_to("../nowhere.jsonl")
    with pytest.raises(KitError, match=r"lost.jsonl is a link to nothing: fetch .*nowhere.jsonl"):
        input_files(JsonlReader(str(tmp_path / "in")))
    assert input_files(JsonlReader(str(tmp_path / "in"), glob_pattern="a*"))[0]


def test_hidden_files_are_left_out_and_named(tmp_path):
    put(tmp_path, "a.jsonl", ".b.jsonl", ".DS_Store", "c/.d/e.jsonl", "c/f.jsonl", ".g/h/i.jsonl")
    files, left_out = input_files(JsonlReader(str(tmp_path), glob_pattern="**/*.jsonl"))
    assert list(files) == ["a.jsonl", "c/f.jsonl"]
    assert left_out == dict.fromkeys((".b.jsonl", "c/.d/", ".g/"), "hidden")
    hidden = put(tmp_path / ".mine", "a.jsonl")  # the folder that is asked for is not hidden
    assert list(input_files(JsonlReader(str(hidden)))[0]) == ["a.jsonl"]


def test_any_name_that_the_disk_allows(tmp_path):
    """Each is read once, also where a name looks like another one."""
    names = [
        b" a.jsonl",
        b"a.jsonl",
        b"a.jsonl ",
        b"b\n.jsonl",
        b"caf\xe9.jsonl",
        b"{c}*?[d].jsonl",
    ]
    names += [b"\\e.jsonl", b"~f.jsonl", b"%20.jsonl", b"g" * 249 + b".jsonl", b"h::i.jsonl"]
    for number, name in enumerate(names):
        path = os.path.join(os.fsencode(tmp_path), name)
        Path(os.fsdecode(path)).write_text(LINE % number + '{"text": "no id"}\n{"text": 1}\n')
    reader = JsonlReader(str(tmp_path), glob_pattern="*.jsonl*")
    assert set(input_files(reader)[0]) == set(map(os.fsdecode, names))
    steps = tolerant([reader, JsonlWriter(str(tmp_path / "out"))], str(tmp_path / "rejected"))
    documents = list(steps[1].run(steps[0].run()))
    assert {d.id for d in documents} >= {str(number) for number in range(len(names))}
    assert len({d.id for d in documents}) == len(documents) == 2 * len(names)
    rejected = (tmp_path / "rejected/00000.jsonl").read_text().splitlines()
    assert len(rejected) == len(names)


def test_what_an_earlier_run_wrote_is_left_out(tmp_path):
    folder = put(tmp_path / "größe", "a.jsonl", "sub/b.jsonl")
    LocalPipelineExecutor(
        [JsonlReader(str(folder), glob_pattern="*.jsonl"), JsonlWriter(f"{folder}/kept")],
        logging_dir=f"{folder}/logs",
    ).run()
    put(folder, "run1/run.json", "run1/run.lock", "run1/out/00000.jsonl", "run2/run.json")
    files, left_out = input_files(JsonlReader(str(folder), glob_pattern="**/*.json*"))
    assert list(files) == ["a.jsonl", "run2/run.json", "sub/b.jsonl"]
    assert left_out == {
        "logs/": "the logs of an earlier run",
        "kept/": "the output of an earlier run",
        "run1/": "an earlier run",
    }
    # Who asks for it, gets it.
    for reader in (
        JsonlReader(f"{folder}/kept"),
        JsonlReader(str(folder), glob_pattern="kept/*.gz"),
        JsonlReader(f"{folder}/run1/out"),
    ):
        files, _ = input_files(reader)
        assert [name.rpartition("/")[2][:5] for name in files] == ["00000"]


def test_a_list_of_paths_as_it_is_written(tmp_path):
    put(tmp_path, " a.jsonl", "a.jsonl", "b.jsonl")
    paths = tmp_path / "paths.txt"
    paths.write_text("b.jsonl\r\n a.jsonl\n\na.jsonl\nb.jsonl\n")
    reader = JsonlReader(str(tmp_path), paths_file=str(paths))
    assert list(input_files(reader)[0]) == ["b.jsonl", " a.jsonl", "a.jsonl"]
    assert ids(reader) == [" a.jsonl", "a.jsonl", "b.jsonl"]
    paths.write_text("none.jsonl\n")
    with pytest.raises(KitError, match=r"fetch .*none.jsonl"):
        input_files(reader)


def test_a_folder_on_a_store_a_file_and_none(tmp_path):
    store = fsspec.filesystem("memory")
    for name in ("a.jsonl", "b/c.jsonl", ".d/e.jsonl", "b/.f.jsonl"):
        store.pipe(f"/bucket/{name}", (LINE % name).encode())
    files, left_out = input_files(JsonlReader("memory://bucket"))
    assert files == {n: len(LINE % n) for n in ("a.jsonl", "b/c.jsonl")}
    assert left_out == dict.fromkeys((".d/", "b/.f.jsonl"), "hidden")
    assert list(input_files(JsonlReader("memory://bucket", glob_pattern="b/*"))[0]) == ["b/c.jsonl"]
    put(tmp_path, "a.jsonl")
    assert ids(JsonlReader(f"{tmp_path}/a.jsonl")) == ["a.jsonl"]
    assert input_files(JsonlReader(f"{tmp_path}/none"))[0] == {}


def test_all_tasks_share_the_list_of_the_beginning(tmp_path):
    put(tmp_path, "b.jsonl", "d.jsonl")
    early = tolerant([JsonlReader(str(tmp_path))], "unused")[0]
    late = tolerant([JsonlReader(str(tmp_path / "later"))], "unused")[0]
    put(tmp_path, "a.jsonl", "c.jsonl", "later/e.jsonl")
    found = [[d.id for d in early(rank=rank, world_size=2)] for rank in range(2)]
    assert found == [["b.jsonl"], ["d.jsonl"]]
    assert [d.id for d in late()] == ["later/e.jsonl"]  # what an earlier stage writes
