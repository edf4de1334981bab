// Lines of a batch: what each field becomes, and every limit with its words.
#include "launch/request.h"
#include "tests/check.h"

static const wi_request_rules rules = {
    .defaults = {.max_tokens = 128, .n = 1, .top_p = 1, .repetition_penalty = 1, .seed = -1},
    .vocab = 2048,
    .context = 1024};

static wi_query parse(const char *text)
{
    wi_query r;
    CHECK_OK(wi_request_parse(text, strlen(text), 7, &rules, &r));
    return r;
}

static wi_query good(const char *text)
{
    wi_query r = parse(text);
    if (r.error) CHECK_FAIL("%s: %s", text, r.error);
    return r;
}

// The line is refused, for this field (NULL: none), with this text.
static void bad(const char *text, const char *param, const char *part)
{
    wi_query r = parse(text);
    if (!r.error) CHECK_FAIL("%s: accepted", text);
    if (!strstr(r.error, part)) CHECK_FAIL("%s: '%s' lacks '%s'", text, r.error, part);
    if (!param != !r.param || (param && strcmp(param, r.param) != 0))
        CHECK_FAIL("%s: field %s, expected %s", text, r.param ? r.param : "none", param ? param : "none");
    CHECK_TEXT(weft_error_text(), "");
    wi_request_fini(&r);
}

// The same as a field of an otherwise good line, in both forms.
static void bad_field(const char *member, const char *param, const char *part)
{
    char line[4096];
    snprintf(line, sizeof line, "{\"prompt\":\"x\",%s}", member);
    bad(line, param, part);
    snprintf(line, sizeof line, "{\"custom_id\":\"a\",\"body\":{\"prompt\":\"x\",%s}}", member);
    bad(line, param, part);
}

static void test_fields(void)
{
    wi_query r =
        good("{\"id\":\"a\",\"prompt\":\"She was\",\"max_tokens\":5,\"min_tokens\":2,\"temperature\":0.5,"
             "\"top_k\":3,\"top_p\":0.25,\"min_p\":0.125,\"seed\":9,\"n\":2,\"stop\":[\"x\",\"\\n\"],"
             "\"stop_token_ids\":[5,6],\"logprobs\":4,\"repetition_penalty\":1.5,\"presence_penalty\":-1,"
             "\"frequency_penalty\":2,\"logit_bias\":{\"17\":-5,\"3\":1.5},\"ignore_eos\":true,\"priority\":-3}");
    CHECK_TEXT(r.id, "a");
    CHECK(!r.id_is_int && !r.openai && r.has_max_tokens);
    CHECK_TEXT(r.text, "She was");
    CHECK_INT(r.text_bytes, 7);
    CHECK_INT(r.how.max_tokens, 5);
    CHECK_INT(r.how.min_tokens, 2);
    CHECK_REAL(r.how.temperature, 0.5);
    CHECK_INT(r.how.top_k, 3);
    CHECK_REAL(r.how.top_p, 0.25);
    CHECK_REAL(r.how.min_p, 0.125);
    CHECK_INT(r.how.seed, 9);
    CHECK_INT(r.how.n, 2);
    CHECK_INT(r.stop_count, 2);
    CHECK_TEXT(r.stops[1], "\n");
    CHECK_INT(r.stop_id_count, 2);
    CHECK_INT(r.stop_ids[1], 6);
    CHECK_INT(r.logprobs, 4);
    CHECK_REAL(r.how.repetition_penalty, 1.5);
    CHECK_REAL(r.how.presence_penalty, -1);
    CHECK_REAL(r.how.frequency_penalty, 2);
    CHECK_INT(r.bias_count, 2);
    CHECK_INT(r.biases[0].id, 3);
    CHECK_REAL(r.biases[0].add, 1.5);
    CHECK_INT(r.biases[1].id, 17);
    CHECK(r.how.ignore_eos);
    CHECK_INT(r.how.priority, -3);
    wi_request_fini(&r);
    r = good("{\"tokens\":[0,2047],\"stop\":\"end\",\"top_k\":-1,\"temperature\":-0.0,\"logprobs\":true}");
    CHECK(!r.id && !r.text && !r.has_max_tokens);
    CHECK_INT(r.line, 7);
    CHECK_INT(r.token_count, 2);
    CHECK_INT(r.tokens[1], 2047);
    CHECK_INT(r.stop_count, 1);
    CHECK_INT(r.how.top_k, 0);
    CHECK_INT(r.how.max_tokens, 128);
    CHECK_INT(r.logprobs, 0);
    CHECK(r.how.seed >= 0);
    wi_request_fini(&r);
    r = good("{\"id\":12,\"prompt\":\"x\",\"max_tokens\":null,\"stop\":null,\"logprobs\":false}");
    CHECK_TEXT(r.id, "12");
    CHECK(r.id_is_int && !r.has_max_tokens);
    CHECK_INT(r.logprobs, -1);
    wi_request_fini(&r);
    r = good("{\"prompt\":\"x\",\"logprobs\":true,\"top_logprobs\":3,\"seed\":9223372036854775807}");
    CHECK_INT(r.logprobs, 3);
    CHECK_INT(r.how.seed, INT64_MAX);
    wi_request_fini(&r);
}

