// Sparse connections, ordered by source: those of source k are starts[k] ... starts[k + 1] - 1, each with a
// target and a weight. LANES rows are processed at once and lie side by side: x (blocks, sources, LANES), y
// (blocks, targets, LANES).
#define DOUBLE {{double}}
#include "native.h"

{{arguments}}

enum { LANES = {{lanes}} };
#define EACH(k, size) BLOCKS(size) for (int64_t k = o; k < o + j->block && k < (size); k++)

static inline int is_silent(const real *x) {
  int silent = 1;
  for (int64_t n = 0; n < LANES; n++) silent &= x[n] == 0;
  return silent;
}

// y += x W:
//
//   for each block of rows                 on threads
//     for each source that is not silent
//       for each of its connections
//         y[target] += weight x[source]
void connect(job *j) {
  const arguments *args = j->arguments;
  EACH(b, args->blocks)
    for (int64_t k = 0; k < args->sources; k++) {
      const real *x = args->x + (b * args->sources + k) * LANES;
      if (is_silent(x)) continue;
      for (int64_t c = args->starts[k]; c < args->starts[k + 1]; c++) {
        real *y = args->y + (b * args->targets + args->target[c]) * LANES;
        const real weight = args->weights[c];
        for (int64_t n = 0; n < LANES; n++) y[n] += weight * x[n];
      }
    }
}

// x = y W', the gradient of x from that of y:
//
//   for each block of rows                 on threads
//     for each source
//       x[source] = sum of weight y[target] over its connections
void connect_back(job *j) {
  const arguments *args = j->arguments;
  EACH(b, args->blocks)
    for (int64_t k = 0; k < args->sources; k++) {
      real sum[LANES] = {0};
      for (int64_t c = args->starts[k]; c < args->starts[k + 1]; c++) {
        const real *y = args->y + (b * args->targets + args->target[c]) * LANES;
        const real weight = args->weights[c];
        for (int64_t n = 0; n < LANES; n++) sum[n] += weight * y[n];
      }
      memcpy(args->x + (b * args->sources + k) * LANES, sum, sizeof sum);
    }
}

// The gradient of the weights:
//
//   for each source                        on threads
//     for each block of rows where it is not silent
//       for each of its connections
//         weight += sum over the rows of x[source] y[target]
void connect_weights(job *j) {
  const arguments *args = j->arguments;
  EACH(k, args->sources)
    for (int64_t b = 0; b < args->blocks; b++) {
      const real *x = args->x + (b * args->sources + k) * LANES;
      if (is_silent(x)) continue;
      for (int64_t c = args->starts[k]; c < args->starts[k + 1]; c++) {
        const real *y = args->y + (b * args->targets + args->target[c]) * LANES;
        real sum[LANES];
        for (int64_t n = 0; n < LANES; n++) sum[n] = x[n] * y[n];
        for (int64_t half = LANES / 2; half; half /= 2)
          for (int64_t n = 0; n < half; n++) sum[n] += sum[n + half];
        args->weights[c] += sum[0];
      }
    }
}
