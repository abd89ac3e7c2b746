// One sample, event by event. Every neuron has its own clock; a heap holds the arrivals. With a log, the spikes are
// known and only replayed, so that nothing but spikes must be kept between forward and backward.

{{arguments}}

typedef struct {
  double t;
  int64_t order;               // of events at the same time
  int32_t target;              // a neuron, or -1 for all
  int32_t kind, source, unit;  // kind: see below; source: number of the input spike, the spike or the reading
} event;
enum { INPUT, RECURRENT, READING, SPIKE, NOTHING };

// Where an event comes from. Small enough for registers: it is passed for every neuron and arrival.
typedef struct { int32_t kind, source, unit; } origin;
// What happened to one neuron.
typedef struct {
  double t, start;             // now, and when its clock stood still before
  vector S;                    // its state then
  int32_t neuron, kind, forced;
  origin from;                 // of a forced spike: what caused it
} entry;

typedef struct {
  const arguments *a;
  int64_t sample, size;
  const table *tables;
  double *S, *clock, *crossing;  // of each neuron
  event *heap;
  int64_t waiting, heap_room, order;
  entry *log;                  // null unless replaying
  int64_t entries, log_room;
  int64_t spikes, total, readings, grazing, counter;
  int replay, failed;
  int together;                // whether every arrival reaches all neurons, because there are no delays
  double shared_time;          // e^{M t} of the last flow, if all neurons are the same
  matrix shared;
} run;

static int grow(void **memory, int64_t *room, int64_t needed, size_t bytes) {
  if (needed < *room) return 1;
  int64_t wanted = *room ? 2 * *room : 1024;
  void *larger = realloc(*memory, wanted * bytes);
  if (!larger) return 0;
  *memory = larger, *room = wanted;
  return 1;
}

static inline int earlier(const event *a, const event *b) { return a->t < b->t || (a->t == b->t && a->order < b->order); }

static void push(run *r, event e) {
  if (!(e.t <= r->a->duration[0])) return;
  if (!grow((void **)&r->heap, &r->heap_room, r->waiting + 1, sizeof e)) { r->failed = 1; return; }
  e.order = r->order++;
  int64_t k = r->waiting++;
  for (; k && earlier(&e, r->heap + (k - 1) / 2); k = (k - 1) / 2) r->heap[k] = r->heap[(k - 1) / 2];
  r->heap[k] = e;
}

static event pop(run *r) {
  const event first = r->heap[0], last = r->heap[--r->waiting];
  int64_t k = 0;
  for (int64_t child; (child = 2 * k + 1) < r->waiting; k = child) {
    if (child + 1 < r->waiting && earlier(r->heap + child + 1, r->heap + child)) child++;
    if (!earlier(r->heap + child, &last)) break;
    r->heap[k] = r->heap[child];
  }
  r->heap[k] = last;
  return first;
}

// A spike on its way to all neurons.
static void send(run *r, double t, const double *delays, int32_t kind, int32_t source, int32_t unit) {
  event e = {.t = t, .target = -1, .kind = kind, .source = source, .unit = unit};
  if (!delays) { push(r, e); return; }
  for (e.target = 0; e.target < r->size; e.target++) {
    e.t = t + delays[unit * r->size + e.target];
    push(r, e);
  }
}

static inline int64_t row_of(const arguments *a, int64_t neuron) { return a->count > 1 ? neuron : 0; }
static inline double *flow_of(const arguments *a, int64_t neuron) { return a->flow + row_of(a, neuron) * SIZE * SIZE; }
static inline double *reset_of(const arguments *a, int64_t neuron) { return a->reset + row_of(a, neuron) * SIZE * SIZE; }
static inline double *threshold_of(const arguments *a, int64_t neuron) { return a->threshold + row_of(a, neuron) * SIZE; }
static inline double *arrival_of(const arguments *a, int64_t neuron) { return a->arrival + row_of(a, neuron) * SIZE; }

// e^{M t} of a neuron, computed once for all neurons with the same flow and the same time since their last event.
static double (*flow_over(run *r, int64_t neuron, double t))[SIZE] {
  if (r->a->count > 1 || t != r->shared_time) {
    exponential((double (*)[SIZE])flow_of(r->a, neuron), t, NULL, r->shared, NULL);
    r->shared_time = t;
  }
  return r->shared;
}

