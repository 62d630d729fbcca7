// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for the allocator behind struct vmem_altmap.
 *
 * The contract, in pages:
 *
 *    base_pfn     +reserve                   +reserve+free         end_pfn
 *       |------------|----------------------------|-------------------|
 *       |  driver's  |         the window         |       data        |
 *
 *  - Every page handed out lies in the window, and is handed out once.
 *  - A block of n pages is aligned to the largest power of two that divides n.
 *  - alloc counts the pages in use. align counts the pages that were skipped for
 *    alignment, or freed while others were in use.
 *  - A block that does not fit is refused, and a refusal changes nothing.
 *  - After all pages were freed, the altmap is as good as new.
 *  - A malformed altmap does not fit any memory, and __add_pages() refuses it. The
 *    allocator relies on that.
 *
 * All of this is arithmetic: the pfns are made up, no page is touched, and the
 * suite runs on every architecture. For what the pages are used for, see
 * vmemmap_altmap_kunit.c.
 */
#include <kunit/test.h>
#include <linux/gfp.h>
#include <linux/limits.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/prandom.h>

#include "../vmem_altmap.h"

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

/* Aligned to all block sizes in use here, and not 0. */
#define BASE		0x100000UL
#define DATA		64UL

static struct vmem_altmap altmap_of(unsigned long base, unsigned long reserve,
				    unsigned long free)
{
	return (struct vmem_altmap) {
		.base_pfn = base,
		.end_pfn = base + reserve + free + DATA - 1,
		.reserve = reserve,
		.free = free,
	};
}

/* The pages after all that were allocated or skipped. */
static unsigned long nr_untouched(const struct vmem_altmap *altmap)
{
	return altmap->free - altmap->alloc - altmap->align;
}

static void expect_counters(struct kunit *test, const struct vmem_altmap *altmap,
			    unsigned long alloc, unsigned long align)
{
	KUNIT_EXPECT_EQ(test, altmap->alloc, alloc);
	KUNIT_EXPECT_EQ(test, altmap->align, align);
}

static unsigned long alloc_ok(struct kunit *test, struct vmem_altmap *altmap,
			      unsigned long nr_pfns)
{
	unsigned long pfn = ULONG_MAX;

	KUNIT_ASSERT_EQ_MSG(test, vmem_altmap_alloc(altmap, nr_pfns, &pfn), 0,
			    "%lu pages, alloc %lu, align %lu of free %lu",
			    nr_pfns, altmap->alloc, altmap->align, altmap->free);
	return pfn;
}

static void expect_refused(struct kunit *test, struct vmem_altmap *altmap,
			   unsigned long nr_pfns, int err)
{
	const struct vmem_altmap before = *altmap;
	unsigned long pfn = 0x5a5a5a;

	KUNIT_EXPECT_EQ_MSG(test, vmem_altmap_alloc(altmap, nr_pfns, &pfn), err,
			    "%lu pages at pfn %#lx", nr_pfns, pfn);
	KUNIT_EXPECT_EQ(test, pfn, 0x5a5a5a);
	KUNIT_EXPECT_MEMEQ(test, altmap, &before, sizeof(before));
}

/* Where blocks land */

struct place {
	const char *name;
	unsigned long base, reserve, free;
	unsigned long nr_pfns;
	/* expected */
	unsigned long pfn, align;
};