static void test_openai(void)
{
    wi_query r =
        good("{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"model\":\"m\","
             "\"prompt\":\"x\",\"max_tokens\":3,\"user\":\"u\",\"stream\":false,\"suffix\":null,\"echo\":false,"
             "\"best_of\":1}}");
    CHECK(r.openai);
    CHECK_TEXT(r.id, "a");
    CHECK_TEXT(r.model, "m");
    CHECK_INT(r.how.max_tokens, 3);
    wi_request_fini(&r);
    r = good("{\"custom_id\":\"a\",\"body\":{\"prompt\":[4,5],\"n\":3,\"best_of\":3}}");
    CHECK_INT(r.token_count, 2);
    wi_request_fini(&r);
    bad("{\"custom_id\":\"a\",\"url\":\"/v1/chat/completions\",\"body\":{}}", "messages", "chat templates come");
    bad("{\"custom_id\":\"a\",\"body\":{\"messages\":[]}}", "messages", "/v1/completions");
    bad("{\"custom_id\":\"a\",\"url\":\"/v1/embeddings\",\"body\":{}}", "url", "/v1/embeddings");
    bad("{\"custom_id\":\"a\",\"method\":\"GET\",\"body\":{}}", "method", "POST");
    bad("{\"custom_id\":\"a\",\"method\":1,\"body\":{}}", "url", "method");
    bad("{\"custom_id\":\"a\"}", "body", "must be an object");
    bad("{\"custom_id\":\"a\",\"body\":[]}", "body", "must be an object");
    bad("{\"custom_id\":\"a\",\"prompt\":\"x\",\"body\":{}}", "prompt", "prompt: no field");
    bad("{\"custom_id\":[],\"body\":{}}", "custom_id", "string");
    bad("{\"custom_id\":\"a\",\"body\":{\"prompt\":\"x\",\"echo\":true}}", "echo", "not supported");
    bad("{\"custom_id\":\"a\",\"body\":{\"prompt\":\"x\",\"suffix\":\"y\"}}", "suffix", "not supported");
    bad("{\"custom_id\":\"a\",\"body\":{\"prompt\":\"x\",\"best_of\":2}}", "best_of", "as many as n");
    bad("{\"custom_id\":\"a\",\"body\":{\"prompt\":\"x\",\"model\":1}}", "model", "string");
    bad("{\"custom_id\":\"a\",\"body\":{\"prompt\":[\"x\",\"y\"]}}", "prompt", "not an integer");
    bad("{\"custom_id\":\"a\",\"body\":{\"prompt\":[[1],[2]]}}", "prompt", "not an integer");
    bad("{\"custom_id\":\"a\",\"body\":{\"prompt\":[]}}", "prompt", "at least one token");
    bad("{\"custom_id\":\"a\",\"body\":{\"prompt\":\"x\",\"tokens\":[1]}}", "tokens", "unknown field");
}

