/* Extracts the columns of events from a block of lines in the Events API format, without the Python interpreter.
 *
 * It only accepts plain events: complete lines of JSON in valid UTF-8, each with one event that has the seven required
 * keys, optionally `org`, and nothing else; no duplicate keys, no white space, no escapes in text columns. White space
 * and escapes are only allowed inside the values that are copied unchanged: payload and entities.
 * For anything else it returns "not plain", and etl.events.record reads the line. So nothing is repaired, guessed or
 * reported here. For accepted lines the result is the same as that of etl.events.record, which a test checks.
 *
 * Nothing is allocated and no state is kept. Functions read from `at` up to `end` (exclusive) and return the position
 * after what they read, or NULL. etl/events/native/scanner.py has the Python side with the same structures.
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { ID, ACTOR, REPO, ORG, PAYLOAD, TEXTS, TYPE = TEXTS, PUBLIC, CREATED_AT, KEYS };
enum { MAX_TYPES = 64, MAX_DEPTH = 512, TIME_SIZE = 20 };

typedef struct {
  uint32_t at, size;
} Span;

typedef struct {
  Span texts[TEXTS];
  int64_t created_at; /* microseconds since 1970 */
  int64_t key;        /* hash of id, type and time */
  uint32_t type;      /* index in the list of types */
  uint32_t is_public;
} Event;

_Static_assert(sizeof(Event) < sizeof "{'id':'','type':'','actor':0,'repo':0,'payload':0,'public':true,'created_at':''}",
               "room for as many events as can be said in a text: as much as the text has");

typedef struct {
  Span name;
  int64_t events;
  int64_t next; /* row of its next event */
} Type;

typedef struct {
  int64_t types, first, last, bytes[TEXTS];
} Summary;

typedef const uint8_t *Place;

typedef struct {
  const char *text;
  uint32_t size;
} Name;

#define NAME(key) {"\"" key "\":", sizeof("\"" key "\":") - 1}

/* In the order of current files, so that the next key is nearly always the expected one. */
static const Name NAMES[KEYS] = {NAME("id"),      NAME("type"),   NAME("actor"),      NAME("repo"),
                                 NAME("payload"), NAME("public"), NAME("created_at"), NAME("org")};
static const uint32_t KEY_OF[KEYS] = {ID, TYPE, ACTOR, REPO, PAYLOAD, PUBLIC, CREATED_AT, ORG};
static const uint32_t NEEDED = ((1u << KEYS) - 1) & ~(1u << ORG);

/* Members of actors, repositories and organizations, in the same order as in Python. */
enum { NUMBER, LOGIN, DISPLAY_LOGIN, GRAVATAR_ID, URL, AVATAR_URL, NAME, MEMBERS };

static const Name MEMBER_NAMES[MEMBERS] = {NAME("id"),  NAME("login"),      NAME("display_login"), NAME("gravatar_id"),
                                           NAME("url"), NAME("avatar_url"), NAME("name")};

typedef struct {
  Span texts[MEMBERS];
  int64_t id;
  uint32_t seen; /* one bit for each member that is present */
} Entity;

_Static_assert(sizeof(Entity) == 72 && sizeof(Type) == 24, "etl/events/native/scanner.py makes room for as much");

static bool begins(Place at, Place end, const char *text, size_t size) {
  return (size_t)(end - at) >= size && memcmp(at, text, size) == 0;
}

static bool is_one(Place at, Place end, char mark) { return at < end && *at == (uint8_t)mark; }

static Place skip_word(Place at, Place end, const char *word) {
  return begins(at, end, word, strlen(word)) ? at + strlen(word) : NULL;
}

