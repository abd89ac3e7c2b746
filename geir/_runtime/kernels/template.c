// One neuron model over time, forward and backward. The generator replaces the regions in double braces.
#define DOUBLE {{double}}
#include "native.h"

typedef {{input_type}} in_t;
typedef {{output_type}} out_t;

{{forward_arguments}}
{{backward_arguments}}

// Blocks: a thread takes a block of neurons through all steps, so that the block's state stays in cache.
// Strips: within a step, a block is processed strip by strip, while the same strip of the next step's input is
// prefetched. Streaming: results larger than the caches are stored past them.
enum { INPUTS = {{inputs}}, STATES = {{states}}, BLOCK = {{block}}, STRIP = 128, TAPE_ROWS = {{tape_rows}} };
enum { LARGE_BYTES = 4 << 20, CACHE_LINE = 64 };
#define MIN(left, right) ((left) < (right) ? (left) : (right))
#define EACH_LANE INDEPENDENT for (int64_t lane = 0; lane < count; lane++)
#define EACH_STRIP \
  for (int64_t strip = 0, strip_end; strip_end = MIN(strip + STRIP, count), strip < count; strip = strip_end)
#define EACH_LANE_OF_STRIP INDEPENDENT for (int64_t lane = strip; lane < strip_end; lane++)
#define PREFETCH(row) \
  for (int64_t line = strip; line < strip_end; line += CACHE_LINE / sizeof *(row)) \
    __builtin_prefetch((row) + line, 0, 1)

// For each part of the state, a row with the numbers of all neurons.
typedef struct {
  const real *initial[STATES];
  real *final[STATES];
} state_rows;

// Of states that are stacked.
static inline state_rows rows_of(const forward_arguments *args) {
  state_rows rows;
  for (int k = 0; k < STATES; k++) {
    rows.initial[k] = args->initial_state + k * args->neurons;
    rows.final[k] = args->final_state + k * args->neurons;
  }
  return rows;
}

// Run the neurons first ... first + count - 1, at most a block, through the steps first_step ... end_step - 1.
static inline void run_steps(
    const forward_arguments *args, const state_rows *rows, int64_t first, int64_t count, int64_t first_step,
    int64_t end_step, int streaming) {
  const int64_t neurons = args->neurons, every = args->checkpoint_every;
  real *const checkpoints = args->checkpoints, *const recorded_states = args->recorded_states;
  {{shared_constants}}
  {{neuron_constants}}
  {{load_state}}
  for (int64_t t = first_step; t < end_step; t++) {
    const int64_t row = t * neurons + first;
    if (checkpoints && t % every == 0) {
      {{store_checkpoint}}
    }
    const in_t *restrict input = args->input + t * INPUTS * neurons + first;
    const in_t *next_input = t + 1 < end_step ? input + INPUTS * neurons : input;
    EACH_STRIP {
      {{prefetch_input}}
      out_t output[STRIP];
      EACH_LANE_OF_STRIP {
        {{load_input}}
        {{state_from_block}}
        {{step}}
        output[lane - strip] = {{to_output}}({{z}});
        {{state_to_block}}
      }
      store_row((char *)(args->output + row + strip), (char *)output, (strip_end - strip) * sizeof(out_t), streaming);
    }
    if (recorded_states) {
      {{record_state}}
    }
  }
}

static __attribute__((noinline)) void run_blocks(job *j, const forward_arguments *args, const state_rows *rows) {
  const int64_t steps = args->steps, neurons = args->neurons;
  const int streaming = steps * neurons * sizeof(out_t) > LARGE_BYTES;
  BLOCKS(neurons) run_steps(args, rows, o, MIN(neurons - o, j->block), 0, steps, streaming);
  fence();
}

FLUSHING(forward) {
  const state_rows rows = rows_of(j->arguments);
  run_blocks(j, j->arguments, &rows);
}

// A direct call. `fixed` holds what is the same in every call: the number of arrays that must be unchanged; for each the
// address of a copy, and its size in bytes; and `forward_arguments`. `now` holds the addresses of these arrays, the
// `state_rows`, and the addresses of output, input and checkpoints.
typedef struct {
  const int64_t *fixed, *now;
} direct_call;

// Whether the arrays are unchanged.
int unchanged(const int64_t *fixed, const int64_t *now) {
  for (int64_t k = 0, arrays = *fixed++; k < arrays; k++, fixed += 2)
    if (memcmp((const void *)now[k], (const void *)fixed[0], fixed[1])) return 0;
  return 1;
}

FLUSHING(forward_directly) {
  const direct_call *call = j->arguments;
  const int64_t arrays = call->fixed[0], *now = call->now + arrays;
  forward_arguments args;
  state_rows rows;
  memcpy(&args, call->fixed + 1 + 2 * arrays, sizeof args);
  memcpy(&rows, now, sizeof rows);
  now += 2 * STATES;
  args.output = (out_t *)now[0];
  args.input = (in_t *)now[1];
  args.checkpoints = (real *)now[2];
  run_blocks(j, &args, &rows);
}

// Run on the calling thread if the arrays are unchanged, and return whether they are.
int run_directly(const int64_t *fixed, const int64_t *now) {
  const direct_call call = {fixed, now};
  job one_thread = {.arguments = (void *)&call, .block = BLOCK};
  const int run = unchanged(fixed, now);
  if (run) forward_directly(&one_thread);
  return run;
}

