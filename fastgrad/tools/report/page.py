"""From plain data to one HTML file that is complete in itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any

from . import figures

__all__ = ["render"]

Data = dict[str, Any]

TARGETS = (1e-4, 1e-6, 1e-8, 1e-10, 1e-12)
CHOSEN_TARGET = 1e-8
# Beyond so many tables, they are folded
FEW = 2
# What auto may take, of the time of the best
GOOD = 1.25


def render(data: Data, title: str = "fastgrad report") -> str:
    """Draw a report.

    Parameters
    ----------
    data : dict
        What `fastgrad.tools.report.measure.document` returns, or the same read from JSON. ``curves``, ``steps`` and
        ``regrets`` may be missing; then their sections are.
    title : str
        The heading.

    Returns
    -------
    str
        HTML, with the plotting library and the data in it; it loads nothing.
    """
    comparisons, curves, steps = data["comparisons"], data.get("curves", []), data.get("steps", [])
    work = [figures.work_precision(comparison, curves) for comparison in comparisons]
    speed = figures.speed_against_n(comparisons)
    vees = [figures.error_against_step(study) for study in steps]
    cold = [figures.break_even(comparison) for comparison in comparisons]
    bytes_ = [figures.memory(comparisons)] if comparisons else []
    sections: list[tuple[str, str, str]] = [
        ("summary", "What to use", _summary(comparisons, data.get("unavailable", []))),
        ("work", "Error against cost", _controls(work) + _grid(work, _WORK, verdicts=True)),
        ("speed", "Speed against n", _grid(speed, _SPEED)),
        ("step", "Error against the step", _grid(vees, _STEP)),
        ("cold", "Cold start and break-even", _grid(cold, _COLD)),
        ("memory", "Memory", _grid(bytes_, _MEMORY)),
        ("regrets", "What auto loses", _regrets(data.get("regrets", []))),
        ("tables", "Tables", "".join(_table(c, len(comparisons) <= FEW) for c in comparisons)),
        ("machine", "Machine and versions", _machine(data)),
    ]
    sections = [section for section in sections if section[2]]
    parts: dict[str, str] = {
        "title": escape(title),
        "subtitle": escape(
            f"{data['created']}, {data['machine'].get('processor', '')}, fastgrad "
            f"{data['versions'].get('fastgrad', '')}"
        ),
        "contents": " ".join(f'<a href="#{key}">{escape(name)}</a>' for key, name, _ in sections),
        "sections": "\n".join(
            f'<section id="{key}"><h2>{escape(name)}</h2>{body}</section>' for key, name, body in sections
        ),
        "data": _embedded(data),
        "charts": _embedded(_rounded([*work, *speed, *vees, *cold, *bytes_])),
        "style": _own("page.css"),
        "script": _own("page.js"),
        "plotly": _plotly(),
    }
    # in one pass: what is put in may itself look like a place to fill
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _own("page.html"))


_WORK = (
    "Down and to the left is better. A curve is a backend and a method, its knob the order, or the tolerance; "
    "the grey band is the Pareto front, which nothing beats in both. Click the names to hide and show."
)
_SPEED = "Prepared and warm. n^p is fitted to the larger half of the sizes."
_STEP = (
    "Central and forward differences with the step h in every component: truncation error falls to the left, round-off "
    "error rises. Stars: the steps that fastgrad chooses by itself (the median, and the range over the components). "
    'In float32, f gets float32 numbers (dtype="keep").'
)
_COLD = (
    "Time from the start, compiling included, until so many gradients are there: where curves cross, compiling pays."
)
_MEMORY = "The most that one gradient allocates at a time, as Python and numpy see it."


def _own(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")


def _plotly() -> str:
    source: str = import_module("plotly.offline").get_plotlyjs()
    return source.replace("</script", "<\\/script")


def _embedded(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _rounded(value: Any) -> Any:
    """Round to what can be seen; the data beside are whole."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _grid(charts: Sequence[Data], explanation: str, verdicts: bool = False) -> str:
    """Return places for charts, which the script fills."""
    if not charts:
        return ""
    cards = [
        f'<article class="card"><h3>{escape(chart["title"])}</h3>'
        + (f'<p class="muted" data-verdict="{chart["id"]}"></p>' if verdicts else _legend(chart))
        + f'<div class="chart" id="{chart["id"]}" role="img" aria-label="{escape(chart["title"])}"></div></article>'
        for chart in charts
    ]
    return f'<p class="muted">{escape(explanation)}</p><div class="grid">{"".join(cards)}</div>'


