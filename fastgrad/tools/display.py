"""Tables and the progress bar of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np

from ..core.errors import needed
from .compare import EXACT, Comparison
from .report.figures import CELLS, cells, plain
from .timing import Progress

# Wide enough for every table: a pipe has no width, and a cut line would be lost without a word.
PIPE_WIDTH = 1000

COLUMNS = ("backend/f", *CELLS)
LEGEND = """\
time      of one gradient, or Jacobian, prepared and warm: the median of interleaved rounds
spread    half the distance between the quartiles of the time, as a share of it
faster    than the first row, the reference: the median of the ratios within each round
error     max |g - g*| / max |g*|; g* is the exact gradient, unless another is named; so of Jacobians
memory    peak above what was there before, as Python and numpy allocate it
1st call  with everything that had to be compiled for it
payback   gradients after which compiling is paid for, against the reference
All rows but auto/default and owner lanes take fixed steps, so that all backends make the same evaluations; the line of
code leaves the step to fastgrad, too."""
# So few coordinates do not stand for all of them well.
FEW = 8
# Below this many columns the table needs the narrower gap.
ROOMY = 90


class Display:
    """Tables and the progress bar: on a terminal with colours, in a pipe plain and whole."""

    def __init__(self) -> None:
        names = ("rich.table", "rich.progress", "rich.console")
        self._table, self._progress, console = (
            needed(name, "the tables need rich: pip install 'fastgrad[cli]'") for name in names
        )
        self._out = console.Console(highlight=False, markup=False)
        self._err = console.Console(stderr=True, highlight=False)
        if not self._out.is_terminal:
            self._out = console.Console(highlight=False, markup=False, width=PIPE_WIDTH)
        self._unicode = (self._out.encoding or "").lower().startswith("utf")

    @contextmanager
    def progress(self, name: str) -> Iterator[Progress | None]:
        """Show how far one workload is, on a terminal."""
        if not (self._err.is_terminal and self._out.is_terminal):
            yield None
            return
        with self._progress.Progress(console=self._err, transient=True) as bar:
            task = bar.add_task(name, total=1.0)
            yield lambda share: bar.update(task, completed=share)

    def text(self, line: str, style: str | None = None) -> None:
        """Print text; a terminal breaks long lines itself."""
        self._out.print(line, style=style, soft_wrap=True)

    def comparison(self, result: Comparison) -> None:
        """Print the table of one workload, what it means, and the recommendation."""
        self.text(result.workload, style="bold")
        if result.source:
            self.text(result.source, style="dim")
        gap = 2 if self._out.width >= ROOMY else 1
        table = self._table.Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
        for number, name in enumerate(COLUMNS):
            table.add_column(name, justify="right" if number else "left", overflow="fold")
        for score in result.scores:
            style = "green" if str(score) in result.winners else None
            table.add_row(score.described(), *map(self._written, cells(plain(asdict(score)), result.bar)), style=style)
        self._out.print(table)
        for refusal in result.refusals:
            self.text(f"{refusal.backend}/{refusal.form}: {refusal.reason:.300}", style="dim")
        if result.exact != EXACT:
            self.text(f"g* is {result.exact}", style="dim")
        entries = int(np.prod(result.shape))
        for count in sorted({score.coordinates for score in result.scores if score.coordinates < entries}):
            names = ", ".join(str(score) for score in result.scores if score.coordinates == count)
            rough = "; of so few they are rough" if count < FEW else ""
            self.text(
                f"measured on {count} of {entries} partial derivatives, times and nfev scaled to all{rough}; "
                f"--budget SECONDS allows more: {names}",
                style="dim",
            )
        if result.unsteady:
            self.text("the machine is unsteady: the quartiles are far apart; stop what else is running", "yellow")
        self.text(f"-> {result.recommendation}", style="bold")
        self.text(f"   {result.code}\n")

    def _written(self, text: str) -> str:
        """Return text as this terminal can show it."""
        return text if self._unicode else text.replace("µ", "u").replace("≤", "<=")
