// Validation of decoded events. The Python function in columns.py does the same.
#include "decoder.h"

enum { CHUNK = 1024 };

static inline int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

// Whether all events of a chunk are valid, as far as its extremes prove it; nearly always they do. Then the times
// are updated. One loop for each width of number, so that each is vectorized.
static inline int is_proved(const EventColumns *events, int64_t begin, int64_t end, const ValidityLimits *limits,
                            int64_t *earliest, int64_t *latest) {
  const int64_t *restrict t = events->t;
  const int16_t *restrict x = events->x, *restrict y = events->y;
  const uint8_t *restrict p = events->p;
  // Cast to unsigned, negative coordinates become large ones.
  uint16_t max_x = 0, max_y = 0;
  for (int64_t i = begin; i < end; i++) max_x = (uint16_t)x[i] > max_x ? x[i] : max_x;
  for (int64_t i = begin; i < end; i++) max_y = (uint16_t)y[i] > max_y ? y[i] : max_y;
  uint8_t max_p = 0;
  for (int64_t i = begin; i < end; i++) max_p = p[i] > max_p ? p[i] : max_p;
  int64_t max_t = *latest, min_t = INT64_MAX, disordered = 0;
  for (int64_t i = begin; i < end; i++) {
    max_t = t[i] > max_t ? t[i] : max_t;
    min_t = t[i] < min_t ? t[i] : min_t;
  }
  // Slow cameras take longer than the allowed step for a chunk, but mostly send events in order.
  for (int64_t i = begin + 1; i < end; i++) disordered |= t[i] < t[i - 1];
  if (max_x >= limits->width || max_y >= limits->height || max_p > 1) return 0;
  if (min_t < (disordered ? max_t : *latest) - limits->max_backward_step) return 0;
  if (min_t < -limits->max_abs_time || max_t > limits->max_abs_time) return 0;
  *earliest = min64(*earliest, min_t);
  *latest = max_t;
  return 1;
}

// The number of events before the first one that is outside the sensor, has an invalid time or
// steps back too far. `*latest` is the latest time before the call, and afterwards also of the
// valid events; `*earliest` likewise.
int64_t valid_prefix(const EventColumns *events, int64_t count, const ValidityLimits *limits, int64_t *earliest,
                     int64_t *latest) {
  const int64_t back = limits->max_backward_step, bound = limits->max_abs_time;
  for (int64_t begin = 0; begin < count; begin += CHUNK) {
    const int64_t end = min64(begin + CHUNK, count);
    if (is_proved(events, begin, end, limits, earliest, latest)) continue;
    for (int64_t i = begin; i < end; i++) {
      const int64_t t = events->t[i];
      const int inside = (uint16_t)events->x[i] < limits->width && (uint16_t)events->y[i] < limits->height;
      if (!inside || events->p[i] > 1 || t < *latest - back || t < -bound || t > bound) return i;
      *earliest = min64(*earliest, t);
      *latest = max64(*latest, t);
    }
  }
  return count;
}

// Records whose events stay in the fastest cache between decoding and checking.
enum { PIECE = 2048 };

// Decode records, add `first_time` to the times of their events, and check these.
void decode_checked(DecodeRecords decode, const uint8_t *records, int64_t count, int64_t record_size,
                    const EventColumns *out, DecoderState *state, int64_t first_time, const ValidityLimits *limits,
                    CheckedEvents *checked) {
  int64_t read = 0, written = 0, piece;
  do {
    const EventColumns part = {out->t + written, out->x + written, out->y + written, out->p + written,
                               out->capacity - written};
    piece = min64(PIECE, count - read);
    decode(records + read * record_size, piece, &part, state);
    const int64_t events = state->events_written;
    // Unsigned, because times in a damaged file may overflow.
    if (first_time)
      for (int64_t i = 0; i < events; i++) part.t[i] = (int64_t)((uint64_t)part.t[i] + (uint64_t)first_time);
    if (checked->valid)
      checked->valid = valid_prefix(&part, events, limits, &checked->earliest, &checked->latest) == events;
    read += state->records_read;
    written += events;
    // It ends early where there is no room or a record is invalid.
  } while (state->records_read == piece && read < count);
  state->records_read = read;
  state->events_written = written;
}
