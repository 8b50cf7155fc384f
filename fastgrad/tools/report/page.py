"""From plain data to one HTML file that is complete in itself: `page.html` is its template."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

from . import figures

Data = dict[str, Any]
Table = tuple[Sequence[str], list[tuple[bool, Sequence[Any]]]]  # the columns; the rows, and which of them stand out

# Beyond so many tables, they are folded
FEW = 2
# What auto may take, of the time of the best
GOOD = 1.25

TITLES = {
    "summary": "What to use",
    "work": "Error against cost",
    "speed": "Speed against n",
    "step": "Error against the step",
    "cold": "Cold start and break-even",
    "memory": "Memory",
    "regrets": "What auto loses",
    "tables": "Tables",
    "machine": "Machine and versions",
}


def render(data: Data, title: str = "fastgrad report") -> str:
    """Draw a report.

    ImportError if Plotly or Jinja is not installed: ``pip install 'fastgrad[report]'``.

    `data`: what `fastgrad.tools.report.measure.document` returns, or the same read from JSON. ``curves``, ``steps`` and
        ``regrets`` may be missing; then their sections are.
    `title`: the heading.

    Returns str: HTML, with the plotting library and the data in it; it loads nothing.
    """
    comparisons, curves = data["comparisons"], data.get("curves", [])
    charts = {
        "work": [figures.work_precision(comparison, curves) for comparison in comparisons],
        "speed": figures.speed_against_n(comparisons),
        "step": [figures.error_against_step(study) for study in data.get("steps", [])],
        "cold": [figures.break_even(comparison) for comparison in comparisons],
        "memory": [figures.memory(comparisons)] if comparisons else [],
    }
    tables = [(comparison, *_scores(comparison)) for comparison in comparisons]
    shown = {**charts, "regrets": data.get("regrets"), "tables": tables}
    jinja, here = import_module("jinja2"), Path(__file__).parent
    pages = jinja.Environment(loader=jinja.FileSystemLoader(here), autoescape=True)
    pages.filters["cell"] = _cell
    pages.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    html: str = pages.get_template("page.html").render(
        title=title,
        data=data,
        titles={key: name for key, name in TITLES.items() if shown.get(key, True)},
        charts=charts,
        drawn=_rounded(list(chain(*charts.values()))),
        controls=_controls(charts["work"]),
        regrets=_regrets(data.get("regrets") or []),
        tables=tables,
        good=GOOD,
        few=FEW,
        style=(here / "page.css").read_text("utf-8"),
        script=(here / "page.js").read_text("utf-8"),
        plotly=import_module("plotly.offline").get_plotlyjs().replace("</script", "<\\/script"),
    )
    return html


def _rounded(value: Any) -> Any:
    """Round to what can be seen; the data beside are whole."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _controls(work: Sequence[Data]) -> list[tuple[str, list[tuple[str, str, str, str]]]]:
    """Return the legend of all work-precision charts: names with colour, dash and symbol, in groups."""
    metas = [trace["meta"] for chart in work for trace in chart["data"]]
    who, methods = {meta["who"] for meta in metas}, {meta["method"] for meta in metas}
    peers = dict.fromkeys(meta["who"] for meta in metas if meta["method"] == "peer")
    return [
        ("backend/f", [(name, style.colour, "solid", "") for name, style in figures.WHO_STYLES.items() if name in who]),
        ("method", [(m, "currentColor", s.dash, s.symbol) for m, s in figures.METHOD_STYLES.items() if m in methods]),
        ("packages", [(name, figures.GREY, "", figures.PEER_STYLES.get(name, figures.OTHER).symbol) for name in peers]),
        ("", [("Pareto front", "", "", "")]),
    ]


def _scores(comparison: Data) -> Table:
    rows: list[tuple[bool, Sequence[Any]]] = []
    for score in comparison["scores"]:
        name = f"{score['backend']}/{score['form']}"
        ran = "another package" if score["peer"] else score["ran"]
        rows.append((name in comparison["winners"], (name, ran, *figures.cells(score, comparison.get("bar")))))
    return ("backend/f", "ran", *figures.CELLS), rows


def _regrets(rows: Sequence[Data]) -> Table:
    """Return the table of what auto picked, whatever its columns are called; `ratio` is to the best."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return columns, [((row.get("ratio") or 0.0) > GOOD, [row.get(name) for name in columns]) for row in rows]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
