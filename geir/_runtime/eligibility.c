// Eligibility traces: one number for each part of the state, sample, neuron and input.
#define DOUBLE {{double}}
#include "native.h"

// Inputs at a time, so that partial sums stay in the first cache; terms of a sum; results larger than the caches are
// stored past them.
enum { PIECE = 512, TERMS = 64, LARGE_BYTES = 4 << 20 };

// A sum of factors times rows of numbers.
typedef struct {
  real factors[TERMS];
  const real *rows[TERMS];
  int count;
} sum;

// out += sum. Not inlined, for the reason given at `add_scaled`. Four rows at a time, so that `out` is read and written
// once for them.
static __attribute__((noinline)) void add_sum(sum *s, int64_t width, real *restrict out) {
  int k = 0;
  for (; k + 4 <= s->count; k += 4) {
    const real f0 = s->factors[k], f1 = s->factors[k + 1], f2 = s->factors[k + 2], f3 = s->factors[k + 3];
    const real *r0 = s->rows[k], *r1 = s->rows[k + 1], *r2 = s->rows[k + 2], *r3 = s->rows[k + 3];
    for (int64_t n = 0; n < width; n++) out[n] += fma_(f0, r0[n], f1 * r1[n]) + fma_(f2, r2[n], f3 * r3[n]);
  }
  for (; k < s->count; k++) {
    const real f = s->factors[k], *r = s->rows[k];
    for (int64_t n = 0; n < width; n++) out[n] = fma_(f, r[n], out[n]);
  }
  s->count = 0;
}

// Many factors are zero, such as the derivative of a current by a potential.
static inline void add_term(sum *s, real factor, const real *row, int64_t width, real *out) {
  if (factor == 0) return;
  if (s->count == TERMS) add_sum(s, width, out);
  s->factors[s->count] = factor;
  s->rows[s->count++] = row;
}

#define MIN(a, b) ((a) < (b) ? (a) : (b))

// The arguments that all functions take. Of the parts of the state, some have separate traces for each neuron, the
// others have traces that all neurons of a sample share.
typedef struct {
  int64_t parts, count, shared, batch, neurons, inputs, rows;
  const int64_t *own, *common;  // numbers of the parts, `count` and `shared` of them
  const real *traces;  // (count, batch, neurons, inputs)
  const real *others;  // (shared, batch, inputs)
  const real *x;  // (batch, inputs)
} sizes;

static sizes read_sizes(const job *j) {
  const int64_t *q = j->q;
  return (sizes){.parts = q[0], .count = q[1], .shared = q[2], .batch = q[3], .neurons = q[4], .inputs = q[5],
                 .rows = q[3] * q[4], .own = q + 6, .common = q + 6 + q[1],
                 .traces = j->a[0], .others = j->a[1], .x = j->a[2]};
}

// The next traces of part k of a row: J traces + b x. A row is a neuron of a sample, the neurons of the first sample
// come first.
static inline void advance_row(
    const sizes *n, sum *s, int64_t k, int64_t row, int64_t first, int64_t width, const real *J, const real *b, int own,
    real *out) {
  const int64_t sample = row / n->neurons;
  memset(out, 0, width * sizeof(real));
  for (int64_t l = 0; own && l < n->count; l++) {
    const real *from = n->traces + (l * n->rows + row) * n->inputs + first;
    add_term(s, J[(k * n->parts + n->own[l]) * n->rows + row], from, width, out);
  }
  for (int64_t l = 0; l < n->shared; l++) {
    const real *from = n->others + (l * n->batch + sample) * n->inputs + first;
    add_term(s, J[(k * n->parts + n->common[l]) * n->rows + row], from, width, out);
  }
  add_term(s, b[k * n->rows + row], n->x + sample * n->inputs + first, width, out);
  add_sum(s, width, out);
}

// The traces after a step. Work items: first the rows, then, for shared traces, the samples.
FLUSHING(advance) {
  const sizes n = read_sizes(j);
  const real *J = j->a[3];  // (parts, parts, batch, neurons)
  const real *b = j->a[4];  // (parts, batch, neurons)
  real *after = j->a[5], *others_after = j->a[6];
  const int streaming = n.count * n.rows * n.inputs * sizeof(real) > LARGE_BYTES;
  sum s = {.count = 0};
  real out[PIECE];
  BLOCKS(n.rows + n.batch)
    for (int64_t item = o; item < MIN(n.rows + n.batch, o + j->block); item++)
      for (int64_t first = 0; first < n.inputs; first += PIECE) {
        const int64_t width = MIN(PIECE, n.inputs - first), sample = item - n.rows;
        for (int64_t k = 0; item < n.rows && k < n.count; k++) {
          advance_row(&n, &s, n.own[k], item, first, width, J, b, 1, out);
          real *to = after + (k * n.rows + item) * n.inputs + first;
          store_row((char *)to, (char *)out, width * sizeof(real), streaming);
        }
        for (int64_t k = 0; sample >= 0 && k < n.shared; k++) {
          advance_row(&n, &s, n.common[k], sample * n.neurons, first, width, J, b, 0, out);
          memcpy(others_after + (k * n.batch + sample) * n.inputs + first, out, width * sizeof(real));
        }
      }
  if (streaming) fence();
}

// The gradient of the weights: the sum over samples of h traces + d x. Rows of traces that lie behind each other in
// memory are read one after the other.
FLUSHING(gradient) {
  const sizes n = read_sizes(j);
  const real *h = j->a[3];  // (parts, batch, neurons)
  const real *d = j->a[4];  // (batch, neurons)
  real *to = j->a[5];  // (neurons, inputs)
  sum s = {.count = 0};
  BLOCKS(n.neurons) {
    const int64_t end = MIN(n.neurons, o + j->block);
    memset(to + o * n.inputs, 0, (end - o) * n.inputs * sizeof(real));
    for (int64_t sample = 0; sample < n.batch; sample++)
      for (int64_t row = sample * n.neurons + o; row < sample * n.neurons + end; row++) {
        real *out = to + row % n.neurons * n.inputs;
        for (int64_t k = 0; k < n.count; k++)
          add_term(&s, h[n.own[k] * n.rows + row], n.traces + (k * n.rows + row) * n.inputs, n.inputs, out);
        for (int64_t k = 0; k < n.shared; k++)
          add_term(&s, h[n.common[k] * n.rows + row], n.others + (k * n.batch + sample) * n.inputs, n.inputs, out);
        add_term(&s, d[row], n.x + sample * n.inputs, n.inputs, out);
        add_sum(&s, n.inputs, out);
      }
  }
}