static bool is_plain(uint8_t byte) { return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\'; }

/* Returns the first byte that is not plain, or the end. Compilers vectorize this to sixteen bytes at a time. */
static Place skip_plain(Place at, Place end) {
  typedef uint8_t Bytes __attribute__((vector_size(16)));
  for (; end - at >= (int)sizeof(Bytes); at += sizeof(Bytes)) {
    Bytes bytes;
    memcpy(&bytes, at, sizeof bytes);
    Bytes odd = (Bytes)(bytes < 0x20) | (Bytes)(bytes >= 0x80) | (Bytes)(bytes == '"') | (Bytes)(bytes == '\\');
    uint64_t halves[2];
    memcpy(halves, &odd, sizeof halves);
    if (halves[0]) return at + __builtin_ctzll(halves[0]) / 8;
    if (halves[1]) return at + 8 + __builtin_ctzll(halves[1]) / 8;
  }
  while (at < end && is_plain(*at)) at++;
  return at;
}

static bool follows(Place at, Place end, int count) {
  if (end - at <= count) return false;
  for (int i = 1; i <= count; i++)
    if ((at[i] & 0xc0) != 0x80) return false;
  return true;
}

/* One non-ASCII character, by the table of well-formed sequences in section 3.9 of the Unicode Standard. */
static Place skip_character(Place at, Place end) {
  uint8_t lead = *at;
  int more = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
  if (lead < 0xc2 || lead > 0xf4 || !follows(at, end, more)) return NULL;
  bool overlong = (lead == 0xe0 && at[1] < 0xa0) || (lead == 0xf0 && at[1] < 0x90);
  bool beyond = (lead == 0xed && at[1] > 0x9f) || (lead == 0xf4 && at[1] > 0x8f);
  return overlong || beyond ? NULL : at + 1 + more;
}

static bool is_digit(uint8_t byte) { return byte >= '0' && byte <= '9'; }

static bool is_hex(uint8_t byte) { return is_digit(byte) || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'f'); }

static Place skip_unit(Place at, Place end) {
  bool is_unit = end - at >= 6 && at[0] == '\\' && at[1] == 'u';
  return is_unit && is_hex(at[2]) && is_hex(at[3]) && is_hex(at[4]) && is_hex(at[5]) ? at + 6 : NULL;
}

/* One escape, or two that form a surrogate pair; a lone surrogate is not plain. */
static Place skip_escape(Place at, Place end) {
  if (end - at < 2) return NULL;
  if (at[1] != 'u') return memchr("\"\\/bfnrt", at[1], 8) ? at + 2 : NULL;
  Place next = skip_unit(at, end);
  if (!next || (at[2] | 0x20) != 'd' || at[3] < '8') return next;
  bool is_high = at[3] == '8' || at[3] == '9' || (at[3] | 0x20) == 'a' || (at[3] | 0x20) == 'b';
  Place pair = is_high ? skip_unit(next, end) : NULL;
  return pair && (next[2] | 0x20) == 'd' && (next[3] | 0x20) >= 'c' ? pair : NULL;
}

static Place skip_string(Place at, Place end, bool escapes) {
  if (!is_one(at, end, '"')) return NULL;
  at++;
  while (at) {
    if ((at = skip_plain(at, end)) == end) return NULL;
    if (*at == '"') return at + 1;
    if (*at == '\\')
      at = escapes ? skip_escape(at, end) : NULL;
    else
      at = skip_character(at, end);
  }
  return NULL;
}

static Place skip_digits(Place at, Place end) {
  Place first = at;
  while (at < end && is_digit(*at)) at++;
  return at == first ? NULL : at;
}

static Place skip_number(Place at, Place end) {
  if (is_one(at, end, '-')) at++;
  at = is_one(at, end, '0') ? at + 1 : skip_digits(at, end);
  if (at && is_one(at, end, '.')) at = skip_digits(at + 1, end);
  if (at && (is_one(at, end, 'e') || is_one(at, end, 'E'))) {
    at++;
    if (is_one(at, end, '+') || is_one(at, end, '-')) at++;
    at = skip_digits(at, end);
  }
  return at;
}

static Place skip_scalar(Place at, Place end) {
  if (at == end) return NULL;
  switch (*at) {
    case '"': return skip_string(at, end, true);
    case 't': return skip_word(at, end, "true");
    case 'f': return skip_word(at, end, "false");
    case 'n': return skip_word(at, end, "null");
    default: return skip_number(at, end);
  }
}

/* No line feed, which ends the line. */
static Place skip_space(Place at, Place end) {
  while (at < end && (*at == ' ' || *at == '\t' || *at == '\r')) at++;
  return at;
}

static Place skip_key(Place at, Place end) {
  if (!(at = skip_string(skip_space(at, end), end, true))) return NULL;
  at = skip_space(at, end);
  return is_one(at, end, ':') ? skip_space(at + 1, end) : NULL;
}

