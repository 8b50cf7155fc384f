"""From plain data to charts, as the plotting library's plain dictionaries. Nothing is measured here.

Every chart is {"id", "title", "data", "layout"}, and "axes" where the horizontal axis can be switched: its layouts by
the name of what it shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

Data = dict[str, Any]

# Okabe and Ito's colours, which people with any colour vision tell apart; without the yellow and the black, which
# either a light or a dark page would swallow.
ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"
GREY = "#8C8C8C"


class Style(NamedTuple):
    """What tells curves apart."""

    symbol: str
    dash: str = "solid"
    colour: str = GREY


WHO_STYLES = {
    "python/plain": Style("circle", colour=ORANGE),
    "python/jitted": Style("circle-open", "dot", ORANGE),
    "auto/default": Style("star", "dashdot", PURPLE),
    "numpy/lifted": Style("diamond", colour=SKY),
    "numpy/batched": Style("square", "dash", BLUE),
    "numba/jitted": Style("triangle-up", colour=GREEN),
    "numba/jitted lanes": Style("triangle-down", "dash", VERMILION),
    "numba/jitted owner lanes": Style("diamond-open", "dot", BLUE),
    "numba/compiled": Style("triangle-up", colour=GREEN),
    "numba/compiled lanes": Style("triangle-down", "dash", VERMILION),
}
METHOD_STYLES = {
    "central": Style("circle"),
    "forward": Style("triangle-up", "dot"),
    "complex": Style("star"),
    "automatic": Style("square", "dashdot"),
    "adaptive": Style("diamond", "dash"),
}
PEER_STYLES = {
    "scipy/approx_fprime": Style("x"),
    "scipy/3-point": Style("cross"),
    "numdifftools/Gradient": Style("hexagon"),
    "jacobi/jacobi": Style("pentagon"),
    "statsmodels/centered": Style("triangle-down"),
    "statsmodels/complex step": Style("triangle-left"),
    "jax/grad": Style("bowtie"),
}
OTHER = Style("circle-open")  # a package that is not in the table
STEP_STYLES = (
    Style("circle", colour=ORANGE),
    Style("diamond", "dash", GREEN),
    Style("triangle-up", "dot", BLUE),
    Style("square", "dashdot", VERMILION),
)

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


def _logarithmic(values: Iterable[float | None]) -> list[float | None]:
    return [None if v is None else max(v, SMALLEST) for v in values]


def _chart(kind: str, title: str, data: list[Data], x: str, y: str, **more: Any) -> Data:
    words = ("".join(c if c.isalnum() else "-" for c in word) for word in (kind, title))
    return {"id": "-".join(words), "title": title, "data": data, "layout": _layout(x, y), **more}


def _trace(
    name: str, x: Sequence[float], y: Sequence[Any], style: Style, size: int, hover: str, mode: str = "lines+markers"
) -> Data:
    return {
        "type": "scatter",
        "mode": mode,
        "name": name,
        "x": x,
        "y": y,
        "line": {"color": style.colour, "width": 2, "dash": style.dash},
        "marker": {"color": style.colour, "symbol": style.symbol, "size": size},
        "hovertemplate": f"{hover}<extra></extra>",
    }


def _who(score: Data) -> str:
    return f"{score['backend']}/{score['form']}"


def _own(comparisons: Iterable[Data]) -> dict[str, list[tuple[Data, Data]]]:
    """Return the scores of each candidate, with their comparisons; no other package's."""
    found: dict[str, list[tuple[Data, Data]]] = {}
    for comparison in comparisons:
        for score in comparison["scores"]:
            if not score["peer"]:
                found.setdefault(_who(score), []).append((comparison, score))
    return found


# Work and precision ------------------------------------------------------------------------------


def work_precision(comparison: Data, curves: Sequence[Data]) -> Data:
    """Draw error against cost: a curve for each backend and method, the peers as points, the Pareto front."""
    name = comparison["workload"]
    mine = [curve for curve in curves if curve["workload"] == name]
    data = [_curve(curve) for curve in mine]
    data += [_point(s) for s in comparison["scores"] if s["peer"] or s["form"] == "default" or not mine]
    data.insert(0, _front(data))
    return _chart("work", name, data, "seconds", "error", axes={cost: AXES[cost] for cost in COSTS})


def _costly(
    name: str, who: str, kind: str, style: Style, size: int, points: Sequence[Data], told: Sequence[str], mode: str
) -> Data:
    """Return a trace whose horizontal values can be switched."""
    errors = ["?" if p["error"] is None else format(p["error"], ".1e") for p in points]
    texts = [
        f"<b>{name}</b><br>{text}<br>error {error}<br>{duration(p['seconds'])}, {p['nfev']:,} evaluations"
        for p, text, error in zip(points, told, errors, strict=True)
    ]
    costs = {cost: [p[cost] for p in points] for cost in COSTS}
    trace = _trace(name, costs["seconds"], _logarithmic(p["error"] for p in points), style, size, "%{text}", mode)
    return trace | {"text": texts, "meta": {"who": who, "method": kind, **costs}}


