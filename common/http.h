/*
 * http - a small HTTP server on the program's loop (libmicrohttpd, without a thread of its own).
 *
 * For status pages and REST calls of a few KiB: a reply is complete when the handler returns.
 */
#ifndef COMMON_HTTP_H
#define COMMON_HTTP_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "common/buf.h"

struct err;
struct http;

#define HTTP_BODY_MAX (1024 * 1024) /* of a request; a larger one gets 413 */

struct http_request {
    const char *method; /* HEAD comes as GET */
    const char *path;   /* decoded, without the query */
    const uint8_t *body;
    size_t body_len;
    void *connection; /* for http_query() */
};

struct http_reply {
    unsigned status;   /* 200 unless set */
    const char *type;  /* Content-Type, static; text/plain unless set */
    const char *allow; /* the header Allow of a 405, static */
    struct buf body;
};

/* Fills a reply that is preset with 200 and an empty text. The request lives for the call. */
typedef void (*http_handler)(void *arg, const struct http_request *req,
                             struct http_reply *reply);

/*
 * Serves on `listen`: "host:port", "[::1]:port", ":port" or "*:port" for all addresses; port 0
 * takes any free one. -1 with ERR_INPUT where `listen` can't be read, ERR_FATAL where it can't be
 * bound. On success *out is ended by http_free().
 */
int http_new(uv_loop_t *loop, const char *listen, http_handler handler, void *arg,
             struct http **out, struct err *err);
/* Closes everything at once; the memory goes when the loop has closed the handles. NULL is
 * allowed. */
void http_free(struct http *h);
/* Reads `listen` as http_new() does and binds nothing. */
int http_listen_check(const char *listen, struct err *err);
/* The address that is bound, with its real port; lives as long as h. */
const char *http_address(const struct http *h);

/* An argument of the query, decoded, or NULL. */
const char *http_query(const struct http_request *req, const char *name);
/* A reply of one line of text. */
void http_reply_text(struct http_reply *reply, unsigned status, const char *text);
/* Appends text with what HTML gives a meaning to escaped. */
void http_put_html(struct buf *to, const char *text, size_t len);

#endif
