// Sparse connections, ordered by presynaptic neuron: the synapses of neuron k are starts[k] ... starts[k + 1] - 1. The
// output of step t reaches the input of step t + 1 + delay. Outputs, inputs and gradients are arrays of steps, which are
// `stride` numbers apart; functions get pointers to the first number of a sample.
{{synapses}}

// The buffer of inputs has a row for each step, or, if nobody needs them later, a few rows that are used in turn. A row
// is filled with the given input `window` steps before the step runs, when nothing can have arrived in it yet.
static inline int64_t buffer_row(const synapses *s, int64_t step) {
  return step < s->rows ? step : step % s->rows;
}
static inline void fill_row(const synapses *s, int64_t step, int64_t first, int64_t count, real *buffer) {
  if (step < s->steps)
    memcpy(buffer + buffer_row(s, step) * s->stride + first, s->given + step * s->given_stride + first,
           count * sizeof(real));
}

// Whether CHUNK outputs are zero.
static inline int is_silent(const real *z) {
  mask any = 0;
  for (int k = 0; k < CHUNK; k++) any |= z[k] != 0;
  return !any;
}

// Add what the outputs z of step t, those of the neurons first ... end - 1 of all samples, at most CHUNK, contribute to the
// inputs of later steps, reading only the synapses of neurons that fired.
static void deliver(const synapses *s, const real *z, int64_t first, int64_t end, int64_t t, real *buffer) {
  const int64_t shared_arrival = t + 1 + s->least_delay;
  if (shared_arrival >= s->steps || (!s->delay_stride && shared_arrival < 0)) return;
  // The row of the first step of the buffer's present turn. No delay is longer than a turn, so that the row of an arrival
  // follows without a division.
  const int64_t turn = t + 1 < 0 ? 0 : (t + 1) / s->rows * s->rows;
  int32_t fired[CHUNK];
  const int32_t count = find_fired(z + first, 0, end - first, fired);
  for (int32_t k = 0; k < count; k++) {
    const int64_t neuron = (first + fired[k]) % s->neurons, sample = first + fired[k] - neuron;
    const int64_t end_synapse = s->starts[neuron + 1];
    const real output = z[first + fired[k]];
    if (!s->delay_stride) {
      real *const row = buffer + buffer_row(s, shared_arrival) * s->stride + sample;
      for (int64_t c = s->starts[neuron]; c < end_synapse; c++) row[s->targets[c]] += output * s->weights[c];
    } else
      for (int64_t c = s->starts[neuron]; c < end_synapse; c++) {
        const int64_t arrival = t + 1 + s->delays[c];
        if (arrival < 0 || arrival >= s->steps) continue;
        const int64_t row = arrival - turn < s->rows ? arrival - turn : arrival - turn - s->rows;
        buffer[row * s->stride + sample + s->targets[c]] += output * s->weights[c];
      }
  }
}

// Add to the gradient of the output of step t what the gradients of later inputs contribute.
static void collect(const synapses *s, const real *grad_input, int64_t t, real *grad_z) {
  for (int64_t k = 0; k < s->neurons; k++) {
    real sum = 0;
    for (int64_t c = s->starts[k]; c < s->starts[k + 1]; c++) {
      const int64_t arrival = t + 1 + s->delays[c * s->delay_stride];
      if (arrival >= 0 && arrival < s->steps) sum += s->weights[c] * grad_input[arrival * s->stride + s->targets[c]];
    }
    grad_z[k] += sum;
  }
}

// Add to the gradients of the weights, reading only the synapses of neurons that fired. A thread takes some presynaptic
// neurons.
void synapse_gradients(job *j) {
  const synapses *s = j->arguments;
  BLOCKS(s->neurons) {
    const int64_t end = o + j->block < s->neurons ? o + j->block : s->neurons;
    for (int64_t t = -s->past; t < s->steps; t++) {
      const real *outputs = t < 0 ? s->past_output + (t + s->past) * s->stride : s->output + t * s->stride;
      for (int64_t sample = 0; sample < s->stride; sample += s->neurons)
        for (int64_t k = o; k < end; k++) {
          const real z = outputs[sample + k];
          if (z == 0) continue;
          for (int64_t c = s->starts[k]; c < s->starts[k + 1]; c++) {
            const int64_t arrival = t + 1 + s->delays[c * s->delay_stride];
            if (arrival >= 0 && arrival < s->steps)
              s->grad_weights[c] += z * s->grad_input[arrival * s->stride + sample + s->targets[c]];
          }
        }
    }
  }
}

