"""The lane lift gives the scalar evaluation's bits, its exceptions in its order, or says that it cannot."""

import math
import threading
from functools import partial

import mpmath
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numba import njit, typeof, types
from numba.core.runtime import _nrt_python, rtsys

from fastgrad.lifting.lanes import (
    MAX_ULP,
    CannotLift,
    compile_lanes,
    evaluate_table_lanes,
    fastmath_available,
    lane_width,
)
from fastgrad.lifting.native import call_at


@njit(nogil=True, error_model="numpy")
def lanes_kernel(lane_address, scalar_address, args, x, tile, progress, y, index, points, values):
    return evaluate_table_lanes(lane_address, scalar_address, args, x, tile, progress, y, index, points, values)


@njit(nogil=True, error_model="numpy")
def scalar_kernel(scalar_address, args, x, y, index, points, values):
    y[...] = x
    for r in range(index.size):
        for j in range(points.shape[1]):
            y.flat[index[r]] = points[r, j]
            values[r, j] = call_at(scalar_address, y, args)
        y.flat[index[r]] = x.flat[index[r]]


class Both:
    """One function, both ways."""

    def __init__(self, f, ndim=1, args=(), **options):
        self.f, self.args = f, tuple(args)
        arg_types = tuple(map(typeof, self.args))
        before = list(f.signatures)
        self.lifted = compile_lanes(f, ndim, arg_types, **options)
        assert list(f.signatures) == before  # nothing shows in the user's dispatcher
        signature = types.float64(types.Array(types.float64, ndim, "C"), *arg_types)
        f.compile(signature)
        compiled = f.overloads[signature.args]
        self.scalar_address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)

    def table(self, x, points, index):
        n = x.size
        points = np.ascontiguousarray(points, dtype=np.float64)
        index = np.arange(n) if index is None else np.asarray(index, dtype=np.intp)
        return points, index

    def lanes(self, x, points, index=None):
        points, index = self.table(x, points, index)
        values = np.full_like(points, -12345.0)
        tile = np.full((x.size, self.lifted.width), np.nan)
        repeated = lanes_kernel(
            self.lifted.address,
            self.scalar_address,
            self.args,
            x,
            tile,
            np.zeros(1, np.intp),
            np.empty_like(x),
            index,
            points,
            values,
        )
        return values, repeated

    def scalar(self, x, points, index=None):
        points, index = self.table(x, points, index)
        values = np.full_like(points, -12345.0)
        scalar_kernel(self.scalar_address, self.args, x, np.empty_like(x), index, points, values)
        return values


def bits(values):
    """For comparison: NaNs are equal whatever their payload, zeros only with their sign."""
    return np.where(np.isnan(values), np.float64(np.nan), values).view(np.int64)


def assert_same(both, x, points, index=None, message=""):
    """The same bits, or the same exception; how many points were repeated."""
    try:
        expected = both.scalar(x, points, index)
    except (ArithmeticError, ValueError) as error:
        with pytest.raises(type(error)):
            both.lanes(x, points, index)
        return 0
    values, repeated = both.lanes(x, points, index)
    np.testing.assert_array_equal(bits(values), bits(expected), err_msg=message)
    return repeated


def central(x, h=1e-6):
    return np.stack([x.ravel() + h, x.ravel() - h], 1)


# --- functions by hand: (f, shape of x, args)

DATA = np.random.default_rng(1).normal(size=(5, 12))


@njit
def helper(v, w):
    return v * w + 1


@njit
def total(x):
    s = 0.0
    for v in x:
        s += v
    return s


def rosenbrock(x):
    s = 0.0
    for i in range(x.size - 1):
        s += 100 * (x[i + 1] - x[i] * x[i]) ** 2 + (1 - x[i]) ** 2
    return s


def logic(x):
    s = 0.0
    for i in range(len(x)):
        if (x[i] > 0 and x[i] < 1) or not x[i] < 2:
            s += x[i]
        elif x[i] != x[0]:
            s -= 1
    return s