static const struct place places[] = {
	{
		.name = "page_at_the_window_start",
		.base = BASE, .free = 8, .nr_pfns = 1, .pfn = BASE,
	}, {
		.name = "page_behind_the_reserve",
		.base = BASE, .reserve = 3, .free = 8, .nr_pfns = 1,
		.pfn = BASE + 3,
	}, {
		.name = "aligned_block_skips_nothing",
		.base = BASE, .reserve = 16, .free = 16, .nr_pfns = 16,
		.pfn = BASE + 16,
	}, {
		.name = "one_reserved_page_skips_all_but_one",
		.base = BASE, .reserve = 1, .free = 1024, .nr_pfns = 512,
		.pfn = BASE + 512, .align = 511,
	}, {
		.name = "one_page_before_the_boundary_skips_one",
		.base = BASE, .reserve = 511, .free = 1024, .nr_pfns = 512,
		.pfn = BASE + 512, .align = 1,
	}, {
		.name = "one_page_behind_the_boundary_skips_all_but_one",
		.base = BASE, .reserve = 513, .free = 1024, .nr_pfns = 512,
		.pfn = BASE + 1024, .align = 511,
	}, {
		.name = "unaligned_base_counts_too",
		.base = BASE + 5, .reserve = 2, .free = 64, .nr_pfns = 8,
		.pfn = BASE + 8, .align = 1,
	}, {
		.name = "base_and_reserve_align_together",
		.base = BASE + 5, .reserve = 3, .free = 64, .nr_pfns = 8,
		.pfn = BASE + 8,
	}, {
		.name = "six_pages_are_aligned_to_two",
		.base = BASE, .reserve = 1, .free = 64, .nr_pfns = 6,
		.pfn = BASE + 2, .align = 1,
	}, {
		.name = "seven_pages_are_aligned_to_one",
		.base = BASE, .reserve = 1, .free = 64, .nr_pfns = 7,
		.pfn = BASE + 1,
	}, {
		.name = "block_of_16_mib_in_64_kib_pages",
		.base = BASE, .reserve = 2, .free = 1024, .nr_pfns = 256,
		.pfn = BASE + 256, .align = 254,
	}, {
		.name = "base_0",
		.base = 0, .reserve = 1, .free = 16, .nr_pfns = 4,
		.pfn = 4, .align = 3,
	}, {
		.name = "last_pages_of_the_address_space",
		.base = ULONG_MAX - DATA - 15, .free = 16, .nr_pfns = 16,
		.pfn = ULONG_MAX - DATA - 15,
	},
};

KUNIT_ARRAY_PARAM_DESC(places, places, name);

/*
 * Test that a block starts at the first aligned page of the window, and that
 * align is exactly the number of pages in front of it.
 */
static void block_lands_on_the_first_aligned_page(struct kunit *test)
{
	const struct place *p = test->param_value;
	struct vmem_altmap altmap = altmap_of(p->base, p->reserve, p->free);

	KUNIT_EXPECT_EQ(test, alloc_ok(test, &altmap, p->nr_pfns), p->pfn);
	expect_counters(test, &altmap, p->nr_pfns, p->align);
}

/*
 * Test that page by page the altmap gives away exactly its window: all of it,
 * in order, and neither a reserved page in front nor a data page behind.
 */
static void window_is_handed_out_page_by_page(struct kunit *test)
{
	struct vmem_altmap altmap = altmap_of(BASE, 3, 20);
	unsigned long i;

	for (i = 0; i < 20; i++) {
		KUNIT_EXPECT_EQ(test, alloc_ok(test, &altmap, 1), BASE + 3 + i);
		expect_counters(test, &altmap, i + 1, 0);
	}
	expect_refused(test, &altmap, 1, -ENOMEM);
}

/* Test that a mix of sizes keeps every block aligned and inside the window. */
static void mixed_sizes_stay_aligned_and_inside(struct kunit *test)
{
	static const struct {
		unsigned long nr_pfns, offset, align;
	} steps[] = {
		{ 1, 1, 0 }, { 2, 2, 0 }, { 8, 8, 4 }, { 1, 4, 3 }, { 4, 16, 3 },
		/* This leaves a larger gap, which serves single pages from now on. */
		{ 16, 32, 15 }, { 1, 20, 14 },
	};
	struct vmem_altmap altmap = altmap_of(BASE, 1, 47);
	unsigned long i, alloc = 0;

	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		KUNIT_EXPECT_EQ(test, alloc_ok(test, &altmap, steps[i].nr_pfns),
				BASE + steps[i].offset);
		alloc += steps[i].nr_pfns;
		expect_counters(test, &altmap, alloc, steps[i].align);
	}
	expect_refused(test, &altmap, 2, -ENOMEM);
}

/* What fits and what does not */

struct fit {
	const char *name;
	unsigned long reserve;
	unsigned long nr_pfns;
	/* the smallest altmap in which one block fits */
	unsigned long free;
};

