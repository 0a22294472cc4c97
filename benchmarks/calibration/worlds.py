"""Worlds: simulated rollouts of a known truth, as the counts that the server would have at each of its looks.

Used by `benchmarks.calibration.promises`. Numbers of events under a constant rate are binomial, so counts are
drawn look by look; where the order of requests matters, in shuffled blocks, each request is drawn.
Always: the same seed gives the same counts; counts only grow along the looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
from numba import njit

from server.judgement.evidence import PPM, SIGNALS

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Rates = tuple[float, float, float]  # events a request, in SIGNALS' order

LOOK_REQUESTS: Final = 500  # 2,000 requests/s, a look every 250 ms
PRIOR_RATES: Final[Rates] = (0.001, 0.0002, 0.0005)  # of a model that mostly works
KEYS: Final = 20_000
ZIPF_EXPONENT: Final = 1.1
FAILING_KEYS_SHARE: Final = 0.02
FAILING_KEY_RATE: Final = 0.3
OTHER_KEY_RATE: Final = 0.0002
BLOCK: Final = 100
PERIOD: Final = 20


@dataclass(frozen=True)
class Seen:
    """Counts of R rollouts at L looks: all of them up to the look. S signals, W weights.

    canary_events, events: int64[R, L, S, W], of keys the first ones. canary_requests, requests: int64[R, L], both
    variants' in the latter. canary_units: int64[R, L]; canary_events_all: int64[R, L, S].
    """

    weights_ppm: tuple[int, ...]
    canary_events: Counts
    events: Counts
    canary_requests: Counts
    requests: Counts
    canary_units: Counts
    canary_events_all: Counts


def seen_keyless(
    weights_ppm: tuple[int, ...], canary_events: Counts, events: Counts, canary_requests: Counts, requests: Counts
) -> Seen:
    """What is seen of requests without keys: each is a unit, and each event counts."""
    events_all = canary_events.sum(axis=-1)
    return Seen(weights_ppm, canary_events, events, canary_requests, requests, canary_requests, events_all)


class World(Protocol):
    def __call__(self, rng: np.random.Generator, rollouts: int, requests: int, /) -> Seen: ...


@dataclass(frozen=True)
class Independent:
    """Requests that fail independently. `weights`: (share of the rollout that is over, weight) in order of time.

    swing: factor between the lowest and the highest rate, of both variants, over a wave as long as `wave_requests`.
    """

    stable: Rates = PRIOR_RATES
    canary: Rates = PRIOR_RATES
    weights: tuple[tuple[float, int], ...] = ((0.0, 50_000),)
    swing: float = 1.0
    wave_requests: int = 100_000
    look_requests: int = LOOK_REQUESTS

    def __call__(self, rng: np.random.Generator, rollouts: int, requests: int, /) -> Seen:
        looks = requests // self.look_requests
        middle = (np.arange(looks) + 0.5) * self.look_requests
        column = np.searchsorted([start for start, _ in self.weights], middle / requests, side="right") - 1
        weights = tuple(weight for _, weight in self.weights)
        share = np.asarray(weights)[column] / PPM
        phase = rng.uniform(0.0, 2 * np.pi, (rollouts, 1))
        factor = self.swing ** (0.5 * np.sin(2 * np.pi * middle / self.wave_requests + phase))
        on_canary = rng.binomial(self.look_requests, share, (rollouts, looks))
        canary_events = np.zeros((rollouts, looks, len(SIGNALS), len(weights)), dtype=np.int64)
        events = np.zeros_like(canary_events)
        here = np.arange(looks)
        for signal, (stable, canary) in enumerate(zip(self.stable, self.canary, strict=True)):
            of_canary = rng.binomial(on_canary, np.minimum(canary * factor, 1.0))
            of_stable = rng.binomial(self.look_requests - on_canary, np.minimum(stable * factor, 1.0))
            canary_events[:, here, signal, column] = of_canary
            events[:, here, signal, column] = of_canary + of_stable
        return seen_keyless(
            weights,
            canary_events.cumsum(axis=1),
            events.cumsum(axis=1),
            on_canary.cumsum(axis=1),
            np.broadcast_to((here + 1) * self.look_requests, (rollouts, looks)),
        )


@dataclass(frozen=True)
class Keyed:
    """Traffic by key: few keys send most of it, and few keys have most of the errors. A key keeps its variant.

    exponent: of Zipf's law, 0 for keys that are alike. failing_share: of the keys, those that have errors at
    FAILING_KEY_RATE in both variants; the others have them at `other_rate`. canary_failing: how many keys fail beside
    that, at `canary_failing_rate`, where the canary answers them; the heaviest ones, or else any.
    first_events: False for what the server does not do: all errors of a key count in ratios, not its first alone.
    """

    keys: int = KEYS
    exponent: float = ZIPF_EXPONENT
    weight_ppm: int = 50_000
    failing_share: float = FAILING_KEYS_SHARE
    other_rate: float = OTHER_KEY_RATE
    canary_failing: int = 0
    canary_failing_rate: float = 1.0
    heaviest: bool = True
    first_events: bool = True

    def __call__(self, rng: np.random.Generator, rollouts: int, requests: int, /) -> Seen:
        looks = requests // LOOK_REQUESTS
        popularity = 1.0 / np.arange(1, self.keys + 1) ** self.exponent
        popularity /= popularity.sum()
        canary_events = np.zeros((rollouts, looks, len(SIGNALS), 1), dtype=np.int64)
        events = np.zeros_like(canary_events)
        canary_events_all = np.zeros((rollouts, looks, len(SIGNALS)), dtype=np.int64)
        canary_requests = np.zeros((rollouts, looks), dtype=np.int64)
        canary_units = np.zeros_like(canary_requests)
        for rollout in range(rollouts):
            on_canary = rng.random(self.keys) < self.weight_ppm / PPM
            rates = self._rates(rng, on_canary)
            # Errors in order of time: the look in which each happens, and whose it is.
            count = rng.poisson(looks * LOOK_REQUESTS * (popularity * rates).sum())
            look = np.sort(rng.integers(looks, size=count))
            shares = (popularity * rates).cumsum()
            key = shares.searchsorted(rng.random(count) * shares[-1], side="right")
            counted = np.unique(key, return_index=True)[1] if self.first_events else np.arange(count)
            on_canary_all = np.bincount(look[on_canary[key]], minlength=looks)
            events[rollout, :, 0, 0] = np.bincount(look[counted], minlength=looks)
            canary_events[rollout, :, 0, 0] = np.bincount(look[counted[on_canary[key[counted]]]], minlength=looks)
            canary_events_all[rollout, :, 0] = on_canary_all
            # No fewer requests than errors in any look.
            drawn = rng.binomial(LOOK_REQUESTS, popularity[on_canary].sum(), looks)
            canary_requests[rollout] = np.maximum(drawn, on_canary_all)
            met = rng.exponential(1.0 / popularity[on_canary]) // LOOK_REQUESTS
            canary_units[rollout] = np.bincount(met[met < looks].astype(np.int64), minlength=looks)
        return Seen(
            (self.weight_ppm,),
            canary_events.cumsum(axis=1),
            events.cumsum(axis=1),
            canary_requests.cumsum(axis=1),
            np.broadcast_to((np.arange(looks) + 1) * LOOK_REQUESTS, (rollouts, looks)),
            canary_units.cumsum(axis=1),
            canary_events_all.cumsum(axis=1),
        )

    def _rates(self, rng: np.random.Generator, on_canary: npt.NDArray[np.bool_]) -> Floats:
        """Errors a request, by key."""
        rates = np.where(rng.random(self.keys) < self.failing_share, FAILING_KEY_RATE, self.other_rate)
        chosen = np.arange(self.keys) if self.heaviest else rng.permutation(self.keys)
        harmed = np.zeros(self.keys, dtype=np.bool_)
        harmed[chosen[: self.canary_failing]] = True
        return np.where(harmed & on_canary, self.canary_failing_rate, rates)


@dataclass(frozen=True)
class FirstEventsAmongRequests:
    """What the server does not do: the cap's bet on keys' first events, as if each request were of another key."""

    world: Keyed

    def __call__(self, rng: np.random.Generator, rollouts: int, requests: int, /) -> Seen:
        seen = self.world(rng, rollouts, requests)
        return seen_keyless(seen.weights_ppm, seen.canary_events, seen.events, seen.canary_requests, seen.requests)


@dataclass(frozen=True)
class Blocks:
    """Keyless traffic as workers split it: each its own shuffled blocks of BLOCK, looked at wherever they stand.

    period: one client's every PERIOD-th request fails with `rate` times PERIOD, the others never; else all with `rate`.
    shuffled: False for what the server does not do: the same places of every block are the canary's.
    """

    workers: int = 1
    period: bool = False
    rate: float = 0.01
    canary_rate: float = 0.01
    weight_ppm: int = 50_000
    shuffled: bool = True

    def __call__(self, rng: np.random.Generator, rollouts: int, requests: int, /) -> Seen:
        looks = requests // LOOK_REQUESTS
        jitter = rng.integers(-LOOK_REQUESTS // 5, LOOK_REQUESTS // 5, (rollouts, looks))
        at = (np.arange(looks) + 1) * LOOK_REQUESTS + jitter
        counts = np.zeros((rollouts, looks, 3), dtype=np.int64)
        period = PERIOD if self.period else 1
        for rollout in range(rollouts):
            _in_blocks(
                rng.integers(0, 2**64, dtype=np.uint64),
                at[rollout],
                self.workers,
                BLOCK * self.weight_ppm // PPM,
                self.shuffled,
                period,
                int(rng.integers(period)),
                _threshold(self.rate * period),
                _threshold(self.canary_rate * period),
                counts[rollout],
            )
        canary_events = np.zeros((rollouts, looks, len(SIGNALS), 1), dtype=np.int64)
        events = np.zeros_like(canary_events)
        canary_events[:, :, 0, 0], events[:, :, 0, 0] = counts[..., 0], counts[..., 1]
        return seen_keyless((self.weight_ppm,), canary_events, events, counts[..., 2], at)


def _threshold(probability: float) -> int:
    return min(int(probability * 2**32), 2**32)


@njit(nogil=True)
def _in_blocks(
    seed: np.uint64,
    at: Counts,
    workers: int,
    canary_in_block: int,
    shuffled: bool,
    period: int,
    phase: int,
    stable_below: int,
    canary_below: int,
    out: Counts,
) -> None:
    """Draws every request up to the last look. out: int64[L, 3]: the canary's events, all events, its requests."""
    left = np.zeros(workers, dtype=np.int64)
    left_canary = np.zeros(workers, dtype=np.int64)
    state = seed
    canary_events = events = canary_requests = request = 0
    for look in range(at.size):
        while request < at[look]:
            # splitmix64: the high half decides the variant, the low one the outcome.
            state += np.uint64(0x9E3779B97F4A7C15)
            x = state
            x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            x = x ^ (x >> np.uint64(31))
            high, low = np.int64(x >> np.uint64(32)), np.int64(x & np.uint64(0xFFFFFFFF))
            worker = np.int64((x >> np.uint64(16)) % np.uint64(workers)) if workers > 1 else 0
            if left[worker] == 0:
                left[worker], left_canary[worker] = BLOCK, canary_in_block
            if shuffled:
                canary = (high * left[worker]) >> 32 < left_canary[worker]
            else:
                canary = left[worker] % (BLOCK // canary_in_block) == 0
            left[worker] -= 1
            left_canary[worker] -= canary
            canary_requests += canary
            if request % period == phase and low < (canary_below if canary else stable_below):
                events += 1
                canary_events += canary
            request += 1
        out[look, 0], out[look, 1], out[look, 2] = canary_events, events, canary_requests