// The output feeds back: sparse connections deliver the outputs of as many steps at once as no spike arrives in, from
// a copy that stays in cache. A thread takes some samples through all steps.
FLUSHING(forward_sparse) {
  const forward_arguments *args = j->arguments;
  const synapses *const sparse = args->connections;
  const int64_t steps = args->steps, neurons = args->neurons, past = sparse->past;
  const int streaming = steps * neurons * sizeof(real) > LARGE_BYTES;
  real *const input = (real *)args->input, *const outputs = sparse->recent_output;
  uint8_t *const active = sparse->active;
  const state_rows rows = rows_of(args);
  BLOCKS(neurons) {
    const int64_t end = MIN(neurons, o + j->block), blocks = (end - o + BLOCK - 1) / BLOCK;
    int backward = 0;
    forward_arguments of_rows = *args;
    for (int64_t t = 0; t < sparse->window; t++) fill_row(sparse, t, o, end - o, input);
    for (int64_t t = -past; t < 0; t++)
      for (int64_t chunk = o; chunk < end; chunk += CHUNK)
        deliver(sparse, sparse->past_output + (t + past) * neurons, chunk, MIN(chunk + CHUNK, end), t, input);
    for (int64_t t = 0, next; t < steps; t = next, backward = !backward) {
      next = MIN(t + 1 + sparse->least_delay, steps);
      of_rows.input = (in_t *)(input + (buffer_row(sparse, t) - t) * neurons);
      of_rows.output = (out_t *)(outputs - t * neurons);
      // Back and forth: the state of the blocks that came last is still in cache.
      for (int64_t k = 0; k < blocks; k++) {
        const int64_t first = o + (backward ? blocks - 1 - k : k) * BLOCK, count = MIN(end - first, BLOCK);
        run_steps(&of_rows, &rows, first, count, t, next, 0);
        for (int64_t step = t; step < next; step++) {
          const real *z = outputs + (step - t) * neurons;
          store_row((char *)(args->output + step * neurons + first), (char *)(z + first), count * sizeof(real),
                    streaming);
          fill_row(sparse, step + sparse->window, first, count, input);
          // Noted while the outputs are in the first cache; few chunks have to be read again.
          for (int64_t chunk = first; chunk < first + count; chunk += CHUNK)
            active[(step - t) * neurons + chunk] = chunk + CHUNK > first + count || !is_silent(z + chunk);
        }
      }
      for (int64_t step = t; step < next; step++)
        for (int64_t first = o; first < end; first += BLOCK)
          for (int64_t chunk = first, last = MIN(first + BLOCK, end); chunk < last; chunk += CHUNK)
            if (active[(step - t) * neurons + chunk])
              deliver(sparse, outputs + (step - t) * neurons, chunk, MIN(chunk + CHUNK, last), step, input);
    }
  }
  fence();
}

// Go backward through one chunk of the steps of a run with sparse connections: the gradient of an output has a second
// term, which arrives from later steps. `checkpoints` and `grad_recorded_states` are those of the steps of the chunk,
// (steps, states, neurons). A thread takes some samples.
FLUSHING(backward_sparse) {
  const backward_arguments *args = j->arguments;
  const synapses *sparse = args->connections;
  const int64_t neurons = args->neurons, width = sparse->neurons;
  const int64_t thread = __atomic_fetch_add(&j->threads, 1, __ATOMIC_RELAXED);
  real *const tape = args->workspace + BLOCK * TAPE_ROWS * thread, *const grad_output = sparse->grad_output;
  BLOCKS(neurons) {
    const int64_t end = MIN(neurons, o + j->block);
    backward_arguments step = single_step(args, grad_output);
    for (int64_t t = sparse->end_step - 1; t >= sparse->first_step; t--) {
      memcpy(grad_output + o, args->grad_output + t * neurons + o, (end - o) * sizeof(real));
      for (int64_t sample = o; sample < end; sample += width)
        collect(sparse, sparse->grad_input + sample, t, grad_output + sample);
      run_step_back(args, &step, t, sparse->first_step, o, end, tape);
    }
    for (int64_t t = -sparse->past; !sparse->first_step && t < 0; t++)
      for (int64_t sample = o; sample < end; sample += width)
        collect(sparse, sparse->grad_input + sample, t, sparse->grad_past_output + (t + sparse->past) * neurons + sample);
  }
  fence();
}
