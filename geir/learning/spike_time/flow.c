// The exact flow of one neuron, S(t) = e^{M t} S(0), its derivative, and the first crossing of the threshold.
// SIZE, the number of parts of S, is a constant of the compiled code.
#define DOUBLE 1
#include "native.h"
#include <complex.h>
#undef I

enum { SIZE = {{size}}, TWO_MODES = 1, EXPONENTIALS, MATRIX };
#define ON_THRESHOLD {{on_threshold}}
typedef double vector[SIZE];
typedef double matrix[SIZE][SIZE];

// How one neuron's distance to threshold is made of exponentials; written by `_table` in compiled.py.
typedef struct {
  double kind;                // one of the three above
  double w1, w2;              // two modes: the slow and the fast eigenvalue
  vector slope, curvature;    // two modes: g'(0) = slope S, g'(t) = e^{w1 t} (slope S + curvature S expm1(d t) / d)
  double window, horizon, levels;
  double first[SIZE][SIZE], second[SIZE][SIZE], s[SIZE], o[SIZE];  // as `Level` in modes.py
  double complex w[SIZE], first_modes[SIZE][SIZE], second_modes[SIZE][SIZE];  // rows times eigenvectors
  double complex inverse[SIZE][SIZE];                                         // of the eigenvectors
} table;

static inline double dot(const double *a, const double *b) {
  double sum = 0;
  for (int k = 0; k < SIZE; k++) sum += a[k] * b[k];
  return sum;
}
static inline double dot_sizes(const double *a, const double *b) {
  double sum = 0;
  for (int k = 0; k < SIZE; k++) sum += fabs(a[k] * b[k]);
  return sum;
}
static inline void apply(matrix A, const double *x, double *y) {
  for (int k = 0; k < SIZE; k++) y[k] = dot(A[k], x);
}
static inline void apply_transposed(matrix A, const double *x, double *y) {
  for (int k = 0; k < SIZE; k++) y[k] = 0;
  for (int k = 0; k < SIZE; k++) for (int l = 0; l < SIZE; l++) y[l] += A[k][l] * x[k];
}
// C += A B
static inline void add_product(matrix A, matrix B, matrix C) {
  for (int k = 0; k < SIZE; k++)
    for (int i = 0; i < SIZE; i++)
      for (int l = 0; l < SIZE; l++) C[k][l] += A[k][i] * B[i][l];
}

// E = e^{M t} and, unless X is null, L = integral over s from 0 to t of e^{M^T (t - s)} X e^{M^T s}, which is the
// derivative of the exponential of M^T t in the direction X t. Taylor series of degree 12 of a small part, squared.
static void exponential(matrix M, double t, matrix X, matrix E, matrix L) {
  double norm = 0;
  for (int k = 0; k < SIZE; k++) {
    double sum = 0;
    for (int l = 0; l < SIZE; l++) sum += fabs(M[k][l]);
    norm = sum > norm ? sum : norm;
  }
  int squarings = 0;
  double h = t;
  for (; norm * fabs(h) > 0.25 && squarings < 64; squarings++) h /= 2;
  matrix A, B, P = {0}, D = {0};
  if (!X) {  // the same series, in five products
    static const double *const c = INVERSE_FACTORIAL;
    matrix A2 = {0}, A3 = {0};
    for (int k = 0; k < SIZE; k++) for (int l = 0; l < SIZE; l++) A[k][l] = M[k][l] * h;
    add_product(A, A, A2), add_product(A, A2, A3);
    for (int k = 0; k < SIZE; k++) P[k][k] = c[12];
    for (int n = 9; n >= 0; n -= 3) {  // P <- c_n + c_(n + 1) A + c_(n + 2) A^2 + A^3 P
      matrix next = {0};
      add_product(A3, P, next);
      for (int k = 0; k < SIZE; k++)
        for (int l = 0; l < SIZE; l++) P[k][l] = next[k][l] + c[n + 1] * A[k][l] + c[n + 2] * A2[k][l] + c[n] * (k == l);
    }
    for (; squarings; squarings--) {
      matrix PP = {0};
      add_product(P, P, PP);
      memcpy(P, PP, sizeof P);
    }
    memcpy(E, P, sizeof P);
    return;
  }
  for (int k = 0; k < SIZE; k++) for (int l = 0; l < SIZE; l++) A[k][l] = M[k][l] * h, B[k][l] = X[l][k] * h;
  for (int k = 0; k < SIZE; k++) P[k][k] = 1;
  for (int n = 12; n > 0; n--) {  // P <- 1 + A P / n, D <- (B P + A D) / n
    matrix AP = {0}, AD = {0};
    add_product(B, P, AD), add_product(A, D, AD);
    add_product(A, P, AP);
    for (int k = 0; k < SIZE; k++)
      for (int l = 0; l < SIZE; l++) P[k][l] = AP[k][l] / n + (k == l), D[k][l] = AD[k][l] / n;
  }
  for (; squarings; squarings--) {
    matrix PP = {0}, PD = {0};
    add_product(P, D, PD), add_product(D, P, PD);
    add_product(P, P, PP);
    memcpy(P, PP, sizeof P), memcpy(D, PD, sizeof D);
  }
  memcpy(E, P, sizeof P);
  // Of M: the transpose of what is wanted.
  for (int k = 0; k < SIZE; k++) for (int l = 0; l < SIZE; l++) L[k][l] = D[l][k];
}

