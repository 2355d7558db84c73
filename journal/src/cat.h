/* cat - `redis-journal cat`: prints the log's frames for people or as JSON, one line each. */
#ifndef JOURNAL_CAT_H
#define JOURNAL_CAT_H

int cat_run(int argc, char **argv);

#endif
