// Products with spikes: only the rows of neurons that fired are read.
#include <stdint.h>

typedef {{real}} real;

int64_t count(const real *z, int64_t size) {
  int64_t fired = 0;
  for (int64_t k = 0; k < size; k++) fired += z[k] != 0;
  return fired;
}

// out (rows, width) += z (rows, inner) rates (inner, width); with `outer`, of out (inner, width) += z^T rates (rows, width).
void gather(const real *z, const real *rates, real *out, int64_t rows, int64_t inner, int64_t width, int64_t outer) {
  for (int64_t i = 0; i < rows; i++)
    for (int64_t k = 0; k < inner; k++) {
      const real weight = z[i * inner + k];
      if (weight == 0) continue;
      const real *restrict from = rates + (outer ? i : k) * width;
      real *restrict to = out + (outer ? k : i) * width;
      for (int64_t n = 0; n < width; n++) to[n] += weight * from[n];
    }
}
