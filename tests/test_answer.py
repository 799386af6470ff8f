"""What a service leaves for `mirrord reload`, and which of it is believed."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from mirrord import answer


def test_what_was_left_is_found(tmp_path: Path) -> None:
    places = answer.places(tmp_path / "journal.db", str(tmp_path / "nowhere"))
    given = answer.mine(3, ok=False, said=["config.toml: line 1"])

    failures = answer.leave(given, places)

    assert answer.found(places) == given
    assert [type(each) for each in failures] == [FileNotFoundError]  # and the other place still has it
    assert (tmp_path / "journal.db-answer.json").exists()


def test_the_runtime_folder_comes_first_and_there_may_be_several(tmp_path: Path) -> None:
    places = answer.places(tmp_path / "journal.db", f"{tmp_path}/a:{tmp_path}/b")

    assert places == [
        tmp_path / "a" / "answer.json",
        tmp_path / "b" / "answer.json",
        tmp_path / "journal.db-answer.json",
    ]


def test_a_process_that_has_ended_answers_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        given = replace(answer.mine(1), pid=process.pid, began=answer.began_at(process.pid) or 0)
        answer.leave(given, [tmp_path / "answer.json"])
        alive = answer.found([tmp_path / "answer.json"])
        process.communicate()

    assert alive == given
    assert answer.found([tmp_path / "answer.json"]) is None


def test_another_process_with_the_same_number_is_another(tmp_path: Path) -> None:
    answer.leave(replace(answer.mine(1), began=1), [tmp_path / "answer.json"])

    assert answer.found([tmp_path / "answer.json"]) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": 1, "other": 1}'])
def test_what_is_no_answer_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "answer.json").write_text(text)

    assert answer.found([tmp_path / "answer.json"]) is None


def test_it_is_gone_with_the_service(tmp_path: Path) -> None:
    answer.leave(answer.mine(1), [tmp_path / "answer.json"])

    answer.take_away([tmp_path / "answer.json", tmp_path / "never-there"])

    assert list(tmp_path.iterdir()) == []
