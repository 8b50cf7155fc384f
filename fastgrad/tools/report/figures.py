"""From plain data to charts, as the plotting library's plain dictionaries. Nothing is measured here.

Every chart is {"id", "title", "data", "layout"}, and "axes" where the horizontal axis can be switched: its layouts by
the name of what it shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "CELLS",
    "COSTS",
    "METHOD_STYLES",
    "PEER_SYMBOLS",
    "WHO_COLOURS",
    "amount",
    "break_even",
    "cells",
    "duration",
    "error_against_step",
    "memory",
    "plain",
    "size",
    "slope",
    "speed_against_n",
    "work_precision",
]

Data = dict[str, Any]

# Okabe and Ito's colours, which people with any colour vision tell apart; without the yellow and the black, which
# either a light or a dark page would swallow.
ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"
GREY = "#8C8C8C"

WHO_COLOURS = {
    "python/plain": ORANGE,
    "python/jitted": ORANGE,
    "auto/default": PURPLE,
    "numpy/lifted": SKY,
    "numpy/batched": BLUE,
    "numba/jitted": GREEN,
    "numba/jitted lanes": VERMILION,
    "numba/jitted owner lanes": BLUE,
    "numba/compiled": GREEN,
    "numba/compiled lanes": VERMILION,
}


class Style(NamedTuple):
    """What tells curves of one colour apart."""

    symbol: str
    dash: str = "solid"


METHOD_STYLES = {
    "central": Style("circle"),
    "forward": Style("triangle-up", "dot"),
    "complex": Style("star"),
    "automatic": Style("square", "dashdot"),
    "adaptive": Style("diamond", "dash"),
}
PEER_SYMBOLS = {
    "scipy/approx_fprime": "x",
    "scipy/3-point": "cross",
    "numdifftools/Gradient": "hexagon",
    "jacobi/jacobi": "pentagon",
    "statsmodels/centered": "triangle-down",
    "statsmodels/complex step": "triangle-left",
    "jax/grad": "bowtie",
}
# what makes two curves of one backend different where the method does not
WHO_SYMBOLS = {
    "python/plain": Style("circle"),
    "python/jitted": Style("circle-open", "dot"),
    "auto/default": Style("star", "dashdot"),
    "numpy/lifted": Style("diamond"),
    "numpy/batched": Style("square", "dash"),
    "numba/jitted": Style("triangle-up"),
    "numba/compiled": Style("triangle-up"),
    "numba/jitted lanes": Style("triangle-down", "dash"),
    "numba/jitted owner lanes": Style("diamond-open", "dot"),
    "numba/compiled lanes": Style("triangle-down", "dash"),
}

COSTS = ("seconds", "nfev")
SMALLEST = 1e-17  # an error of 0 has no place on a logarithmic axis
FONT = {"family": "system-ui, sans-serif", "size": 12}


def duration(seconds: float) -> str:
    """Write a time with its unit.

    Examples
    --------
    >>> duration(0.00123), duration(100e-9), duration(75.0)
    ('1.23 ms', '100 ns', '75 s')
    """
    for unit, length in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= length * 0.9995:
            return f"{seconds / length:.3g} {unit}" if seconds < 999.5 * length else f"{seconds / length:.0f} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def amount(count: float) -> str:
    """Write a count in short.

    Examples
    --------
    >>> amount(20), amount(12_300), amount(4e6)
    ('20', '12.3k', '4M')
    """
    for letter, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return f"{count:.3g}"


def size(count: float) -> str:
    """Write bytes with their unit."""
    for unit, least in (("MB", 2**20), ("kB", 2**10)):
        if count >= least:
            return f"{count / least:.3g} {unit}"
    return f"{count:.0f} B"


CELLS = ("time", "spread", "faster", "error", "nfev", "memory", "1st call", "payback")


def cells(score: Data, bar: float | None) -> tuple[str, ...]:
    """Write the row of a score: what `CELLS` names, the error as far as its own error bar lets one know it."""
    low, high = score["quartiles"]
    error = "?" if score["error"] is None else f"{score['error']:.1e}"
    if bar is not None and score["error"] is not None and score["error"] <= bar:
        error = f"≤ {bar:.0e}"
    return (
        duration(score["seconds"]),
        f"{(high - low) / (2 * score['seconds']):.0%}",
        f"{score['faster']:.3g}x",
        error,
        f"{score['nfev']:,}",
        size(score["memory"]),
        duration(score["first_call"]),
        "" if score["payback"] is None else f"{score['payback']:,}",
    )


def plain(value: Any) -> Any:
    """Replace NaN and infinity, which JSON does not have, by null."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _decades(title: str, write: Any, low: int, high: int) -> Data:
    ticks = [10.0**k for k in range(low, high)]
    return {"type": "log", "title": {"text": title}, "tickvals": ticks, "ticktext": [write(v) for v in ticks]}


