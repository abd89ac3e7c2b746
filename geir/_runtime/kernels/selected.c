// The output feeds back through a matrix of weights, and only some numbers of its gradient are needed.
{{selected}}

// Samples and neurons whose numbers are computed together, and the part of the sums over neurons whose terms of these
// samples stay in the first cache.
enum { ROWS = 16, COLUMNS = 128, PART = 2048 / sizeof(real) };

// out[row][0] += z[row] column for the first `count` rows in a set, a constant where this is inlined; returns the other
// rows. Few rows are summed in several parts each, so that additions need not wait for each other.
static inline __attribute__((always_inline)) uint32_t add_dots(
    const int count, uint32_t set, const real *z, const real *column, int64_t size, real *out, int64_t width) {
  enum { SUMS = 8 };
  const int parts = SUMS / count;
  lane_vector sum[SUMS];
  const real *row[SUMS];
  real *to[SUMS];
  for (int c = 0; c < count; c++, set &= set - 1) {
    const int64_t offset = __builtin_ctz(set) * width;
    row[c] = z + offset, to[c] = out + offset;
    for (int part = 0; part < parts; part++) sum[part * count + c] = (lane_vector){0};
  }
  int64_t n = 0;
  for (; n + parts * LANES_OF_VECTOR <= size; n += parts * LANES_OF_VECTOR)
    for (int part = 0; part < parts; part++) {
      const int64_t at = n + part * LANES_OF_VECTOR;
      const lane_vector weights = *(const lane_vector *)(column + at);
      for (int c = 0; c < count; c++)
        sum[part * count + c] = fma_lanes(*(const lane_vector *)(row[c] + at), weights, sum[part * count + c]);
    }
  for (; n + LANES_OF_VECTOR <= size; n += LANES_OF_VECTOR)
    for (int c = 0; c < count; c++)
      sum[c] = fma_lanes(*(const lane_vector *)(row[c] + n), *(const lane_vector *)(column + n), sum[c]);
  for (int c = 0; c < count; c++) {
    real rest = 0;
    for (int64_t k = n; k < size; k++) rest += row[c][k] * column[k];
    for (int part = 1; part < parts; part++) sum[c] += sum[part * count + c];
    *to[c] += sum_lanes(sum[c]) + rest;
  }
  return set;
}

// out += z columns^T for at most ROWS rows, where it is needed; columns are rows in memory:
//
//   for each block of columns
//     for each column, find the set of rows that are needed
//     for each part of the sums
//       for each column
//         for each row in its set
//           out[row, column] += z[row] columns[column]
static void add_needed(const real *z, const real *columns, const uint8_t *needed, int64_t rows, int64_t width, real *out) {
  for (int64_t first = 0; first < width; first += COLUMNS) {
    const int64_t count = MIN(COLUMNS, width - first);
    uint32_t of_column[COLUMNS] = {0};
    for (int64_t i = 0; i < rows; i++)
      for (int64_t k = 0; k < count; k++) of_column[k] |= (uint32_t)(needed[i * width + first + k] != 0) << i;
    for (int64_t part = 0; part < width; part += PART) {
      const int64_t size = MIN(PART, width - part);
      for (int64_t k = 0; k < count; k++) {
        const real *column = columns + (first + k) * width + part;
        real *to = out + first + k;
        for (uint32_t set = of_column[k]; set;) switch (__builtin_popcount(set)) {
          case 1: set = add_dots(1, set, z + part, column, size, to, width); break;
          case 2: set = add_dots(2, set, z + part, column, size, to, width); break;
          case 3: set = add_dots(3, set, z + part, column, size, to, width); break;
          default: set = add_dots(4, set, z + part, column, size, to, width);
        }
      }
    }
  }
}

// Go backward through one chunk of the steps of a run: the gradient of an output has a second term, which arrives from
// the next step. `checkpoints` and `grad_recorded_states` are those of the steps of the chunk, (steps, states, neurons).
// A thread takes some samples.
FLUSHING(backward_selected) {
  const backward_arguments *args = j->arguments;
  const selected_feedback *feedback = args->connections;
  const int64_t neurons = args->neurons, width = feedback->width, first_step = feedback->first_step;
  const int64_t thread = __atomic_fetch_add(&j->threads, 1, __ATOMIC_RELAXED);
  real *const tape = args->workspace + BLOCK * TAPE_ROWS * thread, *const grad_output = feedback->grad_output;
  BLOCKS(neurons) {
    const int64_t end = MIN(neurons, o + j->block);
    backward_arguments step = single_step(args, grad_output);
    for (int64_t t = feedback->end_step - 1; t >= first_step; t--) {
      memcpy(grad_output + o, args->grad_output + t * neurons + o, (end - o) * sizeof(real));
      for (int64_t sample = o; sample < end && t + 1 < feedback->steps; sample += ROWS * width)
        add_needed((const real *)args->grad_input + (t + 1) * neurons + sample, feedback->columns,
                   feedback->needed + (t - first_step) * neurons + sample, MIN(ROWS, (end - sample) / width), width,
                   grad_output + sample);
      run_step_back(args, &step, t, first_step, o, end, tape);
    }
  }
  fence();
}
