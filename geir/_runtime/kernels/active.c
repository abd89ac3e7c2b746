// Which outputs of some steps pass a gradient on. The generator replaces the regions in double braces.
#define DOUBLE {{double}}
#include "native.h"

{{arguments}}

enum { BLOCK = {{block}}, STATES = {{states}} };
#define MIN(left, right) ((left) < (right) ? (left) : (right))
#define EACH_LANE INDEPENDENT for (int64_t lane = 0; lane < count; lane++)
// The gradient of every output. A product that is zero with it is zero with every smaller gradient.
#define LARGE ((real)0x1p64)

// Go back through each step alone, with gradients of the output and not of the state. An output is active where the
// gradient of the input, of the state or of a constant is not zero.
void find_active(job *j) {
  const arguments *args = j->arguments;
  const int64_t steps = args->steps, neurons = args->neurons;
  {{shared_constants}}
  BLOCKS(neurons) {
    const int64_t first = o, count = MIN(neurons - o, j->block);
    {{neuron_constants}}
    for (int64_t t = 0; t < steps; t++) {
      const real *restrict input = args->input + t * neurons + first;
      const real *restrict states = args->states + t * STATES * neurons + first;
      uint8_t *restrict active = args->active + t * neurons + first;
      EACH_LANE {
        const real x = input[lane], grad_z = LARGE;
        {{state}}
        {{gradient_of_state}}
        {{backward_step}}
        active[lane] = {{any}};
      }
    }
  }
}
