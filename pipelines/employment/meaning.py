"""What the model's sixteen columns and their codes mean: goes into the bundle, so that a caller can look it up.

Source: US Census Bureau, American Community Survey, PUMS data dictionary 2015. Code 0 stands for the dictionary's "b"
(not applicable). Used by `features.py` (the order of columns) and `definition.py`.
Always: a column's place here is its place in the model's input.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """name: the survey's. codes: from the number fed to the model to its meaning; empty for a plain quantity."""

    name: str
    title: str
    codes: dict[int, str]


YES_NO = {1: "yes", 2: "no"}

COLUMNS = (
    Column("AGEP", "age in years", {}),
    Column(
        "SCHL",
        "schooling reached",
        {
            0: "not applicable (younger than 3)",
            1: "none",
            2: "nursery school",
            3: "kindergarten",
            **{grade + 3: f"grade {grade}" for grade in range(1, 12)},
            15: "grade 12, no diploma",
            16: "high school diploma",
            17: "GED or alternative credential",
            18: "some college, less than a year",
            19: "a year or more of college, no degree",
            20: "associate's degree",
            21: "bachelor's degree",
            22: "master's degree",
            23: "professional degree beyond a bachelor's",
            24: "doctorate",
        },
    ),
    Column("MAR", "marital status", {1: "married", 2: "widowed", 3: "divorced", 4: "separated", 5: "never married"}),
    Column(
        "RELP",
        "relationship to the household's reference person",
        {
            0: "reference person",
            1: "husband or wife",
            2: "biological child",
            3: "adopted child",
            4: "stepchild",
            5: "brother or sister",
            6: "father or mother",
            7: "grandchild",
            8: "parent-in-law",
            9: "son- or daughter-in-law",
            10: "other relative",
            11: "roomer or boarder",
            12: "housemate",
            13: "unmarried partner",
            14: "foster child",
            15: "other nonrelative",
            16: "in institutional group quarters",
            17: "in noninstitutional group quarters",
        },
    ),
    Column("DIS", "disability of any kind", YES_NO),
    Column(
        "ESP",
        "parents' employment, for children at home",
        {
            0: "not applicable",
            1: "two parents, both in the labour force",
            2: "two parents, father in the labour force",
            3: "two parents, mother in the labour force",
            4: "two parents, neither in the labour force",
            5: "with father, in the labour force",
            6: "with father, not in the labour force",
            7: "with mother, in the labour force",
            8: "with mother, not in the labour force",
        },
    ),
    Column(
        "CIT",
        "citizenship",
        {
            1: "born in the United States",
            2: "born in Puerto Rico or another territory",
            3: "born abroad of American parents",
            4: "citizen by naturalisation",
            5: "not a citizen",
        },
    ),
    Column(
        "MIG",
        "home a year ago",
        {0: "not applicable (younger than 1)", 1: "same house", 2: "outside the United States", 3: "another house"},
    ),
    Column(
        "MIL",
        "military service",
        {
            0: "not applicable (younger than 17)",
            1: "on active duty now",
            2: "on active duty in the past",
            3: "training for Reserves or National Guard only",
            4: "never served",
        },
    ),
    Column("ANC", "ancestry", {1: "single", 2: "multiple", 3: "unclassified", 4: "not reported"}),
    Column("NATIVITY", "nativity", {1: "native", 2: "foreign born"}),
    Column("DEAR", "hearing difficulty", YES_NO),
    Column("DEYE", "vision difficulty", YES_NO),
    Column("DREM", "cognitive difficulty", {0: "not applicable (younger than 5)", **YES_NO}),
    Column("SEX", "sex", {1: "male", 2: "female"}),
    Column(
        "RAC1P",
        "race",
        {
            1: "White",
            2: "Black or African American",
            3: "American Indian",
            4: "Alaska Native",
            5: "American Indian or Alaska Native, tribe not specified, or other",
            6: "Asian",
            7: "Native Hawaiian or other Pacific Islander",
            8: "another race",
            9: "two or more races",
        },
    ),
)

LABELS = {0: "not at work", 1: "employed, at work"}


def as_json() -> dict[str, object]:
    """The same as plain JSON, with codes as strings, since JSON has no other keys."""
    return {
        "source": "US Census Bureau, American Community Survey, Massachusetts, PUMS codes of 2015",
        "features": [
            {"name": column.name, "title": column.title, "codes": _as_strings(column.codes)} for column in COLUMNS
        ],
        "labels": _as_strings(LABELS),
    }


def _as_strings(codes: dict[int, str]) -> dict[str, str]:
    return {str(code): text for code, text in codes.items()}
