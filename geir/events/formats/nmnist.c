// Decoder of N-MNIST's format. The Python decoder in nmnist.py does the same.
#include "decoder.h"

enum { OVERFLOW_ROW = 240 };

// Records of x (8 bits), y (8), polarity (1) and time (23), most significant byte first. A record
// with y = 240 is no event: it means that the 13-bit counter of time has wrapped around.
void decode_nmnist(const uint8_t *records, int64_t count, const EventColumns *out, DecoderState *state) {
  int64_t *restrict t = out->t;
  int16_t *restrict x = out->x, *restrict y = out->y;
  uint8_t *restrict p = out->p;
  const int64_t capacity = out->capacity;
  int64_t elapsed = state->time_high, i = 0, k = 0;
  state->invalid = 0;
  for (; i < count && k < capacity; i++) {
    const uint8_t *record = records + 5 * i;
    const int is_overflow = record[1] == OVERFLOW_ROW;
    elapsed += is_overflow ? 1 << 13 : 0;
    t[k] = elapsed + ((record[2] & 127) << 16 | record[3] << 8 | record[4]);
    x[k] = record[0];
    y[k] = record[1];
    p[k] = record[2] >> 7;
    k += !is_overflow;
  }
  state->time_high = elapsed;
  state->records_read = i;
  state->events_written = k;
}
