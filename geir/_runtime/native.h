// Shared by all compiled sources: types, work distribution over threads, streaming stores, and functions that
// compilers can vectorize. Define DOUBLE as 1 or 0 before including it.
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

// One call, shared by all its threads; `Job` in threads.py is the same struct. A function reads its arguments
// from its own struct, `arguments`; if it takes only a few arrays, from the pointers `a` and the numbers `q`,
// by position.
typedef struct {
  const void *arguments;
  void *const *a;
  const int64_t *q;
  int64_t block;  // items that a thread takes at a time
  int64_t taken;  // items taken so far
  int64_t threads;  // threads that have asked for their number so far
} job;
// Take block after block, from item o on, until all are taken.
#define BLOCKS(size) for (int64_t o; (o = __atomic_fetch_add(&j->taken, j->block, __ATOMIC_RELAXED)) < (size);)

// Before a loop whose iterations are independent. With many pointers a compiler cannot prove that, and would
// not vectorize the loop.
#ifdef __clang__
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif

// Store a row of results. An ordinary store first reads the cache line that it overwrites, and evicts another.
// If the results are larger than the caches, nothing is gained by either, and a streaming store, which bypasses
// the caches, saves a third of the memory traffic. Streaming stores must be aligned: the head of the row is
// copied as usual, and so is the tail. They are weakly ordered: a thread that has streamed calls fence() before
// others may read.
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
static inline void store_row(char *restrict to, const char *restrict from, int64_t bytes, int streaming) {
#ifdef STREAM
  if (streaming) {
    const int64_t before = -(uintptr_t)to % sizeof(wide), head = before < bytes ? before : bytes;
    memcpy(to, from, head);
    to += head, from += head, bytes -= head;
    for (; bytes >= (int64_t)sizeof(wide); to += sizeof(wide), from += sizeof(wide), bytes -= sizeof(wide))
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

// Define a function of threads in which results below the smallest normal number are zero. The states of silent neurons
// and vanishing gradients decay to such subnormal numbers and stay there, and some processors need a hundred times as
// long for them.
#ifdef __SSE2__
#define FLUSH_SUBNORMALS const unsigned mode = _mm_getcsr(); _mm_setcsr(mode | _MM_FLUSH_ZERO_ON)
#define RESTORE_MODE _mm_setcsr(mode)
#else
#define FLUSH_SUBNORMALS
#define RESTORE_MODE
#endif
#define FLUSHING(name) \
  static __attribute__((noinline)) void name##_flushing(job *j); \
  void name(job *j) { \
    FLUSH_SUBNORMALS; \
    name##_flushing(j); \
    RESTORE_MODE; \
  } \
  static void name##_flushing(job *j)

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

// Functions without branches and calls, so that loops over them are vectorized. Errors are below 3 units in the
// last place.
static const real INVERSE_ODD[] = {1, 1. / 3, 1. / 5, 1. / 7, 1. / 9, 1. / 11, 1. / 13, 1. / 15, 1. / 17, 1. / 19};
static const real INVERSE_FACTORIAL[] = {
  1, 1, 1. / 2, 1. / 6, 1. / 24, 1. / 120, 1. / 720, 1. / 5040, 1. / 40320, 1. / 362880, 1. / 3628800,
  1. / 39916800, 1. / 479001600,
  1. / 6227020800, 1. / 87178291200, 1. / 1307674368e3, 1. / 20922789888e3, 1. / 355687428096e3, 1. / 6402373705728e3,
  1. / 121645100408832e3, 1. / 243290200817664e4
};
// c[first] + c[first + step] x + c[first + 2 step] x^2 + ... + c[last] x^((last - first) / step)
static inline real polynomial(real x, const real *c, int first, int step, int last) {
  real p = c[last];
#pragma GCC unroll 16  // gcc does not vectorize a loop that contains another
  for (int k = last - step; k >= first; k -= step) p = fma_(p, x, c[k]);
  return p;
}

#define LOG2_E ((real)1.44269504088896340736)
#define MAGIC ((real)3 * ((mask)1 << (MANTISSA - 1)))  // x + MAGIC holds x, rounded to an integer, in its last bits
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

// Returns n, x rounded to an integer, and 2^n = a b as a product, because 2^n itself can be too large or too
// small for the type.
static inline real split_power(real x, real *restrict a, real *restrict b) {
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
// x = n ln 2 + r; returns exp(r) - 1, and 2^n = a b.
static inline real exp_parts(real x, real *restrict a, real *restrict b) {
  const real n = split_power(x * LOG2_E, a, b);
  return expm1_near(fma_(n, -LN2_LOW, fma_(n, -LN2_HIGH, x)));
}
static inline real exp_(real x) {
  real a, b;
  const real e = exp_parts(x, &a, &b);
  return x < LOWEST * LN2_HIGH ? 0 : (1 + e) * a * b;
}
static inline real exp2_(real x) {
  real a, b;
  const real e = expm1_near((x - split_power(x, &a, &b)) * (LN2_HIGH + LN2_LOW));
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

// |x| = 2^n (1 + f) with 1 + f between sqrt(1/2) and sqrt(2); returns log(1 + f) - f, by log(1 + f) = 2
// artanh(s), s = f / (2 + f).
static inline real log_parts(real x, real *restrict n, real *restrict f) {
  const int small = fabs(x) < power_of_two(1 - BIAS);
  const mask bits = bits_of(fabs(x) * (small ? power_of_two(MANTISSA) : 1));
  const mask k = (bits - bits_of((real)0.70710678118654752440)) >> MANTISSA;
  *n = of_bits(bits_of(MAGIC) + k - (small ? MANTISSA : 0)) - MAGIC;
  *f = of_bits(bits - k * ((mask)1 << MANTISSA)) - 1;
  const real s = *f / (*f + 2), square = s * s, half = *f * *f / 2;
  return fma_(s, fma_(2 * square, polynomial(square, INVERSE_ODD, 1, 1, ODD / 2), half), -half);
}
// log(x) = y where x is positive and finite.
static inline real log_domain(real x, real y) { return x > 0 ? x < INFINITY ? y : x : x == 0 ? -INFINITY : NAN; }
static inline real log_(real x) {
  real n, f;
  const real rest = log_parts(x, &n, &f);
  return log_domain(x, fma_(n, LN2_HIGH, f + fma_(n, LN2_LOW, rest)));
}
static inline real log2_(real x) {
  real n, f;
  const real rest = log_parts(x, &n, &f);
  return log_domain(x, fma_(f + rest, LOG2_E, n));
}
static inline real log1p_(real x) {
  const real u = 1 + x, y = log_(u);
  return u == 1 ? x : u < INFINITY ? y * (x / (u - 1)) : y;
}

// sin(x + quarters pi/2). The reduction x = n pi/2 + r is done in double for both types, because it loses
// digits for large x, and with fma even where that is a function call. NaN beyond 2^46, where neighboring
// doubles are 1/64 apart.
static inline real sine(double x, int quarters) {
  const double magic = 6755399441055744, rounded = fma(x, 0.63661977236758134308, magic), n = rounded - magic;
  const real r = fma(-n, -1.4973849048591833e-33, fma(-n, 6.1232339957367660e-17, fma(-n, 1.5707963267948966, x)));
  const real w = -r * r;
  uint64_t quadrant;
  memcpy(&quadrant, &rounded, sizeof rounded);
  quadrant += quarters;
  const real even = fma_(w, polynomial(w, INVERSE_FACTORIAL, 2, 2, ODD + 1), 1);
  const real odd = fma_(r, w * polynomial(w, INVERSE_FACTORIAL, 3, 2, ODD), r);
  const real y = quadrant & 1 ? even : odd;
  return fabs(x) <= 0x1p46 ? quadrant & 2 ? -y : y : NAN;
}
static inline real sin_(real x) { return x == 0 ? x : sine(x, 0); }
static inline real cos_(real x) { return sine(x, 1); }

// The values of a constant for the neurons first ... first + count - 1: neuron k has values[k / repeat % size].
static inline void gather_constants(
    real *restrict to, const real *restrict values, int64_t first, int64_t count, int64_t size, int64_t repeat) {
  int64_t k = first / repeat % size, left = repeat - first % repeat;
  for (int64_t lane = 0; lane < count; lane++) {
    to[lane] = values[k];
    if (--left) continue;
    left = repeat;
    if (++k == size) k = 0;
  }
}

// Several numbers in one register, at any address of a number.
#if defined __AVX512F__
enum { VECTOR_BYTES = 64 };
#elif defined __AVX__
enum { VECTOR_BYTES = 32 };
#else
enum { VECTOR_BYTES = 16 };
#endif
enum { LANES_OF_VECTOR = VECTOR_BYTES / sizeof(real), TILE_VECTORS = 8, TILE = TILE_VECTORS * LANES_OF_VECTOR };
typedef real lane_vector __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

static inline lane_vector fma_lanes(lane_vector a, lane_vector b, lane_vector c) {
#if defined __AVX512F__ && DOUBLE
  return (lane_vector)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined __AVX512F__
  return (lane_vector)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined __AVX__ && defined __FMA__ && DOUBLE
  return (lane_vector)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined __AVX__ && defined __FMA__
  return (lane_vector)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  return a * b + c;
#endif
}

static inline real sum_lanes(lane_vector x) {
#if defined __AVX512F__ && DOUBLE
  return _mm512_reduce_add_pd((__m512d)x);
#elif defined __AVX512F__
  return _mm512_reduce_add_ps((__m512)x);
#else
  real sum = 0;
  for (int lane = 0; lane < LANES_OF_VECTOR; lane++) sum += x[lane];
  return sum;
#endif
}

// Not inlined: gcc 12 would interleave the loops around them in a way that is four times slower.
// to += z row
static __attribute__((noinline)) void add_scaled(real z, const real *restrict row, int64_t width, real *restrict to) {
  for (int64_t n = 0; n < width; n++) to[n] += z * row[n];
}
// to = from + the sum over c < count of values[c] times row rows[c] of the weights, for a tile, which stays in registers.
// Without `from`, the sum alone.
static __attribute__((noinline)) void add_tile(
    const real *values, const int32_t *rows, int32_t count, const real *weights, int64_t width, const real *from, real *to) {
  lane_vector sum[TILE_VECTORS];
#pragma GCC unroll 8
  for (int v = 0; v < TILE_VECTORS; v++)
    sum[v] = from ? *(const lane_vector *)(from + v * LANES_OF_VECTOR) : (lane_vector){0};
  for (int32_t c = 0; c < count; c++) {
    const real *row = weights + rows[c] * width;
    const lane_vector value = values[c] - (lane_vector){0};
#pragma GCC unroll 8
    for (int v = 0; v < TILE_VECTORS; v++)
      sum[v] = fma_lanes(value, *(const lane_vector *)(row + v * LANES_OF_VECTOR), sum[v]);
  }
#pragma GCC unroll 8
  for (int v = 0; v < TILE_VECTORS; v++) *(lane_vector *)(to + v * LANES_OF_VECTOR) = sum[v];
}
// The same for all of a row `to` of any width.
static inline void add_listed(
    const real *values, const int32_t *rows, int32_t count, const real *weights, int64_t width, const real *from, real *to) {
  if (!count && from == to) return;
  int64_t n = 0;
  for (; n + TILE <= width; n += TILE) add_tile(values, rows, count, weights + n, width, from ? from + n : from, to + n);
  if (from != to) for (int64_t k = n; k < width; k++) to[k] = from ? from[k] : 0;
  for (int32_t c = 0; c < count && n < width; c++)
    add_scaled(values[c], weights + rows[c] * width + n, width - n, to + n);
}

// A bit for each of STRETCH numbers: whether it is not zero.
enum { CHUNK = 128, STRETCH = 16 };
static inline uint32_t nonzero_bits(const real *z) {
  uint32_t bits = 0;
#if defined __AVX512F__ && DOUBLE
  for (int k = 0; k < STRETCH; k += 8)
    bits |= (uint32_t)_mm512_cmp_pd_mask(_mm512_loadu_pd(z + k), _mm512_setzero_pd(), _CMP_NEQ_UQ) << k;
#elif defined __AVX512F__
  bits = _mm512_cmp_ps_mask(_mm512_loadu_ps(z), _mm512_setzero_ps(), _CMP_NEQ_UQ);
#elif defined __AVX__ && DOUBLE
  for (int k = 0; k < STRETCH; k += 4)
    bits |= (uint32_t)_mm256_movemask_pd(_mm256_cmp_pd(_mm256_loadu_pd(z + k), _mm256_setzero_pd(), _CMP_NEQ_UQ)) << k;
#elif defined __AVX__
  for (int k = 0; k < STRETCH; k += 8)
    bits |= (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(z + k), _mm256_setzero_ps(), _CMP_NEQ_UQ)) << k;
#else
  for (int k = 0; k < STRETCH; k++) bits |= (uint32_t)(z[k] != 0) << k;
#endif
  return bits;
}

// The indices first ... end - 1 where z is not zero. `fired` has space for all of them.
static inline int32_t find_fired(const real *restrict z, int64_t first, int64_t end, int32_t *restrict fired) {
  int64_t k = first;
  int32_t count = 0;
  for (; k + STRETCH <= end; k += STRETCH) {
    uint32_t bits = nonzero_bits(z + k);
#if defined __AVX512F__
    // No branch depends on z: a processor would mispredict it.
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i indices = _mm512_add_epi32(lanes, _mm512_set1_epi32(k));
    _mm512_storeu_si512(fired + count, _mm512_maskz_compress_epi32(bits, indices));
    count += __builtin_popcount(bits);
#else
    for (; bits; bits &= bits - 1) fired[count++] = k + __builtin_ctz(bits);
#endif
  }
  for (; k < end; k++)
    if (z[k] != 0) fired[count++] = k;
  return count;
}

// to (width) = from (width) + z (inner) weights (inner, width), reading only the rows of the weights where z is not zero.
static inline void add_rows(
    const real *restrict z, int64_t inner, const real *restrict weights, int64_t width, const real *from, real *to) {
  for (int64_t first = 0; first < inner; first += CHUNK) {
    int32_t fired[CHUNK];
    real values[CHUNK];
    const int32_t count = find_fired(z, first, first + CHUNK < inner ? first + CHUNK : inner, fired);
    for (int32_t c = 0; c < count; c++) values[c] = z[fired[c]];
    add_listed(values, fired, count, weights, width, first ? to : from, to);
  }
}

// to[column][row] = from[row][column]; a row of `to` has space for `stride` numbers. It goes tile by tile, so that both
// stay in cache.
static inline void transpose(
    const real *restrict from, int64_t rows, int64_t columns, real *restrict to, int64_t stride) {
  enum { SIDE = 16 };
  for (int64_t i = 0; i < rows; i += SIDE)
    for (int64_t k = 0; k < columns; k += SIDE)
      if (i + SIDE <= rows && k + SIDE <= columns)
        for (int64_t column = k; column < k + SIDE; column++)
          for (int64_t row = i; row < i + SIDE; row++) to[column * stride + row] = from[row * columns + column];
      else
        for (int64_t column = k; column < k + SIDE && column < columns; column++)
          for (int64_t row = i; row < i + SIDE && row < rows; row++)
            to[column * stride + row] = from[row * columns + column];
}
