/* test_complete.c -- no function without an implementation, no entry of the table without a test. Linked last: it looks
 * at what the tests before it have called. */
#include "tests/backend/kernel_case.h"

#include "engine/backend/cpu/tables.h"

#include <string.h>

typedef void (*function)(void);

/* The offset of entry i: isa comes first. */
static size_t entry_at(size_t i)
{
    return (1 + i) * sizeof(function);
}

static void check_table(const vmae_kernels *table)
{
    for (size_t i = 0; i < kernel_entries(); i++) {
        function entry;
        memcpy(&entry, (const char *)table + entry_at(i), sizeof entry);
        vmae_check(entry != NULL, __FILE__, __LINE__, "%s has no kernel for %s", kernel_name(entry_at(i)), table->isa);
    }
    CHECK(table->isa && *table->isa);
}

static void check_device(vmae_backend *be)
{
    check_table(be->kernels);
    CHECK(be->name && *be->name && *be->description && be->sum_blocks > 0);
    CHECK(be->allocate && be->release && be->upload && be->download && be->synchronize);
    CHECK(be->matmul_new && be->matmul_workspace && be->matmul && be->algorithms && be->close);
    const bool records = be->record_begin != NULL;
    CHECK(records == (be->record_end != NULL) && records == (be->replay != NULL) &&
          records == (be->recording_free != NULL));
}

TEST(no_function_of_a_backend_and_no_kernel_is_missing)
{
    int count;
    const vmae_kernels *const *tables = vmae_cpu_tables(&count);
    for (int i = 0; i < count; i++)
        check_table(tables[i]);
    on_one_backend(check_device);
}

TEST(names_of_the_entries_are_in_the_order_of_the_table)
{
#define ENTRY(name) CHECK(strcmp(kernel_name(offsetof(vmae_kernels, name)), #name) == 0);
#include "engine/backend/cuda/entries.h"
#undef ENTRY
}

TEST(every_kernel_is_called_by_a_test)
{
    if (!vmae_test_runs_all())
        SKIP("not all tests ran");
    for (size_t i = 0; i < kernel_entries(); i++)
        vmae_check(kernel_calls(entry_at(i)) > 0, __FILE__, __LINE__, "no test calls %s", kernel_name(entry_at(i)));
}