def ternary(x):
    s = 0
    for v in x:
        s += v if v > 0 else -v
    return s


def tuples(x):
    a, b = (x[0], x[-1])
    t = (a * b, a + b, 2.0)
    return t[0] + t[1] * t[2]


def powers(x):
    s = 0.0
    for i in range(x.size):
        s += (
            x[i] ** 2
            + x[i] ** 3
            - x[i] ** 4
            + x[i] ** -1
            + x[i] ** i
            + 2.0 ** x[i]
            + (x[i] * x[i]) ** 0.5
            + pow(x[i], 5)
        )
    return s


def numpy_scalars(x):
    s = 0.0
    for v in x:
        s += np.exp(-v) + np.sqrt(abs(v)) + np.floor(v) + np.sign(v) + np.maximum(v, 0) + np.minimum(v, 0.5)
        s += np.arctan2(v, 2.0) + np.tanh(v) + np.log1p(v * v) + np.hypot(v, 1) + np.float64(v)
    return s


def math_scalars(x):
    s = 0.0
    for v in x:
        s += math.exp(-v) + math.sqrt(abs(v)) + math.floor(v) + math.fabs(v) + math.atan2(v, 2.0) + math.tanh(v)
        s += math.log(1 + v * v) + math.copysign(1.0, v) + math.cos(v)
    return s


def modulo(x):
    return x[0] % 0.3 + x[1] // 0.2 + divmod(x[2], 0.7)[0]


def extrema(x):
    return min(x[0], x[1], x[2]) + max(x[0], 0) + max(1, x[2])


def conversions(x):
    return int(x[0] * 10) + float(x[1]) + round(x[2]) + round(x[3], 1)


def two_dimensional(x):
    s = 0.0
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            s += x[i, j] * x[i, -1] + x[i][j]
    return s * x.ndim + len(x)


def with_arguments(x, w, k, c, t):
    s = 0.0
    for i in range(x.size):
        s += w[i] * x[i] * c + t[0] * k + t[1]
    return s


def inner_functions(x):
    s = total(x) * total(x[2:5])
    for i in range(1, x.size):
        s += helper(x[i], x[i - 1]) + helper(1.0, 2.0)
    return s


def temporaries(x):
    y, z = np.zeros(x.size), np.empty((x.size, 2))
    c = np.ones(3, dtype=np.int64)
    for i in range(x.size):
        y[i] = x[i] * 2
        z[i, 0] = x[i]
        z[i, 1] = c[1]
    w = np.empty_like(x)
    w[:] = 1.5
    w[1:] = x[:-1]
    s = 0.0
    for v in y:
        s += v * v
    return s + np.sum(z) + w.sum() + np.zeros_like(x)[0]


def slices(x):
    a, b, c, d = x[1:], x[:-1], x[::-1], x[::2]
    return a[0] * b[1] + c[0] + d[-1]


def array_expression(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2) + x.sum()


def reductions(x):
    return np.mean(x) + x.min() * x.max() + np.prod(x) + np.max(x) + np.var(x) + np.sum(np.cumsum(x))


def dot_products(x):
    return np.dot(x, x) + x @ x + x.dot(x)


def matrix_vector(x, a):
    r = a @ x - 1.0
    return 0.5 * np.dot(r, r)


def hinge(x, a):
    return np.sum(np.maximum(1 - a @ x, 0) ** 2)


def elementwise(x):
    return np.sum(np.exp(-(x**2)) * np.sin(3 * x) + np.where(x > 0, x, 0.1 * x)) + np.abs(x).sum()


def iterators(x):
    s = 0.0
    for i, v in enumerate(x):
        s += i * v
    for a, b in zip(x, x[1:]):  # noqa: B905, RUF007
        s += a * b
    for i in np.ndindex(x.shape):
        s += x[i]
    for i, v in np.ndenumerate(x):
        s += v * i[0]
    return s