static const struct fit fits[] = {
	{ .name = "one_page", .nr_pfns = 1, .free = 1 },
	{ .name = "one_page_behind_the_reserve", .reserve = 7, .nr_pfns = 1, .free = 1 },
	{ .name = "block", .nr_pfns = 512, .free = 512 },
	{ .name = "block_behind_one_page", .reserve = 1, .nr_pfns = 512, .free = 1023 },
	{ .name = "block_in_front_of_the_boundary", .reserve = 511, .nr_pfns = 512, .free = 513 },
	{ .name = "block_at_the_boundary", .reserve = 512, .nr_pfns = 512, .free = 512 },
	{ .name = "block_of_three", .reserve = 1, .nr_pfns = 3, .free = 3 },
	{ .name = "block_of_twelve", .reserve = 1, .nr_pfns = 12, .free = 15 },
};

KUNIT_ARRAY_PARAM_DESC(fits, fits, name);

/* Test that a block fits into an altmap of exactly its size, gap included. */
static void exact_fit_succeeds(struct kunit *test)
{
	const struct fit *f = test->param_value;
	struct vmem_altmap altmap = altmap_of(BASE, f->reserve, f->free);
	unsigned long gap;

	alloc_ok(test, &altmap, f->nr_pfns);
	KUNIT_EXPECT_EQ(test, nr_untouched(&altmap), 0);
	for (gap = f->free - f->nr_pfns; gap; gap--)
		alloc_ok(test, &altmap, 1);
	expect_refused(test, &altmap, 1, -ENOMEM);
	expect_counters(test, &altmap, f->free, 0);
}

/* Test that an altmap one page smaller refuses the block. */
static void one_page_short_fails(struct kunit *test)
{
	const struct fit *f = test->param_value;
	struct vmem_altmap altmap = altmap_of(BASE, f->reserve, f->free - 1);

	expect_refused(test, &altmap, f->nr_pfns, -ENOMEM);
}

/*
 * Test that the refusal of a large block changes nothing: what is left still
 * serves smaller blocks, from the same place.
 */
static void exhaustion_changes_nothing(struct kunit *test)
{
	/* The boundary at BASE + 8 leaves 7 pages in front and 7 behind. */
	struct vmem_altmap altmap = altmap_of(BASE, 1, 14);

	expect_refused(test, &altmap, 8, -ENOMEM);
	KUNIT_EXPECT_EQ(test, alloc_ok(test, &altmap, 4), BASE + 4);
	expect_refused(test, &altmap, 8, -ENOMEM);
	KUNIT_EXPECT_EQ(test, alloc_ok(test, &altmap, 7), BASE + 8);
	expect_counters(test, &altmap, 11, 3);
	expect_refused(test, &altmap, 2, -ENOMEM);
	KUNIT_EXPECT_EQ(test, alloc_ok(test, &altmap, 1), BASE + 1);
}

/* Test that a request for 0 bytes is refused. */
static void size_0_is_refused(struct kunit *test)
{
	struct vmem_altmap altmap = altmap_of(BASE, 1, 16);
	/* Here, no alignment can make up for a missing check. */
	struct vmem_altmap at_pfn_0 = altmap_of(0, 0, 16);
	const struct vmem_altmap before = altmap;

	KUNIT_EXPECT_NULL(test, altmap_alloc_block_buf(0, &altmap));
	KUNIT_EXPECT_NULL(test, altmap_alloc_block_buf(0, &at_pfn_0));
	KUNIT_EXPECT_MEMEQ(test, &altmap, &before, sizeof(before));
}

/* Test that sizes that are not a multiple of PAGE_SIZE are refused. */
static void odd_sizes_are_refused(struct kunit *test)
{
	static const unsigned long sizes[] = {
		1, PAGE_SIZE - 1, PAGE_SIZE + 1, 2 * PAGE_SIZE - 1,
		4 * PAGE_SIZE + 8, ULONG_MAX,
	};
	struct vmem_altmap altmap = altmap_of(BASE, 1, 16);
	const struct vmem_altmap before = altmap;
	int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		KUNIT_EXPECT_NULL_MSG(test, altmap_alloc_block_buf(sizes[i], &altmap),
				      "%lu bytes", sizes[i]);
		KUNIT_EXPECT_MEMEQ(test, &altmap, &before, sizeof(before));
	}
}

