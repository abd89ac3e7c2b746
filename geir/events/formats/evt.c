// Decoders of EVT 2.0, 2.1 and 3.0. The Python decoders in evt.py do the same.
#include "decoder.h"

// Types of words, in their most significant 4 bits.
enum { EVT2_OFF = 0, EVT2_ON = 1, EVT2_TIME_HIGH = 8, EVT2_TRIGGER = 10, EVT2_OTHER = 14, EVT2_CONTINUED = 15 };
enum {
  EVT3_ROW = 0, EVT3_EVENT = 2, EVT3_VECTOR_BASE = 3, EVT3_VECTOR_12 = 4, EVT3_VECTOR_8 = 5, EVT3_TIME_LOW = 6,
  EVT3_CONTINUED_4 = 7, EVT3_TIME_HIGH = 8, EVT3_TRIGGER = 10, EVT3_OTHER = 14, EVT3_CONTINUED_12 = 15
};
enum { SENSOR_WIDTH_LIMIT = 2048 };

static inline int64_t shift_left(int64_t time, int bits) { return (int64_t)((uint64_t)time << bits); }

// Continue a counter that holds only its lowest `bits`: of all values with these bits, take the one nearest
// to the last value.
static inline int64_t unwrap(int64_t last, uint64_t bits_now, int bits) {
  return last + ((int64_t)((bits_now - (uint64_t)last) << (64 - bits)) >> (64 - bits));
}

// The upper bits of time after a time word. The first word is taken as it is, because there is no time
// before it.
static inline int64_t next_time_high(DecoderState *state, int64_t last, uint64_t bits_now, int bits) {
  const int64_t high = state->has_time ? unwrap(last, bits_now, bits) : (int64_t)bits_now;
  state->has_time = 1;
  return high;
}

// For each byte, the positions of its set bits.
static uint8_t SET_BITS[256][8];
static __attribute__((constructor)) void fill_set_bits(void) {
  for (int byte = 0; byte < 256; byte++)
    for (int bit = 0, k = 0; bit < 8; bit++)
      if (byte >> bit & 1) SET_BITS[byte][k++] = bit;
}

typedef int64_t eight64 __attribute__((vector_size(64)));
typedef int16_t eight16 __attribute__((vector_size(16)));
typedef uint8_t eight8 __attribute__((vector_size(8)));

// Write one event of the same time, row and polarity for each set bit of `mask`; bit 0 is column
// `first`. Returns the number of events. For each byte of the mask, eight events are stored and
// only those of its set bits are kept: the next store overwrites the others. This is faster than a
// branch per bit, and needs room for `bits` events whatever the mask. Not inlined: gcc 12 otherwise
// generates slower code for the loop around it.
static __attribute__((noinline)) int64_t write_vector(uint32_t mask, int bits, int64_t time, int first,
                                                      int row, int polarity, int64_t *t, int16_t *x,
                                                      int16_t *y, uint8_t *p) {
  const eight64 times = time - (eight64){};
  const eight16 rows = (int16_t)row - (eight16){};
  const eight8 polarities = (uint8_t)polarity - (eight8){};
  int64_t k = 0;
  for (int low = 0; low < bits; low += 8) {
    eight8 set;
    memcpy(&set, SET_BITS[mask >> low & 255], 8);
    const eight16 columns = __builtin_convertvector(set, eight16) + (int16_t)(first + low);
    memcpy(t + k, &times, sizeof times);
    memcpy(x + k, &columns, sizeof columns);
    memcpy(y + k, &rows, sizeof rows);
    memcpy(p + k, &polarities, sizeof polarities);
    k += __builtin_popcount(mask >> low & 255);
  }
  return k;
}

// Words of EVT 2.0 that are decoded at once.
enum { EVT2_RUN = 32 };

