// Accumulation of events in one frame.
#define DOUBLE 0
#include "native.h"

// Add 1 to frame[p, y, x], shape (2, height, width), for every event. Events outside of the sensor
// are skipped and counted.
void accumulate(job *j) {
  const int16_t *x = j->a[0], *y = j->a[1];
  const uint8_t *p = j->a[2];
  float *frame = j->a[3];
  int64_t *outside = j->a[4];
  const int64_t events = j->q[0], height = j->q[1], width = j->q[2];
  *outside = 0;
  for (int64_t i = 0; i < events; i++)
    // A negative coordinate becomes a large unsigned one, so one comparison checks both bounds.
    if ((uint16_t)x[i] < width && (uint16_t)y[i] < height && p[i] < 2)
      frame[(p[i] * height + y[i]) * width + x[i]] += 1;
    else
      (*outside)++;
}
