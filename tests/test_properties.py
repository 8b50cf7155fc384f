"""Properties that hold for any x: found by hypothesis, on every backend."""

from __future__ import annotations

from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numba import njit
from numpy.testing import assert_array_equal

from fastgrad import Gradient, numerical_gradient

EPS = np.finfo(np.float64).eps
BACKENDS = ["python", "numpy", "numba"]
SCHEMES = [("central", 2), ("central", 6), ("forward", 1), ("backward", 2)]


def smooth(x: Any) -> Any:
    """Couples neighbours, for x of any shape; loops only, so that all backends do the same operations."""
    flat = x.ravel()
    total = 0.0
    for i in range(flat.size):
        a = flat[i]
        total += a * a * 0.3 + a / (1.0 + a * a) + 0.1 * a * flat[i - 1]
    return total


smooth_jitted = njit(smooth)


def smooth_batched(x: Any) -> Any:
    flat = x.reshape(len(x), -1)
    total = np.zeros(len(x))
    for i in range(flat.shape[1]):
        a = flat[:, i]
        total += a * a * 0.3 + a / (1.0 + a * a) + 0.1 * a * flat[:, i - 1]
    return total


def gradient_of_smooth(x: Any) -> Any:
    flat = x.ravel()
    own = 0.6 * flat + (1 - flat**2) / (1 + flat**2) ** 2
    return (own + 0.1 * (np.roll(flat, 1) + np.roll(flat, -1))).reshape(x.shape)


FORMS: dict[str, tuple[Any, dict[str, Any]]] = {
    "python": (smooth, {}),
    "numpy": (smooth_batched, {"batch_axis": 0}),
    "numba": (smooth_jitted, {}),
}

numbers = st.floats(-1e3, 1e3, allow_subnormal=False)
vectors = hnp.arrays(np.float64, st.integers(1, 9), elements=numbers)
tensors = hnp.arrays(np.float64, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3), elements=numbers)


def layouts(x: Any) -> list[Any]:
    """The same values as other arrays: Fortran order, negative strides, every other entry, transposed, read-only."""
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1])) if x.ndim else np.zeros(2)
    spread = wide[..., ::2] if x.ndim else wide[:1].reshape(())
    spread[...] = x
    backwards = x[::-1].copy()[::-1] if x.ndim else x.copy()
    frozen = x.copy()
    frozen.flags.writeable = False
    return [np.array(x, order="F"), spread, backwards, x.T.copy().T, frozen, x.astype(">f8")]


def same_bits(a: Any, b: Any) -> None:
    assert a.shape == b.shape
    assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize(("method", "order"), SCHEMES)
@given(x=vectors)
def test_batched_and_compiled_give_the_bits_of_the_loop(method: str, order: int, x: Any) -> None:
    options: dict[str, Any] = {"method": method, "order": order, "full_output": True}
    reference = numerical_gradient(smooth, x, backend="python", **options)[0]
    batched = numerical_gradient(smooth_batched, x, backend="numpy", batch_axis=0, **options)[0]
    compiled = numerical_gradient(smooth_jitted, x, backend="numba", **options)[0]
    assert_array_equal(batched, reference)
    assert_array_equal(compiled, reference)


@pytest.mark.parametrize("backend", BACKENDS)
@given(x=tensors)
def test_any_shape_and_layout(backend: str, x: Any) -> None:
    """Right, of x's shape, the same for every layout, and x unchanged."""
    if x.ndim not in (1, 2):  # each further number of dimensions compiles again
        assume(backend != "numba")
    f, options = FORMS[backend]
    options = options | {"h": "fixed"}  # the automatic step of a compiled f remembers earlier calls
    reference = numerical_gradient(f, x, backend=backend, **options)
    step = 2.0**-17 * np.maximum(np.abs(x), 1.0)
    size = abs(float(smooth(x))) + 0.8 * float(np.sum(x * x)) + x.size
    bound = 16 * EPS * size / step + 10 * step**2 + 64 * EPS * np.abs(x)
    assert (np.abs(reference - gradient_of_smooth(x)) <= bound).all()
    for other in layouts(x):
        before = other.tobytes()
        same_bits(numerical_gradient(f, other, backend=backend, **options), reference)
        assert other.tobytes() == before


@pytest.mark.parametrize("backend", BACKENDS)
@given(x=vectors, data=st.data())
def test_indices_give_the_entries_of_the_whole(backend: str, x: Any, data: Any) -> None:
    f, options = FORMS[backend]
    chosen = data.draw(st.lists(st.integers(-x.size, x.size - 1), max_size=4))
    options = options | {"h": "fixed"}  # the automatic step learns from all components together
    whole = numerical_gradient(f, x, backend=backend, **options)
    part = numerical_gradient(f, x, backend=backend, indices=chosen, **options)
    assert_array_equal(part, whole[np.array(chosen, dtype=int)])
    mask = np.isin(np.arange(x.size), np.array(chosen) % x.size)
    assert_array_equal(numerical_gradient(f, x, backend=backend, indices=mask, **options), whole[mask])


