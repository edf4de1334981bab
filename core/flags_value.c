// Values of flags: from text, within limits, and back to text for the help.
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/flags_table.h"
#include "core/text.h"

bool weft_parse_int(const char *text, int64_t *out)
{
    bool negative = *text == '-';
    if (negative) text++;
    if (!*text) return false;
    int64_t value = 0;
    for (; *text; text++) {
        if (*text < '0' || *text > '9') return false;
        int digit = *text - '0';
        if (__builtin_mul_overflow(value, 10, &value)) return false;
        if (__builtin_add_overflow(value, negative ? -digit : digit, &value)) return false;
    }
    *out = value;
    return true;
}

static const char *skip_digits(const char *text, int *count)
{
    for (*count = 0; *text >= '0' && *text <= '9'; text++) ++*count;
    return text;
}

// strtod takes more than we do: white space, hexadecimal, "inf", "nan".
static bool is_decimal_real(const char *text)
{
    int whole, fraction = 0, exponent;
    if (*text == '-' || *text == '+') text++;
    text = skip_digits(text, &whole);
    if (*text == '.') text = skip_digits(text + 1, &fraction);
    if (whole + fraction == 0) return false;
    if (*text == 'e' || *text == 'E') {
        text++;
        if (*text == '-' || *text == '+') text++;
        text = skip_digits(text, &exponent);
        if (exponent == 0) return false;
    }
    return *text == 0;
}

bool weft_parse_real(const char *text, double *out)
{
    if (!is_decimal_real(text)) return false;
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    double value = strtod_l(text, NULL, plain);
    freelocale(plain);
    if (!isfinite(value)) return false;
    *out = value;
    return true;
}

bool weft_parse_bytes(const char *text, int64_t *out)
{
    static const char letters[] = "kmgt";
    int digits;
    const char *suffix = skip_digits(text, &digits);
    char number[24];
    if (digits == 0 || digits >= (int)sizeof number) return false;
    memcpy(number, text, (size_t)digits);
    number[digits] = 0;
    int64_t value;
    if (!weft_parse_int(number, &value)) return false;
    int shift = 0;
    const char *letter = *suffix ? strchr(letters, *suffix | 0x20) : NULL;
    if (letter) {
        shift = 10 * (int)(letter - letters + 1);
        suffix++;
        // "KB" is refused: some mean 1000 by it.
        if (*suffix && strcmp(suffix, "iB") != 0) return false;
    } else if (*suffix && strcmp(suffix, "B") != 0) {
        return false;
    }
    if (__builtin_mul_overflow(value, (int64_t)1 << shift, &value)) return false;
    *out = value;
    return true;
}

char *weft_format_bytes(int64_t bytes, char text[16])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double size = fabs((double)bytes);
    int unit = 0;
    // 1023.95 of a unit would round to 1024.0 of it.
    while (size >= (unit ? 1023.95 : 1024.0)) size /= 1024, unit++;
    int tenths = (int)lround(size * 10);
    const char *sign = bytes < 0 ? "-" : "";
    if (tenths % 10)
        snprintf(text, 16, "%s%d.%d %s", sign, tenths / 10, tenths % 10, units[unit]);
    else
        snprintf(text, 16, "%s%d %s", sign, tenths / 10, units[unit]);
    return text;
}

static char *limit_text(const weft_flag *flag, double limit, char text[WI_REAL_TEXT_MAX])
{
    if (flag->kind == WEFT_FLAG_BYTES) return weft_format_bytes((int64_t)limit, text);
    return wi_text_of_real(limit, text);
}

// Beyond this, a limit is the type's own and not worth a word. 2^63 as a double.
static const double no_limit = 0x1p63;

// " between 1 and 1024", " of at least 1", "" when there is no limit.
static char *range_text(const weft_flag *flag, const char *at_least, char *text, size_t capacity)
{
    char low[WI_REAL_TEXT_MAX], high[WI_REAL_TEXT_MAX];
    bool has_low = flag->min > -no_limit, has_high = flag->max < no_limit;
    text[0] = 0;
    if ((flag->min == 0 && flag->max == 0) || (!has_low && !has_high)) return text;
    if (has_low) limit_text(flag, flag->min, low);
    if (has_high) limit_text(flag, flag->max, high);
    if (has_low && has_high)
        snprintf(text, capacity, " between %s and %s", low, high);
    else
        snprintf(text, capacity, "%s at %s %s", at_least, has_low ? "least" : "most", has_low ? low : high);
    return text;
}

static bool in_range(const weft_flag *flag, double value)
{
    return (flag->min == 0 && flag->max == 0) || (value >= flag->min && value <= flag->max);
}

static weft_status number_error(const weft_flag *flag, const char *shown, const char *value, bool parsed)
{
    static const char *const nouns[] = {
        [WEFT_FLAG_INT] = " a whole number",
        [WEFT_FLAG_BYTES] = " a number of bytes such as 4096, 64k, 16M or 2GiB",
        [WEFT_FLAG_REAL] = " a number",
    };
    char range[96];
    if (parsed)
        return weft_fail(WEFT_USAGE, "%s%.60s: must be%s", shown, value, range_text(flag, "", range, sizeof range));
    range_text(flag, " of", range, sizeof range);
    return weft_fail(WEFT_USAGE, "%s%.60s: must be%s%s%s", shown, value, nouns[flag->kind],
                     flag->kind == WEFT_FLAG_BYTES && range[0] ? "," : "", range);
}

