"""Every function, method, operator and form of indexing that the dense lift knows, against one point at a time."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastgrad.lifting.dense import Bundle

POINTS = 7  # differs from every length below
Case = tuple[str, tuple[int, ...], Callable[[Any], Any]]


def points(*shape: int, dtype: Any = np.float64, seed: int = 0, near: float | None = None) -> Any:
    """POINTS arrays of a shape: anywhere, or within `near` of each other."""
    rng = np.random.default_rng(seed)
    if near is None:
        data = rng.normal(size=(POINTS, *shape)) * 2
    else:
        data = rng.normal(size=shape) + near * rng.normal(size=(POINTS, *shape))
    if np.dtype(dtype).kind == "c":
        data = data + 1j * rng.normal(size=data.shape)
    if np.dtype(dtype).kind == "i":
        data = np.round(3 * data)
    return data.astype(dtype)


def one_by_one(f: Callable[[Any], Any], data: Any) -> list[Any]:
    return [f(point.copy()) for point in data]


def assert_same(lifted: Any, expected: list[Any], ulp: float = 0) -> None:
    """Shape, dtype and values of a result, at each point; tuples part by part."""
    if isinstance(expected[0], tuple | list):
        assert isinstance(lifted, tuple | list)
        assert len(lifted) == len(expected[0])
        for part, wanted in zip(lifted, zip(*expected, strict=True), strict=True):
            assert_same(part, list(wanted), ulp)
        return
    for row, wanted in enumerate(expected):
        got = lifted.data[row] if type(lifted) is Bundle else lifted
        assert np.shape(got) == np.shape(wanted)
        if isinstance(wanted, np.ndarray | np.generic):
            assert np.asarray(got).dtype == wanted.dtype
        if ulp and np.asarray(wanted).dtype.kind in "fc":
            scale = np.abs(wanted).max() if np.size(wanted) else 1.0
            np.testing.assert_allclose(got, wanted, rtol=ulp * 2.3e-16, atol=ulp * 2.3e-16 * scale)
        else:
            np.testing.assert_array_equal(got, wanted)


def check(f: Callable[[Any], Any], data: Any, ulp: float = 0) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_same(f(Bundle(data.copy())), one_by_one(f, data), ulp)


A23, A34, A44 = (np.random.default_rng(9).normal(size=s) for s in ((2, 3), (3, 4), (4, 4)))
V3, V4 = np.random.default_rng(8).normal(size=3), np.random.default_rng(7).normal(size=4)
MASK4 = np.array([True, False, True, True])

UNARY = [
    np.exp,
    np.exp2,
    np.expm1,
    np.log,
    np.log2,
    np.log10,
    np.log1p,
    np.sqrt,
    np.cbrt,
    np.square,
    np.reciprocal,
    np.sin,
    np.cos,
    np.tan,
    np.arcsin,
    np.arccos,
    np.arctan,
    np.sinh,
    np.cosh,
    np.tanh,
    np.arcsinh,
    np.arccosh,
    np.arctanh,
    np.abs,
    np.fabs,
    np.sign,
    np.negative,
    np.positive,
    np.floor,
    np.ceil,
    np.trunc,
    np.rint,
    np.isnan,
    np.isfinite,
    np.isinf,
    np.signbit,
    np.conjugate,
    np.degrees,
    np.radians,
    np.modf,
    np.frexp,
    np.spacing,
    np.logical_not,
]
BINARY = [
    np.add,
    np.subtract,
    np.multiply,
    np.divide,
    np.floor_divide,
    np.remainder,
    np.fmod,
    np.power,
    np.float_power,
    np.maximum,
    np.minimum,
    np.fmax,
    np.fmin,
    np.arctan2,
    np.hypot,
    np.logaddexp,
    np.logaddexp2,
    np.copysign,
    np.nextafter,
    np.heaviside,
    np.less,
    np.less_equal,
    np.greater,
    np.greater_equal,
    np.equal,
    np.not_equal,
    np.logical_and,
    np.logical_or,
    np.logical_xor,
    np.divmod,
    np.ldexp,
]


@pytest.mark.parametrize("ufunc", UNARY, ids=lambda u: u.__name__)
@pytest.mark.parametrize("shape", [(), (5,), (2, 3)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.complex128])
def test_unary_ufuncs(ufunc: Any, shape: tuple[int, ...], dtype: Any) -> None:
    data = points(*shape, dtype=dtype)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ufunc(data[0])
    except TypeError:
        pytest.skip("not for this dtype")
    # numpy's own complex loops round differently with the length of the array
    check(ufunc, data, ulp=2 if dtype is np.complex128 else 0)


@pytest.mark.parametrize("ufunc", BINARY, ids=lambda u: u.__name__)
@pytest.mark.parametrize(
    "other", [2, 0.5, np.float64(1.5), np.float32(0.5), V4, A34, A34[:, :1], [1.0, 2.0, 3.0, 4.0]], ids=str
)
@pytest.mark.parametrize("shape", [(), (4,), (3, 4), (2, 1, 4)])
def test_binary_ufuncs_with_constants(ufunc: Any, other: Any, shape: tuple[int, ...]) -> None:
    data = points(*shape)
    if ufunc is np.ldexp:
        other = 3
    check(lambda x: ufunc(x, other), data)
    if ufunc is not np.ldexp:
        check(lambda x: ufunc(other, x), data)


@pytest.mark.parametrize("ufunc", [u for u in BINARY if u is not np.ldexp], ids=lambda u: u.__name__)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_binary_ufuncs_of_two_bundles(ufunc: Any, dtype: Any) -> None:
    data = points(3, 4, dtype=dtype)
    if ufunc is np.power and dtype is np.int64:
        data = np.abs(data)
    for f in (
        lambda x: ufunc(x, x[::-1]),
        lambda x: ufunc(x, x[0]),
        lambda x: ufunc(x[:, 0], x[1, 1]),
        lambda x: ufunc(x[0, 0], x),
        lambda x: ufunc(x[:, None, 0], x[0]),
        lambda x: ufunc(x[0, 0], x[1, 2]),
    ):
        check(f, data)


OPERATORS = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.floordiv,
    operator.mod,
    operator.pow,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
    operator.eq,
    operator.ne,
    divmod,
]


@pytest.mark.parametrize("op", OPERATORS, ids=lambda o: o.__name__)
@pytest.mark.parametrize("other", [2, 3, -1, 0.5, 2.0, np.float64(2.0), True, V4, np.arange(4), A34], ids=repr)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.complex128])
def test_operators_with_constants(op: Any, other: Any, dtype: Any) -> None:
    def ordered(*values: Any) -> bool:
        return op not in (operator.floordiv, operator.mod, divmod) or not any(np.iscomplexobj(v) for v in values)

    for shape in ((), (4,), (3, 4)):
        data = points(*shape, dtype=dtype)
        if not ordered(data):
            continue
        # where numpy has vector instructions of 512 bits, it rounds a power in an array otherwise than that of a number
        ulp = 4.0 * np.finfo(dtype).eps / 2.2e-16 if op is operator.pow else 0
        check(lambda x: op(x, other), data, ulp=ulp)
        check(lambda x: op(other, x), data, ulp=ulp)
        if np.ndim(other) == 0 and shape:
            check(lambda x: op(x[0] if x.ndim == 1 else x[0, 0], other), data, ulp=ulp)


@pytest.mark.parametrize("power", [0, 1, 2, 3, 4, -1, -2, 0.5, 1.5, 2.0, np.float64(2.0)], ids=repr)
def test_powers_round_as_for_one_point(power: Any) -> None:
    """A scalar is raised by pow, an array squared by multiplication: 1 in 1000 squares differ."""
    data = np.abs(np.random.default_rng(1).normal(size=(4000, 2)))
    lifted = Bundle(data)
    assert np.array_equal((lifted[0] ** power).data, [x[0] ** power for x in data])
    assert np.array_equal((lifted**power).data, [x**power for x in data])
    assert np.array_equal(np.power(lifted[0], power).data, [np.power(x[0], power) for x in data])


@pytest.mark.parametrize(
    "op", [operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift], ids=lambda o: o.__name__
)
def test_integer_operators(op: Any) -> None:
    data = np.abs(points(4, dtype=np.int64))
    check(lambda x: op(x, 3), data)
    check(lambda x: op(3, x), data)
    check(lambda x: op(x, x[::-1]), data)
    if op not in (operator.lshift, operator.rshift):
        check(lambda x: op(x > 1, x[::-1] > 2), data)
    check(lambda x: ~(x > 1), data)


# name, shape of x, expression; those in ROUNDED may differ by the order of a sum
EXACT: list[Case] = [
    ("neg", (4,), lambda x: -x),
    ("pos", (4,), lambda x: +x),
    ("abs", (3, 4), abs),
    ("round", (4,), lambda x: np.round(x, 1)),
    ("round method", (4,), lambda x: x.round(2)),
    ("around", (4,), np.around),
    ("builtin round", (4,), lambda x: round(x[0], 2)),
    ("where", (4,), lambda x: np.where(x > 0, x, -x)),
    ("where scalar", (4,), lambda x: np.where(x[0] > 0, x, 1.0)),
    ("where constant condition", (4,), lambda x: np.where(MASK4, x, 0)),
    ("where 2-d", (4,), lambda x: np.where(A34 > 0, x, A34)),
    ("clip", (4,), lambda x: np.clip(x, -1, 1)),
    ("clip arrays", (4,), lambda x: np.clip(x, V4 - 1, V4 + 1)),
    ("clip bundles", (3, 4), lambda x: np.clip(x, x[0] - 1, x[1] + 1)),
    ("clip one side", (4,), lambda x: x.clip(0)),
    ("clip max", (4,), lambda x: x.clip(max=0.5)),
    ("clip keywords", (4,), lambda x: np.clip(x, a_min=0, a_max=None)),
    ("select", (4,), lambda x: np.select([x < -1, x > 1], [x, x**2], 0.5)),
    ("nan_to_num", (4,), lambda x: np.nan_to_num(np.sqrt(x))),
    ("isclose", (4,), lambda x: np.isclose(x, 0, atol=1)),
    ("sinc", (4,), np.sinc),
    ("i0", (4,), np.i0),
    ("fix", (4,), np.fix),
    ("angle", (4,), lambda x: np.angle(x + 1j)),
    ("real", (4,), lambda x: (x * 1j + 2).real),
    ("imag", (4,), lambda x: np.imag(x * 1j)),
    ("conj", (4,), lambda x: np.conj(x + 1j * x)),
    ("conj method", (4,), lambda x: (x + 2j).conj()),
    ("interp", (4,), lambda x: np.interp(x, [-1.0, 0.0, 2.0], [3.0, 1.0, 2.0])),
    ("interp in table", (3,), lambda x: np.interp([0.1, 1.3, 5.0], [0.0, 1.0, 2.0], x)),
    ("searchsorted", (4,), lambda x: np.searchsorted([-1.0, 0.0, 1.0], x)),
    ("digitize", (4,), lambda x: np.digitize(x, [-1.0, 0.0, 1.0])),
    ("polyval", (4,), lambda x: np.polyval([1.0, 2.0, 3.0], x)),
    ("polyval coefficients", (4,), lambda c: np.polyval(c, V3)),
    ("polyval both", (4,), lambda x: np.polyval(x, x)),
    ("heaviside", (4,), lambda x: np.heaviside(x, 0.5)),
    ("piecewise", (4,), lambda x: np.piecewise(x, [x < 0, x >= 0], [lambda v: -v, lambda v: v**2])),
    ("unwrap", (4,), lambda x: np.unwrap(3 * x)),
    ("nan_to_num keyword", (4,), lambda x: np.nan_to_num(np.log(x), nan=7.0)),
    ("ufunc where", (4,), lambda x: np.where(x > 0, np.sqrt(np.abs(x), where=MASK4), 0)[MASK4]),
    # reductions that do not round, or round alike
    ("max", (3, 4), np.max),
    ("min axis", (3, 4), lambda x: x.min(axis=0)),
    ("amax", (3, 4), lambda x: np.amax(x, 1)),
    ("max keepdims", (3, 4), lambda x: np.max(x, axis=-1, keepdims=True)),
    ("max initial", (4,), lambda x: np.max(x, initial=1.0)),
    ("any", (3, 4), lambda x: np.any(x > 1, axis=0)),
    ("all", (3, 4), lambda x: (x > -9).all()),
    ("ptp", (3, 4), lambda x: np.ptp(x, axis=1)),
    ("argmax", (3, 4), np.argmax),
    ("argmin axis", (3, 4), lambda x: x.argmin(axis=0)),
    ("argmax method", (4,), lambda x: x.argmax()),
    ("count_nonzero", (3, 4), lambda x: np.count_nonzero(x > 0)),
    ("count_nonzero axis", (3, 4), lambda x: np.count_nonzero(x > 0, axis=1)),
    ("median", (3, 5), np.median),
    ("median axis", (3, 5), lambda x: np.median(x, axis=0)),
    ("quantile", (5,), lambda x: np.quantile(x, 0.3)),
    ("percentile", (3, 5), lambda x: np.percentile(x, 30, axis=1)),
    ("quantiles", (5,), lambda x: np.quantile(x, [0.2, 0.5])),
    ("sum 1-d", (300,), np.sum),
    ("sum long strided", (600,), lambda x: np.sum(x[::2])),
    ("sum shifted", (300,), lambda x: x[1:].sum()),
    ("sum bool", (4,), lambda x: np.sum(x > 0)),
    ("sum dtype", (4,), lambda x: np.sum(x, dtype=np.float32)),
    ("sum scalar", (4,), lambda x: np.sum(x[0])),
    ("prod", (40,), np.prod),
    ("mean 1-d", (300,), np.mean),
    ("mean method", (300,), lambda x: x.mean()),
    ("sum 2-d", (30, 40), np.sum),
    ("sum axis 0", (30, 40), lambda x: x.sum(axis=0)),
    ("sum axis 1", (30, 40), lambda x: x.sum(1)),
    ("sum axes", (4, 5, 6), lambda x: x.sum(axis=(0, 2))),
    ("sum keepdims", (4, 5), lambda x: x.sum(axis=1, keepdims=True)),
    ("sum negative axis", (4, 5), lambda x: np.sum(x, axis=-2)),
    ("mean axis", (30, 40), lambda x: x.mean(axis=0)),
    ("sum where", (4,), lambda x: np.sum(x, where=MASK4)),
    ("sum initial", (4,), lambda x: np.sum(x, initial=5.0)),
    ("sum of own mask", (4,), lambda x: np.sum(x, where=x > 0)),
    ("mean of bools", (4,), lambda x: np.mean(x > 0)),
    ("var", (50,), np.var),
    ("std ddof", (50,), lambda x: x.std(ddof=1)),
    ("var axis", (5, 60), lambda x: np.var(x, axis=1, keepdims=True)),
    ("nansum", (4,), lambda x: np.nansum(np.sqrt(x))),
    ("nanmean", (6,), lambda x: np.nanmean(np.log(x))),
    ("nanmax", (6,), lambda x: np.nanmax(np.sqrt(x))),
    ("average", (4,), lambda x: np.average(x, weights=[1, 2, 3, 4])),
    ("average axis", (3, 4), lambda x: np.average(x, axis=0)),
    ("average weights axis", (3, 4), lambda x: np.average(x, axis=0, weights=[1.0, 2.0, 3.0])),
    ("average returned", (4,), lambda x: np.average(x, returned=True)),
    ("cumsum", (4,), np.cumsum),
    ("cumsum axis", (3, 4), lambda x: x.cumsum(axis=0)),
    ("cumsum flat", (3, 4), np.cumsum),
    ("cumprod", (4,), np.cumprod),
    ("cumprod axis", (3, 4), lambda x: np.cumprod(x, axis=-1)),
    ("diff", (5,), np.diff),
    ("diff twice", (3, 5), lambda x: np.diff(x, n=2, axis=1)),
    ("diff axis 0", (3, 5), lambda x: np.diff(x, axis=0)),
    ("diff prepend", (5,), lambda x: np.diff(x, prepend=0)),
    ("ediff1d", (5,), np.ediff1d),
    ("gradient", (5,), np.gradient),
    ("gradient 2-d", (5, 6), np.gradient),
    ("gradient spacing", (5,), lambda x: np.gradient(x, 0.5)),
    ("gradient axis", (5, 6), lambda x: np.gradient(x, axis=1)),
    ("trapezoid", (5,), np.trapezoid),
    ("trapezoid x", (5,), lambda y: np.trapezoid(y, np.arange(5.0) ** 2)),
    ("trapezoid dx axis", (5, 6), lambda y: np.trapezoid(y, dx=0.5, axis=0)),
    ("sort", (5,), np.sort),
    ("sort axis", (3, 4), lambda x: np.sort(x, axis=0)),
    ("sort flat", (3, 4), lambda x: np.sort(x, axis=None)),
    ("argsort", (5,), np.argsort),
    ("argsort method", (3, 5), lambda x: x.argsort(axis=0)),
    ("partition", (5,), lambda x: np.partition(x, 2)[2]),
    ("unique", (5,), np.unique),
    ("repeat", (3, 2), lambda x: np.repeat(x, 2)),
    ("repeat axis", (3, 2), lambda x: x.repeat(2, axis=0)),
    ("take", (4,), lambda x: np.take(x, [0, -1, 0])),
    ("take axis", (3, 4), lambda x: x.take([1, 0], axis=1)),
    ("take flat", (3, 4), lambda x: x.take(5)),
    ("take_along_axis", (3, 4), lambda x: np.take_along_axis(x, np.argsort(A34), axis=1)),
    ("compress", (4,), lambda x: x.compress(MASK4)),
    ("choose", (4,), lambda x: np.choose([0, 1, 0, 1], [x, -x])),
    ("extract", (4,), lambda x: np.extract(MASK4, x)),
    # shapes
    ("reshape", (3, 4), lambda x: np.reshape(x, (2, 6))),
    ("reshape -1", (3, 4), lambda x: x.reshape(-1, 2)),
    ("reshape flat", (3, 4), lambda x: x.reshape(-1)),
    ("reshape F", (3, 4), lambda x: x.reshape((4, 3), order="F")),
    ("ravel", (3, 4), np.ravel),
    ("ravel F", (3, 4), lambda x: x.ravel("F")),
    ("flatten", (3, 4), lambda x: x.flatten()),
    ("T", (3, 4), lambda x: x.T),
    ("T 3-d", (2, 3, 4), lambda x: x.T),
    ("mT", (2, 3, 4), lambda x: x.mT),
    ("transpose", (2, 3, 4), lambda x: np.transpose(x, (1, 2, 0))),
    ("transpose args", (2, 3, 4), lambda x: x.transpose(2, 0, 1)),
    ("transpose 1-d", (4,), np.transpose),
    ("swapaxes", (2, 3, 4), lambda x: x.swapaxes(0, -1)),
    ("moveaxis", (2, 3, 4), lambda x: np.moveaxis(x, 0, -1)),
    ("squeeze", (1, 3, 1), np.squeeze),
    ("squeeze axis", (1, 3, 1), lambda x: x.squeeze(axis=-1)),
    ("expand_dims", (3, 4), lambda x: np.expand_dims(x, 1)),
    ("expand_dims last", (3,), lambda x: np.expand_dims(x, (0, -1))),
    ("newaxis", (3,), lambda x: x[:, np.newaxis] * x),
    ("broadcast_to", (4,), lambda x: np.broadcast_to(x, (3, 4))),
    ("broadcast_arrays", (4,), lambda x: np.broadcast_arrays(x, A34)),
    ("atleast_1d", (4,), lambda x: np.atleast_1d(x[0])),
    ("atleast_2d", (4,), np.atleast_2d),
    ("atleast_3d", (4,), lambda x: np.atleast_3d(x) * 1),
    ("flip", (3, 4), np.flip),
    ("flip axis", (3, 4), lambda x: np.flip(x, 1)),
    ("flipud", (3, 4), np.flipud),
    ("fliplr", (3, 4), np.fliplr),
    ("roll", (3, 4), lambda x: np.roll(x, 2)),
    ("roll axis", (3, 4), lambda x: np.roll(x, -1, axis=0)),
    ("roll axes", (3, 4), lambda x: np.roll(x, (1, 2), axis=(0, 1))),
    ("rot90", (3, 4), np.rot90),
    ("pad", (4,), lambda x: np.pad(x, 2)),
    ("pad edge", (3, 4), lambda x: np.pad(x, ((1, 2), (0, 1)), mode="edge")),
    ("pad value", (4,), lambda x: np.pad(x, (1, 0), constant_values=3)),
    ("pad wrap", (4,), lambda x: np.pad(x, 1, mode="wrap")),
    ("pad reflect", (3, 4), lambda x: np.pad(x, 1, "reflect")),
    ("pad two values", (4,), lambda x: np.pad(x, 1, constant_values=(3, 4))),
    ("tile", (4,), lambda x: np.tile(x, 2)),
    ("tile 2-d", (4,), lambda x: np.tile(x, (2, 3))),
    ("tile 2-d by 1", (2, 3), lambda x: np.tile(x, 2)),
    ("concatenate", (4,), lambda x: np.concatenate([x, V3, x[:1]])),
    ("concatenate axis", (3, 4), lambda x: np.concatenate((x, A34), axis=1)),
    ("concatenate flat", (3, 4), lambda x: np.concatenate((x, A23), axis=None)),
    ("stack", (4,), lambda x: np.stack([x, V4])),
    ("stack last", (4,), lambda x: np.stack((x, x**2), axis=-1)),
    ("hstack", (4,), lambda x: np.hstack([x, V3, x[0]])),
    ("hstack 2-d", (3, 4), lambda x: np.hstack((x, A34))),
    ("vstack", (4,), lambda x: np.vstack([x, A34])),
    ("column_stack", (4,), lambda x: np.column_stack([x, V4])),
    ("dstack", (4,), lambda x: np.dstack([x, V4])),
    ("append", (4,), lambda x: np.append(x, [1.0, 2.0])),
    ("append axis", (3, 4), lambda x: np.append(x, A34, axis=0)),
    ("stack scalars", (4,), lambda x: np.stack([x[0], x[2], 1.0])),
    ("concatenate lists", (4,), lambda x: np.concatenate([[x[0]], x, [0.0]])),
    ("insert", (4,), lambda x: np.insert(x, 1, 9.0)),
    ("delete", (4,), lambda x: np.delete(x, 1)),
    ("block", (3, 4), lambda x: np.block([[x, x], [x, x]])),
    ("split", (6,), lambda x: np.split(x, 3)),
    ("array_split axis", (3, 4), lambda x: np.array_split(x, 2, axis=1)),
    ("trace", (4, 4), np.trace),
    ("trace offset", (3, 4, 2), lambda x: x.trace(1, 0, 1)),
    ("diagonal", (3, 4), lambda x: x.diagonal(1)),
    ("diag", (4,), np.diag),
    ("diag offset", (4,), lambda x: np.diag(x, -1)),
    ("diag of matrix", (4, 4), np.diag),
    ("diagflat", (4,), np.diagflat),
    ("tril", (4, 4), np.tril),
    ("triu", (3, 4), lambda x: np.triu(x, 1)),
    ("triu 1-d", (3,), np.triu),
    ("meshgrid", (4,), lambda x: np.meshgrid(x, V3)),
    ("zeros_like", (4,), np.zeros_like),
    ("zeros_like dtype", (4,), lambda x: np.zeros_like(x, dtype=int)),
    ("zeros_like shape", (4,), lambda x: np.zeros_like(x, shape=(2, 3))),
    ("ones_like", (3, 4), np.ones_like),
    ("full_like", (4,), lambda x: np.full_like(x, 3)),
    ("full_like bundle", (4,), lambda x: np.full_like(x, x[0])),
    ("copy", (4,), np.copy),
    ("astype", (4,), lambda x: x.astype(np.float32)),
    ("astype int", (4,), lambda x: x.astype(int)),
    ("astype complex", (4,), lambda x: x.astype(complex)),
    ("view of real", (4,), lambda x: x.real * 2),
    ("linspace", (4,), lambda x: np.linspace(x[0], x[1], 5)),
    ("vander", (3,), np.vander),
    ("histogram", (6,), lambda x: np.histogram(x, bins=[-9.0, 0.0, 9.0])[0]),
    ("bincount", (4,), lambda x: np.bincount([0, 1, 1, 2], weights=x)),
    # products
    ("outer", (4,), lambda x: np.outer(x, V3)),
    ("outer bundles", (4,), lambda x: np.outer(x, x)),
    ("cross", (3,), lambda x: np.cross(x, V3)),
    ("cross rows", (4, 3), lambda x: np.cross(x, x[0])),
    ("kron", (2, 2), lambda x: np.kron(x, np.eye(2))),
    ("multiply.outer", (4,), lambda x: np.multiply.outer(x, V3)),
    ("subtract.outer", (4,), lambda x: np.subtract.outer(x, x)),
    ("outer from constant", (4,), lambda x: np.add.outer(A23, x)),
    ("add.reduce", (3, 4), np.add.reduce),
    ("add.reduce axis", (3, 4), lambda x: np.add.reduce(x, axis=1)),
    ("add.reduce axes", (3, 4), lambda x: np.add.reduce(x, axis=(0, 1))),
    ("maximum.reduce", (3, 4), np.maximum.reduce),
    ("reduce all", (3, 4), lambda x: np.multiply.reduce(x, axis=None)),
    ("maximum.accumulate", (5,), np.maximum.accumulate),
    ("add.accumulate axis", (3, 4), lambda x: np.add.accumulate(x, axis=1)),
    ("add.reduceat", (6,), lambda x: np.add.reduceat(x, [0, 2, 4])),
    ("norm", (50,), np.linalg.norm),
    ("norm matrix", (3, 4), np.linalg.norm),
    ("norm fro", (3, 4), lambda x: np.linalg.norm(x, "fro")),
    ("norm 1", (4,), lambda x: np.linalg.norm(x, 1)),
    ("norm inf", (4,), lambda x: np.linalg.norm(x, np.inf)),
    ("norm axis", (3, 4), lambda x: np.linalg.norm(x, axis=1)),
    ("norm keepdims", (3, 4), lambda x: np.linalg.norm(x, axis=-1, keepdims=True)),
    ("norm 2 of matrix", (3, 4), lambda x: np.linalg.norm(x, 2)),
    ("norm nuclear", (3, 4), lambda x: np.linalg.norm(x, "nuc")),
    ("norm kept whole", (3, 4), lambda x: np.linalg.norm(x, keepdims=True)),
    ("det", (4, 4), np.linalg.det),
    ("slogdet", (4, 4), lambda x: tuple(np.linalg.slogdet(x))),
    ("inv", (4, 4), np.linalg.inv),
    ("cholesky", (4, 4), lambda x: np.linalg.cholesky(np.matmul(x, x.T) + 9 * np.eye(4))),
    ("eigvalsh", (4, 4), lambda x: np.linalg.eigvalsh(x + x.T)),
    ("eigh", (4, 4), lambda x: tuple(np.linalg.eigh(x + x.T))),
    ("svd", (3, 4), lambda x: tuple(np.linalg.svd(x))),
    ("singular values", (3, 4), lambda x: np.linalg.svd(x, compute_uv=False)),
    ("qr", (4, 3), lambda x: tuple(np.linalg.qr(x))),
    ("pinv", (4, 3), np.linalg.pinv),
    ("matrix_power", (4, 4), lambda x: np.linalg.matrix_power(x, 3)),
    ("matrix_rank", (4, 4), np.linalg.matrix_rank),
    ("cond", (4, 4), np.linalg.cond),
    ("lstsq", (4,), lambda b: np.linalg.lstsq(A44, b)[0]),
    ("solve both", (4, 4), lambda x: np.linalg.solve(x, x[:, :2])),
    ("solve vector", (4, 4), lambda x: np.linalg.solve(x, V4)),
    ("solve own vector", (4, 4), lambda x: np.linalg.solve(x, x[0])),
    ("fft", (6,), np.fft.fft),
    ("rfft axis", (3, 6), lambda x: np.fft.rfft(x, axis=0)),
    ("irfft", (5,), lambda x: np.fft.irfft(x, n=6)),
    ("fft2", (3, 4), np.fft.fft2),
    ("fftn", (3, 4), np.fft.fftn),
    ("fftshift", (3, 4), np.fft.fftshift),
    ("convolve", (5,), lambda x: np.convolve(x, V3)),
    ("correlate", (5,), lambda x: np.correlate(x, V3, "same")),
    ("cov", (3, 6), np.cov),
    ("corrcoef", (3, 6), np.corrcoef),
    ("apply_along_axis", (3, 4), lambda x: np.apply_along_axis(np.sum, 0, x)),
    ("isin", (4,), lambda x: np.isin(np.round(x), [0, 1, 2])),
    ("nonzero of constant pattern", (4,), lambda x: np.nonzero(x**2 > -1)),
    ("allclose", (4,), lambda x: np.allclose(x, x)),
    ("array_equal", (4,), lambda x: np.array_equal(x, x.copy())),
    ("iscomplexobj", (4,), np.iscomplexobj),
    ("result_type", (4,), lambda x: np.result_type(x, np.float32)),
    ("shape", (3, 4), np.shape),
    ("size", (3, 4), np.size),
    ("ndim", (3, 4), np.ndim),
    ("nbytes", (3, 4), lambda x: (x.nbytes, x.itemsize, x.size, len(x))),
    ("isinstance", (4,), lambda x: isinstance(x, np.ndarray)),
    ("isscalar", (4,), lambda x: (np.isscalar(x[0]), isinstance(x[0], float), np.isscalar(x))),
    ("iterable", (4,), lambda x: (np.iterable(x), np.iterable(x[0]))),
    # python
    ("sum builtin", (5,), sum),
    ("sum generator", (5,), lambda x: sum(v * v for v in x)),
    ("rows", (3, 4), lambda x: [row.sum() for row in x]),
    ("unpacked", (3,), lambda x: np.hypot(*x[1:]) + divmod(*x[:2])[1]),
    ("enumerate", (4,), lambda x: sum(i * v for i, v in enumerate(x))),
    ("reversed", (4,), lambda x: list(reversed(x))),
    ("abs pow", (4,), lambda x: pow(abs(x[0]), 2)),
    ("in object array", (4,), lambda x: np.sum(np.array([x[0], x[1] * 2, 3.0]))),
    ("object exp", (4,), lambda x: np.exp(np.array([x[0], x[1]]))[1]),
]

INDEXING: list[Case] = [
    ("int", (5,), lambda x: x[2]),
    ("negative int", (5,), lambda x: x[-1]),
    ("numpy int", (5,), lambda x: x[np.int64(3)]),
    ("row", (3, 4), lambda x: x[1]),
    ("entry", (3, 4), lambda x: x[1, -1]),
    ("entry twice", (3, 4), lambda x: x[1][2]),
    ("slice", (5,), lambda x: x[1:3]),
    ("step", (5,), lambda x: x[::2]),
    ("reversed", (5,), lambda x: x[::-1]),
    ("negative step", (5,), lambda x: x[4:0:-2]),
    ("column", (3, 4), lambda x: x[:, 1]),
    ("block", (3, 4), lambda x: x[1:, :2]),
    ("ellipsis", (2, 3, 4), lambda x: x[..., 0]),
    ("ellipsis middle", (2, 3, 4), lambda x: x[0, ..., 1]),
    ("ellipsis alone", (3,), lambda x: x[...]),
    ("newaxis", (3,), lambda x: x[None]),
    ("newaxis last", (3,), lambda x: x[:, None]),
    ("newaxis scalar", (3,), lambda x: x[1][None]),
    ("empty slice", (5,), lambda x: x[5:]),
    ("list", (5,), lambda x: x[[0, 3, -1]]),
    ("array", (5,), lambda x: x[np.array([4, 0])]),
    ("2-d array", (5,), lambda x: x[np.array([[4, 0], [1, 1]])]),
    ("0-d array", (5,), lambda x: x[np.array(2)]),
    ("rows", (3, 4), lambda x: x[[2, 0]]),
    ("pairs", (3, 4), lambda x: x[[0, 1, 2], [3, 2, 1]]),
    ("columns", (3, 4), lambda x: x[:, [3, 0]]),
    ("row and columns", (3, 4), lambda x: x[1, [3, 0]]),
    ("outer pairs", (3, 4), lambda x: x[np.ix_([0, 2], [1, 3])]),
    ("apart", (2, 3, 4), lambda x: x[[0, 1], :, [2, 3]]),
    ("apart with int", (2, 3, 4), lambda x: x[0, :, [2, 3]]),
    ("inner", (2, 3, 4), lambda x: x[:, [0, 2], 1:]),
    ("with newaxis", (3, 4), lambda x: x[[0, 2], None, :]),
    ("mask", (4,), lambda x: x[MASK4]),
    ("mask of matrix", (3, 4), lambda x: x[A34 > 0]),
    ("mask columns", (3, 4), lambda x: x[:, MASK4]),
    ("mask list", (4,), lambda x: x[[True, False, False, True]]),
    ("empty list", (4,), lambda x: x[[]]),
    ("tuple of arrays", (3, 4), lambda x: x[np.triu_indices(3)]),
    ("boolean scalar", (4,), lambda x: x[True]),
    ("unsigned", (4,), lambda x: x[np.array([1, 2], dtype=np.uint8)]),
    ("scalar with empty tuple", (4,), lambda x: x[0][()]),
    ("own index", (4,), lambda x: x[np.argsort(x * 0 + V4)]),
    ("own argmax", (4,), lambda x: x[np.argmax(x * 0 + V4)]),
    ("flat", (3, 4), lambda x: x.flat[5]),
    ("constant at own index", (4,), lambda x: list(V4)[int(x[0] * 0 + 2)]),
]

ROUNDED: list[Case] = [
    ("norm 3", (4,), lambda x: np.linalg.norm(x, 3)),
    ("constant matrix", (4,), lambda x: A34 @ x),
    ("vector matrix", (3,), lambda x: x @ A34),
    ("dot vectors", (4,), lambda x: x @ V4),
    ("vector first", (4,), lambda x: V4 @ x),
    ("quadratic", (4,), lambda x: x @ A44 @ x),
    ("np.dot", (4,), lambda x: np.dot(A34, x)),
    ("own dot", (40,), lambda x: x @ x),
    ("own np.dot", (40,), lambda x: np.dot(x, x)),
    ("method dot", (4,), lambda x: x.dot(V4)),
    ("matrix vector", (3, 4), lambda x: x @ V4),
    ("matrix matrix", (3, 4), lambda x: x @ A44),
    ("from the left", (3, 4), lambda x: A23 @ x),
    ("own product", (3, 4), lambda x: x @ x.T),
    ("row matrix", (4, 4), lambda x: x[0] @ x),
    ("matrix row", (4, 4), lambda x: x @ x[0]),
    ("stacks", (2, 3, 4), lambda x: x @ A44),
    ("stack left", (2, 3, 4), lambda x: A23 @ x),
    ("constant stack", (4,), lambda x: np.ones((2, 3, 4)) @ x),
    ("constant stack row", (3,), lambda x: x @ np.ones((2, 3, 4))),
    ("stack of matrix", (3, 4), lambda x: np.ones((2, 5, 3)) @ x),
    ("stack vector", (2, 3, 4), lambda x: x @ x[0, 0]),
    ("dot scalar", (4,), lambda x: np.dot(x[0], x)),
    ("dot 3-d", (4,), lambda x: np.dot(np.ones((2, 3, 4)), x)),
    ("np.matmul", (3, 4), lambda x: np.matmul(x, A44)),
    ("vdot", (3, 4), lambda x: np.vdot(x, A34)),
    ("vdot complex", (4,), lambda x: np.vdot(x * 1j, x + 1j)),
    ("inner", (4,), lambda x: np.inner(x, V4)),
    ("inner 2-d", (3, 4), lambda x: np.inner(x, A34)),
    ("inner scalar", (4,), lambda x: np.inner(x, 2)),
    ("tensordot", (3, 4), lambda x: np.tensordot(x, A34)),
    ("tensordot axes", (3, 4), lambda x: np.tensordot(x, A44, axes=1)),
    ("tensordot pairs", (2, 3, 4), lambda x: np.tensordot(x, A34, axes=([1, 2], [0, 1]))),
    ("tensordot own", (3, 4), lambda x: np.tensordot(x, x, axes=([0], [0]))),
    ("tensordot outer", (4,), lambda x: np.tensordot(x, V3, axes=0)),
    ("einsum", (4,), lambda x: np.einsum("i,ij,j", x, A44, x)),
    ("einsum trace", (4, 4), lambda x: np.einsum("ii", x)),
    ("einsum implicit", (3, 4), lambda x: np.einsum("ij,jk", x, A44)),
    ("einsum transpose", (3, 4), lambda x: np.einsum("ji", x)),
    ("einsum ellipsis", (2, 3, 4), lambda x: np.einsum("...ij,jk->...ik", x, A44)),
    ("einsum constant first", (4,), lambda x: np.einsum("ij,j->i", A34, x)),
    ("einsum optimize", (4,), lambda x: np.einsum("i,ij,j->", x, A44, x, optimize=True)),
    ("vecdot", (3, 4), lambda x: np.vecdot(x, V4)),
    ("matvec", (3, 4), lambda x: np.linalg.vecdot(x, V4)),
    ("solve", (4,), lambda b: np.linalg.solve(A44 + 5 * np.eye(4), b)),
    ("solve matrix", (4, 2), lambda b: np.linalg.solve(A44 + 5 * np.eye(4), b)),
    ("multi_dot", (3, 4), lambda x: np.linalg.multi_dot([A23, x, A44])),
    ("sum transposed", (3, 4), lambda x: x.T.sum()),
    ("sum of columns", (30, 40), lambda x: np.sum(x[:, ::2])),
    ("sum gathered", (30, 40), lambda x: x[:, [3, 1]].sum()),
    ("mean of transposed", (3, 4), lambda x: x.T.mean(axis=0)),
    ("complex product", (4,), lambda x: (A34 * 1j) @ x),
    ("complex norm", (4,), lambda x: np.linalg.norm(x + 1j)),
    ("array products", (4,), lambda x: np.array([x[0], x[1]]) @ np.array([x[2], 1.0])),
    ("f-ordered", (3, 4), lambda x: np.asfortranarray(A44) @ x.T),
]


def named(cases: list[Case]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[c[0] for c in cases])


@named(EXACT + INDEXING)
def test_bit_for_bit(case: Case) -> None:
    _, shape, f = case
    check(f, points(*shape))


@named(ROUNDED)
def test_up_to_the_order_of_a_sum(case: Case) -> None:
    check(case[2], points(*case[1]), ulp=64)


OTHER_DTYPES_DIFFER = {
    "in object array": "np.array([...]) of bundles keeps float32 beside Python numbers",
    "array products": "np.array([...]) of bundles keeps float32 beside Python numbers",
    "nonzero of constant pattern": "complex numbers are ordered by their real part: no constant pattern",
}


@named(EXACT + INDEXING + ROUNDED)
@pytest.mark.parametrize("dtype", [np.float32, np.complex128], ids=["float32", "complex"])
def test_other_dtypes(case: Case, dtype: Any) -> None:
    """What numpy does with one point of this dtype, an error included."""
    name, shape, f = case
    if name in OTHER_DTYPES_DIFFER:
        pytest.skip(OTHER_DTYPES_DIFFER[name])
    data = points(*shape, dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            one_by_one(f, data)
        except (TypeError, ValueError):
            pytest.skip("not for this dtype")
    check(f, data, ulp=64 * (2.0**29 if dtype is np.float32 else 1))
