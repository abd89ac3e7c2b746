// One neuron model over time, forward and backward. The generator fills in what stands between double braces.
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <immintrin.h>
#endif

typedef {{real}} real;  // of the state and of the arithmetic
typedef {{in}} in_t;
typedef {{out}} out_t;
// A block of neurons goes through all times while its state is in cache; a strip of it through one step, while its input for a later one is fetched.
enum { BLOCK = 2048, STRIP = 128, LARGE = 16 << 20 };
#define EACH for (int64_t n = 0; n < m; n++)
#define STRIPS for (int64_t c = 0, e; e = c + STRIP < m ? c + STRIP : m, c < m; c = e)
#define EACH_OF_STRIP for (int64_t n = c; n < e; n++)
#define FETCH(row) for (int64_t l = c; l < e; l += 64 / sizeof *(row)) __builtin_prefetch((row) + l, 0, 1)
{{functions}}

// Copy a row of results to memory; past the caches if there is more than they hold, which saves reading what is overwritten.
static inline void put(void *restrict to, const void *restrict from, int64_t bytes, int past) {
#ifdef __SSE2__
  if (past && ((uintptr_t)to & 15) == 0) {
    for (; bytes >= 16; bytes -= 16, to = (char *)to + 16, from = (const char *)from + 16) _mm_stream_si128(to, _mm_loadu_si128(from));
  }
#endif
  memcpy(to, from, bytes);
}

static inline void fence(void) {
#ifdef __SSE2__
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

// exp and its kin without branches, so that they run in vectors; within 3 units in the last place.
typedef {{integer}} integer;
static inline real power_of_two(real shifted) {
  integer bits;
  memcpy(&bits, &shifted, sizeof bits);
  bits = (integer)(({{unsigned}})(bits + {{bias}}) << {{mantissa}});
  real x;
  memcpy(&x, &bits, sizeof x);
  return x;
}
// x = n ln 2 + r; returns exp(r) - 1, and 2^n as a product of two, for it can be too large or too small for one.
static inline real exp_parts(real x, real *restrict a, real *restrict b, real *restrict n) {
  const real magic = (real)3 * ((integer)1 << ({{mantissa}} - 1)), lowest = {{lowest}}, highest = {{highest}};
  const real c = x < lowest ? lowest : x > highest ? highest : x;
  *n = (c * (real)1.44269504088896340736 + magic) - magic;
  const real r = (c - *n * (real){{ln2_high}}) - *n * (real){{ln2_low}};
  const real half = *n * (real)0.5 + magic;
  *a = power_of_two(half);
  *b = power_of_two(*n - (half - magic) + magic);
  real p = 1;
  for (int k = {{degree}}; k > 2; k--) p = 1 + p * r * (real)(1.0 / k);
  return r + r * r * p * (real)0.5;
}
static inline real exp_(real x) {
  real a, b, n;
  const real e = exp_parts(x, &a, &b, &n);
  return (1 + e) * a * b;
}
static inline real expm1_(real x) {
  real a, b, n;
  const real e = exp_parts(x, &a, &b, &n);
  return n == 0 ? e : (1 + e) * a * b - 1;
}
static inline real tanh_(real x) {
  const real e = expm1_(-2 * abs_(x)), y = -e / (e + 2);
  return x < 0 ? -y : y;
}

// Neurons first to last. `a` points to X and Z (T, N); for each part of the state to the part S (N), which is replaced by the last, to the
// checkpoints C (one every K steps) and to the record H (T, N), either of them null if not wanted; then to the fixed values P.
// `q` holds T, N, K, and for each P its size and over how many neurons in a row each of its values holds.
int forward(void *const *a, const int64_t *q, int64_t first, int64_t last) {
  const int64_t T = q[0], N = q[1], K = q[2];
  const int past = T * N * sizeof(out_t) > LARGE;
  const in_t *X = a[0];
  out_t *Z = a[1];
  {{forward_pointers}}
  {{scalars}}
  for (int64_t o = first; o < last; o += BLOCK) {
    const int64_t m = last - o < BLOCK ? last - o : BLOCK;
    {{own}}
    {{load_state}}
    for (int64_t t = 0; t < T; t++) {
      const int64_t at = t * N + o;
      {{checkpoint}}
      const in_t *restrict xt = X + at, *later = t + 1 < T ? xt + N : xt;
      STRIPS {
        FETCH(later);
        out_t zt[STRIP];
        EACH_OF_STRIP {
          const real x = {{load}}(xt[n]);
          {{state_from_block}}
          {{step}}
          zt[n - c] = {{store}}({{z}});
          {{state_to_block}}
        }
        put(Z + at + c, zt, (e - c) * sizeof(out_t), past);
      }
      {{record}}
    }
    {{store_state}}
  }
  fence();
  return 0;
}

// Backward: `a` points to X, DZ, DX; for each part of the state to its gradient D, which is replaced by that of the first, to C and to the
// gradient G of H, or null; to the fixed values P; and to the gradients L (N) of those fixed values that learn.
int backward(void *const *a, const int64_t *q, int64_t first, int64_t last) {
  const int64_t T = q[0], N = q[1], K = q[2], history = BLOCK * (K < T ? K : T);
  const int past = T * N * sizeof(in_t) > LARGE;
  const in_t *X = a[0];
  const out_t *DZ = a[1];
  in_t *DX = a[2];
  {{backward_pointers}}
  real *work = malloc(sizeof(real) * (size_t)history * {{states}} + 64);
  if (!work) return 1;
  {{history}}
  {{scalars}}
  for (int64_t o = first; o < last; o += BLOCK) {
    const int64_t m = last - o < BLOCK ? last - o : BLOCK;
    {{own}}
    {{load_gradient}}
    for (int64_t from = (T - 1) / K * K; from >= 0; from -= K) {
      const int64_t until = T < from + K ? T : from + K;
      {{recall}}
      for (int64_t t = from; t < until - 1; t++) {
        const in_t *restrict xt = X + t * N + o;
        {{row}}
        STRIPS {
          FETCH(xt + N);
          EACH_OF_STRIP {
            const real x = {{load}}(xt[n]);
            {{state_from_row}}
            {{step}}
            {{state_to_next_row}}
          }
        }
      }
      {
        {{backward_scalars}}
        {{backward_own}}
        for (int64_t t = until - 1; t >= from; t--) {
          const int64_t at = t * N + o;
          const in_t *restrict xt = X + at;
          const out_t *restrict dzt = DZ + at, *earlier = t > 0 ? dzt - N : dzt;
          {{row}}
          {{add_recorded}}
          STRIPS {
            FETCH(earlier);
            in_t dxt[STRIP];
            EACH_OF_STRIP {
              const real x = {{load}}(xt[n]), dz = {{load_dz}}(dzt[n]);
              {{state_from_row}}
              {{gradient_from_block}}
              {{backward_step}}
              dxt[n - c] = {{store_dx}}({{dx}});
              {{gradient_to_block}}
            }
            put(DX + at + c, dxt, (e - c) * sizeof(in_t), past);
          }
        }
      }
    }
    {{store_gradient}}
  }
  free(work);
  fence();
  return 0;
}
