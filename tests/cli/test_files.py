"""A file that a command writes is whole, or as it was before."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from pool.cli.files import whole


def test_what_was_there_stays_until_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "week.csv"
    path.write_text("of last week")
    with whole(path) as file:
        file.write("of this week")
        assert path.read_text() == "of last week"
    assert path.read_text() == "of this week"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("why", [OSError(28, "no space left on device"), KeyboardInterrupt(), ValueError("refused")])
def test_what_could_not_be_written_to_its_end_leaves_what_was_there(tmp_path: Path, why: BaseException) -> None:
    path = tmp_path / "week.csv"
    path.write_text("of last week")

    def write() -> None:
        with whole(path) as file:
            file.write("of this w")
            raise why

    with pytest.raises(type(why)):
        write()
    assert path.read_text() == "of last week"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error, whole(tmp_path / "none" / "week.csv"):
        pass
    assert error.value.filename == str(tmp_path / "none" / "week.csv")


def test_a_pipe_and_a_link_stay_what_they_are(tmp_path: Path) -> None:
    pipe, link, real = tmp_path / "pipe", tmp_path / "link.csv", tmp_path / "real.csv"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    with whole(pipe) as file:
        file.write("through it")
    reader.join()
    assert read == ["through it"]
    link.symlink_to(real)
    with whole(link) as file:
        file.write("behind it")
    assert (link.is_symlink(), real.read_text()) == (True, "behind it")