// Two modes and a constant.

// expm1(w t) / w, which is t where w is 0
static inline double ramp(double w, double t) { return w ? expm1(w * t) / w : t; }
// The time at which ramp(d, t) = r, for d <= 0; infinity if it never is.
static inline double ramp_time(double d, double r) {
  return d * r <= -1 ? INFINITY : d * r > -1e-300 ? r : log1p(d * r) / d;
}
// Divided difference of e^{x t} at 0, w1, w2, the integral of e^{w1 s} ramp(w2 - w1, s).
static double double_ramp(double w1, double w2, double t) {
  const double a = w1 * t, b = w2 * t;
  if (b < -0.5) return (exp(a) * ramp(w2 - w1, t) - ramp(w1, t)) / w2;
  double sum = 0, symmetric = 1, power = 1, factor = 0.5;  // sum of h_n(a, b) / (n + 2)!
  for (int n = 0; n < 20; n++) {
    const double term = symmetric * factor;
    sum += term;
    if (fabs(term) < 1e-17 * sum) break;
    power *= b;
    symmetric = a * symmetric + power;
    factor /= n + 3;
  }
  return t * t * sum;
}

// Lambert's W, branch 0, for x >= -1/e.
static double lambert(double x) {
  double w = x > 1 ? log(x) - log(log(x) + 1) : x > -0.25 ? log1p(x) : -1 + sqrt(fmax(0, 2 * (1 + 2.718281828459045 * x)));
  for (int k = 0; k < 20; k++) {
    const double e = exp(w), f = w * e - x;
    if (w <= -1) return -1;
    const double step = f / (e * (w + 1) - (w + 2) * f / (2 * w + 2));
    w -= step;
    if (fabs(step) < 1e-15 * (1 + fabs(w))) break;
  }
  return w;
}

// The crossing in closed form where the time constants are equal or one is twice the other; else the crossing of the
// parabola at the peak. Newton's method starts here, so an inaccurate value does no harm.
static double guess(const table *n, double g, double p, double q, double low, double high, double peak) {
  const double w1 = n->w1, w2 = n->w2, d = w2 - w1;
  if (w1 < 0 && d == 0) {
    const double b = q / w1, a = p / w1 - b / w1, end = g - a;
    return lambert(-end * w1 / b * exp(w1 * a / b)) / w1 - a / b;
  }
  if (w1 < 0 && fabs(w2 - 2 * w1) < 1e-9 * -w1) {
    const double b = q / (d * w2), a = p / w1 - q / (d * w1), c = g - a - b;
    const double root = sqrt(fmax(0, a * a - 4 * b * c)), half = -(a + (a < 0 ? -root : root)) / 2;
    const double t1 = log(half / b) / w1, t2 = log(c / half) / w1;
    return t1 > low && t1 < high ? t1 : t2;
  }
  if (isinf(peak)) return low;
  const double top = g + p * ramp(w1, peak) + q * double_ramp(w1, w2, peak);
  return peak - sqrt(2 * top / (-q * exp(w2 * peak)));
}

// g has at most one stationary point, in closed form, so at most one rising stretch.
static double cross_two_modes(const table *n, double g, const double *S, double limit) {
  const double w1 = n->w1, w2 = n->w2, p = dot(n->slope, S), q = dot(n->curvature, S);
  double low = 0, high = INFINITY, peak = INFINITY;
  if (p <= 0 && q <= 0) return INFINITY;
  // Most arrivals are soon followed by the next. e^{w1 t} <= 1 and ramp(w2 - w1, t) <= t bound the rise until then; the
  // margin is for rounding errors.
  if (fmax(p, 0) * limit + fmax(q, 0) * limit * limit / 2 < -0.999999 * g) return INFINITY;
  // Bounds of g: its tangent of slope p e^{w1 t} if it bends down, else its limit.
  if (w1 < 0 && (q <= 0 ? g + p / -w1 : g + p / -w1 + q / (w1 * w2)) <= 0) return INFINITY;
  if (p <= 0) low = ramp_time(w2 - w1, -p / q);
  else if (q < 0) high = peak = ramp_time(w2 - w1, -p / q);
  if (high > limit) high = limit;
  if (!(low < high)) return INFINITY;
#define VALUE(t) (g + p * ramp(w1, t) + q * double_ramp(w1, w2, t))
  if (isinf(high)) {
    double step = w2 ? -1 / w2 : 1;
    for (int k = 0; k < 1000 && VALUE(low + step) <= 0; k++) step *= 2;
    high = low + step;
  }
  if (!(VALUE(high) > 0)) return INFINITY;
  double t = guess(n, g, p, q, low, high, peak), last = INFINITY;
  for (int k = 0; k < 200; k++) {
    if (!(t > low && t < high)) t = low + (high - low) / 2;
    if (!(t > low && t < high)) break;
    const double value = VALUE(t), slope = exp(w1 * t) * (p + q * ramp(w2 - w1, t));
    *(value > 0 ? &high : &low) = t;
    const double step = fabs(value / slope);
    t -= value / slope;
    // Steps shrink quadratically, down to rounding errors.
    if ((step <= 1e-13 * t || (step <= 1e-9 * t && step > last / 2)) && t >= low && t <= high) return t;
    last = step;
  }
  return high;
#undef VALUE
}