def _summary(comparisons: Sequence[Data], unavailable: Sequence[Data]) -> str:
    cards = []
    for c in comparisons:
        warning = "<p>The machine was unsteady: the times are not to be trusted.</p>" if c["unsteady"] else ""
        cards.append(
            f'<article class="card"><h3>{escape(c["workload"])}</h3><p>{escape(c["recommendation"])}</p>{warning}'
            f"<pre>{escape(c['code'])}</pre></article>"
        )
    missing = "".join(f"<p>{escape(u['workload'])}: not available. {escape(u['reason'])}</p>" for u in unavailable)
    return f'<div class="grid">{"".join(cards)}</div>{missing}'


def _controls(work: Sequence[Data]) -> str:
    """Return the switch, the target and the legend of all work-precision charts."""
    if not work:
        return ""
    metas = [trace["meta"] for chart in work for trace in chart["data"]]
    backends = [who for who in figures.WHO_COLOURS if any(m["who"] == who for m in metas)]
    methods = [name for name in figures.METHOD_STYLES if any(m["method"] == name for m in metas)]
    peers = list(dict.fromkeys(m["who"] for m in metas if m["method"] == "peer"))
    costs = {"seconds": "time", "nfev": "evaluations"}
    switch = "".join(
        f'<button type="button" data-cost="{cost}" aria-pressed="{str(cost == "seconds").lower()}">{name}</button>'
        for cost, name in costs.items()
    )
    options = "".join(
        f'<option value="{t:.0e}"{" selected" if t == CHOSEN_TARGET else ""}>{t:.0e}</option>' for t in TARGETS
    )
    rows = [
        f'<fieldset class="switch"><legend>against</legend>{switch}'
        f'<label class="muted">&nbsp;target error <select id="target"><option value="">none</option>{options}</select>'
        "</label></fieldset>",
        _toggles("backend/f", backends, lambda who: _swatch(figures.WHO_COLOURS[who], "solid", "")),
        _toggles("method", methods, lambda m: _swatch("currentColor", *_glyph(m))),
        _toggles("packages", peers, _peer_swatch),
        _toggles("", ["Pareto front"], lambda _: ""),
    ]
    return f'<div class="controls">{"".join(rows)}</div>'


# of the charts' symbols
_GLYPHS = {
    "circle": "●",
    "circle-open": "○",
    "triangle-up": "▲",
    "triangle-down": "▼",
    "star": "★",
    "star-open": "☆",
    "square": "■",
    "diamond": "◆",
    "x": "✖",
    "x-open": "✕",
}
_DASHES = {"solid": "", "dot": "2 3", "dash": "6 3", "dashdot": "6 3 2 3"}


def _glyph(method: str) -> tuple[str, str]:
    style = figures.METHOD_STYLES[method]
    return style.dash, _GLYPHS[style.symbol]


def _swatch(colour: str, dash: str, glyph: str, ink: str = "currentColor") -> str:
    line = f'<path d="M0 6H28" stroke="{colour}" stroke-width="3" stroke-dasharray="{_DASHES[dash]}"/>' if dash else ""
    sign = f'<text x="14" y="10.5" text-anchor="middle" font-size="13" fill="{ink}">{glyph}</text>'
    return f'<svg width="28" height="12" aria-hidden="true">{line}{sign if glyph else ""}</svg>'


