// Decoder of lines of text. The Python decoder in csv_lines.py does the same.
#include "decoder.h"

// The same fields as `LineLayout` in csv_lines.py.
typedef struct {
  int64_t t_field, x_field, y_field, p_field;  // indices of the columns in a line, at most 15
  int64_t field_count;                         // fields that a line has at least
  int64_t separator;                           // a character; a space stands for any run of spaces and tabs
  int64_t time_exponent;                       // power of ten by which times are multiplied
  int64_t rounds_times;                        // whether times may have further decimals, which are rounded
} LineLayout;

enum { MAX_FIELDS = 16, MAX_DIGITS = 18 };

static inline int is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }
static inline int is_digit(char c) { return (unsigned char)(c - '0') <= 9; }

// Parse a decimal number, multiplied by a power of ten, as an exact integer. Decimals that remain are rounded, half
// away from zero, or must be zeros. Returns whether the number is valid.
static __attribute__((noinline)) int parse_decimal(const char **position, int64_t exponent, int rounds,
                                                   int64_t *value) {
  const char *c = *position, *digits[2];
  int64_t counts[2] = {0, 0};
  digits[0] = c;
  while (is_digit(*c)) c++;
  counts[0] = c - digits[0];
  const int has_point = *c == '.';
  c += has_point;
  digits[1] = c;
  while (has_point && is_digit(*c)) c++;
  counts[1] = c - digits[1];
  if (!(counts[0] + counts[1])) return 0;
  if (*c == 'e' || *c == 'E') {
    c++;
    const int negative = *c == '-';
    c += negative || *c == '+';
    int64_t power = 0;
    const char *first = c;
    while (c - first < 3 && is_digit(*c)) power = 10 * power + (*c++ - '0');
    if (c == first) return 0;
    exponent += negative ? -power : power;
  }
  *position = c;
  // Digits of the result that are in the text; more than that are zeros.
  int64_t left = counts[0] + exponent, result = 0;
  int round_up = 0;
  for (int part = 0; part < 2; part++)
    for (int64_t k = 0; k < counts[part]; k++, left--) {
      const int digit = digits[part][k] - '0';
      if (left > 0) {
        if (result >= 100000000000000000) return 0;
        result = 10 * result + digit;
      } else if (!rounds && digit)
        return 0;
      else if (left == 0)
        round_up = digit >= 5;
    }
  for (; left > 0 && result; left--) {
    if (result >= 100000000000000000) return 0;
    result *= 10;
  }
  *value = result + round_up;
  return 1;
}

static inline int parse_number(const char **position, int64_t exponent, int rounds, int64_t *value) {
  const char *c = *position;
  const int negative = *c == '-';
  c += negative || *c == '+';
  const char *first = c;
  int64_t number = 0;
  while (c - first < MAX_DIGITS && is_digit(*c)) number = number * 10 + (*c++ - '0');
  // Most numbers are short integers, which end here.
  if (c == first || exponent || is_digit(*c) || *c == '.' || (*c | 32) == 'e') {
    // Copies, so that the compiler can keep the variables above in registers.
    const char *end = first;
    int64_t result;
    if (!parse_decimal(&end, exponent, rounds, &result)) return 0;
    c = end;
    number = result;
  }
  *position = c;
  *value = negative ? -number : number;
  return 1;
}

// Parse `True` or `False`, in lower case too, or a number.
static inline int parse_polarity(const char **position, int64_t *value) {
  const char *c = *position;
  const int is_true = (*c | 32) == 't', is_false = (*c | 32) == 'f';
  if (is_true || is_false) {
    const char *rest = is_true ? "rue" : "alse";
    c++;
    while (*rest && *c == *rest) c++, rest++;
    *position = c;
    *value = is_true;
    return !*rest;
  }
  return parse_number(position, 0, 0, value);
}

static inline const char *skip_field(const char *c, char separator) {
  if (*c == '"') {
    c++;
    while (*c != '"' && *c != '\n') c++;
    c += *c == '"';
  }
  while (*c != '\n' && (separator == ' ' ? !is_blank(*c) : *c != separator)) c++;
  return c;
}

enum { SKIPPED, TIME, COORDINATE, POLARITY };

