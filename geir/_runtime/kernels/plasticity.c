// A plastic connection over time: in every step the input current, the step of the postsynaptic neurons, and the change of
// the weights. One sample, one thread. The generator replaces the regions in double braces.
#define DOUBLE {{double}}
#include "native.h"

#define EACH_INPUT INDEPENDENT for (int64_t i = 0; i < inputs; i++)
#define EACH_NEURON INDEPENDENT for (int64_t j = 0; j < neurons; j++)

// The terms of which the changes of the weights consist. Each is a product, and is zero where a factor is.
enum { TERMS = {{terms}} };

// to (rows) += weights (rows, columns) z (columns), reading only the columns where z is not zero.
static void add_columns(
    const real *weights, int64_t rows, int64_t columns, const real *z, real *restrict to, int32_t *fired) {
  const int32_t count = find_fired(z, 0, columns, fired);
  for (int64_t row = 0; row < rows; row++) {
    real sum = 0;
    for (int32_t c = 0; c < count; c++) sum = fma_(weights[row * columns + fired[c]], z[fired[c]], sum);
    to[row] += sum;
  }
}

static inline real clamp(real w, real low, real high) { return w < low ? low : w > high ? high : w; }

FLUSHING(run) {
  const job *const call = j;
  const int64_t steps = call->q[0], inputs = call->q[1], neurons = call->q[2];
  const real *const presynaptic = call->a[0], *const bias = call->a[1], *const recurrent = call->a[2];
  const real *last_output = call->a[3];
  real *const postsynaptic = call->a[4], *restrict current = call->a[5], *restrict gate = call->a[6];
  int32_t *const lists = call->a[7], *const fired = lists + TERMS * inputs;  // of indices, for each term and for currents
  {{pointers}}
  {{once}}
  for (int64_t t = 0; t < steps; t++) {
    const real *input = presynaptic + t * inputs;
    real *output = postsynaptic + t * neurons;
    EACH_NEURON current[j] = bias ? bias[j] : 0;
    add_columns({{weights}}, neurons, inputs, input, current, fired);
    if (recurrent) add_columns(recurrent, neurons, neurons, last_output, current, fired);
    last_output = output;
    EACH_NEURON {
      {{neuron}}
    }
    EACH_INPUT {
      {{input}}
    }
    int32_t counts[TERMS + 1];
    {{columns_of_terms}}
    for (int64_t j = 0; j < neurons; j++) {
      {{row}}
      // Few columns of one term are looked up; else the row is changed as a whole.
      int active = 0, dense = 0, term = 0;
      {{active_terms}}
      if (dense || active > 1) {
        EACH_INPUT {
          {{synapse}}
        }
      } else if (active) {
        const int32_t *columns = lists + term * inputs;
        for (int32_t c = 0; c < counts[term]; c++) {
          const int64_t i = columns[c];
          {{synapse}}
        }
      }
    }
  }
}
