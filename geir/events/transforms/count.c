// Counts of events in frames (channels, height, width) of {{number}}.
#define DOUBLE 0
#include "native.h"

typedef {{number}} number;

static inline void add(number *restrict frame, int64_t from, int64_t to, const int16_t *x, const int16_t *y, const uint8_t *p, int64_t width,
                       int64_t pixels, number most) {
  for (int64_t i = from; i < to; i++) {
    number *at = frame + p[i] * pixels + y[i] * width + x[i];
    *at += *at < most;
  }
}

// Frame k of OUT counts events CUTS[k] to CUTS[k + 1], up to MOST in a place.
void count(job *j) {
  const int16_t *x = j->a[0], *y = j->a[1];
  const uint8_t *p = j->a[2];
  const int64_t *cuts = j->a[3], frames = j->q[0], width = j->q[1], pixels = width * j->q[2], past = j->q[4];
  const number most = j->q[3];
  // A frame that goes past the caches is made in one of them, which stays empty between frames.
  number *work = past ? calloc(2 * pixels, sizeof(number)) : NULL;
  BLOCKS(frames)
    for (int64_t k = o; k < frames && k < o + j->block; k++) {
      number *frame = (number *)j->a[4] + 2 * k * pixels;
      if (!work) memset(frame, 0, 2 * pixels * sizeof(number));
      add(work ? work : frame, cuts[k], cuts[k + 1], x, y, p, width, pixels, most);
      if (!work) continue;
      store_row((char *)frame, (const char *)work, 2 * pixels * sizeof(number), 1);
      for (int64_t i = cuts[k]; i < cuts[k + 1]; i++) work[p[i] * pixels + y[i] * width + x[i]] = 0;
    }
  if (work) fence();
  free(work);
}
