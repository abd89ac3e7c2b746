// Event counts per frame, as {{number}}.
#define DOUBLE 0
#include "native.h"

typedef {{number}} number;

static inline void add(number *restrict frame, int64_t from, int64_t to, const int16_t *x, const int16_t *y,
                       const uint8_t *p, int64_t width, int64_t pixels, number largest) {
  for (int64_t i = from; i < to; i++) {
    number *count = frame + p[i] * pixels + y[i] * width + x[i];
    *count += *count < largest;
  }
}

// out[k], shape (2, height, width), counts the events from offsets[k] to offsets[k + 1], up to
// `largest` per pixel.
void count_frames(job *j) {
  const int16_t *x = j->a[0], *y = j->a[1];
  const uint8_t *p = j->a[2];
  const int64_t *offsets = j->a[3];
  number *out = j->a[4];
  const int64_t frames = j->q[0], width = j->q[1], pixels = width * j->q[2], bypass_caches = j->q[4];
  const number largest = j->q[3];
  // To bypass the caches, each frame is counted in `work`, which stays in cache and is all zero
  // between frames, and then copied with non-temporal stores.
  number *work = bypass_caches ? calloc(2 * pixels, sizeof(number)) : NULL;
  BLOCKS(frames)
    for (int64_t k = o; k < frames && k < o + j->block; k++) {
      number *frame = out + 2 * k * pixels;
      if (!work) memset(frame, 0, 2 * pixels * sizeof(number));
      add(work ? work : frame, offsets[k], offsets[k + 1], x, y, p, width, pixels, largest);
      if (!work) continue;
      store_row((char *)frame, (const char *)work, 2 * pixels * sizeof(number), 1);
      for (int64_t i = offsets[k]; i < offsets[k + 1]; i++) work[p[i] * pixels + y[i] * width + x[i]] = 0;
    }
  if (work) fence();
  free(work);
}