/* Any JSON value, nested up to MAX_DEPTH. */
static Place skip_value(Place at, Place end) {
  char closing[MAX_DEPTH];
  int depth = 0;
  for (;;) {
    bool opens = is_one(at, end, '{') || is_one(at, end, '[');
    if (opens) {
      if (depth == MAX_DEPTH) return NULL;
      closing[depth++] = *at == '{' ? '}' : ']';
      at = skip_space(at + 1, end);
    } else if (!(at = skip_scalar(at, end))) {
      return NULL;
    }
    if (!opens || is_one(at, end, closing[depth - 1])) {
      while (depth) {
        at = skip_space(at, end);
        if (!is_one(at, end, closing[depth - 1])) break;
        at++, depth--;
      }
      if (!depth) return at;
      if (!is_one(at, end, ',')) return NULL;
      at = skip_space(at + 1, end);
    }
    if (closing[depth - 1] == '}' && !(at = skip_key(at, end))) return NULL;
  }
}

static int number(Place at, int digits) {
  int value = 0;
  for (int i = 0; i < digits; i++) {
    if (!is_digit(at[i])) return -1;
    value = 10 * value + at[i] - '0';
  }
  return value;
}

static bool read_time(Place at, int64_t *moment) {
  static const int DAYS[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  int year = number(at, 4), month = number(at + 5, 2), day = number(at + 8, 2);
  int hour = number(at + 11, 2), minute = number(at + 14, 2), second = number(at + 17, 2);
  if (at[4] != '-' || at[7] != '-' || at[10] != 'T' || at[13] != ':' || at[16] != ':' || at[19] != 'Z') return false;
  if (year < 1970 || month < 1 || month > 12 || hour < 0 || hour > 23) return false;
  if (minute < 0 || minute > 59 || second < 0 || second > 59) return false;
  bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  if (day < 1 || day > DAYS[month - 1] + (month == 2 && leap)) return false;
  int64_t before = year - 1, days = 365 * before + before / 4 - before / 100 + before / 400 - 719162 + day - 1;
  for (int i = 1; i < month; i++) days += DAYS[i - 1] + (i == 2 && leap);
  *moment = (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000000;
  return true;
}

static Place read_value(Place at, Place end, uint32_t key, Span *value, Event *event) {
  Place from = at;
  switch (key) {
    case PUBLIC:
      event->is_public = is_one(at, end, 't');
      return skip_word(at, end, event->is_public ? "true" : "false");
    case ID:
    case TYPE:
    case CREATED_AT:
      if (!(at = skip_string(at, end, false))) return NULL;
      *value = (Span){.at = 1, .size = (uint32_t)(at - from - 2)};
      return key != CREATED_AT || (value->size == TIME_SIZE && read_time(from + 1, &event->created_at)) ? at : NULL;
    default:
      /* A payload that is null is no text: the exact reader leaves its column empty. */
      if (key == PAYLOAD && is_one(at, end, 'n')) return NULL;
      if (!(at = skip_value(at, end))) return NULL;
      *value = (Span){.at = 0, .size = (uint32_t)(at - from)};
      return at;
  }
}

/* Returns which of the names stands here with quotes and colon, trying `next` first; -1 for none. */
static int find_name(Place at, Place end, const Name *names, int count, int next) {
  for (int i = 0; i < count; i++, next++) {
    int name = next % count;
    if (begins(at, end, names[name].text, names[name].size)) return name;
  }
  return -1;
}

static Place read_event(Place text, Place at, Place end, Event *event, Span *values) {
  uint32_t seen = 0;
  int name = -1;
  memset(values, 0, KEYS * sizeof *values);
  if (!is_one(at, end, '{')) return NULL;
  do {
    at++;
    if ((name = find_name(at, end, NAMES, KEYS, name + 1)) < 0) return NULL;
    uint32_t key = KEY_OF[name];
    if (seen & (1u << key)) return NULL;
    seen |= 1u << key;
    Place from = at + NAMES[name].size;
    if (!(at = read_value(from, end, key, &values[key], event))) return NULL;
    values[key].at += (uint32_t)(from - text);
  } while (is_one(at, end, ','));
  if (!is_one(at, end, '}') || (seen & NEEDED) != NEEDED) return NULL;
  at++;
  return at == end ? at : is_one(at, end, '\n') ? at + 1 : NULL;
}

/* FNV-1a with a seed of this process; the end of each text is hashed, so that texts cannot run into each other. */
static uint64_t mixed(uint64_t key, Place at, size_t size) {
  for (size_t i = 0; i < size; i++) key = (key ^ at[i]) * 0x100000001b3u;
  return (key ^ 0xff) * 0x100000001b3u;
}

int64_t hash_of(Place id, int64_t id_size, Place type, int64_t type_size, Place time, int64_t time_size, uint64_t seed) {
  return (int64_t)mixed(mixed(mixed(seed, id, id_size), type, type_size), time, time_size);
}

static int64_t type_of(Place text, Span name, Type *types, int64_t *count) {
  for (int64_t i = 0; i < *count; i++)
    if (types[i].name.size == name.size && memcmp(text + types[i].name.at, text + name.at, name.size) == 0) return i;
  if (*count == MAX_TYPES) return -1;
  types[*count] = (Type){.name = name};
  return (*count)++;
}

/* Reads all events of a block; `events` is as large as the block, `types` has room for MAX_TYPES.
 * Returns the number of events, or -1 if the block is not plain. */
int64_t scan(Place text, int64_t size, uint64_t seed, Event *events, Type *types, Summary *summary) {
  Place at = text, end = text + size;
  int64_t count = 0;
  *summary = (Summary){.first = INT64_MAX, .last = INT64_MIN};
  for (; at < end; count++) {
    Span values[KEYS];
    Event *event = &events[count];
    if (!(at = read_event(text, at, end, event, values))) return -1;
    int64_t type = type_of(text, values[TYPE], types, &summary->types);
    if (type < 0) return -1;
    event->type = (uint32_t)type;
    types[type].events++;
    event->key = hash_of(text + values[ID].at, values[ID].size, text + values[TYPE].at, values[TYPE].size,
                         text + values[CREATED_AT].at, TIME_SIZE, seed);
    if (event->created_at < summary->first) summary->first = event->created_at;
    if (event->created_at > summary->last) summary->last = event->created_at;
    memcpy(event->texts, values, sizeof event->texts);
    for (int column = 0; column < TEXTS; column++) summary->bytes[column] += values[column].size;
  }
  return count;
}

/* Splits text into documents, with or without line breaks and damaged or not. Linear: after damage the search continues
 * where the parser stopped, never before. etl/archive/splitting.py has the same in Python. */
enum { DOCUMENT, NO_EVENT, CUT, NULS, DEEP };
enum { FEW_BYTES = 512, MOST_MARKS = 64 };
enum { IS_EVENT = 1, HAS_TYPE = 2, HAS_TIME = 4, IS_SURE = HAS_TYPE | HAS_TIME };

typedef struct {
  int64_t begin, end;
  int32_t kind, lost;
} Part;

typedef struct {
  Place text, end;
  Part *parts;
  int64_t count, most;
  bool full;
} Split;

typedef struct {
  Place at;          /* after the object, or where it is broken */
  int32_t seen;      /* bits of the object's keys */
  bool is_sound, is_deep, is_open;
} Parsed;

static bool is_space(uint8_t byte) { return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n'; }

static Place skip_spaces(Place at, Place end) {
  while (at < end && is_space(*at)) at++;
  return at;
}

/* Returns the end of a part: white space that has a line break is not included, other white space is. */
static Place part_end(Place at, Place end) {
  Place last = end;
  while (last > at && is_space(last[-1])) last--;
  return memchr(last, '\n', (size_t)(end - last)) ? last : end;
}

static void add_part(Split *split, Place begin, Place end, int32_t kind, int32_t lost) {
  Part *last = split->count ? &split->parts[split->count - 1] : NULL;
  int64_t from = begin - split->text, to = end - split->text;
  if (last && kind != DOCUMENT && last->kind != DOCUMENT &&
      (last->kind == kind || to - from < FEW_BYTES || last->end - last->begin < FEW_BYTES)) {
    if (last->kind != kind) last->kind = last->kind == DEEP || kind == DEEP ? DEEP : CUT;
    last->end = to;
    last->lost += lost;
  } else if (split->count == split->most) {
    split->full = true;
  } else {
    split->parts[split->count++] = (Part){from, to, kind, lost};
  }
}

/* Returns the position after a string, with any non-ASCII bytes; NULL in `*stop` means that the text ends in it. */
static bool skip_any_string(Place at, Place end, Place *behind) {
  for (at++;;) {
    at = skip_plain(at, end);
    *behind = at;
    if (at == end) return false;
    if (*at == '"') {
      *behind = at + 1;
      return true;
    }
    if (*at >= 0x80) {
      at++;
    } else if (*at == '\\') {
      if (end - at < 2) {
        *behind = end;
        return false;
      }
      if (at[1] != 'u') {
        if (!memchr("\"\\/bfnrt", at[1], 8)) return false;
        at += 2;
      } else {
        for (int i = 2; i < 6; i++) {
          if (at + i == end) {
            *behind = end;
            return false;
          }
          if (!is_hex(at[i])) return false;
        }
        at += 6;
      }
    } else {
      return false;
    }
  }
}

static bool skip_any_scalar(Place at, Place end, Place *behind) {
  if (*at == '"') return skip_any_string(at, end, behind);
  Place found = skip_scalar(at, end);
  *behind = found ? found : at;
  if (found) return true;
  /* A number or a word may continue after the end of the text. */
  while (at < end && (is_digit(*at) || (*at | 0x20) >= 'a' || *at == '-' || *at == '+' || *at == '.') && *at < 0x7b) at++;
  if (at == end) *behind = end;
  return false;
}

static int32_t key_bits(Place key, size_t size) {
  static const struct {
    Name name;
    int32_t bits;
  } KEYS_OF_EVENTS[] = {
      {{"\"type\"", 6}, IS_EVENT | HAS_TYPE}, {{"\"created_at\"", 12}, IS_EVENT | HAS_TIME},
      {{"\"id\"", 4}, IS_EVENT},              {{"\"payload\"", 9}, IS_EVENT},
      {{"\"actor\"", 7}, IS_EVENT},           {{"\"repo\"", 6}, IS_EVENT},
      {{"\"repository\"", 12}, IS_EVENT}};
  for (size_t i = 0; i < sizeof KEYS_OF_EVENTS / sizeof *KEYS_OF_EVENTS; i++)
    if (KEYS_OF_EVENTS[i].name.size == size && memcmp(KEYS_OF_EVENTS[i].name.text, key, size) == 0)
      return KEYS_OF_EVENTS[i].bits;
  return memchr(key, '\\', size) ? IS_EVENT : 0; /* an escaped key may be one */
}

/* Parses the object that starts at `at`. Nested objects that are certainly events are added as parts from `mark` on, in
 * order; outer ones replace inner ones. */
static Parsed parse_object(Split *split, Place at) {
  Place end = split->end, begins[MAX_DEPTH];
  int32_t seen[MAX_DEPTH];
  int64_t mark = split->count;
  int depth = 0;
  bool is_value = true;
  for (;;) {
    at = skip_spaces(at, end);
    if (at == end) return (Parsed){.at = end, .is_open = true};
    if (is_value && (*at == '{' || *at == '[')) {
      if (depth == MAX_DEPTH) return (Parsed){.at = at, .is_deep = true};
      begins[depth] = at;
      seen[depth++] = 0;
      bool is_object = *at == '{';
      at = skip_spaces(at + 1, end);
      if (at == end) return (Parsed){.at = end, .is_open = true};
      is_value = *at != (is_object ? '}' : ']');
    } else if (is_value) {
      Place behind;
      if (!skip_any_scalar(at, end, &behind)) return (Parsed){.at = behind, .is_open = behind == end};
      at = behind;
      is_value = false;
    }
    /* After a value, or before the end of an empty object or array: close what ends here. */
    while (!is_value) {
      at = skip_spaces(at, end);
      if (at == end) return (Parsed){.at = end, .is_open = true};
      bool is_object = *begins[depth - 1] == '{';
      if (*at == (is_object ? '}' : ']')) {
        at++, depth--;
        if (!depth) {
          split->count = mark;
          return (Parsed){.at = at, .seen = seen[0], .is_sound = true};
        }
        if (is_object && (seen[depth] & IS_SURE) == IS_SURE) {
          int64_t from = begins[depth] - split->text;
          while (split->count > mark && split->parts[split->count - 1].begin > from) split->count--;
          if (split->count == split->most) {
            split->full = true;
          } else {
            split->parts[split->count++] = (Part){from, at - split->text, DOCUMENT, 0};
          }
        }
      } else if (*at == ',') {
        at++;
        is_value = true;
      } else {
        return (Parsed){.at = at};
      }
    }
    if (*begins[depth - 1] == '{') {
      at = skip_spaces(at, end);
      if (at == end) return (Parsed){.at = end, .is_open = true};
      if (*at != '"') return (Parsed){.at = at};
      Place behind;
      if (!skip_any_string(at, end, &behind)) return (Parsed){.at = behind, .is_open = behind == end};
      seen[depth - 1] |= key_bits(at, (size_t)(behind - at));
      at = skip_spaces(behind, end);
      if (at == end) return (Parsed){.at = end, .is_open = true};
      if (*at != ':') return (Parsed){.at = at};
      at++;
    }
  }
}

/* Whether a document may start here after a cut one: at the start of a line, or after a NUL. */
static bool begins_afresh(const Split *split, Place at) {
  return at > split->text && (at[-1] == '\n' || at[-1] == 0);
}

/* Adds the parts of a stretch without a brace. `is_tail`: it continues the line of a document. */
static void add_stretch(Split *split, Place at, Place end, bool is_tail, bool is_recovering) {
  int64_t marks = 0, depth = 0, lines = 0;
  bool others = false, nuls = false, is_new = !is_tail, is_deep = false, words = true;
  Place last = end;
  while (at < last && is_space(*at)) is_new |= *at++ == '\n';
  while (last > at && is_space(last[-1])) last--;
  if (at == last) return;
  for (Place p = at; p < last;) {
    if (*p == '\n') {
      is_new = true;
      p++;
    } else if (is_space(*p)) {
      p++;
    } else if (*p == '[' || *p == ']' || *p == ',' || *p == 0x1e) {
      depth += *p == '[' ? 1 : *p == ']' ? -1 : 0;
      is_deep |= depth > MAX_DEPTH;
      marks++, p++;
    } else if (last - p >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) {
      marks++, p += 3;
    } else if (!*p) {
      nuls = true;
      p++;
    } else {
      lines += is_new;
      is_new = false;
      others = true;
      Place behind = p;
      words = words && skip_any_scalar(p, last, &behind);
      p = behind > p ? behind : p + 1;
    }
  }
  if (!others && !nuls && marks <= MOST_MARKS) return;
  int32_t kind = is_deep ? DEEP : !others && nuls ? NULS : words && !nuls && others ? NO_EVENT : CUT;
  add_part(split, at, part_end(at, end), kind, kind == NULS || is_recovering ? 0 : (int32_t)(others ? lines : !is_tail));
}

/* Like add_stretch, but a long run of NULs becomes its own part. */
static void add_stretches(Split *split, Place at, Place end, bool is_tail, bool is_recovering) {
  for (Place p = at; p < end;) {
    Place nul = memchr(p, 0, (size_t)(end - p));
    if (!nul) break;
    for (p = nul; p < end && !*p;) p++;
    if (p - nul < FEW_BYTES) continue;
    add_stretch(split, at, nul, is_tail, is_recovering);
    add_part(split, nul, p, NULS, 0);
    at = p;
    is_tail = is_recovering = false;
  }
  add_stretch(split, at, end, is_tail, is_recovering);
}

/* Splits text into documents and what is between them, except for white space, brackets and commas. Fills `parts` with
 * at most `most` parts, and sets `resolved` to the position it reached: an object that may continue after the text
 * (unless `is_last`), or where `parts` was full. `recovering`: the text starts after a cut document; it is set to
 * whether it ends after one. Returns the number of parts. */
int64_t split(Place text, int64_t size, bool is_last, Part *parts, int64_t most, int64_t *resolved, bool *recovering) {
  Split split = {.text = text, .end = text + size, .parts = parts, .most = most};
  Place at = text;
  bool is_tail = false;
  for (;;) {
    int64_t before = split.count;
    Place brace = memchr(at, '{', (size_t)(split.end - at));
    Place stop = brace ? brace : split.end;
    if (stop > at) add_stretches(&split, at, stop, is_tail, *recovering);
    if (memchr(at, '\n', (size_t)(stop - at))) is_tail = false;
    if (split.full || !brace) {
      if (stop > text && (stop[-1] == '\n' || stop[-1] == 0)) *recovering = false;
      *resolved = (split.full ? at : stop) - text;
      return split.full ? before : split.count;
    }
    at = brace;
    if (begins_afresh(&split, at)) *recovering = false;
    int64_t mark = split.count;
    Parsed found = parse_object(&split, at);
    if (split.full || (found.is_open && !is_last)) {
      *resolved = at - text;
      return mark;
    }
    if (found.is_sound) {
      bool is_event = *recovering ? (found.seen & IS_SURE) == IS_SURE : (found.seen & IS_EVENT) != 0;
      if (is_event)
        add_part(&split, at, found.at, DOCUMENT, 0);
      else
        add_part(&split, at, found.at, *recovering ? CUT : NO_EVENT, !*recovering);
      if (is_event) *recovering = false;
      is_tail = true;
      at = found.at;
    } else {
      Place stopped = found.at == at ? at + 1 : found.at;
      if (stopped > text && stopped[-1] == '"' && stopped - 2 > at) {
        /* The quote that ended a string may be the first of the document that interrupted this one. */
        Place opening = stopped - 2;
        while (opening > at && is_space(*opening)) opening--;
        if (opening > at && *opening == '{') stopped = opening;
      }
      /* The events found inside are kept; what is between them is damage. */
      int64_t inside = 0;
      while (mark + inside < split.count && parts[mark + inside].end <= stopped - text) inside++;
      split.count = mark;
      if (mark + 2 * inside + 1 > most) {
        *resolved = at - text;
        return mark;
      }
      memmove(parts + most - inside, parts + mark, (size_t)inside * sizeof *parts);
      Place from = at;
      for (int64_t i = 0; i < inside; i++) {
        Part event = parts[most - inside + i];
        if (text + event.begin > from)
          add_part(&split, from, text + event.begin, found.is_deep ? DEEP : CUT, from == at && !*recovering);
        split.parts[split.count++] = event;
        from = text + event.end;
      }
      Place last = part_end(from, stopped);
      if (last > from) add_part(&split, from, last, found.is_deep ? DEEP : CUT, from == at && !*recovering);
      *recovering = !inside;
      is_tail = true;
      at = stopped;
    }
    if (split.full) {
      split.count = mark;
      *resolved = brace - text;
      return mark;
    }
  }
}

/* A JSON integer with few enough digits to fit. */
static Place read_id(Place at, Place end, int64_t *id) {
  Place from = at, last = skip_number(at, end);
  bool is_negative = is_one(at, end, '-');
  if (!last || last - from > 18) return NULL;
  *id = 0;
  for (at += is_negative; at < last; at++) {
    if (!is_digit(*at)) return NULL;
    *id = 10 * *id + *at - '0';
  }
  if (is_negative && *id == 0) return NULL;
  *id = is_negative ? -*id : *id;
  return last;
}

static Place read_entity(Place data, Place at, Place end, uint32_t allowed, Entity *entity) {
  entity->seen = 0;
  int member = -1;
  if (!is_one(at, end, '{')) return NULL;
  do {
    at++;
    member = find_name(at, end, MEMBER_NAMES, MEMBERS, member + 1);
    if (member < 0 || !(allowed & ~entity->seen & (1u << member))) return NULL;
    entity->seen |= 1u << member;
    Place from = at + MEMBER_NAMES[member].size;
    at = member == NUMBER ? read_id(from, end, &entity->id) : skip_string(from, end, false);
    if (!at) return NULL;
    if (member != NUMBER) entity->texts[member] = (Span){(uint32_t)(from + 1 - data), (uint32_t)(at - from - 2)};
  } while (is_one(at, end, ','));
  return is_one(at, end, '}') ? at + 1 : NULL;
}

/* Reads `count` entities, each an object with one or more of the `allowed` members and nothing else. Counts, for each
 * member, the entities that have it and the bytes of its values. Returns 0, or -1 if an entity has another form. */
int64_t scan_entities(Place data, const int32_t *ends, int64_t count, uint32_t allowed, Entity *entities, int64_t *having,
                      int64_t *bytes) {
  for (int64_t i = 0; i < count; i++) {
    Entity *entity = &entities[i];
    Place end = data + ends[i + 1];
    if (read_entity(data, data + ends[i], end, allowed, entity) != end) return -1;
    for (int member = 0; member < MEMBERS; member++) {
      if (!(entity->seen & (1u << member))) continue;
      having[member]++;
      if (member != NUMBER) bytes[member] += entity->texts[member].size;
    }
  }
  return 0;
}

/* Writes the column of one member: validity, and numbers, or texts with `count` + 1 offsets. */
void lay_out_member(Place data, const Entity *entities, int64_t count, uint32_t member, uint8_t *has, int64_t *ids,
                    int32_t *offsets, uint8_t *texts) {
  int32_t size = 0;
  for (int64_t i = 0; i < count; i++) {
    has[i] = (entities[i].seen >> member) & 1;
    if (member == NUMBER) {
      ids[i] = has[i] ? entities[i].id : 0;
      continue;
    }
    Span value = has[i] ? entities[i].texts[member] : (Span){0, 0};
    memcpy(texts + size, data + value.at, value.size);
    offsets[i] = size;
    size += (int32_t)value.size;
  }
  if (member != NUMBER) offsets[count] = size;
}

static int compared(Place text, Span one, Span other) {
  int order = memcmp(text + one.at, text + other.at, one.size < other.size ? one.size : other.size);
  return order ? order : (one.size > other.size) - (one.size < other.size);
}

/* Assigns each type its first row, in order of names; writes the indices of the types to `order`. */
static void sort_types(Place text, Type *types, int64_t count, uint8_t *order) {
  int64_t row = 0;
  for (int64_t i = 0; i < count; i++) {
    int64_t at = i;
    for (; at > 0 && compared(text, types[order[at - 1]].name, types[i].name) > 0; at--) order[at] = order[at - 1];
    order[at] = (uint8_t)i;
  }
  for (int64_t i = 0; i < count; i++) {
    types[order[i]].next = row;
    row += types[order[i]].events;
  }
}

/* Writes the results of `scan` as columns of Arrow arrays, in order of type and then of position.
 * `offsets` has room for count + 1 of each text, `data` for all bytes of the summary, `rows` and the rest for count. */
void lay_out(Place text, const Event *events, int64_t count, Type *types, const Summary *summary, uint8_t *order,
             uint32_t *rows, int64_t *created_at, int64_t *keys, uint8_t *is_public, int32_t *offsets, uint8_t *data) {
  sort_types(text, types, summary->types, order);
  for (int64_t i = 0; i < count; i++) rows[types[events[i].type].next++] = (uint32_t)i;
  for (int64_t row = 0; row < count; row++) {
    const Event *event = &events[rows[row]];
    created_at[row] = event->created_at;
    keys[row] = event->key;
    is_public[row] = (uint8_t)event->is_public;
  }
  for (int column = 0; column < TEXTS; column++) {
    int32_t size = 0;
    for (int64_t row = 0; row < count; row++) {
      Span value = events[rows[row]].texts[column];
      memcpy(data + size, text + value.at, value.size);
      *offsets++ = size;
      size += (int32_t)value.size;
    }
    *offsets++ = size;
    data += size;
  }
}

/* Whether an escape is a character of an address or of its key: %, +, -, ., @, _, digits, letters. */
static bool spells_address(Place escape, Place end) {
  if (!begins(escape, end, "\\u00", 4) || end - escape < 6 || !is_hex(escape[5])) return false;
  uint8_t low = escape[5] | 0x20;
  switch (escape[4]) {
    case '2':
      return escape[5] == '5' || low == 'b' || low == 'd' || low == 'e';
    case '3':
      return is_digit(escape[5]);
    case '4':
    case '6':
      return true;
    case '5':
      return is_digit(escape[5]) || low == 'a' || low == 'b' || low == 'd' || low == 'f';
    case '7':
      return low != 'f';
    default:
      return false;
  }
}

/* Whether `percent` is the start of %40, or of %2540 (encoded twice). */
static bool is_percent_at(Place percent, Place end) {
  Place at = percent + 1;
  while (begins(at, end, "25", 2)) at += 2;
  return begins(at, end, "40", 2);
}

/* Whether an HTML entity for @ ends at `semicolon`: &#64; &#x40; &commat;, with & possibly as an escape. */
static bool is_html_at(Place text, Place semicolon) {
  size_t before = (size_t)(semicolon - text);
  if (before >= 6 && memcmp(semicolon - 6, "commat", 6) == 0) return true;
  if (before < 3) return false;
  bool is_decimal = memcmp(semicolon - 2, "64", 2) == 0, is_hexadecimal = memcmp(semicolon - 2, "40", 2) == 0;
  if (!is_decimal && !is_hexadecimal) return false;
  Place at = semicolon - 3;
  while (at > text && *at == '0') at--;
  if (is_decimal) return *at == '#';
  return (*at | 0x20) == 'x' && at > text && at[-1] == '#';
}

/* Returns the ways in which an @ may be hidden in text: ESCAPED, ENCODED or both. */
enum { ESCAPED = 1, ENCODED = 2 };

int32_t hidden(Place text, int64_t size) {
  Place end = text + size;
  int32_t found = 0;
  for (Place at = text; (at = memchr(at, '\\', (size_t)(end - at))); at++) {
    if (spells_address(at, end)) {
      found |= ESCAPED;
      break;
    }
  }
  for (Place at = text; (at = memchr(at, '%', (size_t)(end - at))); at++)
    if (is_percent_at(at, end)) return found | ENCODED;
  for (Place at = text; (at = memchr(at, ';', (size_t)(end - at))); at++)
    if (is_html_at(text, at)) return found | ENCODED;
  return found;
}
