/* A log that is put aside before it grows too large (file.c). */
#ifndef FILE_H
#define FILE_H

#include "sys.h"

enum { HEAD = 64 };

/* Opens the log of at most so many bytes and files; counts is where the agent finds what is to be counted. A disk that is full is
 * no reason to fail. */
void file_begin(char *path, long most, long files, const char *counts);

/* Writes the head of a record, of at most HEAD bytes, and returns its length. */
__SIZE_TYPE__ file_head(char *to, const char *name, char tag);

/* Appends a record, or counts it as lost. Inside tells that a line of several records is not at its end. */
void file_put(const char *record, __SIZE_TYPE__ n, int inside);

/* Makes the next record try the disk, whatever trouble there was. */
void file_hurry(void);

/* Tells of what is missing, in the log where it can, and to the agent. */
void file_end(void);

static inline int digit(char c) { return c >= '0' && c <= '9'; }

#endif