def shapes(x):
    y, z = x.reshape(12), x.ravel()
    return y[3] * z[4] + x.T[1, 2] + x.flatten()[2] + np.sum(x * x) + np.sum(x.T) + x.T.mean()


def matrices(x):
    return np.sum(x @ x) + np.linalg.norm(x) + np.trace(x) + np.linalg.det(x)


def in_place(x):
    y = x.copy()
    y += 1.0
    y *= x
    y -= x
    y /= 2.0
    y[1:] = x[:-1] * 2
    y[0] = 0
    return y.sum()


def lane_times_array(x):
    return np.sum(np.arange(5.0) * x[0]) + np.sum(np.ones(3) - x[1])


def iteration(x):
    a, b = abs(x[0]) + 1, 1.0
    while abs(b * b - a) > 1e-10:
        b = 0.5 * (b + a / b)
    return b


def counting(x):
    c = 0
    for v in x:
        c += v > 0
    return c + np.sum(x > 0) + (x[0] > 0) * x[1]


def constant(x):
    return 3


def truth(x):
    return x[0] > 0


def lists(x):
    return np.array([x[0], x[1]]).sum() + np.array([[x[0], 1], [x[1], x[2]]])[1, 0] + np.array((x[0], 2.0))[1]


HAND = [
    (lists, 3, ()),
    (rosenbrock, 12, ()),
    (logic, 12, ()),
    (ternary, 12, ()),
    (tuples, 12, ()),
    (powers, 12, ()),
    (numpy_scalars, 12, ()),
    (math_scalars, 12, ()),
    (modulo, 3, ()),
    (extrema, 3, ()),
    (conversions, 4, ()),
    (two_dimensional, (3, 4), ()),
    (with_arguments, 12, (np.arange(12.0), 3, 2.5, (1.0, 2))),
    (inner_functions, 12, ()),
    (temporaries, 7, ()),
    (slices, 12, ()),
    (array_expression, 12, ()),
    (reductions, 12, ()),
    (dot_products, 37, ()),
    (matrix_vector, 12, (DATA,)),
    (hinge, 12, (DATA,)),
    (elementwise, 12, ()),
    (iterators, 12, ()),
    (shapes, (3, 4), ()),
    (matrices, (3, 3), ()),
    (in_place, 12, ()),
    (lane_times_array, 5, ()),
    (iteration, 2, ()),
    (counting, 12, ()),
    (constant, 2, ()),
    (truth, 2, ()),
]


LONG = (lists, matrices, temporaries, in_place, reductions, matrix_vector, elementwise, with_arguments)  # to compile


@pytest.mark.parametrize(
    ("f", "shape", "args"),
    [pytest.param(*case, marks=[pytest.mark.slow] * (case[0] in LONG), id=case[0].__name__) for case in HAND],
)
def test_bit_identical(f, shape, args):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape)
    both = Both(njit(f), x.ndim, args)
    repeated = assert_same(both, x, central(x))
    assert repeated <= x.size  # it did run in lanes
    x.ravel()[0] = 1e-7  # a kink between the points
    assert_same(both, x, central(x))
    assert_same(both, x, rng.normal(size=(x.size, 3)))  # points far apart: most branches diverge


@pytest.mark.parametrize("width", [2, 4, 8, 16])
def test_widths_and_tails(width):
    both = Both(njit(rosenbrock), width=width)
    for n in (1, 2, 3, 9):
        for columns in (1, 2, 3, 5):
            x = np.random.default_rng(n).normal(size=n)
            points = x[:, None] + np.arange(1, columns + 1) * 1e-3
            assert assert_same(both, x, points) == 0
            rows = np.random.default_rng(n).integers(0, n, size=2 * n + 1)  # a coordinate may occur in several rows
            assert_same(both, x, x[rows][:, None] + np.arange(columns) * 1e-3, rows)


