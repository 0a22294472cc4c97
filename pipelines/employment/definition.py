"""Employment, as an example of classification: who was at work, by the answers of a survey."""

from __future__ import annotations

from typing import Final

from pipelines.definition import Classification, Definition, Prose
from pipelines.employment import meaning
from pipelines.employment.features import FEATURES, SLICES, split
from pipelines.employment.source import EMPLOYMENT_RULES, loads

DEFINITION: Final = Definition(
    name="employment",
    title="Who is employed and at work, among people in Massachusetts",
    task=Classification(labels=tuple(meaning.LABELS.values())),
    label="employed",
    tables=(EMPLOYMENT_RULES,),
    features=FEATURES,
    fetch=loads,
    split=split,
    slices=SLICES,
    prose=Prose(
        intended_use=(
            "An example for serving and watching a model: real records, three years of drift, labels at hand.",
            "Estimates over groups of people: which share of people with such answers was at work in a given week.",
        ),
        not_intended=(
            "Decisions about a person, such as on hiring, credit, insurance, benefits or tenancy: age, sex, race, "
            "disability and citizenship are among its inputs.",
            "People outside Massachusetts, or long after 2018: it has never seen them.",
            "Causes: it tells what goes together with work in the survey, not what would bring somebody into work.",
        ),
        limits=(
            "Learnt from a single year, 2015, in a time of falling unemployment; 2020 would have been far outside.",
            "The survey's weights are not used, so that shares are those of the sample and not of the population.",
            "Answers are people's own or those of whoever answered for the household; where one was missing, the "
            "Census Bureau filled it in.",
            "Small groups, such as Alaska Natives and Pacific Islanders, have too few records to be judged alone.",
            "Hours, wages and occupation are no inputs: whoever works an hour counts like whoever works sixty.",
            "Whoever has a job but was not at it that week (ill, on leave) counts as not at work.",
        ),
        source=(
            "US Census Bureau, American Community Survey, public use microdata of persons in Massachusetts, 2015 to "
            "2018, as carried by the Python package nannyml."
        ),
    ),
    meaning=meaning.as_json,
)