// Move a neuron's clock; in a replay, note it.
static void advance(run *r, int64_t j, double t, int32_t kind, origin from, int32_t forced) {
  double *S = r->S + j * SIZE;
  if (r->replay) {
    if (!grow((void **)&r->log, &r->log_room, r->entries + 1, sizeof(entry))) { r->failed = 1; return; }
    entry *what = r->log + r->entries++;
    what->t = t, what->start = r->clock[j], what->neuron = j, what->kind = kind, what->forced = forced;
    what->from = from;
    memcpy(what->S, S, sizeof(vector));
  }
  if (t != r->clock[j]) {
    vector now;
    apply(flow_over(r, j, t - r->clock[j]), S, now);
    memcpy(S, now, sizeof now);
    r->clock[j] = t;
  }
}

// 1 above the threshold, 2 on it and rising, else 0
static int is_above(const run *r, int64_t j) {
  const double *S = r->S + j * SIZE, *alpha = threshold_of(r->a, j);
  const double g = dot(alpha, S);
  if (g < 0 && g * g > 1e-20) return 0;
  const double tolerance = ON_THRESHOLD * dot_sizes(alpha, S);
  if (fabs(g) > tolerance) return g > 0;
  vector rate;
  apply((double (*)[SIZE])flow_of(r->a, j), S, rate);
  return dot(alpha, rate) > 0 ? 2 : 0;
}

static void find_crossing(run *r, int64_t j) {
  if (r->replay) return;
  const double t = r->clock[j];
  double limit = r->a->duration[0] - t;
  // Later crossings are looked for again after the next event.
  if (r->together && r->waiting && r->heap[0].t - t < limit) limit = r->heap[0].t - t;
  const double *alpha = threshold_of(r->a, j);
  double (*M)[SIZE] = (double (*)[SIZE])flow_of(r->a, j);
  const double after = first_crossing(r->tables + row_of(r->a, j), M, alpha, r->S + j * SIZE, limit);
  r->crossing[j] = after <= limit ? t + after : INFINITY;
}

static inline int64_t at(const run *r) { return r->sample * r->a->max_spikes + r->spikes; }
static inline int recorded(const run *r) { return r->spikes < r->a->max_spikes && r->a->out_units[at(r)] >= 0; }

// A spike of a neuron whose state is that at this time; then those that follow at once.
static void fire(run *r, int64_t j, double t, int forced, origin cause) {
  for (;;) {
    const int32_t number = r->spikes;
    if (forced) advance(r, j, t, SPIKE, cause, 1);
    if (r->spikes < r->a->max_spikes) {
      if (!r->replay) {
        r->a->out_times[at(r)] = t, r->a->out_units[at(r)] = j;
        r->a->out_order[at(r)] = forced ? -r->counter : r->counter;
      }
      r->spikes++;
    }
    r->total++;
    vector after;
    apply((double (*)[SIZE])reset_of(r->a, j), r->S + j * SIZE, after);
    memcpy(r->S + j * SIZE, after, sizeof after);
    if (r->a->recurrent_weight) send(r, t, r->a->recurrent_delay, RECURRENT, number, j);
    const int again = r->replay ? recorded(r) && r->a->out_units[at(r)] == j && r->a->out_order[at(r)] == -r->counter
                                : is_above(r, j) && r->total < r->a->most_counted;
    if (r->failed || !again) break;
    forced = 1;
    cause = (origin){.kind = SPIKE, .source = number};
  }
  find_crossing(r, j);
}

// A spike at which the potential crosses its threshold.
static void cross(run *r, int64_t j, double t) {
  advance(r, j, t, SPIKE, (origin){.kind = NOTHING}, 0);
  vector rate;
  double scale = 0;
  const double *S = r->S + j * SIZE, *alpha = threshold_of(r->a, j), *M = flow_of(r->a, j);
  apply((double (*)[SIZE])M, S, rate);
  for (int k = 0; k < SIZE; k++) scale += fabs(alpha[k]) * dot_sizes(M + k * SIZE, S);
  r->grazing += dot(alpha, rate) < r->a->grazing[0] * scale;
  fire(r, j, t, 0, (origin){.kind = NOTHING});
}

