// Products with spikes: only the rows of neurons that fired are read.
#define DOUBLE {{double}}
#include "native.h"

// Rows of OUT that a thread takes at a time, at most, and rows of W that stay in cache while it does.
enum { BLOCK = 32, CHUNK = 128 };

// OUT (rows, width) += Z (rows, inner) W (inner, width), of which Z may have any strides.
void add_product(job *j) {
  const int64_t rows = j->q[0], inner = j->q[1], width = j->q[2], down = j->q[3], across = j->q[4];
  const real *Z = j->a[0], *W = j->a[1];
  BLOCKS(rows)
    for (int64_t first = 0; first < inner; first += CHUNK) {
      const int64_t block = rows - o < j->block ? rows - o : j->block, chunk = inner - first < CHUNK ? inner - first : CHUNK;
      real part[BLOCK][CHUNK];
      for (int64_t k = 0; k < chunk; k++)
        for (int64_t i = 0; i < block; i++) part[i][k] = Z[(o + i) * down + (first + k) * across];
      for (int64_t i = 0; i < block; i++) {
        int32_t fired[CHUNK + 1], count = 0;
        for (int64_t k = 0; k < chunk; k++) {
          fired[count] = k;
          count += part[i][k] != 0;
        }
        real *restrict to = (real *)j->a[2] + (o + i) * width;
        for (int32_t k = 0; k < count; k++) {
          const real weight = part[i][fired[k]], *restrict from = W + (first + fired[k]) * width;
          for (int64_t n = 0; n < width; n++) to[n] += weight * from[n];
        }
      }
    }
}