@given(x=hnp.arrays(np.float64, st.integers(1, 9), elements=st.integers(-100, 100)), seed=st.integers(0, 99))
def test_linear_functions_are_exact(x: Any, seed: int) -> None:
    """Integers, powers of two and their sums are exact, so every difference and quotient is."""
    slope = np.random.default_rng(seed).integers(-100, 100, x.size).astype(float)

    def f(x: Any) -> Any:
        return np.dot(slope, x) + 7.0

    for method, order in [("central", 2), ("forward", 1), ("backward", 1)]:
        assert_array_equal(numerical_gradient(f, x, method=method, order=order), slope)
    assert_array_equal(numerical_gradient(lambda x: x @ slope, x, batch_axis=0), slope)
    for order in (4, 6, 8):
        np.testing.assert_allclose(numerical_gradient(f, x, order=order), slope, rtol=8 * EPS)
    np.testing.assert_allclose(numerical_gradient(f, x, method="complex"), slope, rtol=2 * EPS)


@given(x=vectors, power=st.integers(-30, 30))
def test_scaling_f_by_a_power_of_two_scales_the_gradient_exactly(x: Any, power: int) -> None:
    factor = 2.0**power
    assert_array_equal(numerical_gradient(lambda x: factor * smooth(x), x), factor * numerical_gradient(smooth, x))


@given(x=vectors)
def test_mirrored_f_has_the_mirrored_gradient(x: Any) -> None:
    """g(x) = f(-x): central differences are antisymmetric, and forward becomes backward, to the bit."""
    assert_array_equal(numerical_gradient(lambda x: smooth(-x), -x, "fixed"), -numerical_gradient(smooth, x, "fixed"))
    forward = numerical_gradient(lambda x: smooth(-x), -x, "fixed", method="forward")
    assert_array_equal(forward, -numerical_gradient(smooth, x, "fixed", method="backward"))


@pytest.mark.parametrize(("method", "order"), SCHEMES)
@pytest.mark.parametrize("backend", BACKENDS)
@given(x=hnp.arrays(np.float64, 3, elements=st.floats(-1.0, 1.0)), low=st.floats(-1.0, 1.0), width=st.floats(1e-6, 1.0))
def test_no_point_is_outside_the_bounds(
    backend: str, method: str, order: int, x: Any, low: float, width: float
) -> None:
    lower, upper = np.full(3, low), np.full(3, low + width)
    x = np.clip(x, lower, upper)
    seen: list[Any] = []
    if backend == "numba":
        points = np.full((64, 3), np.nan)
        result = numerical_gradient(
            _recorded_jitted, x, args=(points,), backend=backend, method=method, order=order, bounds=(lower, upper)
        )
        seen = list(points[~np.isnan(points).any(axis=1)])
    else:

        def recorded(x: Any) -> Any:
            seen.extend(np.atleast_2d(x.copy()))
            return np.sum(x * x, axis=-1)

        batch: dict[str, Any] = {"batch_axis": 0} if backend == "numpy" else {}
        result = numerical_gradient(
            recorded, x, backend=backend, method=method, order=order, bounds=(lower, upper), **batch
        )
    assert seen
    for point in seen:
        assert (lower <= point).all()
        assert (point <= upper).all()
    step = 1e-6 * width
    np.testing.assert_allclose(result, 2 * x, atol=4 * max(width, 1e-5) + 100 * EPS * 3 / step)


@njit
def _recorded_jitted(x: Any, points: Any) -> Any:
    for row in range(points.shape[0]):
        if np.isnan(points[row, 0]):
            for i in range(x.size):
                points[row, i] = x[i]
            break
    return x[0] * x[0] + x[1] * x[1] + x[2] * x[2]


@pytest.mark.parametrize("backend", BACKENDS)
@given(x=vectors, h=st.floats(1e-6, 1e-1))
def test_one_step_for_all_is_an_array_of_equal_steps(backend: str, x: Any, h: float) -> None:
    f, options = FORMS[backend]
    same = numerical_gradient(f, x, h, backend=backend, **options)
    assert_array_equal(numerical_gradient(f, x, np.full(x.shape, h), backend=backend, **options), same)


@pytest.mark.parametrize("backend", BACKENDS)
@given(x=vectors)
def test_value_and_gradient(backend: str, x: Any) -> None:
    f, options = FORMS[backend]
    gradient = Gradient(f, "fixed", backend=backend, **options)
    value, slope = gradient.value_and_gradient(x)
    assert value == smooth(x)
    np.testing.assert_allclose(slope, gradient(x), rtol=0, atol=8 * EPS * np.abs(slope).max())


@pytest.mark.filterwarnings("ignore::fastgrad.AccuracyWarning")  # of 1e10 beside 1, whose slope rounding hides
@given(x=hnp.arrays(st.sampled_from([np.int8, np.int64, np.uint16, np.bool_]), st.integers(1, 6)))
def test_integers_and_booleans_are_promoted(x: Any) -> None:
    result = numerical_gradient(smooth, x)
    assert result.dtype == np.float64
    assert_array_equal(result, numerical_gradient(smooth, x.astype(float)))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@given(values=vectors)
def test_narrow_floats_keep_their_dtype_and_lose_little(dtype: Any, values: Any) -> None:
    x = (values % 8.0).astype(dtype)
    result = numerical_gradient(smooth, x)
    assert result.dtype == dtype
    exact = gradient_of_smooth(x.astype(float))
    # the step is what x's dtype can hold, so that closures see the same: its truncation error counts
    bound = 4 * np.finfo(dtype).eps * (1.0 + np.abs(exact))
    assert (np.abs(result.astype(float) - exact) <= bound).all()