def test_zero_dimensional_and_empty():
    assert_same(Both(njit(lambda x: x[()] ** 2), ndim=0), np.array(2.0), np.array([[2.1, 1.9]]))
    both = Both(njit(lambda x: x.sum()))
    assert both.lanes(np.zeros(0), np.zeros((0, 2)))[0].shape == (0, 2)


def test_default_width():
    assert lane_width() in (2, 4, 8, 16)


# --- special values


def np_sum(x):
    return np.sum(x)


def np_prod(x):
    return np.prod(x)


SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    2.0,
    -3.0,
    1e-310,
    -5e-324,
    1e308,
    -1e308,
    math.inf,
    -math.inf,
    math.nan,
    1e-7,
    7.25,
]


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x[0] + x[1],
        lambda x: x[0] - x[1],
        lambda x: x[0] * x[1],
        lambda x: -x[0],
        lambda x: abs(x[0]) - x[1],
        lambda x: min(x[0], x[1]),
        lambda x: max(x[0], x[1]),
        lambda x: max(x[0], x[1], 0),
        lambda x: np.maximum(x[0], x[1]),
        lambda x: np.minimum(x[0], x[1]),
        lambda x: np.fmax(x[0], x[1]),
        lambda x: np.fmin(x[0], x[1]),
        lambda x: x[0] > x[1],
        lambda x: x[0] >= x[1],
        lambda x: x[0] == x[1],
        lambda x: x[0] != x[1],
        lambda x: not x[0],
        lambda x: math.isnan(x[0]) + 2 * np.isinf(x[0]) + 4 * math.isfinite(x[1]),
        lambda x: math.copysign(x[0], x[1]),
        lambda x: x[0] ** 2 + x[1] ** 3,
        lambda x: x[0] ** -2,
        lambda x: x[0] ** x[1],
        lambda x: x[0] ** 0.5,
        lambda x: math.sqrt(x[0] * x[0]),
        lambda x: np.sign(x[0]),
        lambda x: np.floor(x[0]) + np.ceil(x[1]),
        lambda x: np.rint(x[0]),
        lambda x: np.trunc(x[0]),
        lambda x: np.divide(x[0], x[1]),
        lambda x: np.exp(x[0]),
        lambda x: np.log(np.abs(x[0])),
        lambda x: x.max() - x.min(),
        lambda x: np.amax(x) - np.min(x),
        np_sum,
        np_prod,
        lambda x: x[0] if x[0] else x[1],
    ],
)
def test_special_values(f):
    both = Both(njit(error_model="numpy")(f))
    for base in SPECIAL:
        x = np.array([base, 1.0])
        for first in range(0, len(SPECIAL), 4):
            assert_same(both, x, np.tile(SPECIAL[first : first + 4], (2, 1)))


# --- random programs: a few straight-line statements, a loop over x, a branch, from the covered operations

