// One neuron model over time, forward and backward. The generator fills in what stands between double braces.
#define DOUBLE {{double}}
#include "native.h"

typedef {{in}} in_t;
typedef {{out}} out_t;

// A block of neurons goes through all times while its state is in cache; a strip of it through one step, while its input for a later one is fetched.
enum { BLOCK = {{block}}, STRIP = 128, LARGE = 4 << 20 };
#define LEAST(a, b) ((a) < (b) ? (a) : (b))
#define EACH for (int64_t n = 0; n < m; n++)
#define STRIPS for (int64_t c = 0, e; e = LEAST(c + STRIP, m), c < m; c = e)
#define EACH_OF_STRIP for (int64_t n = c; n < e; n++)
#define FETCH(row) for (int64_t l = c; l < e; l += 64 / sizeof *(row)) __builtin_prefetch((row) + l, 0, 1)

// `a` points to X and Z (T, N); for each part of the state to the part S (N), which is replaced by the last, to the checkpoints C (one every
// K steps) and to the record H (T, N), either of them null if not wanted; then to the fixed values P.
// `q` holds T, N, K, and for each P its size and over how many neurons in a row each of its values holds.
static inline void steps(void *const *a, const int64_t *q, int64_t o, int64_t m, int64_t from, int64_t until, int past) {
  const int64_t N = q[1], K = q[2];
  const in_t *X = a[0];
  out_t *Z = a[1];
  {{forward_pointers}}
  {{scalars}}
  {{own}}
  {{load_state}}
  for (int64_t t = from; t < until; t++) {
    const int64_t at = t * N + o;
    {{checkpoint}}
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
    {{record}}
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
  const real *Z = j->a[1], *first = j->a[{{first}}], *W = j->a[{{first}} + 1];
  BLOCKS(N) {
    const int64_t end = LEAST(N, o + j->block);
    for (int64_t t = 0; t < T; t++) {
      for (int64_t n = o; n < end; n += width) add_rows((t ? Z + (t - 1) * N : first) + n, width, W, width, X + t * N + n);
      for (int64_t n = o; n < end; n += BLOCK) steps(j->a, j->q, n, LEAST(end - n, BLOCK), t, t + 1, 0);
    }
  }
}

// Backward: `a` points to X, DZ, DX; for each part of the state to its gradient D, which is replaced by that of the first, to C and to the
// gradient G of H, or null; to the fixed values P; to the gradients L (N) of those fixed values that learn; and to room for the states of
// K steps of a block of neurons for each thread.
void backward(job *j) {
  void *const *a = j->a;
  const int64_t *q = j->q, T = q[0], N = q[1], K = q[2], history = BLOCK * K;
  const int past = T * N * sizeof(in_t) > LARGE;
  const in_t *X = a[0];
  const out_t *DZ = a[1];
  in_t *DX = a[2];
  {{backward_pointers}}
  real *const room = (real *)a[{{room}}] + history * {{states}} * __atomic_fetch_add(&j->threads, 1, __ATOMIC_RELAXED);
  {{history}}
  {{scalars}}
  BLOCKS(N) {
    const int64_t m = LEAST(N - o, j->block);
    {{own}}
    {{load_gradient}}
    for (int64_t from = (T - 1) / K * K; from >= 0; from -= K) {
      const int64_t until = LEAST(T, from + K);
      {{recall}}
      for (int64_t t = from; t < until - 1; t++) {
        const in_t *restrict xt = X + t * N + o;
        {{row}}
        {{next_row}}
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
            put((char *)(DX + at + c), (char *)dxt, (e - c) * sizeof(in_t), past);
          }
        }
      }
    }
    {{store_gradient}}
  }
  fence();
}
