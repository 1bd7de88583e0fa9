"""``groups.csv`` comes from outside: right lines count, wrong ones are told, broken tables are refused."""

from pathlib import Path

import pytest

from data.batch import BatchFolder
from data.errors import BadBatch
from data.groups import read_groups
from data.ingest import ingest
from tests.data.conftest import Deliver

NAMES = {"a.png", "b.png", "sub/c.png"}


def read(tmp_path: Path, content: str | bytes) -> tuple[dict[str, str], list[str]]:
    (tmp_path / "groups.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    groups, unmatched = read_groups(tmp_path, NAMES)
    return groups, [rejection.reason for rejection in unmatched]


def test_no_table_is_no_groups(tmp_path: Path) -> None:
    assert read_groups(tmp_path, NAMES) == ({}, [])


@pytest.mark.parametrize(
    "content",
    [
        "file,group\na.png,7\nsub/c.png,7\n",
        "\ufefffile,group\r\na.png,7\r\nsub/c.png,7\r\n",
        "group,note,file\n7,x,a.png\n7,,sub/c.png\n",
        'file,group\n"a.png"," 7 "\n\nsub/c.png,7\na.png,7\nb.png,\n',
    ],
)
def test_tables_as_programs_write_them(tmp_path: Path, content: str) -> None:
    assert read(tmp_path, content) == ({"a.png": "7", "sub/c.png": "7"}, [])


def test_lines_for_other_files_are_told(tmp_path: Path) -> None:
    groups, unmatched = read(tmp_path, "file,group\na.png,1\n../a.png,2\nx.png,3\n")
    assert groups == {"a.png": "1"}
    assert unmatched == [
        "line 3 names '../a.png', which is not in the folder",
        "line 4 names 'x.png', which is not in the folder",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it needs file,group"),
        ("name,part\na.png,1\n", "has columns 'name', 'part'; it needs file,group"),
        ("file,group\na.png,1\na.png,2\n", "line 3: 'a.png' is in group '2' and in '1'"),
        ("file,group\na.png," + "x" * 201 + "\n", "over 200 characters"),
        ("file,group\na.png,\x1b[31m\n", "unprintable"),
        (b"file,group\n\xff\xfe,1\n", "not UTF-8"),
        ('file,group\n"a.png,1\n', "not a well-formed table"),
        ("file,group\na.png," + "x" * 200_000, "not a well-formed table"),
    ],
)
def test_broken_tables_are_refused_in_one_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(BadBatch, match=message) as error:
        read(tmp_path, content)
    assert "\n" not in str(error.value) and "groups.csv" in str(error.value) and len(str(error.value)) < 400


def test_a_table_that_is_no_file_or_huge(tmp_path: Path) -> None:
    (tmp_path / "groups.csv").mkdir()
    with pytest.raises(BadBatch, match="not a regular file"):
        read_groups(tmp_path, NAMES)
    (tmp_path / "groups.csv").rmdir()
    (tmp_path / "groups.csv").symlink_to("/etc/hostname")
    with pytest.raises(BadBatch, match="not a regular file"):
        read_groups(tmp_path, NAMES)
    (tmp_path / "groups.csv").unlink()
    with (tmp_path / "groups.csv").open("wb") as stream:
        stream.truncate(20 * 2**20)
    with pytest.raises(BadBatch, match="20 MiB; at most 16"):
        read_groups(tmp_path, NAMES)


def test_groups_reach_the_record(deliver: Deliver, folder: BatchFolder) -> None:
    source = deliver(12)
    (source / "groups.csv").write_text("file,group\npart_000.png,tile 1\npart_001.png,tile 1\ngone.png,tile 2\n")
    record = ingest(source, folder, "bolt", "a")
    assert {image.source_name: image.group for image in record.images if image.group} == {
        "part_000.png": "tile 1",
        "part_001.png": "tile 1",
    }
    assert [(rejection.source_name, rejection.reason) for rejection in record.rejected] == [
        ("groups.csv", "line 4 names 'gone.png', which is not in the folder")
    ]
