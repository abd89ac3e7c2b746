// What compiled sources share: numbers, the work of a thread, writing past the caches, and functions that run in vectors.
// Define DOUBLE as 1 or 0 before.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <tgmath.h>
#ifdef __SSE2__
#include <immintrin.h>
#endif

#if DOUBLE
typedef double real;  // of the state and of the arithmetic
typedef int64_t mask;
enum { MANTISSA = 52, BIAS = 1023, LOWEST = -1080, HIGHEST = 1025, DEGREE = 13, ODD = 19 };
#define LN2_HIGH 6.93147180369123816490e-01
#define LN2_LOW 1.90821492927058770002e-10
#else
typedef float real;
typedef int32_t mask;
enum { MANTISSA = 23, BIAS = 127, LOWEST = -152, HIGHEST = 129, DEGREE = 7, ODD = 9 };
#define LN2_HIGH 0.693359375f
#define LN2_LOW -2.12194440054690583e-4f
#endif

// What every thread of a call gets: pointers, numbers, and how many neurons and threads have been taken; a thread takes block after block.
typedef struct { void *const *a; const int64_t *q; int64_t block, taken, threads; } job;
#define BLOCKS(size) for (int64_t o; (o = __atomic_fetch_add(&j->taken, j->block, __ATOMIC_RELAXED)) < (size);)

// Before a loop whose iterations do not depend on each other; without it a compiler that cannot see this for many pointers runs one by one.
#ifdef __clang__
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif

// Copy a row of results to memory; past the caches if there is more than they hold, which saves reading what is overwritten.
#if defined __AVX512F__
typedef __m512i wide;
#define STREAM(to, from) _mm512_stream_si512(to, _mm512_loadu_si512(from))
#elif defined __AVX__
typedef __m256i wide;
#define STREAM(to, from) _mm256_stream_si256(to, _mm256_loadu_si256(from))
#elif defined __SSE2__
typedef __m128i wide;
#define STREAM(to, from) _mm_stream_si128(to, _mm_loadu_si128(from))
#endif
static inline void put(char *restrict to, const char *restrict from, int64_t bytes, int past) {
#ifdef STREAM
  if (past) {
    const int64_t before = -(uintptr_t)to % sizeof(wide), head = before < bytes ? before : bytes;
    memcpy(to, from, head);
    for (to += head, from += head, bytes -= head; bytes >= (int64_t)sizeof(wide); to += sizeof(wide), from += sizeof(wide), bytes -= sizeof(wide))
      STREAM((wide *)to, (const wide *)from);
  }
#endif
  memcpy(to, from, bytes);
}

static inline void fence(void) {
#ifdef STREAM
  _mm_sfence();
#endif
}

