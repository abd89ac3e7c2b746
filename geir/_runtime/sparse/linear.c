// Products with spikes: only the rows of weights whose input is not zero are read.
#define DOUBLE {{double}}
#include "native.h"

{{arguments}}

// Rows of `out` that a thread takes at a time, at most; rows of the weights that stay in cache while it does; and
// rows of z whose numbers are listed at a time.
enum { BLOCK = {{block}}, PART = 256, GROUP = 32, AHEAD = 16 };
#define MIN(left, right) ((left) < (right) ? (left) : (right))

// For each row of a group, the numbers of one part that are not zero, and where they are.
typedef struct {
  int32_t count[GROUP], index[GROUP][PART];
  real value[GROUP][PART];
} lists;

static inline void append(lists *to, int64_t row, int64_t index, real value) {
  const int32_t c = to->count[row]++;
  to->index[row][c] = index;
  to->value[row][c] = value;
}

// z has `rows` rows and `size` columns, and stride 1 either between columns or between rows.
static inline void list_nonzero(
    lists *to, const real *z, int64_t rows, int64_t size, int64_t row_stride, int64_t inner_stride) {
  memset(to->count, 0, sizeof to->count);
  if (inner_stride == 1)
    for (int64_t i = 0; i < rows; i++) {
      const int32_t count = to->count[i] = find_fired(z + i * row_stride, 0, size, to->index[i]);
      for (int32_t c = 0; c < count; c++) to->value[i][c] = z[i * row_stride + to->index[i][c]];
    }
  else
    for (int64_t k = 0; k < size; k++) {
      for (int64_t i = 0; i < rows; i += 64 / sizeof(real)) __builtin_prefetch(z + (k + AHEAD) * inner_stride + i);
      int32_t found[GROUP];
      const int32_t count = find_fired(z + k * inner_stride, 0, rows, found);
      for (int32_t c = 0; c < count; c++) append(to, found[c], k, z[k * inner_stride + found[c]]);
    }
}

// out = start + z weights:
//
//   for each block of rows                        on threads
//     for each part of the inner dimension        so that its weights stay in cache
//       for each group of rows of the block
//         list the numbers of z that are not zero
//         for each row of the group
//           out[row] += the sum over k on its list of z[row, k] weights[k]
void multiply(job *j) {
  const arguments *args = j->arguments;
  const int64_t rows = args->rows, inner = args->inner, width = args->width;
  const int64_t row_stride = args->row_stride, inner_stride = args->inner_stride;
  lists found;
  BLOCKS(rows) {
    const int64_t end = MIN(rows, o + j->block);
    for (int64_t first = 0; first < inner; first += PART)
      for (int64_t group = o; group < end; group += GROUP) {
        const int64_t size = MIN(PART, inner - first), count = MIN(GROUP, end - group);
        list_nonzero(
            &found, args->z + group * row_stride + first * inner_stride, count, size, row_stride, inner_stride);
        for (int64_t i = 0; i < count; i++) {
          real *const out = args->out + (group + i) * width;
          const real *const from = first ? out : args->start ? args->start + (group + i) * args->start_stride : 0;
          add_listed(found.value[i], found.index[i], found.count[i], args->weights + first * width, width, from, out);
        }
      }
  }
}

// out = the transpose of z.
void transpose_rows(job *j) {
  const arguments *args = j->arguments;
  BLOCKS(args->rows)
    transpose(args->z + o * args->inner, MIN(j->block, args->rows - o), args->inner, args->out + o, args->rows);
}
