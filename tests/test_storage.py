"""Nothing is ever half written, and what a kill left is put right."""

from pathlib import Path

import pytest

from spacy_jbert import storage
from spacy_jbert.storage import recover, replacing, replacing_entries, replacing_folder


def write(folder: Path, text: str) -> None:
    with replacing_folder(folder) as new:
        (new / "a").write_text(text, encoding="utf-8")


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "x", "1")
    write(tmp_path / "deep" / "x", "2")
    assert (tmp_path / "deep" / "x" / "a").read_text() == "2"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x"]


def test_a_failure_leaves_the_old_folder(tmp_path: Path) -> None:
    write(tmp_path / "x", "1")
    with pytest.raises(TypeError):
        write(tmp_path / "x", None)  # type: ignore[arg-type]
    assert (tmp_path / "x" / "a").read_text() == "1"
    assert {path.name for path in tmp_path.iterdir()} == {"x"}


@pytest.mark.parametrize("killed", ["while writing", "between the renames", "before clearing up"])
def test_what_a_kill_left_is_put_right(killed: str, tmp_path: Path) -> None:
    write(tmp_path / "x", "1")
    if killed == "while writing":
        (tmp_path / ".x.new").mkdir()
    elif killed == "between the renames":
        (tmp_path / "x").rename(tmp_path / ".x.old")
        (tmp_path / ".x.new").mkdir()
    else:
        (tmp_path / ".x.old").mkdir()
    recover(tmp_path / "x")
    assert (tmp_path / "x" / "a").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_no_file_is_replaced_where_another_can_not_be(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old", encoding="utf-8")
    (tmp_path / "b").mkdir()
    with pytest.raises(IsADirectoryError), replacing(tmp_path / "a", tmp_path / "b"):
        pass
    assert (tmp_path / "a").read_text(encoding="utf-8") == "old"


def test_entries_that_cannot_be_moved_are_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_exchange", lambda first, second: False)
    target = tmp_path / "target"
    target.mkdir()
    for name in ("a", "b", "last", "other"):
        (target / name).write_text(f"old {name}", encoding="utf-8")
    rename = Path.rename

    def fail_at_b(path: Path, to: Path) -> Path:
        if path.read_text(encoding="utf-8") == "new b":
            raise OSError("no")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", fail_at_b)

    def replace() -> None:
        with replacing_entries(target, "last") as new:
            for name in ("a", "b", "c", "last"):
                (new / name).write_text(f"new {name}", encoding="utf-8")

    with pytest.raises(OSError, match="no"):
        replace()
    assert {file.name: file.read_text(encoding="utf-8") for file in target.iterdir()} == {
        name: f"old {name}" for name in ("a", "b", "last", "other")
    }
    assert [entry.name for entry in tmp_path.iterdir()] == ["target"]


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("stands_in_it", [True, False])
def test_what_else_is_in_a_folder_stays(
    at_once: bool, stands_in_it: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not at_once:
        monkeypatch.setattr(storage, "_exchange", lambda first, second: False)
    target = tmp_path / "target"
    (target / "mine" / "deep").mkdir(parents=True)
    (target / "mine" / "deep" / "notes.txt").write_text("mine", encoding="utf-8")
    (target / "nowhere").symlink_to("nothing")
    (target / "last").write_text("old", encoding="utf-8")
    target.chmod(0o750)
    if stands_in_it:
        monkeypatch.chdir(target)
    with replacing_entries(Path() if stands_in_it else target, "last") as new:
        (new / "last").write_text("new", encoding="utf-8")
        (new / "a").mkdir()
    assert sorted(path.name for path in target.iterdir()) == ["a", "last", "mine", "nowhere"]
    assert (target / "last").read_text(encoding="utf-8") == "new"
    assert (target / "mine" / "deep" / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert (target / "nowhere").readlink() == Path("nothing")
    assert target.stat().st_mode & 0o777 == 0o750
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    # Whoever stands in it goes on.
    assert (Path() if stands_in_it else target).resolve().samefile(target)
    assert list(Path().iterdir())