static weft_status set_number(const weft_flag *flag, const char *shown, const char *value, void *field, bool store)
{
    int64_t whole = 0;
    double real = 0;
    bool parsed = flag->kind == WEFT_FLAG_INT     ? weft_parse_int(value, &whole)
                  : flag->kind == WEFT_FLAG_BYTES ? weft_parse_bytes(value, &whole)
                                                  : weft_parse_real(value, &real);
    if (flag->kind != WEFT_FLAG_REAL) real = (double)whole;
    if (!parsed || !in_range(flag, real)) return number_error(flag, shown, value, parsed);
    if (!store) return WEFT_OK;
    if (flag->kind == WEFT_FLAG_REAL)
        *(double *)field = real;
    else
        *(int64_t *)field = whole;
    return WEFT_OK;
}

static weft_status set_bool(const char *shown, const char *value, bool *field, bool store)
{
    static const char *const words[] = {"off", "on", "no", "yes", "false", "true", "0", "1"};
    for (int i = 0; i < (int)(sizeof words / sizeof words[0]); i++) {
        if (strcmp(value, words[i]) != 0) continue;
        if (store) *field = i % 2;
        return WEFT_OK;
    }
    return weft_fail(WEFT_USAGE, "%s%.60s: must be on or off", shown, value);
}

// Copies choice `index` of "tp|mesh"; false beyond the last.
static bool choice_at(const char *choices, int index, char *text, size_t capacity)
{
    for (; index > 0; index--) {
        choices = strchr(choices, '|');
        if (!choices) return false;
        choices++;
    }
    snprintf(text, capacity, "%.*s", (int)strcspn(choices, "|"), choices);
    return true;
}

static weft_status set_choice(const weft_flag *flag, const char *shown, const char *value, int *field, bool store)
{
    char choice[WI_FLAG_NAME_MAX], list[256] = "", best[WI_FLAG_NAME_MAX] = "";
    wi_closest closest = {.word = value};
    for (int i = 0; choice_at(flag->choices, i, choice, sizeof choice); i++) {
        if (strcmp(choice, value) == 0) {
            if (store) *field = i;
            return WEFT_OK;
        }
        closest.best = best[0] ? best : NULL;
        wi_closest_offer(&closest, choice);
        if (closest.best == choice) memcpy(best, choice, sizeof best);
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", choice);
    }
    const char *ask = best[0] ? "; did you mean " : "";
    return weft_fail(WEFT_USAGE, "%s%.60s: must be one of %s%s%s%s", shown, value, list, ask, best, best[0] ? "?" : "");
}

// The first value of the command line replaces what was there.
static void add_to_list(weft_flag_list *list, const char *value)
{
    if (!list->given) *list = (weft_flag_list){.given = true};
    if (list->count < WEFT_FLAG_LIST_MAX) list->at[list->count++] = value;
}

weft_status wi_flag_set(const weft_flag *flag, const char *shown, const char *value, void *options, bool store)
{
    void *field = (char *)options + flag->offset;
    switch (flag->kind) {
    case WEFT_FLAG_BOOL:
        return set_bool(shown, value, field, store);
    case WEFT_FLAG_CHOICE:
        return set_choice(flag, shown, value, field, store);
    case WEFT_FLAG_STRING:
        if (store) *(const char **)field = value;
        return WEFT_OK;
    case WEFT_FLAG_LIST:
        if (store) add_to_list(field, value);
        return WEFT_OK;
    case WEFT_FLAG_INT:
    case WEFT_FLAG_BYTES:
    case WEFT_FLAG_REAL:
        return set_number(flag, shown, value, field, store);
    }
    return weft_fail(WEFT_INTERNAL, "flag --%s has no kind %d", flag->name, (int)flag->kind);
}

char *wi_flag_default(const weft_flag *flag, const void *options, char *text, size_t capacity)
{
    const void *field = (const char *)options + flag->offset;
    char number[WI_REAL_TEXT_MAX];
    text[0] = 0;
    switch (flag->kind) {
    case WEFT_FLAG_BOOL:
        snprintf(text, capacity, "%s", *(const bool *)field ? "on" : "off");
        break;
    case WEFT_FLAG_INT:
        snprintf(text, capacity, "%lld", (long long)*(const int64_t *)field);
        break;
    case WEFT_FLAG_BYTES:
        snprintf(text, capacity, "%s", weft_format_bytes(*(const int64_t *)field, number));
        break;
    case WEFT_FLAG_REAL:
        snprintf(text, capacity, "%s", wi_text_of_real(*(const double *)field, number));
        break;
    case WEFT_FLAG_CHOICE:
        choice_at(flag->choices, *(const int *)field, text, capacity);
        break;
    case WEFT_FLAG_STRING: {
        const char *value = *(const char *const *)field;
        if (value && value[0]) snprintf(text, capacity, "%s", value);
        break;
    }
    case WEFT_FLAG_LIST:
        break;
    }
    return text;
}