// The output feeds back: before every step, add weights times the last output to the input. A thread takes some samples,
// of `width` neurons each, through all steps.
FLUSHING(forward_recurrent) {
  const forward_arguments *args = j->arguments;
  const int64_t steps = args->steps, neurons = args->neurons, width = args->width;
  real *const input = (real *)args->input;
  const real *const output = (const real *)args->output;
  const state_rows rows = rows_of(args);
  BLOCKS(neurons) {
    const int64_t end = MIN(neurons, o + j->block);
    for (int64_t t = 0; t < steps; t++) {
      const real *last_output = t ? output + (t - 1) * neurons : args->initial_output;
      for (int64_t sample = o; sample < end; sample += width)
        add_rows(last_output + sample, width, args->weights, width, args->given_input + t * neurons + sample,
                 input + t * neurons + sample);
      for (int64_t first = o; first < end; first += BLOCK)
        run_steps(args, &rows, first, MIN(end - first, BLOCK), t, t + 1, 0);
    }
  }
}

// Copy a row; null stands for zeros.
static inline void load_or_zero(real *restrict to, const real *restrict from, int64_t count) {
  if (from) memcpy(to, from, count * sizeof(real));
  else memset(to, 0, count * sizeof(real));
}

// Take the neurons first ... first + count - 1, at most a block, back through all steps. Chunk by chunk from the last to
// the first: repeat the steps from the chunk's checkpoint on and write the tape
// (the values of each step that the gradient needs, for one block of neurons), then go back through the chunk's
// steps.
static __attribute__((noinline)) void run_steps_back(const backward_arguments *args, int64_t first, int64_t count, real *const tape) {
  const int64_t steps = args->steps, neurons = args->neurons, every = args->checkpoint_every;
  const int streaming = steps * INPUTS * neurons * sizeof(in_t) > LARGE_BYTES;
  const real *const checkpoints = args->checkpoints, *const grad_final_state = args->grad_final_state;
  const real *const grad_recorded_states = args->grad_recorded_states;
  real *const grad_constants = args->grad_constants;
  {{shared_constants}}
  {{neuron_constants}}
  {{load_gradient}}
  {{load_constant_gradients}}
  for (int64_t first_step = (steps - 1) / every * every; first_step >= 0; first_step -= every) {
    const int64_t end_step = MIN(steps, first_step + every);
    if (TAPE_ROWS) {
      {{load_checkpoint}}
      for (int64_t t = first_step; t < end_step; t++) {
        const in_t *restrict input = args->input + t * INPUTS * neurons + first, *next_input = input + INPUTS * neurons;
        {{tape_rows_of_step}}
        EACH_STRIP {
          {{prefetch_input}}
          EACH_LANE_OF_STRIP {
            {{load_input}}
            {{state_from_block}}
            {{step}}
            {{to_tape}}
            {{state_to_block}}
          }
        }
      }
    }
    {
      {{backward_shared_constants}}
      {{backward_neuron_constants}}
      for (int64_t t = end_step - 1; t >= first_step; t--) {
        const int64_t row = t * neurons + first;
        const in_t *restrict input = args->input + t * INPUTS * neurons + first;
        const out_t *restrict grad_output = args->grad_output + row;
        const out_t *previous_grad_output = t > 0 ? grad_output - neurons : grad_output;
        {{tape_rows_of_step}}
        if (grad_recorded_states) {
          {{add_recorded_gradient}}
        }
        EACH_STRIP {
          PREFETCH(previous_grad_output);
          in_t grad_input[INPUTS][STRIP];
          EACH_LANE_OF_STRIP {
            {{load_input}}
            const real grad_z = {{from_grad_output}}(grad_output[lane]);
            {{from_tape}}
            {{gradient_from_block}}
            {{backward_step}}
            {{grad_input}}
            {{gradient_to_block}}
            {{add_constant_gradients}}
          }
          for (int k = 0; k < INPUTS; k++)
            store_row((char *)(args->grad_input + (t * INPUTS + k) * neurons + first + strip), (char *)grad_input[k],
                      (strip_end - strip) * sizeof(in_t), streaming);
        }
      }
    }
  }
  {{store_gradient}}
  {{store_constant_gradients}}
}

FLUSHING(backward) {
  const backward_arguments *args = j->arguments;
  const int64_t thread = __atomic_fetch_add(&j->threads, 1, __ATOMIC_RELAXED);
  real *const tape = args->workspace + BLOCK * args->checkpoint_every * TAPE_ROWS * thread;
  BLOCKS(args->neurons) run_steps_back(args, o, MIN(args->neurons - o, j->block), tape);
  fence();
}

// Go backward on the calling thread; the numbers are `backward_arguments`.
void run_backward_directly(const int64_t *numbers) {
  job one_thread = {.arguments = (void *)numbers, .block = BLOCK};
  backward(&one_thread);
}

// One step of a run whose output feeds back. A separate array holds the sum of all terms of the output's gradient.
static inline backward_arguments single_step(const backward_arguments *args, real *grad_output) {
  backward_arguments step = *args;
  step.steps = step.checkpoint_every = 1;
  step.grad_output = (out_t *)grad_output;
  return step;
}

// Take the neurons first ... end - 1 back through step t of a chunk that begins with `first_step`.
static inline void run_step_back(const backward_arguments *args, backward_arguments *step, int64_t t,
                                 int64_t first_step, int64_t first, int64_t end, real *tape) {
  const int64_t neurons = args->neurons, states = (t - first_step) * STATES * neurons;
  step->input = args->input + t * neurons;
  step->grad_input = args->grad_input + t * neurons;
  step->checkpoints = args->checkpoints + states;
  step->grad_recorded_states = args->grad_recorded_states ? args->grad_recorded_states + states : 0;
  for (; first < end; first += BLOCK) run_steps_back(step, first, MIN(end - first, BLOCK), tape);
  step->grad_final_state = args->grad_initial_state;
}

{{feedback}}
