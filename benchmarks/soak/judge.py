"""Whether a figure grows: plain decisions over what was sampled."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Literal

Kind = Literal["rss", "fds", "threads", "messages", "kib", "pending", "lag"]
Point = tuple[float, float]
"""Seconds since the load began, and the figure then."""

HOUR_S = 3600.0
FEWEST_POINTS = 8


@dataclass(frozen=True, slots=True)
class Series:
    """One figure of one subject over the run, in the order of time."""

    kind: Kind
    subject: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Bound:
    """The most that a figure may rise: `per_hour`, or less than `noise` plus `share` of its median in the time judged.

    The second part is what a short run cannot tell from noise; the longer the run, the less an hour it allows. Up to
    `level` nothing counts: what is bounded by construction may fill.
    """

    per_hour: float = 0.0
    noise: float = 0.0
    share: float = 0.0
    level: float = 0.0

    def most_per_hour(self, middle: float, seconds: float) -> float:
        """The bound on the slope, for a figure of that median judged over `seconds`."""
        return max(self.per_hour, (self.noise + self.share * abs(middle)) / seconds * HOUR_S)


@dataclass(frozen=True, slots=True)
class Trend:
    """What became of one series in the second half; slopes are per hour."""

    kind: Kind
    subject: str
    first: float
    """The median of the first tenth of the half."""
    last: float
    """The median of its last tenth."""
    most: float
    """The maximum of the whole run."""
    slope: float
    bound: float
    level: float = 0.0

    @property
    def grows(self) -> bool:
        """Whether it rises faster than it may, and is past where it may rise."""
        return self.slope > self.bound and self.last > self.level


def judge(series: Series, bound: Bound) -> Trend:
    """The trend of the second half. Raises `ValueError` with fewer than eight points in it."""
    half = second_half(series.points)
    if len(half) < FEWEST_POINTS:
        raise ValueError(f"{series.kind} of {series.subject} has {len(half)} points to judge: let it run longer")
    values = [value for _, value in half]
    tenth = max(1, len(half) // 10)
    return Trend(
        kind=series.kind,
        subject=series.subject,
        first=median(values[:tenth]),
        last=median(values[-tenth:]),
        most=max(value for _, value in series.points),
        slope=theil_sen(half) * HOUR_S,
        bound=bound.most_per_hour(median(values), half[-1][0] - half[0][0]),
        level=bound.level,
    )


def second_half(points: Sequence[Point]) -> Sequence[Point]:
    """The points after the middle of the time they span."""
    if not points:
        return points
    middle = (points[0][0] + points[-1][0]) / 2
    return [point for point in points if point[0] >= middle]


def theil_sen(points: Sequence[Point]) -> float:
    """The median of the slopes between all pairs of points: a third of them may be outliers (Sen 1968)."""
    slopes = [(later - value) / (then - at) for (at, value), (then, later) in combinations(points, 2) if then > at]
    return median(slopes) if slopes else 0.0