// Decode words as if all of them were events, and return how many events they begin with.
static inline int64_t write_evt2_run(const uint8_t *words, int64_t high, int64_t *restrict t, int16_t *restrict x,
                                     int16_t *restrict y, uint8_t *restrict p) {
  const int64_t time = shift_left(high, 6);
  for (int j = 0; j < EVT2_RUN; j++) t[j] = time | (load_u32(words + 4 * j) >> 22 & 63);
  for (int j = 0; j < EVT2_RUN; j++) {
    x[j] = load_u32(words + 4 * j) >> 11 & 2047;
    y[j] = load_u32(words + 4 * j) & 2047;
  }
  for (int j = 0; j < EVT2_RUN; j++) p[j] = load_u32(words + 4 * j) >> 28;
  uint32_t others = 0;
  for (int j = 0; j < EVT2_RUN; j++) others |= (uint32_t)(load_u32(words + 4 * j) >> 28 > EVT2_ON) << j;
  return others ? __builtin_ctz(others) : EVT2_RUN;
}

// EVT 2.0. Event word: type (4 bits), lower bits of time (6), x (11), y (11). Time word: type (4),
// upper bits (28).
void decode_evt2(const uint8_t *words, int64_t count, const EventColumns *out, DecoderState *restrict state) {
  int64_t *restrict t = out->t;
  int16_t *restrict x = out->x, *restrict y = out->y;
  uint8_t *restrict p = out->p;
  const int64_t capacity = out->capacity;
  int64_t high = state->time_high, i = 0, k = 0;
  state->invalid = 0;
  while (i < count && k < capacity) {
    // Words to decode one by one: many where time words are frequent, because runs would decode most words more
    // than once.
    int64_t singles = 1;
    if (state->has_time && i + EVT2_RUN <= count && k + EVT2_RUN <= capacity) {
      const int64_t events = write_evt2_run(words + 4 * i, high, t + k, x + k, y + k, p + k);
      i += events;
      k += events;
      if (events == EVT2_RUN) continue;
      if (events < EVT2_RUN / 4) singles = 4 * EVT2_RUN;
    }
    for (const int64_t stop = i + singles < count ? i + singles : count; i < stop && k < capacity; i++) {
      const uint32_t word = load_u32(words + 4 * i), type = word >> 28;
      // Written for every word and kept only for events, so that there is no branch to mispredict.
      t[k] = shift_left(high, 6) | (word >> 22 & 63);
      x[k] = word >> 11 & 2047;
      y[k] = word & 2047;
      p[k] = type;
      const int is_event = type <= EVT2_ON, is_time = type == EVT2_TIME_HIGH;
      if ((is_event | is_time) & state->has_time) {
        high += (unwrap(high, word, 28) - high) & -(int64_t)is_time;
        k += is_event;
      } else if (is_event) {
        state->untimed_events++;
      } else if (is_time) {
        high = next_time_high(state, high, word & 0xfffffff, 28);
      } else if (type != EVT2_TRIGGER && type != EVT2_OTHER && type != EVT2_CONTINUED) {
        state->invalid = 1;
        break;
      }
    }
    if (state->invalid) break;
  }
  state->time_high = high;
  state->records_read = i;
  state->events_written = k;
}

// EVT 2.1. As EVT 2.0 in the upper 32 bits of a word; the lower 32 bits are a mask of the 32 pixels from x on
// that fired.
static inline void decode_evt21_words(const uint8_t *words, int64_t count, const EventColumns *out,
                                      DecoderState *state, int swap) {
  int64_t *t = out->t;
  int16_t *x = out->x, *y = out->y;
  uint8_t *p = out->p;
  const int64_t capacity = out->capacity;
  int64_t high = state->time_high, i = 0, k = 0;
  state->invalid = 0;
  for (; i < count && k + 32 <= capacity; i++) {
    const uint64_t raw = load_u64(words + 8 * i), word = swap ? raw << 32 | raw >> 32 : raw;
    const int type = word >> 60;
    if (type <= EVT2_ON) {
      uint32_t mask = word;
      if (!state->has_time) {
        state->untimed_events += __builtin_popcount(mask);
        mask = 0;
      }
      const int64_t time = shift_left(high, 6) | (word >> 54 & 63);
      const int16_t first = word >> 43 & 2047, row = word >> 32 & 2047;
      k += write_vector(mask, 32, time, first, row, type, t + k, x + k, y + k, p + k);
    } else if (type == EVT2_TIME_HIGH) {
      high = next_time_high(state, high, word >> 32 & 0xfffffff, 28);
    } else if (type != EVT2_TRIGGER && type != EVT2_OTHER && type != EVT2_CONTINUED) {
      state->invalid = 1;
      break;
    }
  }
  state->time_high = high;
  state->records_read = i;
  state->events_written = k;
}
void decode_evt21(const uint8_t *words, int64_t count, const EventColumns *out, DecoderState *state) {
  decode_evt21_words(words, count, out, state, 0);
}
// Recordings from before the endianness was stated have the two halves of a word swapped.
void decode_evt21_legacy(const uint8_t *words, int64_t count, const EventColumns *out, DecoderState *state) {
  decode_evt21_words(words, count, out, state, 1);
}