/* Test that blocks larger than any window are refused, not wrapped around. */
static void huge_sizes_are_refused(struct kunit *test)
{
	static const unsigned long sizes[] = {
		1UL << (BITS_PER_LONG - 1), ULONG_MAX, ULONG_MAX - 1,
		ULONG_MAX - BASE, -BASE, -(BASE + 1),
	};
	struct vmem_altmap altmap = altmap_of(BASE, 1, 16);
	int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		expect_refused(test, &altmap, sizes[i], -ENOMEM);
}

/* Test that the caller gets the direct map address of the block's first page. */
static void block_address_is_in_the_direct_map(struct kunit *test)
{
	struct page *page = alloc_pages(GFP_KERNEL, 2);

	KUNIT_ASSERT_NOT_NULL(test, page);

	struct vmem_altmap altmap = {
		.base_pfn = page_to_pfn(page),
		.end_pfn = page_to_pfn(page) + 3,
		.reserve = 1,
		.free = 3,
	};

	KUNIT_EXPECT_PTR_EQ(test, altmap_alloc_block_buf(2 * PAGE_SIZE, &altmap),
			    page_address(page) + 2 * PAGE_SIZE);
	expect_counters(test, &altmap, 2, 1);
	KUNIT_EXPECT_PTR_EQ(test, altmap_alloc_block_buf(PAGE_SIZE, &altmap),
			    page_address(page) + PAGE_SIZE);
	KUNIT_EXPECT_NULL(test, altmap_alloc_block_buf(PAGE_SIZE, &altmap));
	__free_pages(page, 2);
}

/* Altmaps for the memory of NR pages from BASE on */

#define NR	100UL

static const struct validity {
	const char *name;
	struct vmem_altmap altmap;
	bool fits;
} validities[] = {
	{ "one_free_page",
		{ .base_pfn = BASE, .end_pfn = BASE + 99, .free = 1 }, true },
	{ "one_data_page",
		{ .base_pfn = BASE, .end_pfn = BASE + 99, .free = 99 }, true },
	{ "one_data_page_after_a_reserve",
		{ .base_pfn = BASE, .end_pfn = BASE + 99, .reserve = 90, .free = 9 }, true },
	{ "no_data_page",
		{ .base_pfn = BASE, .end_pfn = BASE + 99, .free = 100 }, false },
	{ "no_data_page_after_a_reserve",
		{ .base_pfn = BASE, .end_pfn = BASE + 99, .reserve = 90, .free = 10 }, false },
	{ "zero_free",
		{ .base_pfn = BASE, .end_pfn = BASE + 99 }, false },
	{ "free_larger_than_the_memory",
		{ .base_pfn = BASE, .end_pfn = BASE + 99, .free = 101 }, false },
	{ "reserve_is_all_of_the_memory",
		{ .base_pfn = BASE, .end_pfn = BASE + 99, .reserve = 100, .free = 1 }, false },
	{ "reserve_larger_than_the_memory",
		{ .base_pfn = BASE, .end_pfn = BASE + 99, .reserve = 101, .free = 1 }, false },
	{ "base_one_page_too_low",
		{ .base_pfn = BASE - 1, .end_pfn = BASE + 99, .free = 1 }, false },
	{ "base_one_page_too_high",
		{ .base_pfn = BASE + 1, .end_pfn = BASE + 99, .free = 1 }, false },
	{ "end_one_page_too_low",
		{ .base_pfn = BASE, .end_pfn = BASE + 98, .free = 1 }, false },
	{ "end_one_page_too_high",
		{ .base_pfn = BASE, .end_pfn = BASE + 100, .free = 1 }, false },
	{ "end_not_set",
		{ .base_pfn = BASE, .free = 1 }, false },
	{ "base_and_end_swapped",
		{ .base_pfn = BASE + 99, .end_pfn = BASE, .free = 1 }, false },
	{ "reserve_wraps",
		{ .base_pfn = BASE, .end_pfn = BASE + 99, .reserve = -5UL, .free = 16 }, false },
	{ "free_wraps",
		{ .base_pfn = BASE, .end_pfn = BASE + 99, .free = ULONG_MAX }, false },
	{ "reserve_and_free_wrap_together",
		{ .base_pfn = BASE, .end_pfn = BASE + 99, .reserve = 17, .free = -16UL }, false },
};

