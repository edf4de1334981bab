#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "launch/doctor.h"

static void format_text(char *text, size_t capacity, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));
static void format_text(char *text, size_t capacity, const char *format, va_list args)
{
    if (vsnprintf(text, capacity, format, args) < 0) text[0] = 0;
    for (char *c = text; *c; c++)
        if (*c == '\n') *c = ' ';
}

wi_finding *wi_found(wi_findings *list, wi_level level, const char *name, const char *format, ...)
{
    if (list->count < WI_FINDINGS_MAX) list->count++;
    wi_finding *finding = &list->at[list->count - 1];
    memset(finding, 0, sizeof *finding);
    finding->level = level;
    snprintf(finding->name, sizeof finding->name, "%s", name);
    va_list args;
    va_start(args, format);
    format_text(finding->text, sizeof finding->text, format, args);
    va_end(args);
    return finding;
}

void wi_found_mend(wi_finding *finding, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    format_text(finding->mend, sizeof finding->mend, format, args);
    va_end(args);
}

void wi_found_fact(wi_finding *finding, const char *name, double value)
{
    if (finding->facts == WI_FACTS_MAX) return;
    wi_fact *fact = &finding->fact[finding->facts++];
    snprintf(fact->name, sizeof fact->name, "%s", name);
    fact->value = value;
}

const char *wi_level_name(int level)
{
    static const char *const names[] = {"ok", "warn", "bad", "none"};
    return level >= 0 && level <= WI_FOUND_NONE ? names[level] : "none";
}
