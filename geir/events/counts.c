// Events into frames.
#define DOUBLE 0
#include "native.h"

// FRAME (2, height, width) += 1 at every event; those that lie outside are counted instead.
void add_counts(job *j) {
  const int16_t *X = j->a[0], *Y = j->a[1];
  const uint8_t *P = j->a[2];
  float *FRAME = j->a[3];
  const int64_t events = j->q[0], height = j->q[1], width = j->q[2];
  int64_t outside = 0;
  for (int64_t i = 0; i < events; i++)
    if ((uint16_t)X[i] < width && (uint16_t)Y[i] < height && P[i] < 2)
      FRAME[(P[i] * height + Y[i]) * width + X[i]] += 1;
    else
      outside++;
  *(int64_t *)j->a[4] = outside;
}