def _curve(curve: Data) -> Data:
    who, method, points = curve["who"], curve["method"], curve["points"]
    told = [f"{p['knob']}; {curve['ran']}" for p in points]
    style = METHOD_STYLES[method]._replace(colour=WHO_STYLES[who].colour)
    return _costly(f"{who}, {method}", who, method, style, 9, points, told, "lines+markers")


def _point(score: Data) -> Data:
    who = _who(score)
    if score["peer"]:
        style, kind, told = PEER_STYLES.get(who, OTHER), "peer", "another package"
    else:
        style, kind, told = WHO_STYLES[who], "comparison", score["ran"]
    trace = _costly(who, who, kind, style, 11, [score], [told], "markers")
    trace["marker"]["line"] = {"width": 1, "color": "white"}
    return trace


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
    trace = _trace("Pareto front", meta["seconds"], meta["y"]["seconds"], OTHER, 0, "", "lines")
    line = {"color": "rgba(140,140,140,0.35)", "width": 9, "shape": "hv"}
    return trace | {"line": line, "hoverinfo": "skip", "meta": meta}


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
    for problem in dict.fromkeys(c["problem"] for c in comparisons if c["problem"]):
        found = sorted((c for c in comparisons if c["problem"] == problem), key=_size)
        if len(set(map(_size, found))) < 3:
            continue
        data = []
        for who, scores in _own(found).items():
            sizes, seconds = [_size(c) for c, _ in scores], [s["seconds"] for _, s in scores]
            p = slope(sizes, seconds)
            label = who if p is None else f"{who}, n^{p:.2f}"
            trace = _trace(label, sizes, seconds, WHO_STYLES[who], 8, f"<b>{who}</b><br>n = %{{x}}<br>%{{text}}")
            data.append(trace | {"text": list(map(duration, seconds))})
        charts.append(_chart("speed", problem, data, "n", "seconds"))
    return charts


def _size(comparison: Data) -> int:
    return int(np.prod(comparison["shape"]))


# Error against the step --------------------------------------------------------------------------


def error_against_step(study: Data) -> Data:
    """Draw the V: truncation error to the right, round-off error to the left; and where the steps lie."""
    data = []
    for curve, style in zip(study["curves"], STEP_STYLES, strict=False):
        name = f"{curve['name']}, {curve['dtype']}"
        hover = f"<b>{name}</b><br>h = %{{x:.1e}}<br>error %{{y:.1e}}"
        data.append(_trace(name, curve["h"], _logarithmic(curve["error"]), style, 5, hover))
    for mark in study["marks"]:
        own, h = "low" in mark, mark["h"]
        where = f"h from {mark['low']:.1e} to {mark['high']:.1e}" if own else f"h = {h:.1e}"
        name = f"{mark['name']}, {mark['dtype']}"
        symbol = ("star" if own else "x") + ("-open" if mark["dtype"] == "float32" else "")
        style = Style(symbol, colour=PURPLE if own else GREY)
        hover = f"<b>{name}</b><br>{where}<br>error %{{y:.1e}}"
        trace = _trace(name, [h], _logarithmic([mark["error"]]), style, 15, hover, "markers")
        trace["marker"]["line"] = {"width": 1.5, "color": style.colour}
        if own:
            reach = {"array": [mark["high"] - h], "arrayminus": [h - mark["low"]]}
            trace["error_x"] = {"type": "data", "symmetric": False, "color": PURPLE, **reach}
        data.append(trace)
    chart = _chart("step", study["workload"], data, "h", "error")
    chart["layout"]["yaxis"] |= {"range": [-17, 2], "dtick": 4}  # beyond is nothing to see
    return chart


# Cold start --------------------------------------------------------------------------------------

MOST_GRADIENTS = 6  # a power of ten


def break_even(comparison: Data) -> Data:
    """Draw the time from the start, compiling included, against the number of gradients."""
    counts = sorted({round(10 ** (k / 4)) for k in range(4 * MOST_GRADIENTS + 1)})
    data = []
    for who, ((_, score),) in _own([comparison]).items():
        totals = [score["first_call"] + (k - 1) * score["seconds"] for k in counts]
        trace = _trace(who, counts, totals, WHO_STYLES[who], 5, f"<b>{who}</b><br>%{{x}} gradients<br>%{{text}}")
        data.append(trace | {"text": list(map(duration, totals))})
    return _chart("cold", comparison["workload"], data, "gradients", "total")


# Memory ------------------------------------------------------------------------------------------


def memory(comparisons: Sequence[Data]) -> Data:
    """Draw the peak memory of each candidate, a row a workload."""
    data = []
    for who, scores in _own(comparisons).items():
        names, sizes = [c["workload"] for c, _ in scores], [s["memory"] for _, s in scores]
        shown = [max(v, 1) for v in sizes]
        trace = _trace(who, shown, names, WHO_STYLES[who], 11, f"<b>{who}</b><br>%{{y}}<br>%{{text}}", "markers")
        data.append(trace | {"text": list(map(size, sizes))})
    chart = _chart("memory", "all workloads", data, "bytes", "error")
    names = [c["workload"] for c in comparisons]
    axis = {"type": "category", "categoryarray": names[::-1], "categoryorder": "array", "automargin": True}
    chart["layout"] |= {"yaxis": axis, "height": 90 + 34 * len(names)}
    return chart