POWERS: Data = {"type": "log", "exponentformat": "power", "showexponent": "all"}


AXES: dict[str, Data] = {
    "seconds": _decades("time of one gradient", duration, -9, 5),
    "nfev": _decades("evaluations of f for one gradient", amount, 0, 10),
    "n": _decades("n, the entries of x", amount, 0, 8),
    "gradients": _decades("gradients", amount, 0, 10),
    "total": _decades("time from the start", duration, -9, 8),
    "bytes": {
        "type": "log",
        "title": {"text": "peak memory of one gradient"},
        "tickvals": [2.0**k for k in range(0, 44, 4)],
        "ticktext": [size(2**k) for k in range(0, 44, 4)],
    },
    "error": POWERS | {"title": {"text": "error"}, "dtick": 2},
    "h": POWERS | {"title": {"text": "step h"}, "dtick": 3},
}


def _layout(x: str, y: str) -> Data:
    """Return a layout without a legend: the page has its own, which breaks into lines and hides nothing."""
    return {
        "xaxis": AXES[x],
        "yaxis": AXES[y] | {"automargin": True, "title": {"text": AXES[y]["title"]["text"], "standoff": 6}},
        "font": FONT,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 24, "r": 12, "t": 12, "b": 52},
        "height": 340,
        "hovermode": "closest",
        "showlegend": False,
    }


def _identifier(*words: str) -> str:
    return "-".join("".join(c if c.isalnum() else "-" for c in word) for word in words)


def _logarithmic(values: Iterable[float | None]) -> list[float | None]:
    return [None if v is None else max(v, SMALLEST) for v in values]


# Work and precision ------------------------------------------------------------------------------


def work_precision(comparison: Data, curves: Sequence[Data]) -> Data:
    """Draw error against cost: a curve for each backend and method, the peers as points, the Pareto front."""
    name = comparison["workload"]
    mine = [curve for curve in curves if curve["workload"] == name]
    data = [_curve(curve) for curve in mine]
    data += [_point(s) for s in comparison["scores"] if s["peer"] or _auto(s) or not mine]
    data.insert(0, _front(data))
    layout = _layout("seconds", "error")
    return {
        "id": _identifier("work", name),
        "title": name,
        "data": data,
        "layout": layout,
        "axes": {cost: AXES[cost] for cost in COSTS},
    }


def _who(score: Data) -> str:
    return f"{score['backend']}/{score['form']}"


def _auto(score: Data) -> bool:
    return bool(score["form"] == "default")


def _trace(name: str, who: str, kind: str, points: Sequence[Data], texts: Sequence[str]) -> Data:
    """Make a trace whose horizontal values can be switched."""
    return {
        "type": "scatter",
        "name": name,
        "x": [p["seconds"] for p in points],
        "y": _logarithmic(p["error"] for p in points),
        "text": [
            f"<b>{name}</b><br>{text}<br>error {'?' if p['error'] is None else format(p['error'], '.1e')}"
            f"<br>{duration(p['seconds'])}, {p['nfev']:,} evaluations"
            for p, text in zip(points, texts, strict=True)
        ],
        "hovertemplate": "%{text}<extra></extra>",
        "meta": {"who": who, "method": kind, **{cost: [p[cost] for p in points] for cost in COSTS}},
    }


