// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests that compare the allocator of struct vmem_altmap with a model, for all small
 * windows and for random sequences.
 *
 * The model has a state for each page of the window, and answers each question by a walk
 * over all pages. It shares no arithmetic with the code under test.
 */
#include <kunit/test.h>
#include <linux/prandom.h>

#include "vmem_altmap_kunit.h"

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

#define MODEL_PAGES	96

struct model {
	unsigned long start, nr;
	/* SKIPPED serves single pages. LOST was freed or skipped, and serves none. */
	enum { UNTOUCHED, SKIPPED, LOST, IN_USE } page[MODEL_PAGES];
	/* blocks in use */
	struct { unsigned long first, nr; } block[MODEL_PAGES];
	unsigned int nr_blocks;
};

static unsigned long model_count(const struct model *m, int state)
{
	unsigned long i, count = 0;

	for (i = 0; i < m->nr; i++)
		count += m->page[i] == state;
	return count;
}

/* Is @pfn a multiple of the largest power of two that divides @nr? */
static bool model_aligned(unsigned long pfn, unsigned long nr)
{
	while (nr % 2 == 0) {
		if (pfn % 2)
			return false;
		pfn /= 2;
		nr /= 2;
	}
	return true;
}

static unsigned long model_first(const struct model *m, int state)
{
	unsigned long i;

	for (i = 0; i < m->nr && m->page[i] != state; i++)
		;
	return i;
}

/* Of the pages skipped earlier and now, only the larger lot goes on to serve. */
static void model_skip(struct model *m, unsigned long first, unsigned long end)
{
	bool larger = end - first > model_count(m, SKIPPED);
	unsigned long i;

	for (i = 0; larger && i < m->nr; i++)
		if (m->page[i] == SKIPPED)
			m->page[i] = LOST;
	for (; first < end; first++)
		m->page[first] = larger ? SKIPPED : LOST;
}

/* Takes a block and returns its offset into the window, or -1. */
static long model_alloc(struct model *m, unsigned long nr)
{
	unsigned long first, i;

	first = model_first(m, UNTOUCHED);
	if (nr == 1 && model_count(m, SKIPPED)) {
		first = model_first(m, SKIPPED);
	} else {
		for (i = first; i < m->nr && !model_aligned(m->start + i, nr); i++)
			;
		if (i + nr > m->nr)
			return -1;
		model_skip(m, first, i);
		first = i;
	}
	for (i = 0; i < nr; i++)
		m->page[first + i] = IN_USE;
	m->block[m->nr_blocks].first = first;
	m->block[m->nr_blocks++].nr = nr;
	return first;
}

/* Frees block number @b and returns its size. */
static unsigned long model_free(struct model *m, unsigned int b)
{
	unsigned long i, nr = m->block[b].nr;

	for (i = 0; i < nr; i++)
		m->page[m->block[b].first + i] = LOST;
	m->block[b] = m->block[--m->nr_blocks];
	if (!m->nr_blocks)
		for (i = 0; i < m->nr; i++)
			m->page[i] = UNTOUCHED;
	return nr;
}

/* Asks altmap and model for @nr pages, and compares everything there is. */
static bool model_agrees_on_alloc(struct kunit *test, struct vmem_altmap *altmap,
				  struct model *m, unsigned long nr)
{
	unsigned long pfn = 0;
	int err = vmem_altmap_alloc(altmap, nr, &pfn);
	long offset = model_alloc(m, nr);

	KUNIT_EXPECT_EQ(test, !err, offset >= 0);
	if (!err && offset >= 0)
		KUNIT_EXPECT_EQ(test, pfn, m->start + offset);
	KUNIT_EXPECT_EQ(test, altmap->alloc, model_count(m, IN_USE));
	KUNIT_EXPECT_EQ(test, altmap->align, model_count(m, SKIPPED) + model_count(m, LOST));
	KUNIT_EXPECT_EQ(test, nr_untouched(altmap), model_count(m, UNTOUCHED));
	return test->status == KUNIT_SUCCESS;
}

/*
 * Test that every altmap of up to 9 pages, at every alignment, answers every
 * sequence of three requests like the model.
 */
static void small_windows_match_the_model(struct kunit *test)
{
	static const unsigned long sizes[] = { 1, 2, 3, 4, 6, 8 };
	const int n = ARRAY_SIZE(sizes), nr_sequences = n * n * n;
	const int nr_windows = 8 * 3 * 10;
	struct model *m = kunit_kzalloc(test, sizeof(*m), GFP_KERNEL);
	int i;

	KUNIT_ASSERT_NOT_NULL(test, m);

	for (i = 0; i < nr_windows * nr_sequences; i++) {
		unsigned long base = BASE + i % 8;
		unsigned long reserve = i / 8 % 3;
		unsigned long free = i / (8 * 3) % 10;
		int seq = i / nr_windows;
		unsigned long request[] = {
			sizes[seq % n], sizes[seq / n % n], sizes[seq / n / n],
		};
		struct vmem_altmap altmap = altmap_of(base, reserve, free);

		memset(m, 0, sizeof(*m));
		m->start = base + reserve;
		m->nr = free;
		if (!model_agrees_on_alloc(test, &altmap, m, request[0]) ||
		    !model_agrees_on_alloc(test, &altmap, m, request[1]) ||
		    !model_agrees_on_alloc(test, &altmap, m, request[2])) {
			KUNIT_FAIL(test, "BASE + %lu, reserve %lu, free %lu: %lu, %lu, %lu pages",
				   base - BASE, reserve, free,
				   request[0], request[1], request[2]);
			return;
		}
	}
}

