"""``groups.csv`` comes from outside: right lines count, wrong ones are told, broken tables are refused."""

import unicodedata
from pathlib import Path

import pytest

from core.errors import BadBatch
from data.batch import BatchFolder
from data.groups import groups_table, read_groups
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
        "file;group\na.png;7\nsub/c.png;7\n",
        "\r\n\nfile,group\na.png,7\nsub/c.png,7\n",
        "file\tgroup\na.png\t7\nsub/c.png\t7\n",
        "sep=;\r\nFile;Group;\r\na.png;7;\r\nsub/c.png;7;\r\n",
        '"sep=\t"\nfile\tgroup\na.png\t7\nsub/c.png\t7\n',
        "file\tgroup\na.png\t7\nsub/c.png\t7\n".encode("utf-16"),
        "file,group\nA.PNG,7\nSub/C.png,7\n",
        "file,group\na,7\nsub/c,7\n",
        "file,group\n./a.png,7\nsub//./c.png,7\n",
        "file,group\na.png,7\nsub\\c.png,7\n",
        "file,group\na.png,7\nc.png,7\n",
        "file,group\n/mnt/camera/bolt/a.png,7\n/mnt/camera/bolt/sub/c.png,7\n",
        "file,group\nC:\\Bilder\\Bolt\\a.png,7\nC:\\Bilder\\bolt\\sub\\C.PNG,7\n",
        "file,group\nbolt/a.png,7\nbolt/sub/c.png,7\n",
    ],
)
def test_tables_as_programs_write_them(tmp_path: Path, content: str | bytes) -> None:
    assert read(tmp_path, content) == ({"a.png": "7", "sub/c.png": "7"}, [])


def test_lines_for_other_files_are_told(tmp_path: Path) -> None:
    groups, unmatched = read(tmp_path, "file,group\na.png,1\n../a.png,2\nx.png,3\n")
    assert groups == {"a.png": "1"}
    assert unmatched == [
        "line 3 names '../a.png', which is not in the folder",
        "line 4 names 'x.png', which is not in the folder",
    ]


@pytest.mark.parametrize("name", ["groups.csv", "Groups.csv", "GROUPS.CSV", "groups.csv.txt"])
def test_the_table_is_found_whatever_its_case(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("file,group\na.png,1\n")
    assert groups_table(tmp_path) == tmp_path / name
    assert read_groups(tmp_path, NAMES | {name}) == ({"a.png": "1"}, [])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("groups.xlsx", "'groups.xlsx' is not read; save the table of groups as groups.csv"),
        ("Groups.ods", "is not read"),
        ("groups (1).csv", "is not read"),
        ("group.csv", "is not read"),
        ("cam1/groups.csv", "lies in a subfolder.*such as 'cam1/part_001.png'"),
    ],
)
def test_a_table_that_would_go_unread_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "cam1").mkdir()
    (tmp_path / name).write_text("file,group\na.png,1\n")
    with pytest.raises(BadBatch, match=message):
        read_groups(tmp_path, NAMES | {name})


def test_of_two_tables_none_is_chosen(tmp_path: Path) -> None:
    for name in ("groups.csv", "groups.csv.txt"):
        (tmp_path / name).write_text("file,group\na.png,1\n")
    with pytest.raises(BadBatch, match=r"'groups.csv' and 'groups.csv.txt' may both be .* keep one"):
        read_groups(tmp_path, NAMES)


def test_letters_composed_or_decomposed_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "groups.csv").write_text(unicodedata.normalize("NFC", "file,group\nprüfling_1.png,Größe\n"))
    there = unicodedata.normalize("NFD", "prüfling_1.png")
    assert read_groups(tmp_path, {there}) == ({there: unicodedata.normalize("NFC", "Größe")}, [])


def test_a_name_that_may_mean_two_files_is_told(tmp_path: Path) -> None:
    (tmp_path / "groups.csv").write_text("file,group\nA.png,1\nb,2\nc.png,3\na.PNG,4\n")
    groups, unmatched = read_groups(tmp_path, {"a.png", "A.png", "b.png", "b.bmp", "cam1/c.png", "cam2/c.png"})
    assert groups == {"A.png": "1"}
    assert [rejection.reason for rejection in unmatched] == [
        "line 3 names 'b', which may be 'b.bmp' or 'b.png': write the whole name",
        "line 4 names 'c.png', which may be 'cam1/c.png' or 'cam2/c.png': write the whole name",
        "line 5 names 'a.PNG', which may be 'A.png' or 'a.png': write the whole name",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "file;group\nx.png;1\ny.png;1\n",
            r"\(separated by semicolons\) has 2 lines, and none .*line 2 names 'x.png'.*has 'a.png'",
        ),
        ("file,group\n", "has 0 lines"),
        ("file,group\na.png,\nb.png\n", "names no part for any of its 2 files"),
        ("file,group\nc,a.png,7\n", "line 2, has 3 cells, but line 1 has 2"),
        ("file,group\n/nut/a.png,7\n/bolt/b.png,7\n/bolt/a.png,8\n", "names files in '/bolt/' and in '/nut/'"),
        ("file,file,group\na.png,b.png,7\n", "has columns 'file', 'file', 'group'"),
        ("file group\na.png 7\n", "separated by commas, semicolons or tabs"),
    ],
)
def test_a_table_of_which_nothing_fits_is_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(BadBatch, match=message) as error:
        read(tmp_path, content)
    assert "\n" not in str(error.value) and "groups.csv" in str(error.value)


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
