/* test_graph_plan.c -- the memory plan of a whole training step: who lives when is found out anew from the nodes, and
 * nobody may share bytes with a neighbour. */
#include "engine/core/mem.h"
#include "engine/ops/rule.h"
#include "tests/graph/step.h"

#include <stdlib.h>
#include <string.h>

/* A stretch of memory that is in use from node `first` to node `last`. */
typedef struct life {
    const char *from, *to;
    int first, last;
    const vmae_tensor *tensor; /* NULL: scratch */
} life;

typedef struct lives {
    life *list;
    int count;
    size_t bytes; /* if nothing were shared */
} lives;

static int index_of(const lives *l, const vmae_tensor *tensor)
{
    for (int i = 0; i < l->count; i++)
        if (l->list[i].tensor == tensor)
            return i;
    return -1;
}

static void add_life(lives *l, const void *data, size_t bytes, int first, int last, const vmae_tensor *tensor)
{
    l->list[l->count++] = (life){ data, (const char *)data + bytes, first, last, tensor };
    l->bytes += bytes;
}

/* Written by node i, or, with i = -1, by the caller before the run; kept ones live to the end. */
static void add_tensor(lives *l, const vmae_graph *g, const vmae_tensor *x, int i)
{
    const bool mine = x && (x->role == VMAE_ROLE_RESULT || x->role == VMAE_ROLE_INPUT);
    if (mine && index_of(l, x) < 0)
        add_life(l, x->data, (size_t)vmae_count(x) * vmae_type_size(x->type), x->role == VMAE_ROLE_INPUT ? -1 : i,
                 x->keep || x->role == VMAE_ROLE_INPUT ? (int)vmae_graph_nodes(g) : i, x);
}

static lives find_lives(const vmae_graph *g)
{
    const size_t nodes = vmae_graph_nodes(g);
    lives l = { vmae_calloc(nodes * (VMAE_NODE_INPUTS + VMAE_NODE_OUTPUTS + 1), sizeof(life)), 0, 0 };
    for (int i = 0; l.list && i < (int)nodes; i++) {
        const vmae_node *node = vmae_graph_node(g, (size_t)i);
        for (int k = 0; k < node->inputs; k++) {
            add_tensor(&l, g, node->in[k], -2); /* a result that is read must have been written: -2 would show */
            const int at = node->in[k] ? index_of(&l, node->in[k]) : -1;
            if (at >= 0 && l.list[at].last < i)
                l.list[at].last = i;
        }
        for (int k = 0; k < node->outputs; k++)
            add_tensor(&l, g, node->out[k], i);
        if (node->scratch_bytes)
            add_life(&l, node->scratch, node->scratch_bytes, i, i, NULL);
    }
    return l;
}

/* b, written by the node that reads a last, may take over all of a's memory if the node's kernel allows it. */
static bool takes_over(const vmae_graph *g, const life *a, const life *b)
{
    if (!a->tensor || !b->tensor || b->first < 0 || a->last != b->first || a->from != b->from || a->to != b->to)
        return false;
    const vmae_node *node = vmae_graph_node(g, (size_t)b->first);
    int reads = 0;
    for (int k = 0; k < node->inputs; k++)
        reads += node->in[k] == a->tensor;
    return node->in_place >= 0 && node->in[node->in_place] == a->tensor && node->out[0] == b->tensor && reads == 1;
}

static const char *name_of(const life *l)
{
    return l->tensor ? l->tensor->name : "scratch";
}

/* How many pairs share bytes at the same time rightly (in place); all others fail. */
static int check_overlaps(const vmae_graph *g, const lives *l)
{
    int in_place = 0;
    for (int i = 0; i < l->count; i++) {
        const life *a = &l->list[i];
        vmae_check(a->first >= -1 && a->from && a->first <= a->last, __FILE__, __LINE__,
                   "%s is read before it is written", name_of(a));
        for (int k = i + 1; k < l->count; k++) {
            const life *b = &l->list[k];
            if (a->first > b->last || b->first > a->last || a->from >= b->to || b->from >= a->to)
                continue;
            const bool fine = takes_over(g, a, b) || takes_over(g, b, a);
            in_place += fine;
            vmae_check(fine, __FILE__, __LINE__, "%s (ops %d to %d) and %s (ops %d to %d) share bytes", name_of(a),
                       a->first, a->last, name_of(b), b->first, b->last);
        }
    }
    return in_place;
}

static bool can_bf16(void)
{
    vmae_backend *be = NULL;
    if (vmae_backend_open(&be, vmae_test_device(), 1) != VMAE_OK)
        return false;
    const bool can = be->precision == VMAE_BF16;
    vmae_backend_close(be);
    return can;
}

static void check_plan(vmae_type precision)
{
    const step_options options = { .config = &nano_model, .pairs = 3, .precision = precision, .threads = 2 };
    step s;
    REQUIRE_OK(step_open(&s, &options));
    const lives l = find_lives(s.g);
    REQUIRE(l.list && l.count > 250);
    CHECK(check_overlaps(s.g, &l) > 10); /* GELU's gradient and LayerNorm's, in each block */
    CHECK(vmae_graph_memory(s.g) < l.bytes / 2);
    /* All of it lies in the one block, aligned. */
    const char *low = l.list[0].from, *high = l.list[0].to;
    for (int i = 0; i < l.count; i++) {
        low = l.list[i].from < low ? l.list[i].from : low;
        high = l.list[i].to > high ? l.list[i].to : high;
        CHECK_EQ((uintptr_t)l.list[i].from % 64, 0);
    }
    CHECK((size_t)(high - low) <= vmae_graph_memory(s.g));
    free(l.list);
    step_release(&s);
}

