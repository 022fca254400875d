/* algorithms.h -- text for the list of algorithms: a line for each product, attention or convolution that was prepared.
 * Private to backend/cuda. */
#ifndef VMAE_BACKEND_CUDA_ALGORITHMS_H
#define VMAE_BACKEND_CUDA_ALGORITHMS_H

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Adds to the text; what goes beyond its size is cut off. */
__attribute__((format(printf, 3, 4))) static inline void algorithms_append(char *text, size_t size, const char *format,
                                                                           ...)
{
    const size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + used, size - used, format, arguments);
    va_end(arguments);
}

#endif
