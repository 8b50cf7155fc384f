"""The README's pictures: error against time, and the paths of three descents.

Run ``python -m benchmarks.pictures``; it measures, and writes SVG files to benchmarks/pictures/.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import jacobi
import matplotlib as mpl
import numdifftools
import numpy as np
from matplotlib import pyplot as plt
from scipy.optimize import approx_fprime
from scipy.optimize._numdiff import approx_derivative

from fastgrad import Gradient, gradient_descent
from fastgrad.tools.timing import rounds_of

from .problems import PROBLEMS
from .speed import textbook

FOLDER = Path(__file__).parent / "pictures"
# Okabe and Ito: told apart by colour-blind readers, on white and on black
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#777777"
STYLE = {
    "font.size": 11,
    "svg.hashsalt": "fastgrad",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
}


def precision() -> None:
    """Draw error against time on one unmodified numpy function and on its compiled form."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 4), sharey=True, layout="constrained")
    problem = PROBLEMS["rosenbrock"]
    for axes, n in zip(panels, (10, 1000), strict=True):
        x, _ = problem.make(n)
        exact = problem.gradient(x)
        f = problem.f
        ours = {
            "plain numpy f": Gradient(f),
            "plain, adaptive": Gradient(f, method="adaptive"),
            "@njit f": Gradient(problem.jitted, compile="eager"),
            "@njit, adaptive": Gradient(problem.jitted, method="adaptive"),
            "@njit, complex step": Gradient(problem.jitted, method="complex"),
        }
        peers: dict[str, Callable[[Any], Any]] = {
            "textbook": lambda x: textbook(problem.f, x),
            "SciPy 2-point": lambda x: approx_fprime(x, problem.f),
            "SciPy 3-point": lambda x: approx_derivative(problem.f, x).ravel(),
            "jacobi": lambda x: jacobi.jacobi(problem.f, x, diagonal=False)[0],
        }
        if n <= 10:
            peers["numdifftools"] = numdifftools.Gradient(f)
        points: dict[str, tuple[float, float]] = {}
        for name, gradient in {**ours, **peers}.items():
            found = gradient(x.copy())
            spent = rounds_of({"one": lambda gradient=gradient, x=x: gradient(x)}, 5 if n > 10 else 15, 1e-3)["one"]
            points[name] = median(spent), max(float(np.abs(found - exact).max() / np.abs(exact).max()), 1e-17)
        for name, (seconds, error) in points.items():
            mine = name in ours
            group = list(ours) if mine else list(peers)
            marker = "osD^v"[group.index(name) % 5]
            axes.plot(
                seconds, error, marker, color=BLUE if mine else ORANGE, markersize=9, linestyle="none",
                markerfacecolor=None if mine else "none", markeredgewidth=1.8,
                label=f"fastgrad, {name}" if mine else name,
            )  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="seconds for one gradient", title=f"Rosenbrock, n = {n}")
        axes.margins(0.1)
        axes.grid(alpha=0.25)
    panels[0].set_ylabel("largest error / largest entry")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=10)
    save(figure, "precision")


def paths() -> None:
    """Draw a descent with a learning rate that is too small, right, and too large."""
    bowl = lambda x: x[0] ** 2 / 20 + x[1] ** 2  # noqa: E731
    figure, panels = plt.subplots(1, 3, figsize=(10, 3.4), sharey=True, layout="constrained")
    a, b = np.meshgrid(np.linspace(-8, 8, 200), np.linspace(-4, 4, 200))
    for axes, lr, told, color in zip(
        panels, (0.05, 0.9, 1.02), ("too small", "right", "too large"), (GREY, GREEN, RED), strict=True
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the third diverges
            result = gradient_descent(bowl, np.array([-7.0, 2.0]), lr=lr, step_num=30, full_output=True)
        path = np.asarray(result.path)
        axes.contour(a, b, bowl(np.stack([a, b])), levels=[0.25, 1, 2, 4, 8, 12], colors="#bbbbbb", linewidths=0.8)
        axes.plot(path[:, 0], path[:, 1], "o-", color=color, markersize=4, linewidth=1.2)
        axes.plot(0, 0, "k+", markersize=10)
        axes.set(title=f"lr = {lr}: {told}", xlim=(-8, 8), ylim=(-4, 4), xlabel="x[0]")
    panels[0].set_ylabel("x[1]")
    save(figure, "descent")


def save(figure: Any, name: str) -> None:
    FOLDER.mkdir(exist_ok=True)
    figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None})
    if "--png" in sys.argv:
        figure.savefig(FOLDER / f"{name}.png", dpi=60)
    plt.close(figure)


def main() -> None:
    with mpl.rc_context(STYLE):
        paths()
        precision()


if __name__ == "__main__":
    main()
