// The adjoint of one sample, latest event first. lambda = dL/dS obeys lambda' = -M^T lambda between events and jumps at
// a spike by the transpose of the saltation matrix, D + (S'+ - D S'-) alpha^T / (alpha S'-).

// Gradients that a slot of samples adds up, so that results do not depend on the number of threads.
typedef struct { double *weight, *delay, *recurrent_weight, *recurrent_delay, *flow, *threshold, *reset, *arrival, *at; } sums;

static inline double *part(double *all, int64_t slot, int64_t size) { return all ? all + slot * size : NULL; }

// The effect of moving the cause of an event by a time: dL/dt of an input spike, a spike, or a delay.
static void move(const run *r, const sums *g, double *spike_grads, int64_t j, int kind, int64_t source, int64_t unit,
                 double when) {
  const arguments *a = r->a;
  if (kind == INPUT) {
    a->grad_times[r->sample * a->inputs + source] += when;
    if (g->delay) g->delay[unit * r->size + j] += when;
  } else if (kind == RECURRENT || kind == SPIKE) {
    if (source < a->max_spikes) spike_grads[source] += when;
    if (kind == RECURRENT && g->recurrent_delay) g->recurrent_delay[unit * r->size + j] += when;
  }
}

static void backpropagate(run *r, const sums *g, double *lambdas, double *spike_grads) {
  const arguments *a = r->a;
  int64_t spike = r->spikes;
  memset(lambdas, 0, r->size * sizeof(vector));
  for (int64_t k = 0; k < spike; k++) spike_grads[k] = a->grad_out[r->sample * a->max_spikes + k];
  for (int64_t place = r->entries - 1; place >= 0; place--) {
    const entry *e = r->log + place;
    const int64_t j = e->neuron, row = row_of(a, j);
    double *lambda = lambdas + j * SIZE, *alpha = threshold_of(a, j);
    double (*M)[SIZE] = (double (*)[SIZE])flow_of(a, j), (*D)[SIZE] = (double (*)[SIZE])reset_of(a, j);
    const double length = e->t - e->start;
    vector before, rate, after, after_rate, reset_rate, next;
    double (*E)[SIZE] = length ? flow_over(r, j, length) : NULL;
    if (E) apply(E, e->S, before);
    else memcpy(before, e->S, sizeof before);
    apply(M, before, rate);
    if (e->kind == READING) {
      const double *given = a->grad_states + ((r->sample * a->readings + e->from.source) * r->size + j) * SIZE;
      for (int k = 0; k < SIZE; k++) lambda[k] += given[k];
      g->at[e->from.source] += dot(given, rate);
    } else if (e->kind != SPIKE) {
      const double *R = arrival_of(a, j);
      const int64_t synapse = e->from.unit * r->size + j;
      const double w = (e->kind == INPUT ? a->weight : a->recurrent_weight)[synapse];
      (e->kind == INPUT ? g->weight : g->recurrent_weight)[synapse] += dot(lambda, R);
      vector push;
      apply(M, R, push);
      for (int k = 0; k < SIZE; k++) g->arrival[row * SIZE + k] += w * lambda[k];
      move(r, g, spike_grads, j, e->kind, e->from.source, e->from.unit, -w * dot(lambda, push));
    } else {
      spike--;
      apply(D, before, after);
      apply(M, after, after_rate);
      apply(D, rate, reset_rate);
      const double jump = dot(lambda, after_rate) - dot(lambda, reset_rate), when = spike_grads[spike];
      apply_transposed(D, lambda, next);
      for (int k = 0; k < SIZE; k++)
        for (int l = 0; l < SIZE; l++) g->reset[(row * SIZE + k) * SIZE + l] += lambda[k] * before[l];
      if (e->forced) {
        move(r, g, spike_grads, j, e->from.kind, e->from.source, e->from.unit, when - jump);
      } else {
        double scale = 0, slope = dot(alpha, rate);
        for (int k = 0; k < SIZE; k++) scale += fabs(alpha[k]) * dot_sizes(M[k], before);
        if (slope < a->grazing[0] * scale) slope = a->grazing[0] * scale;
        const double kappa = (jump - when) / slope;
        for (int k = 0; k < SIZE; k++) {
          g->threshold[row * SIZE + k] += kappa * before[k];
          next[k] += kappa * alpha[k];
        }
      }
      memcpy(lambda, next, sizeof next);
    }
    if (!E) continue;
    if (a->needs_flow) {
      matrix outer, unused, integral;
      for (int k = 0; k < SIZE; k++) for (int l = 0; l < SIZE; l++) outer[k][l] = lambda[k] * e->S[l];
      exponential(M, length, outer, unused, integral);
      for (int k = 0; k < SIZE; k++)
        for (int l = 0; l < SIZE; l++) g->flow[(row * SIZE + k) * SIZE + l] += integral[k][l];
    }
    apply_transposed(E, lambda, next);
    memcpy(lambda, next, sizeof next);
  }
  memcpy(a->grad_initial + r->sample * r->size * SIZE, lambdas, r->size * sizeof(vector));
}

void backward(job *j) {
  const arguments *a = j->arguments;
  run r;
  start(&r, a, 1);
  double *lambdas = malloc(a->neurons * sizeof(vector) + 1), *spike_grads = malloc(a->max_spikes * sizeof(double) + 1);
  if (!lambdas || !spike_grads) r.failed = 1;
  const int64_t n = a->neurons, from_inputs = a->input_units * n, of_flow = a->count * SIZE * SIZE;
  BLOCKS(a->slots) {
    for (int64_t slot = o; slot < o + j->block && slot < a->slots; slot++) {
      const sums g = {
        part(a->grad_weight, slot, from_inputs), part(a->grad_delay, slot, from_inputs),
        part(a->grad_recurrent_weight, slot, n * n), part(a->grad_recurrent_delay, slot, n * n),
        part(a->grad_flow, slot, of_flow), part(a->grad_threshold, slot, a->count * SIZE),
        part(a->grad_reset, slot, of_flow), part(a->grad_arrival, slot, a->count * SIZE),
        part(a->grad_at, slot, a->readings),
      };
      for (int64_t b = slot; b < a->batch; b += a->slots) {
        r.sample = b;
        if (!r.failed) simulate(&r);
        if (!r.failed) backpropagate(&r, &g, lambdas, spike_grads);
        a->out_failed[b] = r.failed;
      }
    }
  }
  free(lambdas), free(spike_grads);
  finish(&r);
}