leaf = st.sampled_from(["v", "w", "s", "x[0]", "x[-1]", "x[i]", "c", "0.5", "3", "-2.0", "k"])
unary = st.sampled_from(
    [
        "(-{0})",
        "abs({0})",
        "math.sin({0})",
        "np.tanh({0})",
        "math.fabs({0})",
        "np.floor({0})",
        "{0}**2",
        "{0}**3",
        "{0}**-1",
        "math.sqrt(abs({0}))",
        "np.sign({0})",
        "np.square({0})",
        "float({0})",
    ]
)
binary = st.sampled_from(
    [
        "({0} + {1})",
        "({0} - {1})",
        "({0} * {1})",
        "min({0}, {1})",
        "max({0}, {1})",
        "np.maximum({0}, {1})",
        "({0} / (1 + {1} * {1}))",
        "math.atan2({0}, {1})",
        "np.minimum({0}, {1})",
        "({0} / {1})",
        "math.hypot({0}, {1})",
        "np.fmin({0}, {1})",
        "({0} if {0} > {1} else {1})",
        "np.copysign({0}, {1})",
    ]
)
condition = st.sampled_from(
    ["{0} > {1}", "{0} <= {1}", "not {0} < {1}", "{0} == {1}", "{0} != {1} and {1} > 0", "{0} > 1 or {1} < {0}"]
)
expression = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.builds(lambda form, a: form.format(f"({a})"), unary, inner),
        st.builds(lambda form, a, b: form.format(f"({a})", f"({b})"), binary, inner, inner),
    ),
    max_leaves=6,
)
statement = st.one_of(
    st.builds("s += {}".format, expression),
    st.builds("w = {}".format, expression),
    st.builds("s = 0.5 * s - {}".format, expression),
    st.builds(
        lambda form, a, b, e, g: f"if {form.format(f'({a})', f'({b})')}: s += {e}\n        else: w = {g}",
        condition,
        expression,
        expression,
        expression,
        expression,
    ),
)
array_leaf = st.sampled_from(["x", "x", "x[::-1]", "2.5", "c", "3"])
array_expression_text = st.recursive(
    array_leaf,
    lambda inner: st.one_of(
        st.builds(
            lambda form, a: form.format(f"({a})"),
            st.sampled_from(["(-{0})", "np.sin({0})", "{0}**2", "np.abs({0})", "{0}**3"]),
            inner,
        ),
        st.builds(
            lambda form, a, b: form.format(f"({a})", f"({b})"),
            st.sampled_from(
                ["({0} + {1})", "({0} - {1})", "({0} * {1})", "np.maximum({0}, {1})", "np.minimum({0}, {1})"]
            ),
            inner,
            inner,
        ),
    ),
    max_leaves=5,
)
ending = st.one_of(
    st.just("s"),
    st.builds("s + np.sum(x * {})".format, array_expression_text),
    st.builds("s * np.mean({} + x)".format, array_expression_text),
    st.builds("s - np.max({} - x)".format, array_expression_text),
)
number = st.one_of(st.floats(-3, 3), st.sampled_from(SPECIAL))