// Any number of modes: the chain of functions in modes.py.
typedef struct { const table *n; matrix *M; const double *S; double complex modes[SIZE]; double middle; } search;

static double level_value(const search *x, int k, double t) {
  const table *n = x->n;
  const double second = n->o[k] ? n->s[k] - n->o[k] * tan(n->o[k] * (t - x->middle)) : 0;
  if (n->kind == EXPONENTIALS) {
    double sum = 0;
    for (int l = 0; l < SIZE; l++) {
      const double complex c = (n->first_modes[k][l] + second * n->second_modes[k][l]) * x->modes[l];
      sum += cimag(n->w[l]) ? creal(c * cexp(n->w[l] * t)) : creal(c) * exp(creal(n->w[l]) * t);
    }
    return sum;
  }
  matrix E;
  vector now;
  exponential(*x->M, t, NULL, E, NULL);
  apply(E, x->S, now);
  return dot(n->first[k], now) + second * dot(n->second[k], now);
}

static double solve(const search *x, int k, double a, double fa, double b, double fb) {
  for (int step = 0; step < 200; step++) {
    double t = step % 3 < 2 ? (a * fb - b * fa) / (fb - fa) : (a + b) / 2;
    if (!(t > a && t < b)) t = (a + b) / 2;
    if (!(t > a && t < b)) break;
    const double ft = level_value(x, k, t);
    if (ft == 0) return t;
    if ((ft < 0) == (fa < 0)) a = t, fa = ft;
    else b = t, fb = ft;
  }
  return k == 0 && fb > 0 ? b : a;
}

static double cross_modes(const table *n, matrix M, const double *S, double limit) {
  search x = {.n = n, .M = (matrix *)M, .S = S};
  const int levels = n->levels;
  if (n->kind == EXPONENTIALS)
    for (int k = 0; k < SIZE; k++) {
      x.modes[k] = 0;
      for (int l = 0; l < SIZE; l++) x.modes[k] += n->inverse[k][l] * S[l];
    }
  if (limit > n->horizon) limit = n->horizon;
  for (double low = 0, high; low < limit; low = high) {
    high = low + n->window < limit ? low + n->window : limit;
    x.middle = (low + high) / 2;
    if (n->kind == EXPONENTIALS) {  // a bound of g from here on
      double bound = 0;
      for (int k = 0; k < SIZE; k++) {
        const double complex c = n->first_modes[0][k] * x.modes[k];
        const double size = cimag(n->w[k]) ? cabs(c) : creal(c) < 0 && creal(n->w[k]) ? 0 : creal(c);
        bound += creal(n->w[k]) > 0 ? INFINITY : size * exp(creal(n->w[k]) * low);
      }
      if (bound <= 0) return INFINITY;
    }
    double zeros[SIZE + 1];  // of the next function
    int count = 0;
    for (int k = levels - 2; k >= 0; k--) {
      double found[SIZE + 1], a = low, fa = level_value(&x, k, low);
      int now = 0;
      for (int z = 0; z <= count; z++) {
        const double b = z < count ? zeros[z] : high, fb = level_value(&x, k, b);
        if (fa * fb < 0) {
          found[now] = solve(&x, k, a, fa, b, fb);
          if (k == 0 && fb > 0) return found[now];
          now++;
        }
        a = b, fa = fb;
      }
      memcpy(zeros, found, sizeof zeros);
      count = now;
    }
  }
  return INFINITY;
}

// The first time within `limit` at which a neuron that starts below or on its threshold rises above it.
static double first_crossing(const table *n, matrix M, const double *alpha, const double *S, double limit) {
  const double g = dot(alpha, S);
  if (n->kind == TWO_MODES) return cross_two_modes(n, g < 0 ? g : 0, S, limit);
  return cross_modes(n, M, S, limit);
}
