// A product of which only some numbers are needed.
#define DOUBLE {{double}}
#include "native.h"

{{arguments}}

// Rows and columns of `out` that a thread takes at a time, and the part of the inner dimension whose numbers of these
// rows stay in the first cache.
enum { ROWS = 16, COLUMNS = 128, PART = 2048 / sizeof(real) };
#define MIN(left, right) ((left) < (right) ? (left) : (right))

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

// out[rows[c]][0] += z[rows[c]] column, for `count` rows, a constant where this is inlined.
static inline __attribute__((always_inline)) void add_dots(
    const int count, const int32_t *rows, const real *z, int64_t inner, const real *column, int64_t size, real *out,
    int64_t width) {
  lane_vector sum[4];
  const real *row[4];
  for (int c = 0; c < count; c++) sum[c] = (lane_vector){0}, row[c] = z + rows[c] * inner;
  int64_t n = 0;
  for (; n + LANES_OF_VECTOR <= size; n += LANES_OF_VECTOR) {
    const lane_vector weights = *(const lane_vector *)(column + n);
    for (int c = 0; c < count; c++) sum[c] += *(const lane_vector *)(row[c] + n) * weights;
  }
  for (int c = 0; c < count; c++) {
    real rest = 0;
    for (int64_t k = n; k < size; k++) rest += row[c][k] * column[k];
    out[rows[c] * width] += sum_lanes(sum[c]) + rest;
  }
}

// out += z weights, where it is needed:
//
//   for each block of rows and columns              on threads
//     for each column, list the rows that are needed
//     for each part of the inner dimension
//       for each column
//         for each row on its list
//           out[row, column] += z[row] weights[:, column]
void add_selected(job *j) {
  const arguments *args = j->arguments;
  const int64_t rows = args->rows, inner = args->inner, width = args->width;
  const int64_t across = (width + COLUMNS - 1) / COLUMNS, blocks = (rows + ROWS - 1) / ROWS * across;
  BLOCKS(blocks) {
    const int64_t row = o / across * ROWS, column = o % across * COLUMNS;
    const int64_t block_rows = MIN(ROWS, rows - row), block_columns = MIN(COLUMNS, width - column);
    uint32_t needed[COLUMNS] = {0};
    for (int64_t i = 0; i < block_rows; i++) {
      const uint8_t *row_needed = args->needed + (row + i) * width + column;
      for (int64_t k = 0; k < block_columns; k++) needed[k] |= (uint32_t)(row_needed[k] != 0) << i;
    }
    for (int64_t first = 0; first < inner; first += PART) {
      const int64_t size = MIN(PART, inner - first);
      const real *z = args->z + row * inner + first, *weights = args->weights + column * inner + first;
      for (int64_t k = 0; k < block_columns; k++) {
        real *out = args->out + row * width + column + k;
        int32_t listed[ROWS], count = 0, c = 0;
        for (uint32_t bits = needed[k]; bits; bits &= bits - 1) listed[count++] = __builtin_ctz(bits);
        for (; c + 4 <= count; c += 4) add_dots(4, listed + c, z, inner, weights + k * inner, size, out, width);
        switch (count - c) {
          case 3: add_dots(3, listed + c, z, inner, weights + k * inner, size, out, width); break;
          case 2: add_dots(2, listed + c, z, inner, weights + k * inner, size, out, width); break;
          case 1: add_dots(1, listed + c, z, inner, weights + k * inner, size, out, width);
        }
      }
    }
  }
}