def _curve(curve: Data) -> Data:
    who, method, points = curve["who"], curve["method"], curve["points"]
    style, colour = METHOD_STYLES[method], WHO_COLOURS[who]
    texts = [f"{p['knob']}; {curve['ran']}" for p in points]
    return _trace(f"{who}, {method}", who, method, points, texts) | {
        "mode": "lines+markers",
        "line": {"color": colour, "width": 2, "dash": style.dash},
        "marker": {"color": colour, "symbol": style.symbol, "size": 9},
    }


def _point(score: Data) -> Data:
    who = _who(score)
    if score["peer"]:
        symbol, colour, kind = PEER_SYMBOLS.get(who, "circle-open"), GREY, "peer"
    else:
        symbol, colour, kind = WHO_SYMBOLS[who].symbol, WHO_COLOURS[who], "comparison"
    text = "another package" if score["peer"] else score["ran"]
    return _trace(who, who, kind, [score], [text]) | {
        "mode": "markers",
        "marker": {"color": colour, "symbol": symbol, "size": 11, "line": {"width": 1, "color": "white"}},
    }


def _front(traces: Sequence[Data]) -> Data:
    """Draw what nothing that is drawn beats in both error and cost."""
    meta: Data = {"who": "Pareto front", "method": "front", "y": {}}
    for cost in COSTS:
        points = [p for t in traces for p in zip(t["meta"][cost], t["y"], strict=True) if p[1] is not None]
        kept: list[tuple[float, float]] = []
        for point in sorted(points):
            if not kept or point[1] < kept[-1][1]:
                kept.append(point)
        meta[cost], meta["y"][cost] = [x for x, _ in kept], [y for _, y in kept]
    return {
        "type": "scatter",
        "name": "Pareto front",
        "mode": "lines",
        "x": meta["seconds"],
        "y": meta["y"]["seconds"],
        "line": {"color": "rgba(140,140,140,0.35)", "width": 9, "shape": "hv"},
        "hoverinfo": "skip",
        "meta": meta,
    }


# Speed against n ---------------------------------------------------------------------------------


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> float | None:
    """Fit the p of t = c n**p, on the upper half of the sizes: below, fixed costs prevail.

    Examples
    --------
    >>> round(slope([1, 10, 100, 1000], [5.0, 5.1, 50.0, 500.0]), 6)
    1.0
    """
    half = max(2, (len(sizes) + 1) // 2)
    if len(sizes) < 2:
        return None
    return float(np.polyfit(np.log(sizes[-half:]), np.log(seconds[-half:]), 1)[0])


def speed_against_n(comparisons: Sequence[Data]) -> list[Data]:
    """Draw time against n where a problem was measured at three sizes or more."""
    charts = []
    for problem in dict.fromkeys(c["problem"] for c in comparisons):
        found = sorted((int(np.prod(c["shape"])), c) for c in comparisons if c["problem"] == problem) if problem else []
        if len({n for n, _ in found}) < 3:
            continue
        names = dict.fromkeys(_who(s) for _, c in found for s in c["scores"] if not s["peer"])
        data = []
        for who in names:
            points = [(n, s["seconds"]) for n, c in found for s in c["scores"] if _who(s) == who]
            p = slope(*zip(*points, strict=True))
            label = who if p is None else f"{who}, n^{p:.2f}"
            data.append(_line(who, label, points, f"<b>{who}</b><br>n = %{{x}}<br>%{{text}}<extra></extra>"))
            data[-1]["text"] = [duration(seconds) for _, seconds in points]
        charts.append(
            {
                "id": _identifier("speed", problem),
                "title": problem,
                "data": data,
                "layout": _layout("n", "seconds"),
            }
        )
    return charts


def _line(who: str, label: str, points: Sequence[tuple[float, float | None]], hover: str) -> Data:
    style, colour = WHO_SYMBOLS[who], WHO_COLOURS[who]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": label,
        "x": [x for x, _ in points],
        "y": [y for _, y in points],
        "line": {"color": colour, "width": 2, "dash": style.dash},
        "marker": {"color": colour, "symbol": style.symbol, "size": 8},
        "hovertemplate": hover,
    }


# Error against the step --------------------------------------------------------------------------

STEP_STYLES = (
    (ORANGE, Style("circle")),
    (GREEN, Style("diamond", "dash")),
    (BLUE, Style("triangle-up", "dot")),
    (VERMILION, Style("square", "dashdot")),
)


