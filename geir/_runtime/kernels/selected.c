// The output feeds back through a matrix of weights, and only some numbers of its gradient are needed.
{{selected}}

// Samples and neurons whose numbers are computed together, and the part of the sums over neurons whose terms of these
// samples stay in the first cache.
enum { ROWS = 16, COLUMNS = 128, PART = 2048 / sizeof(real) };

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

// out += z columns^T for at most ROWS rows, where it is needed; columns are rows in memory:
//
//   for each block of columns
//     for each column, list the rows that are needed
//     for each part of the sums
//       for each column
//         for each row on its list
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
        int32_t listed[ROWS], length = 0, c = 0;
        for (uint32_t bits = of_column[k]; bits; bits &= bits - 1) listed[length++] = __builtin_ctz(bits);
        real *to = out + first + k;
        for (; c + 4 <= length; c += 4) add_dots(4, listed + c, z + part, width, column, size, to, width);
        switch (length - c) {
          case 3: add_dots(3, listed + c, z + part, width, column, size, to, width); break;
          case 2: add_dots(2, listed + c, z + part, width, column, size, to, width); break;
          case 1: add_dots(1, listed + c, z + part, width, column, size, to, width);
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