def _peer_swatch(who: str) -> str:
    return _swatch("", "", figures.PEER_SYMBOLS.get(who, ("", "○"))[1], figures.GREY)


def _legend(chart: Data) -> str:
    """Return the legend of one chart, whose names hide and show their curves."""
    buttons = []
    for number, trace in enumerate(chart["data"]):
        marker = trace["marker"]
        dash = trace["line"]["dash"] if "lines" in trace["mode"] else ""
        swatch = _swatch(marker["color"], dash, _GLYPHS.get(marker["symbol"], ""), marker["color"])
        buttons.append(
            f'<button type="button" data-chart="{chart["id"]}" data-trace="{number}" aria-pressed="true">{swatch}'
            f"{escape(trace['name'])}</button>"
        )
    return f'<div class="legend">{"".join(buttons)}</div>'


def _toggles(legend: str, names: Sequence[str], swatch: Callable[[str], str]) -> str:
    if not names:
        return ""
    buttons = "".join(
        f'<button type="button" data-toggle="{escape(n)}" aria-pressed="true">{swatch(n)}{escape(n)}</button>'
        for n in names
    )
    return f"<fieldset><legend>{escape(legend)}</legend>{buttons}</fieldset>"


COLUMNS = ("backend/f", "ran", *figures.CELLS)


def _table(comparison: Data, unfolded: bool) -> str:
    """Return the comparison as a table."""
    rows = []
    for s in comparison["scores"]:
        name = f"{s['backend']}/{s['form']}"
        row = (name, "another package" if s["peer"] else s["ran"], *figures.cells(s, comparison.get("bar")))
        best = ' class="best"' if name in comparison["winners"] else ""
        rows.append(f"<tr{best}>{''.join(f'<td>{escape(c)}</td>' for c in row)}</tr>")
    head = "".join(f"<th>{escape(c)}</th>" for c in COLUMNS)
    notes = [f"Errors are against {comparison['exact']}."]
    notes += [f"{r['backend']}/{r['form']} did not take part: {r['reason']}" for r in comparison["refusals"]]
    said = "".join(f'<p class="muted">{escape(note)}</p>' for note in notes)
    return (
        f"<details{' open' if unfolded else ''}><summary>{escape(comparison['workload'])}</summary>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>{said}'
        "</details>"
    )


def _regrets(rows: Sequence[Data]) -> str:
    """Return the table of what auto picked, whatever its columns are called; `ratio` is to the best."""
    if not rows:
        return ""
    ratios = [r["ratio"] for r in rows if r.get("ratio") is not None]
    told = ""
    if ratios:
        good = sum(ratio <= GOOD for ratio in ratios) / len(ratios)
        told = (
            f"<p>auto takes at most {GOOD}x the time of the best in {good:.1%} of {len(ratios)} cells; "
            f"the worst is {max(ratios):.3g}x.</p>"
        )
    columns = list(dict.fromkeys(key for row in rows for key in row))
    head = "".join(f"<th>{escape(c)}</th>" for c in columns)
    body = "".join(
        f"<tr{_flag(row)}>{''.join(f'<td>{escape(_cell(row.get(c)))}</td>' for c in columns)}</tr>" for row in rows
    )
    return (
        f"{told}<details><summary>{len(rows)} cells; bold: beyond {GOOD}x</summary>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></details>'
    )


def _flag(row: Data) -> str:
    ratio = row.get("ratio")
    return ' class="best"' if ratio is not None and ratio > GOOD else ""


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _machine(data: Data) -> str:
    rows = {**data["machine"], **data["versions"]}
    body = "".join(
        f"<tr><td>{escape(key.replace('_', ' '))}</td><td>{escape(_cell(value) or 'not there')}</td></tr>"
        for key, value in rows.items()
    )
    return f'<table class="words"><tbody>{body}</tbody></table>'