UNHURRIED = partial(settings, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
programs = given(
    body=st.lists(statement, min_size=1, max_size=4),
    ending=ending,
    model=st.sampled_from(["python", "numpy"]),
    base=st.lists(number, min_size=1, max_size=9),
    far=st.lists(number, min_size=9, max_size=9),
    width=st.sampled_from([4, 8]),
)


def a_program(body, ending, model, base, far, width):
    source = "def f(x, c, k):\n    s = 0.25\n    w = c\n    for i in range(x.size):\n        v = x[i]\n"
    source += "".join(f"        {line}\n" for line in body) + f"    return {ending}\n"
    scope = {"np": np, "math": math}
    exec(source, scope)
    x = np.array(base)
    args = (0.75, 2)
    try:
        both = Both(njit(error_model=model)(scope["f"]), args=args, width=width)
    except CannotLift as reason:
        pytest.fail(f"{reason}\n{source}")
    for points in (central(x), np.resize(np.array(far), (x.size, 3))):
        assert_same(both, x, points, message=source)


test_random_programs = UNHURRIED(max_examples=4)(programs(a_program))
test_many_random_programs = pytest.mark.slow(UNHURRIED(max_examples=30)(programs(a_program)))


# --- random programs on matrices: slices, transposes, negative indices, reductions, an array that f fills

matrix = st.sampled_from(
    ["u", "u[::-1]", "u[:, ::-1]", "u.T.copy().T", "u * c", "-u", "np.abs(u)", "u**2", "np.where(u > c, u, 2 * u)"]
)
cell = st.sampled_from(["u[i, j]", "u[i - 1, j]", "u[i, j - 1]", "u[-1, -1]", "t[j]", "s", "c", "u[i][j]", "2.0"])
reduction = st.sampled_from(
    [
        "np.sum({0})",
        "np.mean({0})",
        "np.prod({0})",
        "np.max({0})",
        "({0}).min()",
        "np.sum(np.sum({0}, axis=0))",
        "np.sum(({0}).sum(axis=1) ** 2)",
        "np.sum(np.clip({0}, -1.0, c))",
        "np.sum(({0}) @ ({0}).T)",
        "np.sum(np.concatenate((({0})[0], t)))",
        "np.sum(np.array([({0})[0, 0], c, s]))",
        "np.sum(np.roll(({0})[:, 0], 1) * ({0})[:, 0])",
    ]
)
cells = st.recursive(
    cell,
    lambda inner: st.one_of(
        st.builds(lambda form, a: form.format(f"({a})"), unary, inner),
        st.builds(lambda form, a, b: form.format(f"({a})", f"({b})"), binary, inner, inner),
    ),
    max_leaves=4,
)


programs_on_matrices = given(
    fill=cells,
    term=cells,
    condition=condition,
    sides=st.tuples(cells, cells),
    whole=st.lists(st.builds(lambda form, m: form.format(m), reduction, matrix), min_size=1, max_size=2),
    model=st.sampled_from(["python", "numpy"]),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    numbers=st.lists(number, min_size=16, max_size=16),
    far=st.lists(number, min_size=9, max_size=9),
)


@pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaPerformanceWarning")
def a_program_on_matrices(fill, term, condition, sides, whole, model, shape, numbers, far):
    source = f"""
def f(u, c):
    s, t = 0.25, np.zeros(u.shape[1])
    for i in range(u.shape[0]):
        for j in range(u.shape[1]):
            t[j] = {fill}
            if {condition.format(*(f"({side})" for side in sides))}:
                s += {term}
    return s + t.sum() + {" - ".join(whole)}
"""
    scope = {"np": np, "math": math}
    exec(source, scope)
    x = np.resize(np.array(numbers), shape)
    try:
        both = Both(njit(error_model=model)(scope["f"]), ndim=2, args=(0.75,))
    except CannotLift as reason:
        pytest.fail(f"{reason}\n{source}")
    for points in (central(x), np.resize(np.array(far), (x.size, 3))):
        assert_same(both, x, points, message=source)


test_random_programs_on_matrices = pytest.mark.slow(
    UNHURRIED(max_examples=12)(programs_on_matrices(a_program_on_matrices))
)


# --- divergence, exceptions, threads


def leaky(x):
    s = 0.0
    for v in x:
        s += v if v > 0.0 else 0.1 * v
    return s


def test_only_the_bundle_that_diverges_is_repeated():
    both = Both(njit(leaky), width=4)
    x = np.random.default_rng(0).normal(size=40)
    assert assert_same(both, x, central(x)) == 0
    x[17] = 1e-7
    assert assert_same(both, x, central(x)) == 4


def test_exceptions_are_those_of_the_scalar_evaluation():
    @njit
    def f(x, log):
        if x[1] > 1.5:
            raise ValueError("too far")
        return 1 / (x[0] - 1)

    x = np.array([0.0, 1.0, 1.0])
    both = Both(f, args=(np.zeros(1),))
    for points, error in (
        ([[0.1, 0.2], [1.0, 1.6], [1, 2]], ValueError),
        ([[0.1, 1.0], [1.0, 1.6], [1, 2]], ZeroDivisionError),
        ([[0.1, 0.3], [1.0, 1.1], [1, 2]], None),
    ):
        points = np.array(points)
        if error is None:
            assert_same(both, x, points)
        else:
            for run in (both.scalar, both.lanes, both.lanes):
                with pytest.raises(error):
                    run(x, points)


def test_values_before_an_exception_are_kept():
    @njit
    def f(x):
        if x[0] == 3.0:
            raise ValueError("three")
        return x[0]

    both = Both(f, width=4)
    x = np.zeros(1)
    points = np.arange(8.0).reshape(1, 8)[:, ::-1].copy()
    values = np.full((1, 8), -1.0)
    with pytest.raises(ValueError, match="three"):
        lanes_kernel(
            both.lifted.address,
            both.scalar_address,
            (),
            x,
            np.empty((1, 4)),
            np.zeros(1, np.intp),
            np.empty(1),
            np.zeros(1, np.intp),
            points,
            values,
        )
    np.testing.assert_array_equal(values, [[7, 6, 5, 4, -1, -1, -1, -1]])


@pytest.mark.parametrize(("model", "error"), [("python", ZeroDivisionError), ("numpy", None)])
def test_error_model(model, error):
    both = Both(njit(error_model=model)(lambda x: 1.0 / x[0] + 2.0 % (1 + x[1])))
    x, points = np.array([1.0, 1.0]), np.array([[1.0, 0.0], [1.0, 2.0]])
    if error is None:
        assert_same(both, x, points)
    else:
        with pytest.raises(error):
            both.lanes(x, points)


def test_index_error_with_boundscheck():
    both = Both(njit(boundscheck=True)(lambda x: x[int(x[0])]))
    x = np.array([1.0, 5.0])
    assert_same(both, x, np.array([[0.0, 1.0], [5.0, 6.0]]))
    with pytest.raises(IndexError):
        both.lanes(x, np.array([[0.0, 7.0], [5.0, 6.0]]))


def test_temporaries_do_not_leak_when_lanes_diverge():
    @njit
    def f(x):
        y = np.empty_like(x)
        for i in range(x.size):
            y[i] = x[i] if x[i] > 0 else 2 * x[i]
        return y.sum()

    both = Both(f)
    x = np.full(50, 1e-9)
    both.lanes(x, central(x))
    _nrt_python.memsys_enable_stats()
    before = rtsys.get_allocation_stats()
    assert both.lanes(x, central(x))[1] == 100
    after = rtsys.get_allocation_stats()
    assert after.alloc - before.alloc == after.free - before.free


def test_threads_do_not_see_each_other():
    both = Both(njit(nogil=True)(leaky))
    smooth = np.random.default_rng(0).normal(size=300)
    kinked = np.full(300, 1e-9)
    expected = both.scalar(smooth, central(smooth)), both.scalar(kinked, central(kinked))
    wrong, repeats, lock = [], [], threading.Barrier(2)

    def work(which, x):
        lock.wait()
        for _ in range(50):
            values, repeated = both.lanes(x, central(x))
            repeats.append((which, repeated))
            if not np.array_equal(bits(values), bits(expected[which])):
                wrong.append(which)

    threads = [threading.Thread(target=work, args=item) for item in enumerate((smooth, kinked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert {repeated for which, repeated in repeats if which == 1} == {600}
    assert max(repeated for which, repeated in repeats if which == 0) in (0, 600)  # 600 only where they share a slot


# --- what cannot be lifted says so


@njit("float64(float64[:])")
def fixed(x):
    return x[0]


@njit
def writes(c):
    c[0] += 1


def random_numbers(x):
    return x[0] + np.random.normal()


def output(x):
    print(1.0)
    return x[0]


def writes_x(x):
    x[0] += 1
    return x[0]


def writes_argument(x, c):
    writes(c)
    return x[0]


def vector(x):
    return x * 2


def calls_fixed(x):
    return fixed(x)


def boolean_index(x):
    return x[x > 0].sum()


def dictionary(x):
    return {1: x[0]}[1]


def order(x):
    return x[np.argsort(x)[0]]


@pytest.mark.parametrize(
    ("f", "args", "reason"),
    [
        (random_numbers, (), "random"),
        (output, (), "print"),
        (writes_x, (), "setitem"),
        (writes_argument, (np.zeros(1),), "setitem"),
        (vector, (), "f returned"),
        (calls_fixed, (), "signatures of fixed"),
        (boolean_index, (), "getitem"),
        (order, (), "argsort"),
        (dictionary, (), "Dict"),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_cannot_lift(f, args, reason):
    dispatcher = njit(f)
    with pytest.raises(CannotLift, match=reason) as caught:
        compile_lanes(dispatcher, 1, tuple(map(typeof, args)))
    assert caught.value.reason
    assert not dispatcher.signatures


@pytest.mark.parametrize("options", [{"fastmath": True}, {"parallel": True}])
def test_options_that_change_the_bits_are_not_lifted(options):
    with pytest.raises(CannotLift, match=next(iter(options))):
        compile_lanes(njit(**options)(rosenbrock), 1)


def test_inner_dispatchers_stay_as_they_were():
    before = list(helper.signatures), list(total.signatures)
    compile_lanes(njit(inner_functions), 1)
    assert (list(helper.signatures), list(total.signatures)) == before


def test_plain_functions_and_dispatcher_arguments():
    assert compile_lanes(rosenbrock, 1).address

    @njit
    def apply(x, g):
        return g(x[0], x[1])

    before = list(helper.signatures)
    both = compile_lanes(apply, 1, (typeof(helper),))
    assert both.address
    assert list(helper.signatures) == before


# --- fast mathematics


def test_fastmath_is_close_and_off_by_default():
    f = njit(lambda x: math.exp(x[0]) + math.sin(x[0]) + math.log(2 + x[0]) + np.tanh(x[0]) + abs(x[0]) ** 1.3)
    x, points = np.zeros(1), np.linspace(-1.5, 1.5, 64).reshape(1, -1)
    expected = Both(f).scalar(x, points)
    values, _ = Both(f, fastmath=True).lanes(x, points)
    np.testing.assert_allclose(values, expected, rtol=0, atol=5 * 4 * np.finfo(float).eps * 5)
    np.testing.assert_array_equal(Both(f).lanes(x, points)[0], expected)


DOMAINS = {
    "exp": (-700.0, 700.0),
    "log": (0.3, 9.0),
    "sin": (-1e3, 1e3),
    "cos": (-1e3, 1e3),
    "tan": (-1e3, 1e3),
    "tanh": (-3.0, 3.0),
    "sinh": (-30.0, 30.0),
    "cosh": (-30.0, 30.0),
    "expm1": (-3.0, 3.0),
    "log1p": (-0.9, 3.0),
    "atan": (-9.0, 9.0),
    "pow": (0.1, 90.0),
}


@pytest.mark.skipif(not fastmath_available(), reason="no vector mathematics library")
@pytest.mark.parametrize("name", DOMAINS)
def test_fastmath_keeps_its_error_bound(name):
    """Against 80 bits: at most MAX_ULP units in the last place; special values come out as they should."""
    if name == "pow":
        f, x = njit(lambda x: x[0] ** x[1]), np.array([0.0, 1.3])
    else:
        f, x = njit(eval(f"lambda x: math.{name}(x[0])")), np.zeros(1)
    both = Both(f, fastmath=True)
    assert both.lifted.vectorised == (name,)
    low, high = DOMAINS[name]
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(low, high, 2000), np.clip(0.5 + 1e-3 * rng.normal(size=500), low, high)])
    values = both.lanes(x, points.reshape(1, -1), [0])[0][0]
    with mpmath.workprec(80):
        exact = [mpmath.power(p, x[1]) if name == "pow" else getattr(mpmath, name)(p) for p in points.tolist()]
        errors = [abs(mpmath.mpf(v) - e) / np.spacing(abs(v)) for v, e in zip(values.tolist(), exact, strict=True)]
    assert 0.5 < max(errors) <= MAX_ULP  # and it is another library than the scalar one
    special = np.array([[np.nan, 0.0, -0.0, np.inf] * 2])
    with np.errstate(all="ignore"):
        expected = both.scalar(x, special, [0])
    np.testing.assert_array_equal(both.lanes(x, special, [0])[0], expected)
