// Coverage-guided fuzzing of a decoder, by libFuzzer, with its memory and its arithmetic watched. From the root of the repository:
//   clang -g -O1 -march=native -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -DDECODER=evt3 -DRECORD=2 -Igeir tests/fuzz_decode.c -lm -o fuzz
//   ./fuzz -max_total_time=3600 -max_len=1024
// Decoders and bytes of a record: evt2 4, evt21 8, evt21_legacy 8, evt3 2, dat1 8, dat2 8, nmnist 5, csv 1.
#include "../geir/events/formats/decode.c"

enum { CSV = RECORD == 1, MOST = RECORD == 8 ? 32 : RECORD == 2 ? 16 : 1 };

// Memory of exactly that size, beyond which nothing may be touched.
static void *copy_of(const void *from, size_t size) { return memcpy(malloc(size ? size : 1), from, size); }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 4) return 0;
  // Room for as many events as a record may have, and a few more; as in geir, the rest of the input is decoded when there is new room.
  const int64_t room = MOST + data[0] % 40, fields = 1 + data[1] % 16;
  // Of text, where the fields stand, how many there are and what separates them.
  const int64_t layout[] = {data[2] % fields, data[2] / 16 % fields, data[3] % fields, data[3] / 16 % fields, fields, ",; "[data[1] / 16 % 3]};
  data += 4, size -= 4;
  while (CSV && size && data[size - 1] != '\n') size--;
  int64_t n = size / RECORD, at = 0, state[BRIGHTER + 1] = {0};
  while (at < n) {
    uint8_t *records = copy_of(data + at * RECORD, (n - at) * RECORD), *p = malloc(room);
    int64_t *t = malloc(8 * room), numbers[8] = {n - at, room};
    int16_t *x = malloc(2 * room), *y = malloc(2 * room);
    memcpy(numbers + 2, layout, sizeof layout);
    void *pointers[] = {records, t, x, y, p, state};
    job j = {pointers, numbers, 1};
    DECODER(&j);
    const int64_t read = state[READ], written = state[WRITTEN];
    // It stays within what it was given, and goes on unless something is wrong.
    if (read < 0 || read > n - at || written < 0 || written > room || (!read && !state[WRONG])) abort();
    int64_t checked[] = {0, -(INT64_C(1) << 62)}, limits[] = {written, 640, 480, 9};
    void *columns[] = {t, x, y, p, checked};
    job k = {columns, limits, 1};
    sound(&k);
    if (checked[0] < 0 || checked[0] > written) abort();
    free(records), free(t), free(x), free(y), free(p);
    at += read;
    if (state[WRONG]) break;
  }
  return 0;
}