static void test_limits(void)
{
    bad_field("\"max_tokens\":0", "max_tokens", "between 1 and 1048576");
    bad_field("\"max_tokens\":-1", "max_tokens", "between 1");
    bad_field("\"max_tokens\":1048577", "max_tokens", "between 1");
    bad_field("\"max_tokens\":1.5", "max_tokens", "integer");
    bad_field("\"max_tokens\":\"5\"", "max_tokens", "integer");
    bad_field("\"n\":0", "n", "between 1 and 128");
    bad_field("\"n\":-1", "n", "between 1 and 128");
    bad_field("\"n\":1000000", "n", "between 1 and 128");
    bad_field("\"temperature\":1e-40", "temperature", "between 0.0001 and 100");
    bad_field("\"temperature\":-1", "temperature", "between");
    bad_field("\"temperature\":101", "temperature", "between");
    bad_field("\"temperature\":\"hot\"", "temperature", "number");
    bad_field("\"top_p\":0", "top_p", "between 1e-09 and 1");
    bad_field("\"top_p\":1.01", "top_p", "between");
    bad_field("\"min_p\":-0.1", "min_p", "between 0 and 1");
    bad_field("\"min_p\":2", "min_p", "between 0 and 1");
    bad_field("\"top_k\":-2", "top_k", "between -1 and 2147483647");
    bad_field("\"top_k\":2147483648", "top_k", "between -1");
    bad_field("\"seed\":-1", "seed", "between 0 and 9223372036854775807");
    bad_field("\"seed\":1.0", "seed", "integer");
    bad_field("\"min_tokens\":-1", "min_tokens", "between 0 and 1048576");
    bad_field("\"repetition_penalty\":0", "repetition_penalty", "between 0.01 and 100");
    bad_field("\"presence_penalty\":2.1", "presence_penalty", "between -2 and 2");
    bad_field("\"frequency_penalty\":-2.1", "frequency_penalty", "between -2 and 2");
    bad_field("\"logprobs\":21", "logprobs", "between 0 and 20");
    bad_field("\"logprobs\":-1", "logprobs", "between 0 and 20");
    bad_field("\"top_logprobs\":1000000", "top_logprobs", "between 0 and 20");
    bad_field("\"top_logprobs\":2", "top_logprobs", "\"logprobs\": true");
    bad_field("\"ignore_eos\":1", "ignore_eos", "true or false");
    bad_field("\"priority\":1000001", "priority", "between -1000000 and 1000000");
    bad_field("\"stop\":\"\"", "stop", "at once");
    bad_field("\"stop\":[\"a\",\"\"]", "stop", "at once");
    bad_field("\"stop\":[1]", "stop", "string");
    bad_field("\"stop\":{}", "stop", "string");
    bad_field("\"stop\":[\"\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"a\",\"b\",\"c\",\"d\",\"e\",\"f\","
              "\"g\",\"h\"]",
              "stop", "17 texts: at most 16");
    bad_field("\"stop_token_ids\":[2048]", "stop_token_ids", "0 to 2047");
    bad_field("\"stop_token_ids\":5", "stop_token_ids", "list");
    bad_field("\"logit_bias\":[1]", "logit_bias", "object");
    bad_field("\"logit_bias\":{\"2048\":1}", "logit_bias", "0 to 2047");
    bad_field("\"logit_bias\":{\"-1\":1}", "logit_bias", "0 to 2047");
    bad_field("\"logit_bias\":{\"x\":1}", "logit_bias", "'x' is no id");
    bad_field("\"logit_bias\":{\"1\":101}", "logit_bias", "between -100 and 100");
    bad_field("\"logit_bias\":{\"1\":\"a\"}", "logit_bias", "between -100 and 100");
    bad_field("\"logit_bias\":{\"7\":1,\"07\":2}", "logit_bias", "id 7 twice");
    bad_field("\"temprature\":1", "temprature", "did you mean 'temperature'?");
    bad_field("\"zzz\":1", "zzz", "zzz: unknown field");
    bad_field("\"prompt\":5", NULL, "duplicate"); // of the line's own prompt
    bad("{\"prompt\":\"\"}", "prompt", "empty");
    bad("{\"prompt\":[1,2]}", "prompt", "string");
    bad("{\"prompt\":5}", "prompt", "string");
    bad("{\"tokens\":[]}", "tokens", "empty");
    bad("{\"tokens\":\"x\"}", "tokens", "list");
    bad("{\"tokens\":[1,-1]}", "tokens", "id -1 is not in the vocabulary");
    bad("{\"tokens\":[2048]}", "tokens", "id 2048 is not in the vocabulary, which has 0 to 2047");
    bad("{\"tokens\":[1.5]}", "tokens", "entry 0 is not an integer");
    bad("{\"tokens\":[1],\"prompt\":\"x\"}", "prompt", "one of them");
    bad("{\"prompt\":\"x\",\"tokens\":[1]}", "tokens", "one of them");
    bad("{\"prompt\":null}", "prompt", "neither 'prompt' nor 'tokens'");
    bad("{}", "prompt", "neither 'prompt' nor 'tokens'");
    bad("{\"id\":1.5,\"prompt\":\"x\"}", "id", "string or an integer");
}

