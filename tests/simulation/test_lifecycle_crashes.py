"""Control dies at every step of a model's life, the disk fills, the registry goes away: nothing is lost."""

from __future__ import annotations

import pytest

from server.control.recovery import NOTES
from tests.simulation.lifecycle_story import NATURE, Story, first_world
from tests.simulation.lifecycle_world import Violation

SECONDS = 120
LONG_LIFE = 32  # a seed by which much happens early


@pytest.mark.parametrize("seed", range(40))
def test_a_life_with_crashes_ends_with_journal_route_and_registry_in_agreement(seed: int) -> None:
    story = Story(first_world(), seed, crash_chance=0.2)
    for _ in range(SECONDS):
        story.second()
    story.settle()
    assert story.world.crashes > 0


def test_every_point_of_a_life_survives_a_crash() -> None:
    """The same life, cut short at each point in turn."""
    calm = Story(first_world(), seed=LONG_LIFE, moods=False)
    for _ in range(60):
        calm.second()
    points = calm.world.points
    assert points > 200
    for point in range(points):
        world = first_world()
        world.crash_in = point
        story = Story(world, seed=LONG_LIFE, moods=False)
        for _ in range(60):
            story.second()
            if world.crashes:
                break
        assert world.crashes == 1, point
        story.settle()
        for _ in range(3):
            story.second()
        story.settle()


def test_nothing_that_is_bad_is_ever_promoted_by_itself() -> None:
    promoted, home = [], []
    for seed in range(30):
        story = Story(first_world(), seed, crash_chance=0.1)
        for _ in range(SECONDS):
            story.second()
        story.settle()
        for line in story.world.lines():
            entry = line.entry
            if entry["kind"] == "promoted" and "operator" not in entry:
                promoted.append(NATURE[entry["to"]["stable"]["digest"]])
            if entry["kind"] == "went_home" and entry["from"]["canary"] is not None:
                home.append(NATURE[entry["from"]["canary"]["digest"]])
    assert len(promoted) > 10
    assert set(promoted) <= {"good", "crashes"}, "one that crashes may be quick enough; one that is worse never is"
    assert {"worse", "crashes"} <= set(home)


def test_the_stories_meet_what_they_are_there_for() -> None:
    """Else everything above would hold of lives in which nothing happens."""
    kinds, last_safe, put_off = set(), False, False
    for seed in range(40):
        story = Story(first_world(), seed, crash_chance=0.2)
        for _ in range(SECONDS):
            story.second()
        story.settle()
        kinds |= {line.entry["kind"] for line in story.world.lines()}
        last_safe = last_safe or story.ever_last_safe
        put_off = put_off or story.ever_put_off
    assert last_safe
    assert put_off
    assert kinds >= NOTES
    assert kinds >= {
        "canary_deployed", "canary_started", "canary_refused", "advanced", "weight_set", "promoted", "rolled_back",
        "went_home", "quarantined", "released", "shadow_started", "coming", "stable_restored", "frozen", "unfrozen",
        "paused", "resumed",
    }  # fmt: skip


@pytest.mark.parametrize("planted", ["journal first", "forgets what was not written", "unload first"])
def test_the_simulation_finds_a_planted_fault(planted: str) -> None:
    def lives() -> None:
        for seed in range(100):
            story = Story(first_world(frozenset({planted})), seed, crash_chance=0.2)
            for _ in range(SECONDS):
                story.second()
            story.settle()

    with pytest.raises(Violation):
        lives()