def error_against_step(study: Data) -> Data:
    """Draw the V: truncation error to the right, round-off error to the left; and where the steps lie."""
    data = []
    for curve, (colour, style) in zip(study["curves"], STEP_STYLES, strict=False):
        name = f"{curve['name']}, {curve['dtype']}"
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": curve["h"],
                "y": _logarithmic(curve["error"]),
                "line": {"color": colour, "width": 2, "dash": style.dash},
                "marker": {"color": colour, "symbol": style.symbol, "size": 5},
                "hovertemplate": f"<b>{name}</b><br>h = %{{x:.1e}}<br>error %{{y:.1e}}<extra></extra>",
            }
        )
    for mark in study["marks"]:
        own, single = "low" in mark, mark["dtype"] == "float32"
        where = f"h from {mark['low']:.1e} to {mark['high']:.1e}" if own else f"h = {mark['h']:.1e}"
        name = f"{mark['name']}, {mark['dtype']}"
        trace: Data = {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": [mark["h"]],
            "y": _logarithmic([mark["error"]]),
            "marker": {
                "color": PURPLE if own else GREY,
                "symbol": ("star" if own else "x") + ("-open" if single else ""),
                "size": 15,
                "line": {"width": 1.5, "color": PURPLE if own else GREY},
            },
            "hovertemplate": f"<b>{name}</b><br>{where}<br>error %{{y:.1e}}<extra></extra>",
        }
        if own:
            trace["error_x"] = {
                "type": "data",
                "symmetric": False,
                "array": [mark["high"] - mark["h"]],
                "arrayminus": [mark["h"] - mark["low"]],
                "color": PURPLE,
            }
        data.append(trace)
    layout = _layout("h", "error")
    layout["yaxis"] = layout["yaxis"] | {"range": [-17, 2], "dtick": 4}  # beyond is nothing to see
    return {"id": _identifier("step", study["workload"]), "title": study["workload"], "data": data, "layout": layout}


# Cold start --------------------------------------------------------------------------------------

MOST_GRADIENTS = 6  # a power of ten


def break_even(comparison: Data) -> Data:
    """Draw the time from the start, compiling included, against the number of gradients."""
    counts = sorted({round(10 ** (k / 4)) for k in range(4 * MOST_GRADIENTS + 1)})
    data = []
    for score in comparison["scores"]:
        if score["peer"]:
            continue
        who = _who(score)
        totals = [score["first_call"] + (k - 1) * score["seconds"] for k in counts]
        trace = _line(
            who,
            who,
            list(zip(counts, totals, strict=True)),
            f"<b>{who}</b><br>%{{x}} gradients<br>%{{text}}<extra></extra>",
        )
        trace["marker"] |= {"size": 5}
        trace["text"] = [duration(t) for t in totals]
        data.append(trace)
    name = comparison["workload"]
    return {
        "id": _identifier("cold", name),
        "title": name,
        "data": data,
        "layout": _layout("gradients", "total"),
    }


# Memory ------------------------------------------------------------------------------------------


def memory(comparisons: Sequence[Data]) -> Data:
    """Draw the peak memory of each candidate, a row a workload."""
    data = []
    for who in dict.fromkeys(_who(s) for c in comparisons for s in c["scores"] if not s["peer"]):
        found = [(c["workload"], s["memory"]) for c in comparisons for s in c["scores"] if _who(s) == who]
        trace = _line(
            who, who, [(max(v, 1), None) for _, v in found], f"<b>{who}</b><br>%{{y}}<br>%{{text}}<extra></extra>"
        )
        trace |= {"y": [name for name, _ in found], "mode": "markers", "text": [size(v) for _, v in found]}
        trace["marker"] |= {"size": 11}
        data.append(trace)
    layout = _layout("bytes", "error")
    names = [c["workload"] for c in comparisons]
    layout["yaxis"] = {"type": "category", "categoryarray": names[::-1], "categoryorder": "array", "automargin": True}
    layout["height"] = 90 + 34 * len(names)
    return {"id": "memory-all", "title": "all workloads", "data": data, "layout": layout}