static void test_sizes(void)
{
    char *line = malloc(100000);
    CHECK(line != NULL);
    char *to = line + sprintf(line, "{\"prompt\":\"x\",\"logit_bias\":{");
    for (int i = 0; i <= WI_BIASES_MAX; i++) to += sprintf(to, "%s\"%d\":1", i ? "," : "", i);
    sprintf(to, "}}");
    bad(line, "logit_bias", "1025 ids: at most 1024");
    sprintf(line, "{\"prompt\":\"x\",\"stop\":\"%01025d\"}", 0);
    bad(line, "stop", "1025 bytes: at most 1024");
    to = line + sprintf(line, "{\"prompt\":\"x\",\"stop_token_ids\":[0");
    for (int i = 0; i < WI_STOP_IDS_MAX; i++) to += sprintf(to, ",1");
    sprintf(to, "]}");
    bad(line, "stop_token_ids", "65 ids: at most 64");
    sprintf(line, "{\"id\":\"%0513d\",\"prompt\":\"x\"}", 0);
    bad(line, "id", "513 bytes: at most 512");
    sprintf(line, "{\"id\":\"a\",\"prompt\":\"x\"}");
    for (size_t i = 0; i + 1 < strlen(line); i++) { // cut anywhere, it is no JSON
        wi_query r;
        CHECK_OK(wi_request_parse(line, i, 1, &rules, &r));
        CHECK(r.error && !r.param);
        wi_request_fini(&r);
    }
    free(line);
}

static void test_json(void)
{
    char deep[100];
    wi_query r;
    bad("", NULL, "empty");
    bad("null", NULL, "must be a JSON object");
    bad("[1]", NULL, "must be a JSON object");
    bad("{\"prompt\":\"x\"} {}", NULL, "the request");
    bad("{\"prompt\":\"x\"", NULL, "the request");
    bad("{'prompt':'x'}", NULL, "the request");
    bad("{\"id\":\"a\",\"id\":\"b\",\"prompt\":\"x\"}", NULL, "duplicate");
    bad("\xEF\xBB\xBF{\"prompt\":\"x\"}", NULL, "byte order mark");
    bad("{\"prompt\":\"\xFF\"}", NULL, "UTF-8");
    bad("{\"prompt\":\"\\u0000\"}", NULL, "the request");
    bad("{\"prompt\":\"\\ud800\"}", NULL, "the request");
    bad("{\"prompt\":\"x\",\"seed\":9223372036854775808}", NULL, "the request");
    bad("{\"prompt\":\"x\",\"max_tokens\":100000000000000000000}", NULL, "the request");
    bad("{\"prompt\":\"x\",\"temperature\":NaN}", NULL, "the request");
    bad("{\"prompt\":\"x\",\"temperature\":Infinity}", NULL, "the request");
    bad("{\"prompt\":\"x\",\"temperature\":1e400}", NULL, "the request");
    snprintf(deep, sizeof deep, "{\"prompt\":\"x\",\"stop\":%.20s", "[[[[[[[[[[[[[[[[[[[[");
    bad(deep, NULL, "deep");
    CHECK_OK(wi_request_parse("{\"prompt\":\"a\0b\"}", 16, 1, &rules, &r));
    CHECK(r.error != NULL);
    wi_request_fini(&r);
    CHECK_OK(wi_request_parse(NULL, 99, 1, &rules, &r));
    CHECK_HAS(r.error, "a line of 99 bytes is too long");
    wi_request_fini(&r);
}

