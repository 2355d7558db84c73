/* net_addr - addresses as users write them; see net.h. */
#include "common/err.h"
#include "common/net.h"

#include <stdio.h>
#include <string.h>
#include <sys/un.h>

static bool parse_port(const char *text, uint16_t *out)
{
    unsigned v = 0;

    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return false;
        v = v * 10 + (unsigned)(*text - '0');
        if (v > UINT16_MAX)
            return false;
    }
    *out = (uint16_t)v;
    return v != 0;
}

static int parse_unix(const char *path, struct net_addr *out, struct err *err)
{
    struct net_addr a = {.is_unix = true};

    if (*path == '\0')
        return err_set(err, ERR_INPUT, 0, "address 'unix:' has no path");
    if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
        return err_set(err, ERR_INPUT, 0,
                       "address 'unix:%s' is longer than a socket's path may be", path);
    (void)snprintf(a.host, sizeof(a.host), "%s", path);
    *out = a;
    return 0;
}

int net_addr_parse(const char *text, uint16_t default_port, struct net_addr *out,
                   struct err *err)
{
    struct net_addr a = {.port = default_port};
    const char *host = text, *end, *port = NULL;

    if (strncmp(text, "unix:", 5) == 0)
        return parse_unix(text + 5, out, err);
    if (*text == '[') {
        host = text + 1;
        end = strchr(host, ']');
        if (end == NULL || (end[1] != '\0' && end[1] != ':'))
            return err_set(err, ERR_INPUT, 0, "address '%s' is not [address]:port", text);
        port = end[1] == ':' ? end + 2 : NULL;
    } else {
        end = strchr(text, ':');
        if (end != NULL && strchr(end + 1, ':') != NULL)
            return err_set(err, ERR_INPUT, 0,
                           "address '%s' has several colons; write IPv6 as [address]:port",
                           text);
        port = end != NULL ? end + 1 : NULL;
        if (end == NULL)
            end = text + strlen(text);
    }
    if (end == host || (size_t)(end - host) > NET_HOST_MAX)
        return err_set(err, ERR_INPUT, 0, "address '%s' has no usable host", text);
    if (port != NULL ? !parse_port(port, &a.port) : default_port == 0)
        return err_set(err, ERR_INPUT, 0, "address '%s' has no port between 1 and 65535", text);
    memcpy(a.host, host, (size_t)(end - host));
    *out = a;
    return 0;
}

void net_addr_format(const struct net_addr *a, char *out, size_t size)
{
    if (a->is_unix)
        (void)snprintf(out, size, "unix:%s", a->host);
    else if (strchr(a->host, ':') != NULL)
        (void)snprintf(out, size, "[%s]:%u", a->host, a->port);
    else
        (void)snprintf(out, size, "%s:%u", a->host, a->port);
}
