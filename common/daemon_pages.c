/* daemon_pages - what a program serves by HTTP: /, /metrics, /healthz, /readyz, /status. */
#include "common/daemon_pages.h"
#include "common/daemon.h"
#include "common/http.h"
#include "common/metrics.h"
#include "common/process_metrics.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char *not_ready(const struct daemon_pages *p)
{
    if (p->stopping != NULL)
        return p->stopping;
    return p->spec->not_ready != NULL ? p->spec->not_ready(p->app) : NULL;
}

static void page_metrics(const struct daemon_pages *p, struct http_reply *reply)
{
    process_metrics_refresh(p->process);
    if (p->spec->scrape != NULL)
        p->spec->scrape(p->app);
    reply->type = "text/plain; version=0.0.4; charset=utf-8";
    metrics_text(p->metrics, &reply->body);
}

static void page_healthz(const struct daemon_pages *p, struct http_reply *reply)
{
    (void)p;
    http_reply_text(reply, 200, "ok");
}

static void page_readyz(const struct daemon_pages *p, struct http_reply *reply)
{
    const char *why = not_ready(p);

    http_reply_text(reply, why == NULL ? 200 : 503, why == NULL ? "ok" : why);
}

static void put_status(const struct daemon_pages *p, struct buf *json)
{
    if (p->spec->status != NULL)
        p->spec->status(p->app, json);
    else
        buf_printf(json, "{}");
}

static void page_status(const struct daemon_pages *p, struct http_reply *reply)
{
    reply->type = "application/json";
    put_status(p, &reply->body);
}

/* ---- the page for people ---- */

static void put_html_text(struct buf *b, const char *text)
{
    http_put_html(b, text, strlen(text));
}

static void put_value(struct buf *b, const json_t *v);

static void put_object(struct buf *b, const json_t *object)
{
    const char *key;
    json_t *value;

    buf_printf(b, "<table>");
    /* jansson's loop macro wants an object that is not const, but only reads it. */
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        buf_printf(b, "<tr><th>");
        put_html_text(b, key);
        buf_printf(b, "</th><td>");
        put_value(b, value);
        buf_printf(b, "</td></tr>\n");
    }
    buf_printf(b, "</table>");
}

static void put_value(struct buf *b, const json_t *v)
{
    char *text;

    if (json_is_object(v)) {
        put_object(b, v);
    } else if (json_is_array(v)) {
        for (size_t i = 0; i < json_array_size(v); i++) {
            buf_printf(b, i != 0 && !json_is_object(json_array_get(v, i)) ? ", " : "");
            put_value(b, json_array_get(v, i));
        }
    } else if (json_is_string(v)) {
        http_put_html(b, json_string_value(v), json_string_length(v));
    } else {
        text = json_dumps(v, JSON_ENCODE_ANY);
        put_html_text(b, text != NULL ? text : "");
        free(text);
    }
}

static void page_landing(const struct daemon_pages *p, struct http_reply *reply)
{
    static const char *const links[][2] = {
        {"/status", "state as JSON"},
        {"/metrics", "metrics for Prometheus"},
        {"/readyz", "200 when it does its work, else 503 with the reason"},
        {"/healthz", "200 while the program runs"},
    };
    const char *why = not_ready(p);
    struct buf *b = &reply->body, json;
    json_t *status;

    reply->type = "text/html; charset=utf-8";
    buf_printf(b,
               "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
               "<title>%s</title>\n<style>body{font:14px sans-serif;margin:2em}"
               "table{border-collapse:collapse}th,td{text-align:left;vertical-align:top;"
               "padding:2px 10px;border-bottom:1px solid #ccc}th{font-weight:normal;"
               "color:#555}</style></head>\n<body><h1>%s %s</h1>\n<p>",
               p->spec->name, p->spec->name, daemon_version());
    put_html_text(b, p->spec->summary);
    buf_printf(b, "</p>\n<p><b>%s</b>", why == NULL ? "ready" : "not ready: ");
    put_html_text(b, why != NULL ? why : "");
    buf_printf(b, "</p>\n<ul>\n");
    for (size_t i = 0; i < sizeof(links) / sizeof(*links); i++)
        buf_printf(b, "<li><a href=\"%s\">%s</a> - %s</li>\n", links[i][0], links[i][0],
                   links[i][1]);
    buf_printf(b, "</ul>\n");
    buf_init(&json);
    put_status(p, &json);
    status = json_loadb((const char *)buf_data(&json), json.len, 0, NULL);
    if (json_is_object(status))
        put_object(b, status);
    json_decref(status);
    buf_release(&json);
    buf_printf(b, "\n</body></html>\n");
}

void daemon_pages_serve(const struct daemon_pages *pages, const struct http_request *req,
                        struct http_reply *reply)
{
    static const struct {
        const char *path;
        void (*page)(const struct daemon_pages *p, struct http_reply *reply);
    } table[] = {{"/", page_landing},
                 {"/metrics", page_metrics},
                 {"/healthz", page_healthz},
                 {"/readyz", page_readyz},
                 {"/status", page_status}};

    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        if (strcmp(table[i].path, req->path) != 0)
            continue;
        if (strcmp(req->method, "GET") == 0) {
            table[i].page(pages, reply);
            return;
        }
        reply->allow = "GET, HEAD";
        http_reply_text(reply, 405, "this page can only be read");
        return;
    }
    if (pages->spec->http == NULL || !pages->spec->http(pages->app, req, reply))
        http_reply_text(reply, 404, "not found; / links all pages");
}