// bfloat16 is the upper half of a float.
static inline float from_bfloat16(uint16_t h) {
  const uint32_t bits = (uint32_t)h << 16;
  float x;
  memcpy(&x, &bits, 4);
  return x;
}
static inline uint16_t to_bfloat16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return x != x ? 0x7fc0 : (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline real fma_(real a, real b, real c) {
#if defined __FMA__ || defined __ARM_FEATURE_FMA
  return fma(a, b, c);
#else
  return a * b + c;
#endif
}

// Functions without branches or calls, so that they run in vectors; within 3 units in the last place.
static const real INVERSE_ODD[] = {1, 1. / 3, 1. / 5, 1. / 7, 1. / 9, 1. / 11, 1. / 13, 1. / 15, 1. / 17, 1. / 19};
static const real INVERSE_FACTORIAL[] = {
  1, 1, 1. / 2, 1. / 6, 1. / 24, 1. / 120, 1. / 720, 1. / 5040, 1. / 40320, 1. / 362880, 1. / 3628800, 1. / 39916800, 1. / 479001600,
  1. / 6227020800, 1. / 87178291200, 1. / 1307674368e3, 1. / 20922789888e3, 1. / 355687428096e3, 1. / 6402373705728e3,
  1. / 121645100408832e3, 1. / 243290200817664e4
};
// c[first] + c[first + step] x + c[first + 2 step] x^2 + ... + c[last] x^((last - first) / step)
static inline real polynomial(real x, const real *c, int first, int step, int last) {
  real p = c[last];
#pragma GCC unroll 16  // a loop that is still one when gcc looks for vectors prevents them around it
  for (int k = last - step; k >= first; k -= step) p = fma_(p, x, c[k]);
  return p;
}

#define LOG2_E ((real)1.44269504088896340736)
#define MAGIC ((real)3 * ((mask)1 << (MANTISSA - 1)))  // what is added to it is rounded to whole numbers, in its last bits
static inline mask bits_of(real x) {
  mask bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}
static inline real of_bits(mask bits) {
  real x;
  memcpy(&x, &bits, sizeof x);
  return x;
}
static inline real power_of_two(mask n) { return of_bits((n + BIAS) * ((mask)1 << MANTISSA)); }

// Returns n, which is x rounded to a whole number, and 2^n as a product of two, for it can be too large or too small for one.
static inline real whole(real x, real *restrict a, real *restrict b) {
  const mask zero = bits_of(MAGIC);
  mask bits = bits_of(x + MAGIC);
  bits = bits < zero + LOWEST ? zero + LOWEST : bits;
  bits = bits > zero + HIGHEST ? zero + HIGHEST : bits;
  const mask half = (bits - zero) >> 1;
  *a = power_of_two(half);
  *b = power_of_two(bits - zero - half);
  return of_bits(bits) - MAGIC;
}
// exp(r) - 1 near 0
static inline real expm1_near(real r) { return fma_(polynomial(r, INVERSE_FACTORIAL, 2, 1, DEGREE), r * r, r); }
// x = n ln 2 + r; returns exp(r) - 1, and 2^n as a product.
static inline real exp_parts(real x, real *restrict a, real *restrict b) {
  const real n = whole(x * LOG2_E, a, b);
  return expm1_near(fma_(n, -LN2_LOW, fma_(n, -LN2_HIGH, x)));
}
static inline real exp_(real x) {
  real a, b;
  const real e = exp_parts(x, &a, &b);
  return x < LOWEST * LN2_HIGH ? 0 : (1 + e) * a * b;
}
static inline real exp2_(real x) {
  real a, b;
  const real e = expm1_near((x - whole(x, &a, &b)) * (LN2_HIGH + LN2_LOW));
  return x < LOWEST ? 0 : (1 + e) * a * b;
}
static inline real expm1_(real x) {
  real a, b;
  const real e = exp_parts(x, &a, &b);
  return x < LOWEST * LN2_HIGH ? -1 : fma_(e, a, a - 1 / b) * b;
}
static inline real tanh_(real x) {
  const real e = expm1_(-2 * fabs(x)), y = -e / (e + 2);
  return x < 0 ? -y : y;
}

// |x| = 2^n (1 + f), where 1 + f is from sqrt(1/2) to sqrt(2); returns log(1 + f) - f, by log(1 + f) = 2 artanh(s), s = f / (2 + f).
static inline real log_parts(real x, real *restrict n, real *restrict f) {
  const int small = fabs(x) < power_of_two(1 - BIAS);
  const mask bits = bits_of(fabs(x) * (small ? power_of_two(MANTISSA) : 1)), k = (bits - bits_of((real)0.70710678118654752440)) >> MANTISSA;
  *n = of_bits(bits_of(MAGIC) + k - (small ? MANTISSA : 0)) - MAGIC;
  *f = of_bits(bits - k * ((mask)1 << MANTISSA)) - 1;
  const real s = *f / (*f + 2), square = s * s, half = *f * *f / 2;
  return fma_(s, fma_(2 * square, polynomial(square, INVERSE_ODD, 1, 1, ODD / 2), half), -half);
}
static inline real log_at(real x, real y) { return x > 0 ? x < INFINITY ? y : x : x == 0 ? -INFINITY : NAN; }
static inline real log_(real x) {
  real n, f;
  const real rest = log_parts(x, &n, &f);
  return log_at(x, fma_(n, LN2_HIGH, f + fma_(n, LN2_LOW, rest)));
}
static inline real log2_(real x) {
  real n, f;
  const real rest = log_parts(x, &n, &f);
  return log_at(x, fma_(f + rest, LOG2_E, n));
}
static inline real log1p_(real x) {
  const real u = 1 + x, y = log_(u);
  return u == 1 ? x : u < INFINITY ? y * (x / (u - 1)) : y;
}

// The sine of x plus some quarter turns; x = n pi/2 + r, in double for either type, for the larger x the more digits it takes, and with fma even
// where that is a call. Beyond 2^46, where neighbours in double are 1/64 apart, it is NaN.
static inline real sine(double x, int quarters) {
  const double magic = 6755399441055744, rounded = fma(x, 0.63661977236758134308, magic), n = rounded - magic;
  const real r = fma(-n, -1.4973849048591833e-33, fma(-n, 6.1232339957367660e-17, fma(-n, 1.5707963267948966, x))), w = -r * r;
  uint64_t quadrant;
  memcpy(&quadrant, &rounded, sizeof rounded);
  quadrant += quarters;
  const real even = fma_(w, polynomial(w, INVERSE_FACTORIAL, 2, 2, ODD + 1), 1), odd = fma_(r, w * polynomial(w, INVERSE_FACTORIAL, 3, 2, ODD), r);
  const real y = quadrant & 1 ? even : odd;
  return fabs(x) <= 0x1p46 ? quadrant & 2 ? -y : y : NAN;
}
static inline real sin_(real x) { return x == 0 ? x : sine(x, 0); }
static inline real cos_(real x) { return sine(x, 1); }

// What neurons o to o + m have of P, each of whose values holds for some neurons in a row, over and over.
static inline void spread(real *restrict to, const real *restrict P, int64_t o, int64_t m, int64_t size, int64_t inner) {
  int64_t at = o / inner % size, left = inner - o % inner;
  for (int64_t n = 0; n < m; n++) {
    to[n] = P[at];
    if (--left) continue;
    left = inner;
    if (++at == size) at = 0;
  }
}

// Functions of their own, else gcc 12 interleaves the loops around them in a way that is four times slower.
static __attribute__((noinline)) void add_scaled(real z, const real *restrict from, int64_t width, real *restrict to) {
  for (int64_t n = 0; n < width; n++) to[n] += z * from[n];
}
static __attribute__((noinline)) void add_four(const real *z, const int32_t *fired, const real *W, int64_t width, real *restrict to) {
  const real a = z[fired[0]], b = z[fired[1]], c = z[fired[2]], d = z[fired[3]];
  const real *A = W + fired[0] * width, *B = W + fired[1] * width, *C = W + fired[2] * width, *D = W + fired[3] * width;
  for (int64_t n = 0; n < width; n++) to[n] += a * A[n] + b * B[n] + (c * C[n] + d * D[n]);
}

// The places from `first` on, at most CHUNK of them and below `size`, where z is not zero; most stretches of spikes are silent and passed over whole.
enum { CHUNK = 128, STRETCH = 16 };
static inline int32_t find_fired(const real *restrict z, int64_t first, int64_t size, int32_t *restrict fired) {
  const int64_t end = first + CHUNK < size ? first + CHUNK : size;
  int32_t count = 0;
  for (int64_t k = first; k < end; k += STRETCH) {
    const int64_t until = k + STRETCH < end ? k + STRETCH : end;
    if (until == k + STRETCH) {
      mask any = 0;
      for (int j = 0; j < STRETCH; j++) any |= z[k + j] != 0;
      if (!any) continue;
    }
    for (int64_t j = k; j < until; j++) {
      fired[count] = j;
      count += z[j] != 0;
    }
  }
  return count;
}

// to (width) += z (inner) W (inner, width), reading only the rows of W where z is not zero.
static inline void add_rows(const real *restrict z, int64_t inner, const real *restrict W, int64_t width, real *restrict to) {
  for (int64_t first = 0; first < inner; first += CHUNK) {
    int32_t fired[CHUNK + 1], c = 0;
    const int32_t count = find_fired(z, first, inner, fired);
    for (; c + 4 <= count; c += 4) add_four(z, fired + c, W, width, to);
    for (; c < count; c++) add_scaled(z[fired[c]], W + fired[c] * width, width, to);
  }
}