KUNIT_ARRAY_PARAM_DESC(validities, validities, name);

/*
 * Test that an altmap fits the memory if it is for exactly that memory, and has at
 * least one free page and one data page.
 */
static void altmap_must_fit_the_memory(struct kunit *test)
{
	const struct validity *v = test->param_value;

	KUNIT_EXPECT_EQ(test, vmem_altmap_fits(&v->altmap, BASE, NR), v->fits);
}

/* Test that memory at either end of the address space can have an altmap. */
static void altmap_can_be_at_the_first_and_the_last_pfn(struct kunit *test)
{
	struct vmem_altmap first = { .base_pfn = 0, .end_pfn = 7, .reserve = 2, .free = 5 };
	struct vmem_altmap last = {
		.base_pfn = ULONG_MAX - 7, .end_pfn = ULONG_MAX, .reserve = 2, .free = 5,
	};

	KUNIT_EXPECT_TRUE(test, vmem_altmap_fits(&first, 0, 8));
	KUNIT_EXPECT_TRUE(test, vmem_altmap_fits(&last, ULONG_MAX - 7, 8));
	first.free = 6;
	last.free = 6;
	KUNIT_EXPECT_FALSE(test, vmem_altmap_fits(&first, 0, 8));
	KUNIT_EXPECT_FALSE(test, vmem_altmap_fits(&last, ULONG_MAX - 7, 8));
}

/* Test that the last page of the address space can be allocated. */
static void window_may_end_at_the_last_pfn(struct kunit *test)
{
	struct vmem_altmap altmap = {
		.base_pfn = 0, .end_pfn = ULONG_MAX,
		.reserve = ULONG_MAX - 1, .free = 2,
	};

	KUNIT_EXPECT_EQ(test, alloc_ok(test, &altmap, 1), ULONG_MAX - 1);
	expect_refused(test, &altmap, 2, -ENOMEM);
	KUNIT_EXPECT_EQ(test, alloc_ok(test, &altmap, 1), ULONG_MAX);
	expect_refused(test, &altmap, 1, -ENOMEM);
	KUNIT_EXPECT_TRUE(test, vmem_altmap_owns_pfn(&altmap, ULONG_MAX));
	KUNIT_EXPECT_FALSE(test, vmem_altmap_owns_pfn(&altmap, 0));
}

/* Freeing */

/* Test that every page in use is counted, and none once all are freed. */
static void alloc_is_zero_after_all_pages_were_freed(struct kunit *test)
{
	struct vmem_altmap altmap = altmap_of(BASE, 1, 64);

	alloc_ok(test, &altmap, 16);
	alloc_ok(test, &altmap, 4);
	expect_counters(test, &altmap, 20, 15);
	vmem_altmap_free(&altmap, 4);
	KUNIT_EXPECT_EQ(test, altmap.alloc, 16);
	vmem_altmap_free(&altmap, 16);
	expect_counters(test, &altmap, 0, 0);
}

/* Test that an altmap that is all free again serves the same blocks again. */
static void range_added_again_gets_the_same_pages(struct kunit *test)
{
	struct vmem_altmap altmap = altmap_of(BASE, 1, 47);
	const struct vmem_altmap fresh = altmap;
	int round;

	for (round = 0; round < 3; round++) {
		KUNIT_EXPECT_EQ(test, alloc_ok(test, &altmap, 1), BASE + 1);
		KUNIT_EXPECT_EQ(test, alloc_ok(test, &altmap, 16), BASE + 16);
		KUNIT_EXPECT_EQ(test, alloc_ok(test, &altmap, 16), BASE + 32);
		vmem_altmap_free(&altmap, 1);
		vmem_altmap_free(&altmap, 16);
		vmem_altmap_free(&altmap, 16);
		KUNIT_EXPECT_MEMEQ(test, &altmap, &fresh, sizeof(fresh));
	}
}

