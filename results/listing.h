/* listing.h -- rows and columns printed as aligned text, Markdown, LaTeX, CSV or JSON. Texts from journals may be
 * hostile: control characters are never passed on to a terminal. */
#ifndef VMAE_RESULTS_LISTING_H
#define VMAE_RESULTS_LISTING_H

#include "results/results.h"

typedef struct vmae_listing vmae_listing;

vmae_listing *vmae_listing_new(void); /* NULL, with a sentence, without memory */
void vmae_listing_free(vmae_listing *listing);

/* Columns first, then cells row by row; a row is full when it has as many cells as there are columns. Failures are kept
 * and returned by the print. */
void vmae_listing_column(vmae_listing *listing, const char *name);
void vmae_listing_text(vmae_listing *listing, const char *text); /* NULL: an empty cell, null in JSON */
void vmae_listing_format_text(vmae_listing *listing, const char *format, ...) VMAE_PRINTF(2, 3);
void vmae_listing_integer(vmae_listing *listing, int64_t value);
/* People see printf's "%.<digits>f" (digits < 0: "%.6g"), files the shortest form that reads back equal. NaN: an empty
 * cell. */
void vmae_listing_number(vmae_listing *listing, double value, int digits);
/* The same where a file keeps the value, but people see this text ("63.2 +- 0.4"). */
void vmae_listing_number_as(vmae_listing *listing, double value, const char *text);
void vmae_listing_empty(vmae_listing *listing); /* no number */
/* Text format on a terminal: `escape` ("\033[31m") colours the cell added last. */
void vmae_listing_colour(vmae_listing *listing, const char *escape);
/* A line below the rows, for people: not in CSV and JSON. */
void vmae_listing_note(vmae_listing *listing, const char *format, ...) VMAE_PRINTF(2, 3);
size_t vmae_listing_rows(const vmae_listing *listing);

/* CSV and JSON rows need not be kept until the print: from here on they go to `out` a few hundred at a time. The other
 * formats must know all rows first: for them this does nothing. */
void vmae_listing_stream(vmae_listing *listing, vmae_table_format format, FILE *out);
vmae_status vmae_listing_print(const vmae_listing *listing, vmae_table_format format, bool colours, FILE *out);

/* Pieces that other writers need. On a terminal both are clean. */
void vmae_print_csv_cell(FILE *out, const char *text);  /* quoted where needed */
void vmae_print_json_text(FILE *out, const char *text); /* quoted; bytes that are not UTF-8 as '?' */
void vmae_print_json_number(FILE *out, double value);   /* null if not finite */
void vmae_print_latex(FILE *out, const char *text);     /* what means something to LaTeX is escaped */

#endif
