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
enum { MANTISSA = 52, BIAS = 1023, LOWEST = -1080, HIGHEST = 1025, DEGREE = 13 };
#define LN2_HIGH 6.93147180369123816490e-01
#define LN2_LOW 1.90821492927058770002e-10
#else
typedef float real;
typedef int32_t mask;
enum { MANTISSA = 23, BIAS = 127, LOWEST = -152, HIGHEST = 129, DEGREE = 7 };
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

// exp and its kin without branches or calls, so that they run in vectors; within 3 units in the last place.
static inline real power_of_two(mask n) {
  const mask bits = (n + BIAS) * ((mask)1 << MANTISSA);
  real x;
  memcpy(&x, &bits, sizeof x);
  return x;
}
// x = n ln 2 + r; returns exp(r) - 1, and 2^n as a product of two, for it can be too large or too small for one.
static inline real exp_parts(real x, real *restrict a, real *restrict b, real *restrict n) {
  const real magic = (real)3 * ((mask)1 << (MANTISSA - 1));  // what is added to it is rounded to whole numbers, in its last bits
  real rounded = fma_(x, (real)1.44269504088896340736, magic);
  mask bits, zero;
  memcpy(&bits, &rounded, sizeof bits);
  memcpy(&zero, &magic, sizeof zero);
  bits = bits < zero + LOWEST ? zero + LOWEST : bits;
  bits = bits > zero + HIGHEST ? zero + HIGHEST : bits;
  memcpy(&rounded, &bits, sizeof bits);
  *n = rounded - magic;
  const mask half = (bits - zero) >> 1;
  *a = power_of_two(half);
  *b = power_of_two(bits - zero - half);
  const real r = fma_(*n, -LN2_LOW, fma_(*n, -LN2_HIGH, x)), square = r * r;
  static const real inverse[] = {1, 1, 1. / 2, 1. / 6, 1. / 24, 1. / 120, 1. / 720, 1. / 5040, 1. / 40320, 1. / 362880, 1. / 3628800,
                                 1. / 39916800, 1. / 479001600, 1. / 6227020800};
  real p = fma_(r, inverse[DEGREE], inverse[DEGREE - 1]);
  for (int k = DEGREE - 3; k > 1; k -= 2) p = fma_(p, square, fma_(r, inverse[k + 1], inverse[k]));
  return fma_(p, square, r);
}
static inline real exp_(real x) {
  real a, b, n;
  const real e = exp_parts(x, &a, &b, &n);
  return x < LOWEST * LN2_HIGH ? 0 : (1 + e) * a * b;
}
static inline real expm1_(real x) {
  real a, b, n;
  const real e = exp_parts(x, &a, &b, &n), y = n == 0 ? e : (1 + e) * a * b - 1;
  return x < LOWEST * LN2_HIGH ? -1 : y;
}
static inline real tanh_(real x) {
  const real e = expm1_(-2 * fabs(x)), y = -e / (e + 2);
  return x < 0 ? -y : y;
}

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

// to (width) += z (inner) W (inner, width), reading only the rows of W where z is not zero.
static inline void add_rows(const real *restrict z, int64_t inner, const real *restrict W, int64_t width, real *restrict to) {
  enum { CHUNK = 128 };
  for (int64_t first = 0; first < inner; first += CHUNK) {
    int32_t fired[CHUNK + 1], count = 0;
    for (int64_t k = first; k < inner && k < first + CHUNK; k++) {
      fired[count] = k;
      count += z[k] != 0;
    }
    int32_t c = 0;
    for (; c + 4 <= count; c += 4) add_four(z, fired + c, W, width, to);
    for (; c < count; c++) add_scaled(z[fired[c]], W + fired[c] * width, width, to);
  }
}
