/* Coverage-guided fuzzing of a decoder by libFuzzer, with checks of memory accesses and of arithmetic. In the root of the
   repository:
     clang -g -O1 -march=native -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
       -DSOURCE='"evt.c"' -DDECODER=decode_evt3 -DRECORD_SIZE=2 -DMAX_EVENTS=16 -Igeir/events/formats \
       tests/events/fuzz_decode.c -o fuzz
     ./fuzz -max_total_time=3600 -max_len=1024

     SOURCE      DECODER                                       RECORD_SIZE  MAX_EVENTS
     "evt.c"     decode_evt2                                   4            1
     "evt.c"     decode_evt21, decode_evt21_legacy             8            32
     "evt.c"     decode_evt3                                   2            16
     "dat.c"     decode_dat1, decode_dat2                      8            1
     "nmnist.c"  decode_nmnist                                 5            1
     "csv.c"     decode_csv (and -DTEXT)                       1            1 */
#include <stdlib.h>
#include SOURCE
#include "columns.c"

enum { HEADER_SIZE = 4 };

// A copy in memory of exactly its size, so that every access beyond it is reported.
static void *exact_copy(const void *from, size_t size) { return memcpy(malloc(size ? size : 1), from, size); }

static EventColumns allocate(int64_t capacity) {
  return (EventColumns){malloc(8 * capacity), malloc(2 * capacity), malloc(2 * capacity), malloc(capacity), capacity};
}

static void release(const EventColumns *columns) {
  free(columns->t);
  free(columns->x);
  free(columns->y);
  free(columns->p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < HEADER_SIZE) return 0;
  // Room for the events of one record and a few more; the remaining records are decoded into new columns, as in geir.
  const int64_t capacity = MAX_EVENTS + data[0] % 40;
#ifdef TEXT
  const int64_t field_count = 1 + data[1] % 16;
  const LineLayout layout = {
    .t_field = data[2] % field_count,
    .x_field = data[2] / 16 % field_count,
    .y_field = data[3] % field_count,
    .p_field = data[3] / 16 % field_count,
    .field_count = field_count,
    .separator = ",; "[data[1] / 16 % 3],
    .time_exponent = (data[1] / 48 % 4) * 3 - 3,
    .rounds_times = data[0] / 40 % 2,
  };
#endif
  data += HEADER_SIZE;
  size -= HEADER_SIZE;
#ifdef TEXT
  while (size && data[size - 1] != '\n') size--;
#endif
  const int64_t count = size / RECORD_SIZE;
  int64_t record = 0;
  DecoderState state = {0};
  while (record < count) {
    uint8_t *records = exact_copy(data + record * RECORD_SIZE, (count - record) * RECORD_SIZE);
    const EventColumns columns = allocate(capacity);
#ifdef TEXT
    DECODER(records, count - record, &columns, &state, &layout);
#else
    DECODER(records, count - record, &columns, &state);
#endif
    // It reads and writes no more than it was given, and makes progress unless a record is invalid.
    if (state.records_read < 0 || state.records_read > count - record) abort();
    if (state.events_written < 0 || state.events_written > capacity) abort();
    if (!state.records_read && !state.invalid) abort();
    const ValidityLimits limits = {640, 480, 9, INT64_C(1) << 62};
    int64_t earliest = limits.max_abs_time, latest = -limits.max_abs_time;
    const int64_t valid = valid_prefix(&columns, state.events_written, &limits, &earliest, &latest);
    if (valid < 0 || valid > state.events_written) abort();
    free(records);
    release(&columns);
    record += state.records_read;
    if (state.invalid) break;
  }
  return 0;
}
