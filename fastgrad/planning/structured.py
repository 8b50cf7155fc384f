"""Jacobians and Hessians of what is no plain array: a dictionary of arrays, or what has labels.

All entries of x, one after another, are one x; what comes out is put into the structure of x and of f(x).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..backends.vectors import Several
from ..core.container import Container
from ..core.errors import describe
from ..core.labels import WANTS, Labels, has_labels
from ..core.structure import Structure, Tree, blocks, named, unblocked
from ..core.validation import Args, Floats, finite, index_array
from ..inspecting.captures import holds
from .matrix import Matrix
from .settings import Settings

Result = TypeVar("Result")


class Structured:
    """f around one x, as a function of all entries of x.

    `f`: gets x first.
    `x`: dict, Series, DataFrame or DataArray; or array_like, where f returns a dictionary
    `settings`: Settings
    `labelled`: whether f gets labels, where x has some, and so do the results.

    `f`: the same, of one array, which `point` is.
    `settings`: the same, for all entries.
    `inputs`, `outputs`: what x is, and f(x); the latter once it is known.
    """

    def __init__(self, f: Callable[..., Any], x: object, settings: Settings, labelled: bool) -> None:
        self.inputs, self.labelled = Structure(x), labelled
        if labelled and not self.inputs.has_labels:
            raise TypeError(f"`labels` needs an x that has some, or holds what has; got {describe(x)}")
        if settings.is_sparse and self.inputs.nested:
            raise ValueError(
                "`sparse` and `sparsity` are of an x that is one array; pass the arrays of the dictionary one after "
                "another as one, and let f take them apart, or leave these options out"
            )
        self.point = self.inputs.point()
        self.f = self.inputs.of_flat(f, labelled)
        options = {**self.inputs.flat_options(settings.options.given()), "labels": None}
        self.settings = replace(settings, options=replace(settings.options, **options), argnum=0, out=None)
        self.outputs: Tree = self.inputs
        self._columns: Tree = self.inputs
        self._given = f

    def evaluated(self, args: Args, f0: object = None) -> Any:
        """Learn from f(x), which is evaluated unless it is known, what f returns; return all entries of it."""
        value, container, kwargs = f0, self.point.container, self.settings.options.kwargs or {}
        if f0 is None:
            shown = container is not None and not container.among((args, kwargs))
            f = self.point.following(self.f) if shown else self.f  # another thread may perturb what f reads
            value = f(self.point.base.copy(), *args, **kwargs)
        if isinstance(value, Mapping) and self.settings.is_sparse:
            raise ValueError("`sparse` and `sparsity` are of an f that returns one array; got a dictionary")
        self.outputs = Tree(value, "f(x)")
        self.f = self.outputs.listing(self.f)
        chosen = index_array(self.settings.options.indices, self.point.base.shape)
        if chosen is not None:
            self._columns = Tree(np.zeros(chosen.shape), "x")
        return self.outputs.joined([leaf.array for leaf in self.outputs.leaves]) if self.outputs.nested else value

    def at(self) -> Any:
        """Return x as f gets it."""
        return self.inputs.split(self.point.base.reshape(-1), labelled=self.labelled)

    def gradient(self, grad: Callable[..., Any] | None) -> Callable[..., Floats] | None:
        """Return a caller's gradient of f, which gives x's structure, as a function of all entries of x."""
        if grad is None:
            return None
        inputs, shape, given = self.inputs, self.point.base.shape, self.inputs.of_flat(grad, self.labelled)

        def of_flat(flat: object, *args: object, **kwargs: object) -> Floats:
            return inputs.joined(inputs.alike("grad", given(flat, *args, **kwargs))).reshape(shape)

        return of_flat

    def given(self, name: str, matrix: object) -> Any:
        """Return a caller's matrix of derivatives as an array; a sparse one as it is."""
        if hasattr(matrix, "tocoo"):
            return matrix
        rows = unblocked(name, matrix, self.outputs, self.inputs)
        shape = (len(rows),) if self.outputs.nested else self.outputs.leaves[0].array.shape
        return rows.reshape((*shape, *self.point.base.shape))

    def entry(self, flat: int) -> str:
        """Name an entry of a matrix by its place among all: ``(1, W1[3, 2])``."""
        row, column = divmod(flat, self.point.base.size)
        told = self.inputs.label(column)
        return f"({over}, {told})" if (over := self.outputs.label(row)) else told

    def matrix(self, found: Matrix) -> Any:
        """Return a matrix as the caller sees it.

        TypeError if f does not change with what it holds itself and could not be changed there.
        """
        if found.pattern is not None:
            return found.shaped(())
        for leaf, place in self.inputs.fixed():
            if not found.entries[:, place].any() and holds(self._given, leaf.value):
                raise TypeError(Container(leaf.value, leaf.array.ndim).refusal(named("x", leaf.path)))
        return blocks(found.entries, self.outputs, self._columns, self.labelled)

    def of_inputs(self, flat: Floats) -> Any:
        """Return what has an entry for each of x in the structure of x."""
        return self.inputs.split(flat, narrow=True, labelled=self.labelled)

    def of_outputs(self, flat: Floats) -> Any:
        """Return what has an entry for each of f(x) in the structure of f(x)."""
        return self.outputs.split(flat, labelled=self.labelled)

    def vector(self, name: str, given: object, of: Tree) -> NDArray[np.float64]:
        """Return a caller's vector that is like x or f(x), one entry after another."""
        vector = of.joined(of.alike(name, given))
        finite(name, vector)
        return vector


def in_structure(
    x: object,
    settings: Settings,
    plain: Callable[[], Result],
    structured: Callable[[bool], Result],
    f: Callable[..., Any],
    args: Args,
    counted: Callable[[Result, int], Result] = lambda found, nfev: found,
) -> Result:
    """Differentiate with respect to an array, or to anything else in its structure; with labels where f wants them.

    `plain`: does so for an array.
    `structured`: for anything else; is told whether f gets labels.
    `f`, `args`: the function of x, and what it gets after x.
    `counted`: adds evaluations of f to those of a result.
    """
    nested, labels, nfev = isinstance(x, dict), settings.options.labels, 0
    if not labels and labels is not False and type(x) is not np.ndarray and has_labels(x) and not settings.is_sparse:
        change, nfev = Labels(x).change(f, args, settings.options.kwargs or {})
        labels = change or None
    if labels:
        return counted(structured(True), nfev)
    try:
        return counted(structured(False) if nested else plain(), nfev)
    except Several:  # of an array f returns a dictionary
        return counted(structured(False), nfev)
    except WANTS as without:
        if labels is False or not (has_labels(x) or (nested and Structure(x).has_labels)):
            raise
        try:
            return counted(structured(True), nfev)
        except WANTS:
            raise without from None
