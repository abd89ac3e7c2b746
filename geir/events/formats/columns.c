// Validation of decoded events. The Python function in columns.py does the same.
#include "decoder.h"

// The same fields as `ValidityLimits` in columns.py.
typedef struct {
  int64_t width, height;
  int64_t max_backward_step;  // microseconds by which an event may be earlier than one before it
  int64_t max_abs_time;       // small enough that differences of times do not overflow
} ValidityLimits;

enum { CHUNK = 1024 };

// The number of events before the first one that is outside the sensor, has an invalid time or
// steps back too far. `*latest` is the latest time before the call, and afterwards also of the
// valid events.
int64_t valid_prefix(const EventColumns *events, int64_t count, const ValidityLimits *limits, int64_t *latest) {
  const int64_t *restrict t = events->t;
  const int16_t *restrict x = events->x, *restrict y = events->y;
  const uint8_t *restrict p = events->p;
  const int64_t width = limits->width, height = limits->height;
  const int64_t back = limits->max_backward_step, bound = limits->max_abs_time;
  int64_t late = *latest;
  for (int64_t begin = 0; begin < count; begin += CHUNK) {
    const int64_t end = begin + CHUNK < count ? begin + CHUNK : count;
    // First the extremes of a chunk, which nearly always prove all of it valid. One loop for each
    // width of number, so that each is vectorized. Cast to unsigned, negative coordinates become
    // large ones.
    uint16_t max_x = 0, max_y = 0;
    for (int64_t i = begin; i < end; i++) max_x = (uint16_t)x[i] > max_x ? x[i] : max_x;
    for (int64_t i = begin; i < end; i++) max_y = (uint16_t)y[i] > max_y ? y[i] : max_y;
    uint8_t max_p = 0;
    for (int64_t i = begin; i < end; i++) max_p = p[i] > max_p ? p[i] : max_p;
    int64_t max_t = late, min_t = INT64_MAX;
    for (int64_t i = begin; i < end; i++) {
      max_t = t[i] > max_t ? t[i] : max_t;
      min_t = t[i] < min_t ? t[i] : min_t;
    }
    // Slow cameras take longer than the allowed step for a chunk, but mostly send events in order.
    int64_t disordered = 0;
    for (int64_t i = begin + 1; i < end; i++) disordered |= t[i] < t[i - 1];
    const int is_ordered = min_t >= (disordered ? max_t : late) - back;
    if (max_x < width && max_y < height && max_p <= 1 && is_ordered && min_t >= -bound && max_t <= bound) {
      late = max_t;
      continue;
    }
    // Otherwise event by event.
    for (int64_t i = begin; i < end; i++) {
      const int inside = (uint16_t)x[i] < width && (uint16_t)y[i] < height && p[i] <= 1;
      if (!inside || t[i] < late - back || t[i] < -bound || t[i] > bound) {
        *latest = late;
        return i;
      }
      late = t[i] > late ? t[i] : late;
    }
  }
  *latest = late;
  return count;
}