// Parse the fields of a line and skip blanks around them. Returns whether all were valid, and
// moves `*position` to where parsing stopped, which is on the line or at its end.
static __attribute__((noinline)) int parse_fields(const char **position, const LineLayout *layout,
                                                  const uint8_t kinds[MAX_FIELDS], int64_t values[MAX_FIELDS]) {
  const int64_t field_count = layout->field_count;
  const char separator = layout->separator, *c = *position;
  int valid = 1;
  for (int64_t field = 0; field < field_count && valid; field++) {
    const int kind = kinds[field];
    if (kind == SKIPPED)
      c = skip_field(c, separator);
    else {
      const int quoted = *c == '"';
      c += quoted;
      if (kind == POLARITY)
        valid = parse_polarity(&c, &values[field]);
      else if (kind == TIME)
        valid = parse_number(&c, layout->time_exponent, layout->rounds_times, &values[field]);
      else
        valid = parse_number(&c, 0, 0, &values[field]);
      if (quoted && valid) valid = *c++ == '"';
      if (!valid) break;
    }
    const char *end = c;
    while (is_blank(*c)) c++;
    if (*c == '\n')
      valid = field + 1 == field_count;
    else if (separator == ' ')
      valid = c > end;
    else {
      valid = *c++ == separator;
      while (is_blank(*c)) c++;
    }
  }
  *position = c;
  return valid;
}

// Parse the fields of a line that are all integers without quotes, as `parse_fields` does, but faster.
static inline int parse_integers(const char **position, const LineLayout *layout, int64_t values[MAX_FIELDS]) {
  const int64_t field_count = layout->field_count;
  const char separator = layout->separator, *c = *position;
  int valid = 1;
  for (int64_t field = 0; field < field_count && valid; field++) {
    const int negative = *c == '-';
    const char *first_digit = c += negative;
    int64_t value = 0;
    for (; c - first_digit < MAX_DIGITS && is_digit(*c); c++) value = value * 10 + (*c - '0');
    values[field] = negative ? -value : value;
    valid = c > first_digit;
    const char *end = c;
    while (is_blank(*c)) c++;
    if (*c == '\n')
      valid &= field + 1 == field_count;
    else if (separator == ' ')
      valid &= c > end;
    else {
      valid &= *c++ == separator;
      while (is_blank(*c)) c++;
    }
  }
  *position = c;
  return valid;
}

// Whole lines, each with its newline; empty lines and those that begin with # are skipped. The state counts
// bytes.
void decode_csv(const uint8_t *bytes, int64_t count, const EventColumns *out, DecoderState *state,
                const LineLayout *layout) {
  const char *text = (const char *)bytes;
  int64_t *restrict t = out->t;
  int16_t *restrict x = out->x, *restrict y = out->y;
  uint8_t *restrict p = out->p;
  const int64_t capacity = out->capacity;
  const LineLayout fields = *layout;
  uint8_t kinds[MAX_FIELDS] = {SKIPPED};
  kinds[fields.x_field] = kinds[fields.y_field] = COORDINATE;
  kinds[fields.p_field] = POLARITY;
  kinds[fields.t_field] = TIME;
  int64_t i = 0, k = 0;
  state->invalid = 0;
  while (i < count && k < capacity) {
    int64_t values[MAX_FIELDS];
    const char *c = text + i;
    while (is_blank(*c)) c++;
    if (*c != '\n' && *c != '#') {
      const char *first = c;
      const int valid = !fields.time_exponent && parse_integers(&c, &fields, values);
      if (!valid && !parse_fields(&first, &fields, kinds, values)) {
        state->invalid = 1;
        break;
      }
      if (!valid) c = first;
      const int64_t column = values[fields.x_field], row = values[fields.y_field], polarity = values[fields.p_field];
      if (column != (int16_t)column || row != (int16_t)row || polarity < -1 || polarity > 1) {
        state->invalid = 1;
        break;
      }
      t[k] = values[fields.t_field];
      x[k] = column;
      y[k] = row;
      p[k] = polarity > 0;
      k++;
    }
    while (*c != '\n') c++;
    i = c + 1 - text;
  }
  state->records_read = i;
  state->events_written = k;
}