TEST(no_two_lives_share_bytes_in_a_training_step)
{
    check_plan(VMAE_F32);
    if (can_bf16())
        check_plan(VMAE_BF16);
}

/* Memory never below what must be alive at one moment, and not far above. */
TEST(memory_is_within_a_tenth_of_what_lives_at_once)
{
    const step_options options = { .config = &nano_model, .pairs = 3, .precision = VMAE_F32, .threads = 2 };
    step s;
    REQUIRE_OK(step_open(&s, &options));
    const lives l = find_lives(s.g);
    size_t most = 0;
    for (int at = 0; at < (int)vmae_graph_nodes(s.g); at++) {
        size_t bytes = 0;
        for (int i = 0; i < l.count; i++) /* what an op reads for the last time and what it writes may be one: count
                                             either only if it lives on */
            bytes += l.list[i].first <= at && l.list[i].last > at ? (size_t)(l.list[i].to - l.list[i].from) : 0;
        most = bytes > most ? bytes : most;
    }
    CHECK(vmae_graph_memory(s.g) >= most);
    CHECK((double)vmae_graph_memory(s.g) < 1.1 * (double)most);
    free(l.list);
    step_release(&s);
}

/* With everything kept, nothing is shared and nothing is in place. */
static void check_against_unshared(vmae_pool pool)
{
    vmae_model_config config = nano_model;
    config.pool = pool;
    config.depth = 2;
    step_options options = { .config = &config, .pairs = 3, .precision = VMAE_F32, .threads = 1 };
    step shared, apart;
    REQUIRE_OK(step_open(&shared, &options));
    options.keep_everything = true;
    REQUIRE_OK(step_open(&apart, &options));
    for (int run = 0; run < 2; run++) { /* the second meets what the first left */
        CHECK_OK(vmae_graph_run(shared.g, false));
        CHECK_OK(vmae_graph_run(apart.g, false));
        CHECK(step_loss(&shared) == step_loss(&apart));
        const float *a = step_gradients(&shared), *b = step_gradients(&apart);
        CHECK(a && b && memcmp(a, b, (size_t)vmae_params_trainable(shared.params) * sizeof(float)) == 0);
    }
    CHECK((double)vmae_graph_memory(shared.g) <
          0.7 * (double)vmae_graph_memory(apart.g)); /* what the backward pass needs stays */
    step_release(&shared);
    step_release(&apart);
}

TEST(shared_memory_changes_no_bit_of_the_result)
{
    static const vmae_pool pools[] = { VMAE_POOL_MEAN, VMAE_POOL_MAX, VMAE_POOL_GEM, VMAE_POOL_CLS };
    for (size_t i = 0; i < sizeof pools / sizeof *pools; i++)
        check_against_unshared(pools[i]);
}

/* ---- in place, at the smallest scale ---- */

typedef struct small {
    vmae_backend *be;
    vmae_graph *g;
    vmae_tensor *x;
} small;

static bool small_open(small *s)
{
    *s = (small){ 0 };
    if (!vmae_check(vmae_backend_open(&s->be, vmae_test_device(), 1) == VMAE_OK, __FILE__, __LINE__, "%s",
                    vmae_error()))
        return false;
    s->g = vmae_graph_new(s->be, VMAE_F32);
    s->x = vmae_input(s->g, "x", VMAE_F32, VMAE_SHAPE(5, 7));
    return s->x != NULL;
}

static void small_close(small *s)
{
    vmae_graph_free(s->g);
    vmae_backend_close(s->be);
}

TEST(result_takes_over_an_input_that_dies)
{
    small s;
    REQUIRE(small_open(&s));
    vmae_tensor *a = vmae_gelu(s.g, s.x), *b = vmae_relu(s.g, a), *c = vmae_keep(vmae_add(s.g, b, s.x));
    REQUIRE_OK(vmae_graph_plan(s.g));
    CHECK(b->data == a->data && c->data == a->data);
    small_close(&s);
}

TEST(result_leaves_alone_an_input_that_is_an_input_or_kept_or_read_again)
{
    small s;
    REQUIRE(small_open(&s));
    vmae_tensor *of_input = vmae_relu(s.g, s.x), *kept = vmae_keep(vmae_gelu(s.g, s.x)),
                *of_kept = vmae_relu(s.g, kept);
    vmae_tensor *again = vmae_gelu(s.g, s.x), *of_again = vmae_relu(s.g, again);
    vmae_tensor *twice = vmae_gelu(s.g, s.x), *of_twice = vmae_add(s.g, twice, twice);
    vmae_keep(vmae_add(s.g, vmae_add(s.g, of_input, of_kept), vmae_add(s.g, vmae_add(s.g, of_again, again), of_twice)));
    REQUIRE_OK(vmae_graph_plan(s.g));
    CHECK(of_input->data != s.x->data);
    CHECK(of_kept->data != kept->data);
    CHECK(of_again->data != again->data);
    CHECK(of_twice->data != twice->data);
    small_close(&s);
}

TEST(inputs_keep_their_numbers_over_runs)
{
    small s;
    float x[35], back[35];
    REQUIRE(small_open(&s));
    for (int i = 0; i < 35; i++)
        x[i] = (float)(i - 17);
    vmae_keep(vmae_relu(s.g, vmae_relu(s.g, s.x)));
    REQUIRE_OK(vmae_graph_plan(s.g));
    CHECK_OK(vmae_tensor_write(s.g, s.x, x, 35));
    CHECK_OK(vmae_graph_run(s.g, false));
    CHECK_OK(vmae_tensor_read(s.g, s.x, back, 35));
    CHECK(memcmp(x, back, sizeof x) == 0);
    small_close(&s);
}
