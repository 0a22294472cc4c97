"""What may be declared: exact in float32, each name once, and columns where they are said to be."""

from __future__ import annotations

import pytest

from pipelines.features.declaration import Code, Cycle, Feature, FeatureSet, Number, Text
from pipelines.refusal import Refusal

AGE = Number("age", "age", 0, 130, "years")
SEX = Code("sex", "sex", {2: "female", 1: "male"})
ORIGIN = Text("origin", "where from", ("JFK", "EWR"))
HOUR = Cycle("hour", "hour of the day", 24, optional=True)


def test_names_are_those_of_numbers_and_then_of_texts() -> None:
    features = FeatureSet((ORIGIN, AGE, HOUR, SEX))
    assert [feature.name for feature in features.numbers] == ["age", "hour", "sex"]
    assert [feature.name for feature in features.texts] == ["origin"]
    assert features.names == ("age", "hour", "sex", "origin")


def test_a_documented_column_is_where_the_input_has_it() -> None:
    document = FeatureSet((ORIGIN, AGE, HOUR, SEX)).as_json()
    assert [(entry["name"], entry["input"], entry["column"], entry["kind"]) for entry in document] == [
        ("age", "features", 0, "number"),
        ("hour", "features", 1, "cycle"),
        ("sex", "features", 2, "code"),
        ("origin", "texts", 0, "text"),
    ]
    assert document[2]["codes"] == {"1": "male", "2": "female"}
    assert [entry["optional"] for entry in document] == [False, True, False, False]


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: Number("age", "", 130, 0), r"feature age: expected low < high"),
        (lambda: Number("age", "", 1, 1 + 1e-9), r"feature age: expected low < high"),
        (lambda: Number("age", "", 0, float("inf")), r"feature age: .* within ±1e\+30"),
        (lambda: Number("age", "", float("nan"), 1), r"feature age"),
        (lambda: Number("", "", 0, 1), r"expected a printable name"),
        (lambda: Number("a\nb", "", 0, 1), r"expected a printable name"),
        (lambda: Number("a" * 65, "", 0, 1), r"1 to 64 bytes"),
        (lambda: Code("sex", "", {}), r"feature sex: expected codes"),
        (lambda: Code("sex", "", {2**22 + 1: "far"}), r"feature sex: .* got \[4194305\]"),
        (lambda: Text("origin", "", ()), r"feature origin: expected values"),
        (lambda: Text("origin", "", ("JFK", "JFK")), r"each once"),
        (lambda: Text("origin", "", ("JFK", "")), r"none empty"),
        (lambda: Cycle("hour", "", 0), r"feature hour: expected a period"),
        (lambda: Cycle("hour", "", float("inf")), r"feature hour: expected a period"),
        (lambda: FeatureSet((AGE, AGE)), r"feature age: expected names that differ, got it twice"),
        (lambda: FeatureSet((ORIGIN,)), r"features: expected a number, code or cycle at least, got texts only"),
        (lambda: FeatureSet(()), r"got none"),
    ],
)
def test_what_could_not_be_encoded_is_refused_by_name(build: object, named: str) -> None:
    with pytest.raises(Refusal, match=named):
        build()  # type: ignore[operator]


@pytest.mark.parametrize("feature", [AGE, SEX, ORIGIN, HOUR], ids=lambda feature: feature.name)
def test_two_features_of_one_name_are_refused_whatever_their_kinds(feature: Feature) -> None:
    with pytest.raises(Refusal, match="names that differ"):
        FeatureSet((feature, Number(feature.name, "the same name", 0, 1)))
