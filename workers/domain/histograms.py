"""Histograms of durations: buckets that grow by √2, so that a percentile is right to about a tenth at any size."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping

# Bucket n holds what is shorter than EDGES_MS[n] and not shorter than the edge before; the last one the rest: above a day.
EDGES_MS: tuple[int, ...] = tuple(dict.fromkeys(round(2 ** (n / 2)) for n in range(54)))
BUCKETS = len(EDGES_MS) + 1


def bucket_of(milliseconds: int) -> int:
    """Number the bucket of a duration."""
    return bisect_right(EDGES_MS, milliseconds)


def percentile(counts: Mapping[int, int], share: float) -> float | None:
    """Tell the seconds that this share (0 to 1) of the durations stays below; None of none.

    Within its bucket the place is interpolated on the logarithm.
    """
    total = sum(counts.values())
    if not total:
        return None
    wanted, seen = share * total, 0
    for bucket in sorted(counts):
        if seen + counts[bucket] >= wanted:
            return _within(bucket, (wanted - seen) / counts[bucket]) / 1000
        seen += counts[bucket]
    return EDGES_MS[-1] / 1000


def _within(bucket: int, place: float) -> float:
    if bucket == 0:
        return place * EDGES_MS[0]
    low = EDGES_MS[bucket - 1]
    high = EDGES_MS[bucket] if bucket < len(EDGES_MS) else low * 2
    return math.exp(math.log(low) + place * (math.log(high) - math.log(low)))


def sql_bucket(column: str) -> str:
    """Write the SQL that numbers a bucket, as nested CASEs: six comparisons for any value."""
    return _halved(column, 0, len(EDGES_MS))


def _halved(column: str, low: int, high: int) -> str:
    if low == high:
        return str(low)
    middle = (low + high) // 2
    below, above = _halved(column, low, middle), _halved(column, middle + 1, high)
    return f"CASE WHEN {column} < {EDGES_MS[middle]} THEN {below} ELSE {above} END"