static void arrive(run *r, int64_t j, const event *e) {
  const origin what = {e->kind, e->source, e->unit};
  advance(r, j, e->t, e->kind, what, 0);
  if (e->kind == READING) {
    if (r->together) find_crossing(r, j);
    return;
  }
  const double w = (e->kind == INPUT ? r->a->weight : r->a->recurrent_weight)[e->unit * r->size + j];
  double *S = r->S + j * SIZE, *R = arrival_of(r->a, j), *alpha = threshold_of(r->a, j);
  for (int k = 0; k < SIZE; k++) S[k] += w * R[k];
  if (r->replay) {
    if (recorded(r) && r->a->out_units[at(r)] == j && r->a->out_order[at(r)] == -r->counter) fire(r, j, e->t, 1, what);
    return;
  }
  if (!is_above(r, j)) find_crossing(r, j);
  else if (fabs(w * dot(alpha, R)) > ON_THRESHOLD * dot_sizes(alpha, S)) fire(r, j, e->t, 1, what);
  else r->crossing[j] = e->t;
}

static void read_states(run *r, int64_t reading) {
  r->readings++;
  if (r->replay) return;
  const int64_t bytes = r->size * sizeof(vector);
  memcpy((char *)r->a->states + (r->sample * r->a->readings + reading) * bytes, r->S, bytes);
}

static void simulate(run *r) {
  const arguments *a = r->a;
  r->waiting = r->order = r->entries = r->spikes = r->total = r->readings = r->grazing = 0;
  r->counter = 1;
  r->shared_time = NAN;
  memcpy(r->S, a->initial + r->sample * r->size * SIZE, r->size * sizeof(vector));
  for (int64_t j = 0; j < r->size; j++) r->clock[j] = 0, r->crossing[j] = INFINITY;
  for (int64_t k = 0; k < a->readings; k++)
    push(r, (event){.t = a->at[k], .target = -1, .kind = READING, .source = k});
  for (int64_t k = 0; k < a->inputs; k++) {
    const double t = a->times[r->sample * a->inputs + k];
    if (isinf(t)) break;
    send(r, t, a->delay, INPUT, k, a->units[r->sample * a->inputs + k]);
  }
  for (int64_t j = 0; j < r->size; j++) {
    const int now = r->replay ? recorded(r) && a->out_units[at(r)] == j && a->out_order[at(r)] == -1 : is_above(r, j);
    if (now) fire(r, j, 0, 1, (origin){.kind = NOTHING});
    else find_crossing(r, j);
  }
  while (!r->failed && (r->replay ? recorded(r) || r->readings < a->readings : r->total < a->most_counted)) {
    const double arrival = r->waiting ? r->heap[0].t : INFINITY;
    r->counter++;
    if (r->replay) {
      if (recorded(r) && a->out_order[at(r)] == r->counter) {
        cross(r, a->out_units[at(r)], a->out_times[at(r)]);
        continue;
      }
    } else {
      double next = INFINITY;
      int64_t first = 0;
      for (int64_t j = 0; j < r->size; j++)
        if (r->crossing[j] < next) next = r->crossing[j], first = j;
      if (isinf(next) && isinf(arrival)) break;
      if (next <= arrival) { cross(r, first, next); continue; }
    }
    if (!r->waiting) { r->failed = 1; break; }  // a replay that differs from what it replays
    const event e = pop(r);
    if (e.target >= 0) arrive(r, e.target, &e);
    else for (int64_t j = 0; j < r->size; j++) arrive(r, j, &e);
    if (e.kind == READING) read_states(r, e.source);
  }
}

static int start(run *r, const arguments *a, int replay) {
  *r = (run){.a = a, .size = a->neurons, .tables = (const table *)a->tables, .replay = replay};
  r->together = !a->delay && !a->recurrent_delay;
  r->S = malloc(r->size * sizeof(vector) + 1);
  r->clock = malloc(r->size * sizeof(double) + 1);
  r->crossing = malloc(r->size * sizeof(double) + 1);
  return r->failed = !(r->S && r->clock && r->crossing);
}

static void finish(run *r) { free(r->S), free(r->clock), free(r->crossing), free(r->heap), free(r->log); }

void forward(job *j) {
  const arguments *a = j->arguments;
  run r;
  start(&r, a, 0);
  BLOCKS(a->batch) {
    for (int64_t b = o; b < o + j->block && b < a->batch; b++) {
      r.sample = b;
      if (!r.failed) simulate(&r);
      a->out_failed[b] = r.failed;
      a->out_totals[b] = r.total;
      a->out_grazing[b] = r.grazing;
    }
  }
  finish(&r);
}
