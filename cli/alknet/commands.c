/* The commands that call: call, subscribe, batch, ping. */
#include "commands.h"
#include "input.h"
#include "names.h"
#include "peers.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

int command_report(int outcome, const struct reply *reply)
{
    if (outcome == OUTCOME_REMOTE && reply->fault)
        print_fault("", reply->fault);
    else if (reply->problem[0])
        complain("%s", reply->problem);
    if (outcome != OUTCOME_OK && reply->hint)
        complain("%s", reply->hint);
    return outcome;
}

int command_operation(struct buffer *out, const char *name)
{
    if (!name[*name == '/']) {
        complain("the name of an operation is empty");
        return OUTCOME_USAGE;
    }
    if (!is_utf8(name, strlen(name))) {
        complain("the name of the operation is not UTF-8");
        return OUTCOME_USAGE;
    }
    buffer_printf(out, "%s%s", *name == '/' ? "" : "/", name);
    return 0;
}

static int call_and_print(struct cli *cli, const char *op, const struct buffer *input)
{
    struct reply reply = {0};
    int rc;

    rc = cli->remote->ops->call(cli->remote, op, input, &reply);
    command_report(rc, &reply);
    peers_explain(cli, op, &reply);
    names_suggest(cli, op, &reply);
    if (rc == OUTCOME_OK && reply.output && print_value(&cli->printer, reply.output))
        rc = OUTCOME_CONNECTION;
    reply_free(&reply);
    return rc;
}

static int on_value(void *ud, yyjson_val *value)
{
    return print_value(ud, value);
}

static int subscribe_and_print(struct cli *cli, const char *op, const struct buffer *input)
{
    struct reply reply = {0};
    int rc;

    rc = cli->remote->ops->subscribe(cli->remote, op, input, on_value, &cli->printer, &reply);
    command_report(rc, &reply);
    peers_explain(cli, op, &reply);
    names_suggest(cli, op, &reply);
    reply_free(&reply);
    return rc;
}

/* A peer is reached by an operation of the node, which passes the call on. */
static int with_input(struct cli *cli, const char *passing,
                      int (*run)(struct cli *, const char *, const struct buffer *))
{
    const struct options *o = cli->options;
    struct buffer name = {0}, input = {0};
    int rc;

    rc = command_operation(&name, o->operands[0]);
    if (rc == 0)
        rc = input_operands(&input, o->operands + 1, o->operand_count - 1);
    if (rc == 0 && (o->peer || o->any_peer)) {
        peers_wrap(&input, o->peer, &name);
        rc = run(cli, passing, &input);
    } else if (rc == 0) {
        rc = run(cli, buffer_text(&name), &input);
    }
    buffer_free(&name);
    buffer_free(&input);
    return rc;
}

int command_call(struct cli *cli)
{
    return with_input(cli, PEERS_CALL, call_and_print);
}

int command_subscribe(struct cli *cli)
{
    return with_input(cli, PEERS_SUBSCRIBE, subscribe_and_print);
}

/* One result of a batch. */
static int print_result(struct cli *cli, yyjson_val *result, size_t index)
{
    yyjson_val *output = yyjson_obj_get(result, "output"), *fault = yyjson_obj_get(result, "error");
    char prefix[32];

    if (fault && cli->printer.format == FORMAT_RAW) {
        snprintf(prefix, sizeof prefix, "%zu: ", index + 1);
        print_fault(prefix, fault);
        return 0;
    }
    return print_value(&cli->printer,
                       cli->printer.format == FORMAT_RAW && output ? output : result);
}

static int print_results(struct cli *cli, yyjson_val *results)
{
    size_t i, n, failed = 0;
    yyjson_val *result;
    int rc = 0;

    yyjson_arr_foreach(results, i, n, result)
    {
        failed += !yyjson_equals_str(yyjson_obj_get(result, "result"), "ok");
        if (rc == 0 && cli->printer.format != FORMAT_PRETTY)
            rc = print_result(cli, result, i);
    }
    if (cli->printer.format == FORMAT_PRETTY)
        rc = print_value(&cli->printer, results);
    if (rc)
        return OUTCOME_CONNECTION;
    if (failed)
        complain("%zu of %zu calls failed", failed, n);
    return failed ? OUTCOME_REMOTE : OUTCOME_OK;
}