/* Test that cycles with a changing order of sizes do not use the altmap up. */
static void repeated_cycles_keep_the_capacity(struct kunit *test)
{
	static const unsigned long orders[][3] = {
		{ 16, 4, 1 }, { 1, 4, 16 }, { 4, 16, 1 }, { 1, 16, 4 },
	};
	struct vmem_altmap altmap = altmap_of(BASE, 1, 47);
	const struct vmem_altmap fresh = altmap;
	int round, i;

	for (round = 0; round < 100; round++) {
		const unsigned long *nr = orders[round % ARRAY_SIZE(orders)];

		for (i = 0; i < 3; i++)
			alloc_ok(test, &altmap, nr[i]);
		for (i = 0; i < 3; i++)
			vmem_altmap_free(&altmap, nr[i]);
		KUNIT_ASSERT_MEMEQ(test, &altmap, &fresh, sizeof(fresh));
	}
}

/*
 * Test that while a block is in use nobody else gets a page of it, in whatever
 * order the blocks around it are freed.
 */
static void page_in_use_is_never_handed_out_again(struct kunit *test)
{
	static const unsigned long nr[] = { 1, 4, 2, 8 };
	int order[4];

	/* All sequences of four digits; those that are permutations count. */
	for (int n = 0; n < 256; n++) {
		struct vmem_altmap altmap = altmap_of(BASE, 1, 63);
		unsigned long first[4];
		bool in_use[4];

		for (int i = 0; i < 4; i++)
			order[i] = n >> (2 * i) & 3;
		if ((BIT(order[0]) | BIT(order[1]) | BIT(order[2]) | BIT(order[3])) != 0xf)
			continue;

		for (int i = 0; i < 4; i++) {
			first[i] = alloc_ok(test, &altmap, nr[i]);
			in_use[i] = true;
		}
		for (int freed = 0; freed < 4; freed++) {
			struct vmem_altmap rest;
			unsigned long pfn;
			int served;

			vmem_altmap_free(&altmap, nr[order[freed]]);
			in_use[order[freed]] = false;

			memcpy(&rest, &altmap, sizeof(rest));
			served = 0;
			for (int page = 0; page < 64; page++) {
				if (vmem_altmap_alloc(&rest, 1, &pfn))
					break;
				served++;
				for (int i = 0; i < 4; i++) {
					if (!in_use[i] || pfn < first[i] || pfn >= first[i] + nr[i])
						continue;
					KUNIT_FAIL(test, "block %d, order %d%d%d%d", i,
						   order[0], order[1], order[2], order[3]);
					return;
				}
			}
			/* After the last free, all pages are available. */
			KUNIT_EXPECT_EQ(test, served,
					freed < 3 ? nr_untouched(&altmap) + altmap.gap : 63);
		}
	}
}

/* Test that freeing more than is in use is reported, and changes nothing. */
static void freeing_more_than_in_use_is_reported(struct kunit *test)
{
	struct vmem_altmap altmap = altmap_of(BASE, 1, 64);

	if (!IS_ENABLED(CONFIG_BUG))
		kunit_skip(test, "needs CONFIG_BUG to warn");

	kunit_warning_suppress(test) {
		alloc_ok(test, &altmap, 16);
		vmem_altmap_free(&altmap, 17);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
		expect_counters(test, &altmap, 16, 15);

		/* It is reported once, but never counted. */
		vmem_altmap_free(&altmap, ULONG_MAX);
		expect_counters(test, &altmap, 16, 15);
		vmem_altmap_free(&altmap, 16);
		expect_counters(test, &altmap, 0, 0);
		vmem_altmap_free(&altmap, 1);
		expect_counters(test, &altmap, 0, 0);
	}
}

/* The owner of a page */

