// Products with spikes: only the rows of weights whose input is not zero are read.
#define DOUBLE {{double}}
#include "native.h"

{{arguments}}

// Rows of `out` that a thread takes at a time, at most, and rows of the weights that stay in cache while it does.
enum { BLOCK = {{block}}, PART = 128 };

// out += z weights:
//
//   for each block of rows                        on threads
//     for each part of the inner dimension        so that its weights stay in cache
//       copy this part of the block of z          z may have any strides
//       for each row of the block
//         for each k where z[row, k] != 0
//           out[row] += z[row, k] weights[k]
void add_product(job *j) {
  const arguments *args = j->arguments;
  const int64_t rows = args->rows, inner = args->inner, width = args->width;
  const int64_t row_stride = args->row_stride, inner_stride = args->inner_stride;
  BLOCKS(rows)
    for (int64_t first = 0; first < inner; first += PART) {
      const int64_t block = rows - o < j->block ? rows - o : j->block;
      const int64_t size = inner - first < PART ? inner - first : PART;
      real part[BLOCK][PART];
      const real *z = args->z + o * row_stride + first * inner_stride;
      if (inner_stride == 1)
        for (int64_t i = 0; i < block; i++) memcpy(part[i], z + i * row_stride, size * sizeof(real));
      else
        for (int64_t k = 0; k < size; k++)
          for (int64_t i = 0; i < block; i++) part[i][k] = z[i * row_stride + k * inner_stride];
      for (int64_t i = 0; i < block; i++)
        add_rows(part[i], size, args->weights + first * width, width, args->out + (o + i) * width);
    }
}
