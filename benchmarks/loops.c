/* Central differences in C, for `python -m benchmarks.speed c`: the same loops as the table of problems has for numba. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#define SQUARE(a) ((a) * (a))

static double rosenbrock(const double *x, int64_t n) {
    double total = 0.0;
    for (int64_t i = 0; i < n - 1; i++) {
        double t = x[i + 1] - x[i] * x[i], u = 1.0 - x[i];
        total += 100.0 * (t * t) + u * u;
    }
    return total;
}

static double extended_rosenbrock(const double *x, int64_t n) {
    double total = 0.0;
    for (int64_t i = 0; i < n; i += 2) {
        double t = x[i + 1] - x[i] * x[i], u = 1.0 - x[i];
        total += 100.0 * (t * t) + u * u;
    }
    return total;
}

static double powell_singular(const double *x, int64_t n) {
    double total = 0.0;
    for (int64_t i = 0; i < n; i += 4) {
        double p = x[i] + 10.0 * x[i + 1], q = x[i + 2] - x[i + 3];
        double r = x[i + 1] - 2.0 * x[i + 2], s = x[i] - x[i + 3];
        total += p * p;
        total += 5.0 * (q * q);
        total += (r * r) * (r * r);
        total += 10.0 * ((s * s) * (s * s));
    }
    return total;
}

static double wood(const double *x, int64_t n) {
    double total = 0.0;
    for (int64_t i = 0; i < n; i += 4) {
        double a = x[i], b = x[i + 1], c = x[i + 2], d = x[i + 3];
        total += 100.0 * SQUARE(b - a * a) + SQUARE(1.0 - a) + 90.0 * SQUARE(d - c * c);
        total += SQUARE(1.0 - c) + 10.0 * SQUARE(b + d - 2.0) + 0.1 * SQUARE(b - d);
    }
    return total;
}

static double discrete_boundary_value(const double *x, int64_t n) {
    double h = 1.0 / (n + 1), total = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double t = x[i] + (i + 1) * h + 1.0, r = 2.0 * x[i] + 0.5 * h * h * (t * (t * t));
        if (i > 0) r -= x[i - 1];
        if (i < n - 1) r -= x[i + 1];
        total += r * r;
    }
    return total;
}

static double broyden_tridiagonal(const double *x, int64_t n) {
    double total = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double r = (3.0 - 2.0 * x[i]) * x[i] + 1.0;
        if (i > 0) r -= x[i - 1];
        if (i < n - 1) r -= 2.0 * x[i + 1];
        total += r * r;
    }
    return total;
}

static double broyden_banded(const double *x, int64_t n) {
    double total = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double r = x[i] * (2.0 + 5.0 * x[i] * x[i]) + 1.0;
        for (int64_t j = i > 5 ? i - 5 : 0; j < (i + 2 < n ? i + 2 : n); j++)
            if (j != i) r -= x[j] * (1.0 + x[j]);
        total += r * r;
    }
    return total;
}

static double chained_powell(const double *x, int64_t n) {
    double total = 0.0;
    for (int64_t i = 0; i < n - 3; i += 2) {
        double a = x[i], b = x[i + 1], c = x[i + 2], d = x[i + 3];
        double r = SQUARE(b - 2.0 * c), s = SQUARE(a - d);
        total += SQUARE(a + 10.0 * b) + 5.0 * SQUARE(c - d) + r * r + 10.0 * (s * s);
    }
    return total;
}

static double styblinski_tang(const double *x, int64_t n) {
    double total = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double square = x[i] * x[i];
        total += square * square - 16.0 * square + 5.0 * x[i];
    }
    return total / 2.0;
}

static double dixon_price(const double *x, int64_t n) {
    double total = SQUARE(x[0] - 1.0);
    for (int64_t i = 1; i < n; i++) total += (i + 1) * SQUARE(2.0 * SQUARE(x[i]) - x[i - 1]);
    return total;
}

static double zakharov(const double *x, int64_t n) {
    double square = 0.0, s = 0.0;
    for (int64_t i = 0; i < n; i++) {
        square += x[i] * x[i];
        s += 0.5 * (i + 1) * x[i];
    }
    return square + s * s + SQUARE(s * s);
}

static double lennard_jones(const double *x, int64_t n) {
    double total = 0.0;
    for (int64_t i = 0; i < n; i += 3)
        for (int64_t j = i + 3; j < n; j += 3) {
            double a = x[i] - x[j], b = x[i + 1] - x[j + 1], c = x[i + 2] - x[j + 2];
            double r2 = a * a + b * b + c * c, s = 1.0 / (r2 * r2 * r2);
            total += s * s - s;
        }
    return 4.0 * total;
}

static const double *matrix, *labels;
static int64_t rows;
static double penalty;

void squared_hinge_data(const double *a, const double *y, int64_t m, double p) {
    matrix = a, labels = y, rows = m, penalty = p;
}

static double squared_hinge(const double *w, int64_t n) {
    const double *a = matrix, *y = labels;
    double loss = 0.0, square = 0.0;
    for (int64_t i = 0, m = rows; i < m; i++) {
        double z = 0.0;
        for (int64_t j = 0; j < n; j++) z += a[i * n + j] * w[j];
        double margin = 1.0 - y[i] * z;
        if (margin > 0.0) loss += margin * margin;
    }
    for (int64_t j = 0; j < n; j++) square += w[j] * w[j];
    return loss / rows + 0.5 * penalty * square;
}

/* the step is a power of two near h max(|x|, 1), as the fixed rule's; the divisor is the achieved step */
static double step_of(double x, double h0) {
    int exponent;
    double h = h0 * fmax(fabs(x), 1.0), mantissa = frexp(h, &exponent);
    return ldexp(1.0, exponent - (mantissa < 0.7071067811865476));
}

