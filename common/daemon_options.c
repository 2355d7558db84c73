/* daemon_options - the options that all programs have, and their texts of help. */
#include "common/daemon_options.h"
#include "common/daemon.h"

#include <string.h>

const struct daemon_verb *daemon_options_verb(const struct daemon_spec *spec, const char *name)
{
    for (const struct daemon_verb *v = spec->verbs; v != NULL && v->name != NULL; v++)
        if (strcmp(v->name, name) == 0)
            return v;
    return NULL;
}

static bool *flag_of(struct daemon_options *o, const char *arg)
{
    if (strcmp(arg, "--help") == 0)
        return &o->help;
    if (strcmp(arg, "--version") == 0)
        return &o->version;
    if (strcmp(arg, "--check") == 0)
        return &o->check;
    return strcmp(arg, "--dump") == 0 ? &o->dump : NULL;
}

int daemon_options_parse(const struct daemon_spec *spec, int argc, char **argv,
                         struct daemon_options *out, struct err *err)
{
    static const char config[] = "--config";
    struct daemon_options o = {0};
    const char *wrong = NULL;

    for (int i = 1; i < argc && wrong == NULL; i++) {
        bool *flag = flag_of(&o, argv[i]);
        const char *file = NULL;

        if (flag != NULL) {
            *flag = true;
            continue;
        }
        if (strncmp(argv[i], config, sizeof(config) - 1) != 0 ||
            (argv[i][sizeof(config) - 1] != '\0' && argv[i][sizeof(config) - 1] != '='))
            wrong = argv[i][0] == '-' ? "unknown option" : "unexpected argument";
        else if (argv[i][sizeof(config) - 1] == '=')
            file = argv[i] + sizeof(config);
        else if (i + 1 < argc)
            file = argv[++i];
        if (wrong == NULL && (file == NULL || *file == '\0'))
            wrong = "a file name must follow";
        else if (wrong == NULL && o.config != NULL)
            wrong = "only one file is read, not also";
        if (wrong != NULL)
            return err_set(err, ERR_INPUT, 0, "%s '%s'; try '%s --help'", wrong,
                           i < argc ? argv[i] : config, spec->name);
        o.config = file;
    }
    *out = o;
    return 0;
}

void daemon_options_help(const struct daemon_spec *spec, FILE *to)
{
    (void)fprintf(to, "%s - %s\n\nUsage:\n  %s [--config FILE] [--check | --dump]\n",
                  spec->name, spec->summary, spec->name);
    if (spec->verbs != NULL && spec->verbs->name != NULL)
        (void)fprintf(to, "  %s VERB [--help] ...\n", spec->name);
    (void)fprintf(to, "\nOptions:\n"
                      "  --config FILE   reads the configuration from this YAML file\n"
                      "  --check         checks the configuration and ends\n"
                      "  --dump          prints the effective configuration, secrets as ***\n"
                      "  --version       prints the version\n"
                      "  --help          prints this\n");
    if (spec->verbs != NULL && spec->verbs->name != NULL) {
        (void)fprintf(to, "\nVerbs:\n");
        for (const struct daemon_verb *v = spec->verbs; v->name != NULL; v++)
            (void)fprintf(to, "  %-15s %s\n", v->name, v->summary);
    }
    (void)fprintf(to,
                  "\nConfiguration keys (a dot is a level of the YAML file). The environment "
                  "goes before\nthe file: key a.b_c is the variable %s_A_B_C.\n\n",
                  spec->env_prefix);
    conf_doc(spec->keys, to);
    (void)fprintf(to, "\nExit codes:\n"
                      "  0  ok\n"
                      "  1  failed at run time\n"
                      "  2  wrong usage or configuration\n"
                      "  3  differences found\n"
                      "  4  target not reached\n"
                      "  5  a proven gap, damage or divergence\n");
}
