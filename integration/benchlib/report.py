"""Numbers for people: medians of ratios, percentiles, and tables of plain text."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Of values in rising order; 0 without any."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    """'median (min..max)', or the one value there is."""
    if len(values) == 1:
        return form.format(values[0])
    return f"{form.format(statistics.median(values))} ({form.format(min(values))}..{form.format(max(values))})"


def human_ms(seconds: float) -> str:
    if seconds < 0.1:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def human_bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("not reached")


def table(rows: Sequence[Sequence[str]], head: Sequence[str] = (), indent: str = "  ") -> str:
    """Columns as wide as they need."""
    everything = [list(head)] * bool(head) + [list(row) for row in rows]
    widths = [max(len(row[i]) for row in everything if i < len(row)) for i in range(max(map(len, everything)))]
    lines = []
    for row in everything:
        lines.append(indent + "  ".join(f"{cell:<{widths[i]}}" for i, cell in enumerate(row)).rstrip())
        if head and row is everything[0]:
            lines.append(indent + "  ".join("-" * width for width in widths))
    return "\n".join(lines)
