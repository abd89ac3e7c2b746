// Decoders of DAT 1 and 2. The Python decoder in dat.py does the same.
#include "decoder.h"

// Records that are decoded at once.
enum { DAT_RUN = 1024 };

// The difference of two counters of time that wrap around.
static inline int32_t elapsed(uint32_t from, uint32_t to) { return (int32_t)(to - from); }

// Times of a run of records, the last of which was `time` before it. Returns whether they are right: two
// successive differences from the same counter are less than 2^31 apart, so that neither has wrapped around.
static inline int times_since(int64_t time, const uint8_t *records, int64_t count, int64_t *restrict t) {
  int32_t low = 0, high = 0;
  for (int64_t i = 0; i < count; i++) {
    const int32_t difference = elapsed((uint32_t)time, load_u32(records + 8 * i));
    low = difference < low ? difference : low;
    high = difference > high ? difference : high;
    t[i] = time + difference;
  }
  return low > -(1 << 30) && high < 1 << 30;
}

// Records of time (32 bits) and, from the least significant bit on, x, y and polarity, of widths that depend
// on the version.
static inline void decode_dat(const uint8_t *records, int64_t count, const EventColumns *out,
                              DecoderState *state, int x_bits, int y_bits, int p_bits) {
  int64_t *restrict t = out->t;
  int16_t *restrict x = out->x, *restrict y = out->y;
  uint8_t *restrict p = out->p;
  const int64_t total = count < out->capacity ? count : out->capacity;
  int64_t time = state->time_high;
  state->invalid = 0;
  if (count && !state->has_time) {
    time = load_u32(records);
    state->has_time = 1;
  }
  for (int64_t begin = 0; begin < total; begin += DAT_RUN) {
    const int64_t end = begin + DAT_RUN < total ? begin + DAT_RUN : total;
    // One loop for each width of number, so that each is vectorized.
    if (!times_since(time, records + 8 * begin, end - begin, t + begin)) {
      int64_t last = time;
      for (int64_t i = begin; i < end; i++) t[i] = last += elapsed((uint32_t)last, load_u32(records + 8 * i));
    }
    time = t[end - 1];
    for (int64_t i = begin; i < end; i++) {
      const uint32_t fields = load_u32(records + 8 * i + 4);
      x[i] = fields & ((1 << x_bits) - 1);
      y[i] = fields >> x_bits & ((1 << y_bits) - 1);
    }
    for (int64_t i = begin; i < end; i++)
      p[i] = load_u32(records + 8 * i + 4) >> (x_bits + y_bits) & ((1 << p_bits) - 1);
  }
  state->time_high = time;
  state->records_read = total;
  state->events_written = total;
}
void decode_dat1(const uint8_t *records, int64_t count, const EventColumns *out, DecoderState *state) {
  decode_dat(records, count, out, state, 9, 8, 1);
}
void decode_dat2(const uint8_t *records, int64_t count, const EventColumns *out, DecoderState *state) {
  decode_dat(records, count, out, state, 14, 14, 4);
}
