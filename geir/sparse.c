// Products with spikes: only the rows of neurons that fired are read.
#define DOUBLE {{double}}
#include "native.h"

// Rows of OUT that a thread takes at a time, at most, and rows of W that stay in cache while it does.
enum { BLOCK = {{block}}, PART = 128 };

// OUT (rows, width) += Z (rows, inner) W (inner, width), of which Z may have any strides.
void add_product(job *j) {
  const int64_t rows = j->q[0], inner = j->q[1], width = j->q[2], down = j->q[3], across = j->q[4];
  const real *Z = j->a[0], *W = j->a[1];
  BLOCKS(rows)
    for (int64_t first = 0; first < inner; first += PART) {
      const int64_t block = rows - o < j->block ? rows - o : j->block, size = inner - first < PART ? inner - first : PART;
      real part[BLOCK][PART];
      const real *from = Z + o * down + first * across;
      if (across == 1)
        for (int64_t i = 0; i < block; i++) memcpy(part[i], from + i * down, size * sizeof(real));
      else
        for (int64_t k = 0; k < size; k++)
          for (int64_t i = 0; i < block; i++) part[i][k] = from[i * down + k * across];
      for (int64_t i = 0; i < block; i++) add_rows(part[i], size, W + first * width, width, (real *)j->a[2] + (o + i) * width);
    }
}