// EVT 3.0. Words of 16 bits: type (4 bits) and the new value of whatever changed (12 bits).
void decode_evt3(const uint8_t *words, int64_t count, const EventColumns *out, DecoderState *state) {
  int64_t *t = out->t;
  int16_t *x = out->x, *y = out->y;
  uint8_t *p = out->p;
  const int64_t capacity = out->capacity;
  int64_t time = shift_left(state->time_high, 12) | state->time_low;
  int64_t has_time = state->has_time, untimed = 0, i = 0, k = 0;
  int32_t row = state->row, vector_x = state->vector_x, vector_polarity = state->vector_polarity;
  state->invalid = 0;
  for (; i < count && k + 16 <= capacity; i++) {
    const uint32_t word = load_u16(words + 2 * i), type = word >> 12;
    // Rows, lower bits of time and single events come in no predictable order, so they share a path without
    // branches.
    if (1 << type & (1 << EVT3_ROW | 1 << EVT3_EVENT | 1 << EVT3_TIME_LOW)) {
      row = type == EVT3_ROW ? word & 2047 : row;
      time = type == EVT3_TIME_LOW ? (time & ~(int64_t)4095) | (word & 4095) : time;
      t[k] = time;
      x[k] = word & 2047;
      y[k] = row;
      p[k] = word >> 11 & 1;
      k += (type == EVT3_EVENT) & has_time;
      untimed += (type == EVT3_EVENT) & !has_time;
    } else if (type == EVT3_VECTOR_BASE) {
      vector_x = word & 2047;
      vector_polarity = word >> 11 & 1;
    } else if (type == EVT3_VECTOR_12 || type == EVT3_VECTOR_8) {
      uint32_t mask = word & (type == EVT3_VECTOR_12 ? 4095 : 255);
      if (mask && vector_x >= SENSOR_WIDTH_LIMIT) {
        state->invalid = 1;
        break;
      }
      if (!has_time) {
        untimed += __builtin_popcount(mask);
        mask = 0;
      }
      if (mask) k += write_vector(mask, 16, time, vector_x, row, vector_polarity, t + k, x + k, y + k, p + k);
      vector_x += type == EVT3_VECTOR_12 ? 12 : 8;
      vector_x = vector_x > SENSOR_WIDTH_LIMIT ? SENSOR_WIDTH_LIMIT : vector_x;
    } else if (type == EVT3_TIME_HIGH) {
      // The lower bits are unknown until their word follows. Taken as 0, they do not make time step back.
      const int64_t high = next_time_high(state, time >> 12, word & 4095, 12);
      time = high == time >> 12 ? time : shift_left(high, 12);
      has_time = 1;
    } else if (type != EVT3_CONTINUED_4 && type != EVT3_TRIGGER && type != EVT3_OTHER && type != EVT3_CONTINUED_12) {
      state->invalid = 1;
      break;
    }
  }
  state->time_high = time >> 12;
  state->time_low = time & 4095;
  state->row = row;
  state->vector_x = vector_x;
  state->vector_polarity = vector_polarity;
  state->untimed_events += untimed;
  state->records_read = i;
  state->events_written = k;
}
