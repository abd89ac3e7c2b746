// Shared by the decoders of event files. A decoder reads records from the start of a buffer for as
// long as the columns have room for the events of one more record, and reports in the state how far
// it came. Called again with the rest of the records and new columns, it continues where it
// stopped.
#ifndef GEIR_EVENTS_DECODER_H
#define GEIR_EVENTS_DECODER_H
#include <stdint.h>
#include <string.h>

// The same fields, in the same order, as `DecoderState` in decoder.py.
typedef struct {
  // Results of one call.
  int64_t records_read;     // bytes for text formats
  int64_t events_written;
  int64_t invalid;          // 1 if the record after those that were read is invalid
  // Kept from call to call; all zero at the start of a file.
  int64_t has_time;         // 1 once a time word has been read
  int64_t untimed_events;   // events dropped because they precede the first time word
  int64_t time_high;        // upper bits of the current time, with wraparounds added
  int64_t time_low;         // lower bits of the current time (EVT 3.0)
  int64_t row;              // current row (EVT 3.0)
  int64_t vector_x;         // column at which the next vector begins (EVT 3.0)
  int64_t vector_polarity;  // polarity of the next vectors (EVT 3.0)
} DecoderState;

// The same fields as `ColumnPointers` in columns.py.
typedef struct {
  int64_t *t;
  int16_t *x, *y;
  uint8_t *p;
  int64_t capacity;  // events for which there is room
} EventColumns;

// The same fields as `ValidityLimits` in columns.py.
typedef struct {
  int64_t width, height;
  int64_t max_backward_step;  // microseconds by which an event may be earlier than one before it
  int64_t max_abs_time;       // small enough that differences of times do not overflow
} ValidityLimits;

// The same fields as `CheckedEvents` in columns.py.
typedef struct {
  int64_t valid;  // 1 if all events so far are valid, 0 if that is not known
  int64_t earliest, latest;  // their times
} CheckedEvents;

// Any of the decoders that are described above.
typedef void (*DecodeRecords)(const uint8_t *records, int64_t count, const EventColumns *out, DecoderState *state);

static inline uint16_t load_u16(const uint8_t *from) {
  uint16_t value;
  memcpy(&value, from, sizeof value);
  return value;
}
static inline uint32_t load_u32(const uint8_t *from) {
  uint32_t value;
  memcpy(&value, from, sizeof value);
  return value;
}
static inline uint64_t load_u64(const uint8_t *from) {
  uint64_t value;
  memcpy(&value, from, sizeof value);
  return value;
}
#endif