struct owner {
	const char *name;
	struct vmem_altmap altmap;
	unsigned long pfn;
	bool owned;
};

#define SAMPLE								\
	{ .base_pfn = BASE, .end_pfn = BASE + 22 + DATA, .reserve = 3, .free = 20 }

static const struct owner owners[] = {
	{ "page_before_the_window", SAMPLE, BASE + 2, false },
	{ "first_page_of_the_window", SAMPLE, BASE + 3, true },
	{ "last_page_of_the_window", SAMPLE, BASE + 22, true },
	{ "page_after_the_window", SAMPLE, BASE + 23, false },
	{ "first_reserved_page", SAMPLE, BASE, false },
	{ "page_before_the_range", SAMPLE, BASE - 1, false },
	{ "first_page_without_reserve",
		{ .base_pfn = BASE, .end_pfn = BASE + 99, .free = 20 }, BASE, true },
	{ "last_page_of_the_range", SAMPLE, BASE + 22 + DATA, false },
	{ "page_after_the_range", SAMPLE, BASE + 23 + DATA, false },
	{ "pfn_0", SAMPLE, 0, false },
	{ "last_pfn", SAMPLE, ULONG_MAX, false },
	{ "empty_window",
		{ .base_pfn = BASE, .end_pfn = BASE + 99, .reserve = 3 }, BASE + 3, false },
	{ "window_up_to_the_end_of_the_range",
		{ .base_pfn = BASE, .end_pfn = BASE + 99, .reserve = 90, .free = 10 },
		BASE + 99, true },
};

KUNIT_ARRAY_PARAM_DESC(owners, owners, name);

/* Test that an altmap owns the first and last page of its window, and no more. */
static void window_edges_decide_the_owner(struct kunit *test)
{
	const struct owner *o = test->param_value;

	KUNIT_EXPECT_EQ(test, vmem_altmap_owns_pfn(&o->altmap, o->pfn), o->owned);
}

/* Test that an altmap owns what it hands out, and nothing else around it. */
static void owned_is_exactly_what_can_be_handed_out(struct kunit *test)
{
	struct vmem_altmap altmap = altmap_of(BASE, 3, 20);
	bool handed_out[32] = {};
	unsigned long pfn;

	for (int page = 0; page < ARRAY_SIZE(handed_out); page++) {
		if (vmem_altmap_alloc(&altmap, 1, &pfn))
			break;
		KUNIT_ASSERT_GE(test, pfn, BASE);
		KUNIT_ASSERT_LT(test, pfn, BASE + ARRAY_SIZE(handed_out));
		handed_out[pfn - BASE] = true;
	}
	for (pfn = BASE; pfn < BASE + ARRAY_SIZE(handed_out); pfn++)
		KUNIT_EXPECT_EQ_MSG(test, vmem_altmap_owns_pfn(&altmap, pfn),
				    handed_out[pfn - BASE], "BASE + %lu", pfn - BASE);
}

/* Test that without an altmap nothing is the altmap's. */
static void no_altmap_owns_nothing(struct kunit *test)
{
	KUNIT_EXPECT_FALSE(test, vmem_altmap_owns_pfn(NULL, 0));
	KUNIT_EXPECT_FALSE(test, vmem_altmap_owns_pfn(NULL, BASE));
}

/* Test that the data pages start after reserve and window, used or not. */
static void data_starts_after_the_window(struct kunit *test)
{
	struct vmem_altmap altmap = altmap_of(BASE, 3, 20);

	KUNIT_EXPECT_EQ(test, vmem_altmap_offset(&altmap), 23);
	alloc_ok(test, &altmap, 8);
	KUNIT_EXPECT_EQ(test, vmem_altmap_offset(&altmap), 23);
	KUNIT_EXPECT_EQ(test, vmem_altmap_offset(NULL), 0);
}

/*
 * The model: one byte for each page of the window, and for each question a walk
 * over all of them. It shares no arithmetic with the code under test.
 */

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
	/* What the sequences were meant to do they did, many times. */
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