#define GRADIENT(f)                                                                  \
    void f##_gradient(double *x, int64_t n, double h0, double *out) {                \
        for (int64_t i = 0; i < n; i++) {                                            \
            double kept = x[i], h = step_of(kept, h0), above, below, plus;           \
            above = kept + h, below = kept - h;                                      \
            x[i] = above;                                                            \
            plus = f(x, n);                                                          \
            x[i] = below;                                                            \
            out[i] = (plus - f(x, n)) / (above - below);                             \
            x[i] = kept;                                                             \
        }                                                                            \
    }
GRADIENT(rosenbrock)
GRADIENT(extended_rosenbrock)
GRADIENT(powell_singular)
GRADIENT(wood)
GRADIENT(discrete_boundary_value)
GRADIENT(broyden_tridiagonal)
GRADIENT(broyden_banded)
GRADIENT(chained_powell)
GRADIENT(styblinski_tang)
GRADIENT(dixon_price)
GRADIENT(zakharov)
GRADIENT(lennard_jones)
GRADIENT(squared_hinge)

/* the same by hand with vector types: four coordinates, two points each; two chains of four hide the latency */
typedef double v4 __attribute__((vector_size(32)));

void rosenbrock_vectors(double *x, int64_t n, double h0, double *out) {
    v4 *tile = aligned_alloc(64, 64 * (n + 4));
    for (int64_t i = 0; i < n; i++) {
        v4 all = {x[i], x[i], x[i], x[i]};
        tile[2 * i] = tile[2 * i + 1] = all;
    }
    for (int64_t i = 0; i < n; i += 4) {
        double above[4], below[4];
        for (int64_t k = 0; k < 4 && i + k < n; k++) {
            double h = step_of(x[i + k], h0), *entry = (double *)(tile + 2 * (i + k));
            entry[2 * k] = above[k] = x[i + k] + h;
            entry[2 * k + 1] = below[k] = x[i + k] - h;
        }
        v4 total[2] = {{0}, {0}};
        for (int64_t j = 0; j < n - 1; j++) {
            v4 t = tile[2 * j + 2] - tile[2 * j] * tile[2 * j], u = 1.0 - tile[2 * j];
            v4 p = tile[2 * j + 3] - tile[2 * j + 1] * tile[2 * j + 1], q = 1.0 - tile[2 * j + 1];
            total[0] += 100.0 * (t * t) + u * u;
            total[1] += 100.0 * (p * p) + q * q;
        }
        for (int64_t k = 0; k < 4 && i + k < n; k++) {
            double *values = (double *)total, *entry = (double *)(tile + 2 * (i + k));
            out[i + k] = (values[2 * k] - values[2 * k + 1]) / (above[k] - below[k]);
            entry[2 * k] = entry[2 * k + 1] = x[i + k];
        }
    }
    free(tile);
}
