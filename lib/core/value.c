/* What is in a value, for programs that do not use yyjson: the functions of alknet/alknet.h that read
 * one member at a time. */
#include "core/call.h"

#include "base/json.h"

#include <math.h>
#include <string.h>

/* Doubles from here on are not known to be what was written. */
#define EXACT_BELOW 9007199254740992.0

static yyjson_val *at(const alk_value *value, const char *pointer)
{
    return json_pointer(value_parsed(value), pointer, strlen(pointer));
}

const char *alk_value_string(const alk_value *value, const char *pointer, size_t *len)
{
    struct str s = json_string(at(value, pointer));

    *len = s.n;
    return s.p;
}

/* JSON Schema calls 2.0 and 1e3 integers as well. */
int64_t alk_value_integer(const alk_value *value, const char *pointer, int64_t otherwise)
{
    yyjson_val *v = at(value, pointer);
    double d;

    if (yyjson_is_sint(v))
        return yyjson_get_sint(v);
    if (yyjson_is_uint(v))
        return yyjson_get_uint(v) <= INT64_MAX ? (int64_t)yyjson_get_uint(v) : otherwise;
    if (!json_is_number(v))
        return otherwise;
    d = json_double(v);
    return fabs(d) < EXACT_BELOW && d == floor(d) ? (int64_t)d : otherwise;
}

double alk_value_number(const alk_value *value, const char *pointer, double otherwise)
{
    yyjson_val *v = at(value, pointer);

    return json_is_number(v) ? json_double(v) : otherwise;
}

int alk_value_bool(const alk_value *value, const char *pointer, int otherwise)
{
    yyjson_val *v = at(value, pointer);

    return yyjson_is_bool(v) ? yyjson_get_bool(v) : otherwise;
}
