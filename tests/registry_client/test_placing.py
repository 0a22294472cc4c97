"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import pytest

from registry_client.placing import place_file, place_folder


def test_a_folder_that_cannot_be_finished_leaves_nothing_behind(tmp_path):
    with pytest.raises(FileNotFoundError):
        place_folder(tmp_path / "target", {"fine": b"1", "no/such/folder": b"2"})
    assert list(tmp_path.iterdir()) == []


def test_a_placed_folder_is_readable_by_other_users_and_never_merged_with_another(tmp_path):
    assert place_folder(tmp_path / "target", {"a": b"1"})
    assert not place_folder(tmp_path / "target", {"b": b"2"})
    assert [path.name for path in tmp_path.rglob("*")] == ["target", "a"]
    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o755
    place_file(tmp_path / "target" / "a", b"3")
    assert (tmp_path / "target" / "a").read_bytes() == b"3"