static int check_batch(const struct buffer *calls, const char *name)
{
    yyjson_val *root;
    yyjson_doc *doc;
    char why[WHY_SIZE];
    int rc = 0;

    doc = json_read(buffer_text(calls), calls->len, why);
    root = yyjson_doc_get_root(doc);
    if (!doc) {
        complain("%s is not JSON: %s", name, why);
        rc = OUTCOME_USAGE;
    } else if (!yyjson_is_arr(root) && !yyjson_is_arr(yyjson_obj_get(root, "calls"))) {
        complain("%s is neither an array of calls nor {\"calls\":[...]}", name);
        rc = OUTCOME_USAGE;
    }
    yyjson_doc_free(doc);
    return rc;
}

int command_batch(struct cli *cli)
{
    const char *path = cli->options->operands[0];
    struct buffer calls = {0};
    struct reply reply = {0};
    int rc;

    rc = input_file(&calls, path, INPUT_MAX, false);
    if (rc == 0)
        rc = check_batch(&calls, strcmp(path, "-") == 0 ? "standard input" : path);
    if (rc == 0)
        rc = command_report(cli->remote->ops->batch(cli->remote, &calls, &reply), &reply);
    if (rc == OUTCOME_OK && reply.output)
        rc = print_results(cli, reply.output);
    reply_free(&reply);
    buffer_free(&calls);
    return rc;
}

/* What pings have shown. */
struct pings {
    unsigned sent, answered;
    int64_t min, max, sum;
};

static void ping_once(struct cli *cli, struct pings *seen, int *outcome)
{
    struct buffer *text = &cli->printer.text;
    struct reply reply = {0};
    int64_t us = 0;
    int rc;

    rc = command_report(cli->remote->ops->ping(cli->remote, &us, &reply), &reply);
    reply_free(&reply);
    seen->sent++;
    if (rc != OUTCOME_OK) {
        *outcome = rc;
        return;
    }
    if (us < 0)
        return;
    seen->min = seen->answered && seen->min < us ? seen->min : us;
    seen->max = seen->answered && seen->max > us ? seen->max : us;
    seen->sum += us;
    seen->answered++;
    if (cli->printer.format == FORMAT_JSON)
        buffer_printf(text, "{\"status\":\"ok\",\"ms\":%.3f}\n", (double)us / 1000);
    else if (cli->printer.format == FORMAT_RAW)
        buffer_printf(text, "%.3f\n", (double)us / 1000);
    else
        buffer_printf(text, "ok, %.3f ms\n", (double)us / 1000);
    if (print_flush(&cli->printer))
        *outcome = OUTCOME_CONNECTION;
}

int command_ping(struct cli *cli)
{
    const struct options *o = cli->options;
    struct timespec pause = {o->interval_ms / 1000, o->interval_ms % 1000 * 1000000};
    uint32_t count = o->curl || !o->count ? 1 : o->count;
    struct pings seen = {0};
    int outcome = OUTCOME_OK;

    while (seen.sent < count && !cli->printer.error) {
        if (seen.sent)
            nanosleep(&pause, NULL);
        ping_once(cli, &seen, &outcome);
    }
    if (seen.sent > 1 && cli->printer.format == FORMAT_PRETTY && !cli->printer.error) {
        buffer_printf(&cli->printer.text, "%u of %u answered", seen.answered, seen.sent);
        if (seen.answered)
            buffer_printf(&cli->printer.text, ", min/avg/max %.3f/%.3f/%.3f ms",
                          (double)seen.min / 1000, (double)seen.sum / seen.answered / 1000,
                          (double)seen.max / 1000);
        buffer_puts(&cli->printer.text, "\n");
        print_flush(&cli->printer);
    }
    return outcome;
}