static void test_lengths(void)
{
    wi_query r = good("{\"prompt\":\"x\",\"max_tokens\":1000}");
    CHECK_OK(wi_request_encoded(&r, &rules, calloc(24, 4), 24));
    CHECK(!r.error && !r.text);
    CHECK_INT(r.how.max_tokens, 1000);
    wi_request_fini(&r);
    r = good("{\"prompt\":\"x\",\"max_tokens\":1000}");
    CHECK_OK(wi_request_encoded(&r, &rules, calloc(25, 4), 25));
    CHECK_HAS(r.error, "max_tokens 1000: 999 are left of a context of 1024 behind a prompt of 25 tokens");
    wi_request_fini(&r);
    r = good("{\"prompt\":\"x\"}"); // the command's default is cut to what is left
    CHECK_OK(wi_request_encoded(&r, &rules, calloc(1023, 4), 1023));
    CHECK(!r.error);
    CHECK_INT(r.how.max_tokens, 1);
    wi_request_fini(&r);
    r = good("{\"prompt\":\"x\"}");
    CHECK_OK(wi_request_encoded(&r, &rules, calloc(1024, 4), 1024));
    CHECK_HAS(r.error, "a prompt of 1024 tokens: with a context of 1024 at most 1023 are allowed");
    wi_request_fini(&r);
    r = good("{\"prompt\":\"x\"}");
    CHECK_OK(wi_request_encoded(&r, &rules, calloc(1, 4), 0));
    CHECK_HAS(r.error, "gives no token");
    wi_request_fini(&r);
    r = good("{\"tokens\":[1],\"min_tokens\":129}");
    CHECK_OK(wi_request_encoded(&r, &rules, NULL, 0));
    CHECK_HAS(r.error, "min_tokens 129: more than the 128");
    wi_request_fini(&r);
}

static void test_seeds(void)
{
    wi_request_rules other = rules;
    wi_query a = good("{\"id\":\"a\",\"prompt\":\"x\"}"), b = good("{\"prompt\":\"y\",\"id\":\"a\"}"), c;
    CHECK_INT(a.how.seed, b.how.seed); // of the id alone
    other.seed = 1;
    CHECK_OK(wi_request_parse("{\"id\":\"a\",\"prompt\":\"x\"}", 23, 7, &other, &c));
    CHECK(a.how.seed != c.how.seed);
    wi_request_fini(&c);
    c = good("{\"id\":\"b\",\"prompt\":\"x\"}");
    CHECK(a.how.seed != c.how.seed);
    wi_request_fini(&a);
    wi_request_fini(&b);
    wi_request_fini(&c);
    other.stops = (const char *[]){"END"};
    other.stop_count = 1;
    CHECK_OK(wi_request_parse("{\"prompt\":\"x\"}", 14, 7, &other, &a));
    CHECK_TEXT(a.stops[0], "END");
    wi_request_fini(&a);
    CHECK_OK(wi_request_parse("{\"prompt\":\"x\",\"stop\":[]}", 24, 7, &other, &a));
    CHECK_INT(a.stop_count, 0);
    wi_request_fini(&a);
}

int main(void)
{
    test_fields();
    test_openai();
    test_limits();
    test_sizes();
    test_json();
    test_lengths();
    test_seeds();
    return 0;
}