#define SEED	0x616c746d61700001ULL
#define ROUNDS	100
#define STEPS	100

/*
 * Test that random sequences of requests and frees give the same pages and the
 * same counters as the model, step by step.
 */
static void random_sequences_match_the_model(struct kunit *test)
{
	struct model *m = kunit_kzalloc(test, sizeof(*m), GFP_KERNEL);
	unsigned long served = 0, refused = 0, emptied = 0;
	struct rnd_state rnd;
	int round, step;

	KUNIT_ASSERT_NOT_NULL(test, m);
	prandom_seed_state(&rnd, SEED);
	kunit_info(test, "seed %#llx, %d rounds of %d steps\n", SEED, ROUNDS, STEPS);

	for (round = 0; round < ROUNDS; round++) {
		unsigned long base = BASE + prandom_u32_state(&rnd) % 64;
		unsigned long reserve = prandom_u32_state(&rnd) % 5;
		unsigned long free = prandom_u32_state(&rnd) % (MODEL_PAGES + 1);
		struct vmem_altmap altmap = altmap_of(base, reserve, free);

		memset(m, 0, sizeof(*m));
		m->start = base + reserve;
		m->nr = free;
		for (step = 0; step < STEPS; step++) {
			unsigned int blocks = m->nr_blocks;
			u32 pick = prandom_u32_state(&rnd);
			/* mostly powers of two, as in real life */
			unsigned long nr = pick % 3 ? 1UL << pick / 3 % 5 : 1 + pick / 3 % 12;

			if (blocks && prandom_u32_state(&rnd) % 5 < 2)
				vmem_altmap_free(&altmap, model_free(m, pick % blocks));
			if (blocks && !m->nr_blocks)
				emptied++;

			blocks = m->nr_blocks;
			if (!model_agrees_on_alloc(test, &altmap, m, nr)) {
				KUNIT_FAIL(test, "round %d step %d: BASE+%lu reserve %lu free %lu",
					   round, step, base - BASE, reserve, free);
				return;
			}
			if (m->nr_blocks > blocks)
				served++;
			else
				refused++;
		}
	}
	/* The sequences did what they are for, many times. */
	KUNIT_EXPECT_GT(test, served, 1000);
	KUNIT_EXPECT_GT(test, refused, 1000);
	KUNIT_EXPECT_GT(test, emptied, 100);
}

/*
 * Test that after any sequence of requests for single pages and for blocks of one
 * size, single pages are available until all pages of the window are in use: every
 * window of up to 24 pages, at every alignment, every sequence of six requests.
 */
static void no_page_is_lost_to_alignment(struct kunit *test)
{
	static const unsigned long sizes[] = { 2, 4, 8 };
	const unsigned int nr_requests = 6;
	unsigned int nr_gaps = 0, nr_refused = 0;

	for (unsigned long i = 0; i < ARRAY_SIZE(sizes) * 8 * 25 << nr_requests; i++) {
		unsigned long seq = i % (1 << nr_requests);
		unsigned long offset = (i >> nr_requests) % 8;
		unsigned long free = (i >> nr_requests) / 8 % 25;
		unsigned long size = sizes[(i >> nr_requests) / 8 / 25];
		struct vmem_altmap altmap = altmap_of(BASE + offset, 0, free);
		unsigned long pfn, in_use = 0;

		for (unsigned int k = 0; k < nr_requests; k++) {
			unsigned long nr = seq >> k & 1 ? size : 1;

			if (!vmem_altmap_alloc(&altmap, nr, &pfn))
				in_use += nr;
			else
				nr_refused++;
		}
		nr_gaps += !!altmap.gap;
		while (in_use <= free && !vmem_altmap_alloc(&altmap, 1, &pfn))
			in_use++;
		KUNIT_ASSERT_EQ_MSG(test, in_use, free, "BASE + %lu, blocks of %lu, sequence %#lx",
				    offset, size, seq);
	}
	KUNIT_EXPECT_GT(test, nr_gaps, 1000);
	KUNIT_EXPECT_GT(test, nr_refused, 1000);
}

static struct kunit_case vmem_altmap_model_cases[] = {
	KUNIT_CASE(small_windows_match_the_model),
	KUNIT_CASE(random_sequences_match_the_model),
	KUNIT_CASE(no_page_is_lost_to_alignment),
	{}
};

static struct kunit_suite vmem_altmap_model_suite = {
	.name = "vmem_altmap_model",
	.test_cases = vmem_altmap_model_cases,
};

kunit_test_suite(vmem_altmap_model_suite);

MODULE_DESCRIPTION("KUnit tests that compare the altmap allocator with a model");
MODULE_LICENSE("GPL");
