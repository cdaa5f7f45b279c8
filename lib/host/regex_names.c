/* Tables of property names. ECMA-262 takes exactly the names of its tables, PCRE2 forgives case and
 * underscores: so names are looked up here, and only those found are handed on. */
#include "host/regex_names.h"

#include <string.h>

struct alias {
    const char *name, *code;
};

/* From PropertyValueAliases.txt of Unicode: ECMA-262 takes long names and aliases, PCRE2 the short
 * ones. */
static const struct alias categories[] = {
    {"Cased_Letter", "L&"},
    {"LC", "L&"},
    {"Close_Punctuation", "Pe"},
    {"Connector_Punctuation", "Pc"},
    {"Control", "Cc"},
    {"cntrl", "Cc"},
    {"Currency_Symbol", "Sc"},
    {"Dash_Punctuation", "Pd"},
    {"Decimal_Number", "Nd"},
    {"digit", "Nd"},
    {"Enclosing_Mark", "Me"},
    {"Final_Punctuation", "Pf"},
    {"Format", "Cf"},
    {"Initial_Punctuation", "Pi"},
    {"Letter", "L"},
    {"Letter_Number", "Nl"},
    {"Line_Separator", "Zl"},
    {"Lowercase_Letter", "Ll"},
    {"Mark", "M"},
    {"Combining_Mark", "M"},
    {"Math_Symbol", "Sm"},
    {"Modifier_Letter", "Lm"},
    {"Modifier_Symbol", "Sk"},
    {"Nonspacing_Mark", "Mn"},
    {"Number", "N"},
    {"Open_Punctuation", "Ps"},
    {"Other", "C"},
    {"Other_Letter", "Lo"},
    {"Other_Number", "No"},
    {"Other_Punctuation", "Po"},
    {"Other_Symbol", "So"},
    {"Paragraph_Separator", "Zp"},
    {"Private_Use", "Co"},
    {"Punctuation", "P"},
    {"punct", "P"},
    {"Separator", "Z"},
    {"Space_Separator", "Zs"},
    {"Spacing_Mark", "Mc"},
    {"Surrogate", "Cs"},
    {"Symbol", "S"},
    {"Titlecase_Letter", "Lt"},
    {"Unassigned", "Cn"},
    {"Uppercase_Letter", "Lu"},
};

/* Those short names, in one string, that PCRE2 has too. */
static const char short_categories[] =
    " C Cc Cf Cn Co Cs L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe "
    "Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs ";

/* Changes_When_NFKC_Casefolded is not among PCRE2's. PCRE2 has more properties than ECMA-262, which
 * are left out here. */
static const char binary[] =
    " ASCII_Hex_Digit AHex Alphabetic Alpha Bidi_Control Bidi_C Bidi_Mirrored Bidi_M "
    "Case_Ignorable CI "
    "Cased Changes_When_Casefolded CWCF Changes_When_Casemapped CWCM Changes_When_Lowercased CWL "
    "Changes_When_Titlecased CWT Changes_When_Uppercased CWU "
    "Dash Default_Ignorable_Code_Point DI Deprecated Dep Diacritic Dia Emoji Emoji_Component EComp "
    "Emoji_Modifier EMod Emoji_Modifier_Base EBase Emoji_Presentation EPres Extended_Pictographic "
    "ExtPict Extender Ext Grapheme_Base Gr_Base Grapheme_Extend Gr_Ext Hex_Digit Hex "
    "IDS_Binary_Operator IDSB IDS_Trinary_Operator IDST ID_Continue IDC ID_Start IDS Ideographic "
    "Ideo "
    "Join_Control Join_C Logical_Order_Exception LOE Lowercase Lower Math Noncharacter_Code_Point "
    "NChar Pattern_Syntax Pat_Syn Pattern_White_Space Pat_WS Quotation_Mark QMark Radical "
    "Regional_Indicator RI Sentence_Terminal STerm Soft_Dotted SD Terminal_Punctuation Term "
    "Unified_Ideograph UIdeo Uppercase Upper Variation_Selector VS White_Space space XID_Continue "
    "XIDC XID_Start XIDS ";

/* list has a space on each side of every name. */
static bool listed(const char *list, struct str text)
{
    for (const char *end; (end = strchr(++list, ' ')); list = end) {
        if (str_eq(text, (struct str){list, (size_t)(end - list)}))
            return true;
    }
    return false;
}

/* A short name goes on as it is, a long one as its short form. The tables are searched from the
 * start: a pattern is compiled once, and its budget has a step for each byte. */
static bool category(struct str text, struct regex_property *out)
{
    out->prefix = "";
    if (listed(short_categories, text)) {
        out->name = text;
        return true;
    }
    for (size_t i = 0; i < sizeof categories / sizeof *categories; i++) {
        if (str_is(text, categories[i].name)) {
            out->name = str_of(categories[i].code);
            return true;
        }
    }
    return false;
}

/* Words that begin with a capital, joined by underscores; SignWriting is the one with a capital
 * inside. PCRE2 has the list of names; what it forgives beyond this shape is a missing
 * underscore. */
static bool script(struct str text, const char *prefix, struct regex_property *out)
{
    bool starts = true, odd = str_is(text, "SignWriting");

    if (text.n == 0 || text.n > 40)
        return false;
    for (size_t i = 0; i < text.n && !odd; i++) {
        char c = text.p[i];

        if (starts ? c < 'A' || c > 'Z' : (c < 'a' || c > 'z') && c != '_')
            return false;
        starts = c == '_';
    }
    out->prefix = prefix;
    out->name = text;
    return odd || !starts;
}

/* Any, ASCII and Assigned are ECMA-262's own and no properties of Unicode: they are spelled out,
 * each with its complement for \P. A value alone is a general category or a binary property, never
 * a script (ECMA-262, section 22.2.1). */
bool regex_property(struct str text, struct regex_property *out)
{
    const char *eq = memchr(text.p, '=', text.n);

    memset(out, 0, sizeof *out);
    if (eq) {
        struct str name = {text.p, (size_t)(eq - text.p)};
        struct str value = {eq + 1, text.n - name.n - 1};

        if (str_is(name, "General_Category") || str_is(name, "gc"))
            return category(value, out);
        if (str_is(name, "Script") || str_is(name, "sc"))
            return script(value, "sc:", out);
        if (str_is(name, "Script_Extensions") || str_is(name, "scx"))
            return script(value, "scx:", out);
        return false;
    }
    if (str_is(text, "Any")) {
        out->set = "\\000-\xf4\x8f\xbf\xbf";
        out->rest = "";
    } else if (str_is(text, "ASCII")) {
        out->set = "\\000-\x7f";
        out->rest = "\xc2\x80-\xf4\x8f\xbf\xbf";
    } else if (str_is(text, "Assigned")) {
        out->set = "\\P{Cn}";
        out->rest = "\\p{Cn}";
    } else if (category(text, out)) {
        return true;
    } else if (listed(binary, text)) {
        out->prefix = "";
        out->name = text;
    }
    return out->set || out->name.p;
}
