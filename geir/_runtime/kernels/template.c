// One neuron model over time, forward and backward. The generator fills in what stands between double braces.
#define DOUBLE {{double}}
#include "native.h"

typedef {{in}} in_t;
typedef {{out}} out_t;

// A block of neurons goes through all times while its state is in cache; a strip of it through one step, while its input for a later one is fetched.
enum { STATES = {{states}}, BLOCK = {{block}}, STRIP = 128, LARGE = 4 << 20 };
#define LEAST(a, b) ((a) < (b) ? (a) : (b))
#define EACH INDEPENDENT for (int64_t n = 0; n < m; n++)
#define STRIPS for (int64_t c = 0, e; e = LEAST(c + STRIP, m), c < m; c = e)
#define EACH_OF_STRIP INDEPENDENT for (int64_t n = c; n < e; n++)
#define FETCH(row) for (int64_t l = c; l < e; l += 64 / sizeof *(row)) __builtin_prefetch((row) + l, 0, 1)

// `a` points to X and Z (T, N), to the state S at the start and E at the end (STATES, N), to the checkpoints C (one every K steps, STATES, N)
// and the record H (STATES, T, N), either of them null if not wanted, and to the fixed values P.
// `q` holds T, N, K, and for each P its size and over how many neurons in a row each of its values holds.
static inline void steps(void *const *a, const int64_t *q, int64_t o, int64_t m, int64_t from, int64_t until, int past) {
  const int64_t N = q[1], K = q[2];
  const in_t *X = a[0];
  out_t *Z = a[1];
  real *const E = a[3], *const C = a[4], *const H = a[5];
  const real *const start = from ? E : a[2];
  {{fixed}}
  {{scalars}}
  {{own}}
  {{load_state}}
  for (int64_t t = from; t < until; t++) {
    const int64_t at = t * N + o;
    if (C && t % K == 0) {
      {{checkpoint}}
    }
    const in_t *restrict xt = X + at, *later = t + 1 < until ? xt + N : xt;
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
      put((char *)(Z + at + c), (char *)zt, (e - c) * sizeof(out_t), past);
    }
    if (H) {
      {{record}}
    }
  }
  {{store_state}}
}

void forward(job *j) {
  const int64_t T = j->q[0], N = j->q[1];
  BLOCKS(N) steps(j->a, j->q, o, LEAST(N - o, j->block), 0, T, T * N * sizeof(out_t) > LARGE);
  fence();
}

// The same where output feeds back: `a` also points, at its end, to the output before the first step (N) and to the weights (width, width) by
// source, and `q` ends with the width. What comes back is added to X; a thread takes some samples, of `width` neurons, through all times.
void feed(job *j) {
  const int64_t T = j->q[0], N = j->q[1], width = j->q[{{width}}];
  real *X = j->a[0];
  const real *Z = j->a[1], *first = j->a[{{after_fixed}}], *W = j->a[{{after_fixed}} + 1];
  BLOCKS(N) {
    const int64_t end = LEAST(N, o + j->block);
    for (int64_t t = 0; t < T; t++) {
      for (int64_t n = o; n < end; n += width) add_rows((t ? Z + (t - 1) * N : first) + n, width, W, width, X + t * N + n);
      for (int64_t n = o; n < end; n += BLOCK) steps(j->a, j->q, n, LEAST(end - n, BLOCK), t, t + 1, 0);
    }
  }
}

// Nothing is zero.
static inline void take(real *restrict to, const real *restrict from, int64_t m) {
  if (from) memcpy(to, from, m * sizeof(real));
  else memset(to, 0, m * sizeof(real));
}

// Backward: `a` points to X, DZ, DX, to the gradient D of the end, or null, and B of the start, to C, to the gradient G of H, or null, to the
// gradients L of those fixed values that learn, each (N) and added to, to the fixed values P, and to room, for each thread, for a tape: what the
// gradient needs of K steps of a block of neurons, which are done again from the checkpoint on.
void backward(job *j) {
  void *const *a = j->a;
  const int64_t *q = j->q, T = q[0], N = q[1], K = q[2];
  const int past = T * N * sizeof(in_t) > LARGE;
  const in_t *X = a[0];
  const out_t *DZ = a[1];
  in_t *DX = a[2];
  const real *const D = a[3], *const C = a[5], *const G = a[6];
  real *const B = a[4], *const L = a[7];
  {{backward_fixed}}
  real *const room = (real *)a[{{room}}] + BLOCK * K * {{rows}} * __atomic_fetch_add(&j->threads, 1, __ATOMIC_RELAXED);
  {{scalars}}
  BLOCKS(N) {
    const int64_t m = LEAST(N - o, j->block);
    {{own}}
    {{load_gradient}}
    {{load_learned}}
    for (int64_t from = (T - 1) / K * K; from >= 0; from -= K) {
      const int64_t until = LEAST(T, from + K);
      if ({{rows}}) {
        {{recall}}
        for (int64_t t = from; t < until; t++) {
          const in_t *restrict xt = X + t * N + o;
          {{tape}}
          STRIPS {
            FETCH(xt + N);
            EACH_OF_STRIP {
              const real x = {{load}}(xt[n]);
              {{state_from_block}}
              {{step}}
              {{to_tape}}
              {{state_to_block}}
            }
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
          {{tape}}
          if (G) {
            {{add_recorded}}
          }
          STRIPS {
            FETCH(earlier);
            in_t dxt[STRIP];
            EACH_OF_STRIP {
              const real x = {{load}}(xt[n]), dz = {{load_dz}}(dzt[n]);
              {{from_tape}}
              {{gradient_from_block}}
              {{backward_step}}
              dxt[n - c] = {{store_dx}}({{dx}});
              {{gradient_to_block}}
              {{learn}}
            }
            put((char *)(DX + at + c), (char *)dxt, (e - c) * sizeof(in_t), past);
          }
        }
      }
    }
    {{store_gradient}}
    {{store_learned}}
  }
  fence();
}
