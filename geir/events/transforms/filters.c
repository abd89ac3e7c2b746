// Filters that depend on the last event of a pixel or its neighbors. keep[i] is 1 if event i passes.
#define DOUBLE 0
#include "native.h"

// An event passes if a neighboring pixel had an event at most `duration` before it. `last`, shape
// (height + 2, width + 2), holds the time of the last event of each pixel, with a border that no
// event reaches. One thread, because each event depends on those before it.
void denoise(job *j) {
  const int64_t *t = j->a[0];
  const int16_t *x = j->a[1], *y = j->a[2];
  int64_t *last = j->a[3];
  uint8_t *keep = j->a[4];
  const int64_t events = j->q[0], row = j->q[1] + 2, duration = j->q[2], diagonal = j->q[3];
  for (int64_t i = 0; i < events; i++) {
    int64_t *at = last + (y[i] + 1) * row + x[i] + 1;
    const int64_t *above = at - row, *below = at + row, since = t[i] - duration;
    int near = (above[0] >= since) | (at[-1] >= since) | (at[1] >= since) | (below[0] >= since);
    if (diagonal) near |= (above[-1] >= since) | (above[1] >= since) | (below[-1] >= since) | (below[1] >= since);
    keep[i] = near;
    *at = t[i];
  }
}

// An event passes if its pixel had no event that passed within `period` before it. `last`, shape
// (height, width), holds the time of the last event of each pixel that passed.
void refractory_filter(job *j) {
  const int64_t *t = j->a[0];
  const int16_t *x = j->a[1], *y = j->a[2];
  int64_t *last = j->a[3];
  uint8_t *keep = j->a[4];
  const int64_t events = j->q[0], width = j->q[1], period = j->q[2];
  for (int64_t i = 0; i < events; i++) {
    int64_t *at = last + y[i] * width + x[i];
    keep[i] = t[i] - period >= *at;
    *at = keep[i] ? t[i] : *at;
  }
}