/* Test that single pages come from a gap as long as there is one, first to last. */
static void gap_serves_single_pages_first(struct kunit *test)
{
	struct vmem_altmap altmap = altmap_of(BASE, 5, 3 + 8 + 2);
	static const unsigned long expected[] = { 5, 6, 7, 16, 17 };
	unsigned long pfn, i;

	KUNIT_ASSERT_EQ(test, vmem_altmap_alloc(&altmap, 8, &pfn), 0);
	KUNIT_EXPECT_EQ(test, pfn, BASE + 8);
	expect_counters(test, &altmap, 8, 3);
	for (i = 0; i < ARRAY_SIZE(expected); i++) {
		KUNIT_ASSERT_EQ(test, vmem_altmap_alloc(&altmap, 1, &pfn), 0);
		KUNIT_EXPECT_EQ(test, pfn, BASE + expected[i]);
		expect_counters(test, &altmap, 9 + i, i < 3 ? 2 - i : 0);
	}
	KUNIT_EXPECT_EQ(test, vmem_altmap_alloc(&altmap, 1, &pfn), -ENOMEM);

	/* A gap is forgotten with all the rest. */
	vmem_altmap_free(&altmap, 13);
	expect_counters(test, &altmap, 0, 0);
	KUNIT_EXPECT_EQ(test, altmap.gap, 0);
	KUNIT_ASSERT_EQ(test, vmem_altmap_alloc(&altmap, 1, &pfn), 0);
	KUNIT_EXPECT_EQ(test, pfn, BASE + 5);

	/* Also if it was not used up. */
	KUNIT_ASSERT_EQ(test, vmem_altmap_alloc(&altmap, 8, &pfn), 0);
	KUNIT_EXPECT_EQ(test, altmap.gap, 2);
	vmem_altmap_free(&altmap, 9);
	KUNIT_EXPECT_EQ(test, altmap.gap, 0);
}

static struct kunit_case vmem_altmap_cases[] = {
	KUNIT_CASE_PARAM(block_lands_on_the_first_aligned_page, places_gen_params),
	KUNIT_CASE(window_is_handed_out_page_by_page),
	KUNIT_CASE(mixed_sizes_stay_aligned_and_inside),
	KUNIT_CASE_PARAM(exact_fit_succeeds, fits_gen_params),
	KUNIT_CASE_PARAM(one_page_short_fails, fits_gen_params),
	KUNIT_CASE(exhaustion_changes_nothing),
	KUNIT_CASE(size_0_is_refused),
	KUNIT_CASE(odd_sizes_are_refused),
	KUNIT_CASE(huge_sizes_are_refused),
	KUNIT_CASE(block_address_is_in_the_direct_map),
	KUNIT_CASE_PARAM(altmap_must_fit_the_memory, validities_gen_params),
	KUNIT_CASE(altmap_can_be_at_the_first_and_the_last_pfn),
	KUNIT_CASE(window_may_end_at_the_last_pfn),
	KUNIT_CASE(alloc_is_zero_after_all_pages_were_freed),
	KUNIT_CASE(range_added_again_gets_the_same_pages),
	KUNIT_CASE(repeated_cycles_keep_the_capacity),
	KUNIT_CASE(page_in_use_is_never_handed_out_again),
	KUNIT_CASE(freeing_more_than_in_use_is_reported),
	KUNIT_CASE_PARAM(window_edges_decide_the_owner, owners_gen_params),
	KUNIT_CASE(owned_is_exactly_what_can_be_handed_out),
	KUNIT_CASE(no_altmap_owns_nothing),
	KUNIT_CASE(data_starts_after_the_window),
	KUNIT_CASE(gap_serves_single_pages_first),
	KUNIT_CASE(no_page_is_lost_to_alignment),
	KUNIT_CASE(small_windows_match_the_model),
	KUNIT_CASE(random_sequences_match_the_model),
	{}
};

static struct kunit_suite vmem_altmap_suite = {
	.name = "vmem_altmap",
	.test_cases = vmem_altmap_cases,
};

kunit_test_suite(vmem_altmap_suite);

MODULE_DESCRIPTION("KUnit tests for the allocator behind struct vmem_altmap");
MODULE_LICENSE("GPL");
