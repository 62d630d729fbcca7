// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for the allocator of struct vmem_altmap.
 *
 * The contract, in pages:
 *
 *    base_pfn     +reserve                   +reserve+free         end_pfn
 *       |------------|----------------------------|-------------------|
 *       |  driver's  |         the window         |       data        |
 *
 *  - Every page handed out is in the window, and is handed out once.
 *  - A block of n pages is aligned to the largest power of two that divides n.
 *  - alloc counts the pages in use. align counts the pages that were skipped for
 *    alignment, or freed while others were in use.
 *  - A block that does not fit is refused, and a refusal changes nothing.
 *  - After all pages were freed, the altmap is as good as new.
 *
 * All of this is arithmetic: the pfns are made up, no page is touched, and the suite runs
 * on every architecture. vmem_altmap_model_kunit.c compares the allocator with a model.
 */
#include <kunit/test.h>
#include <linux/gfp.h>
#include <linux/limits.h>
#include <linux/mm.h>

#include "vmem_altmap_kunit.h"

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

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
		.name = "page_after_the_reserve",
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
		.name = "one_page_after_the_boundary_skips_all_but_one",
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
 * Test that a block starts at the first aligned page of the window, and that align is
 * the number of pages before it.
 */
static void block_lands_on_the_first_aligned_page(struct kunit *test)
{
	const struct place *p = test->param_value;
	struct vmem_altmap altmap = altmap_of(p->base, p->reserve, p->free);

	KUNIT_EXPECT_EQ(test, alloc_ok(test, &altmap, p->nr_pfns), p->pfn);
	expect_counters(test, &altmap, p->nr_pfns, p->align);
}

/*
 * Test that single pages are handed out in order, from the first page of the window to the
 * last, and no reserved or data page.
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
	{ .name = "one_page_after_the_reserve", .reserve = 7, .nr_pfns = 1, .free = 1 },
	{ .name = "block", .nr_pfns = 512, .free = 512 },
	{ .name = "block_after_one_page", .reserve = 1, .nr_pfns = 512, .free = 1023 },
	{ .name = "block_before_the_boundary", .reserve = 511, .nr_pfns = 512, .free = 513 },
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
	/* Of the window, 7 pages are before BASE + 8, and 7 pages from there on. */
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
	/* At pfn 0, alignment does not hide a missing check. */
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

/* Test that blocks larger than any window are refused, and nothing wraps. */
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
}

/* Freeing */

/* Test that every page in use is counted, and none after all were freed. */
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

/* Test that the capacity stays the same over cycles of different sizes. */
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

struct block {
	unsigned long nr, pfn;
	bool in_use;
};

/* How many single pages @altmap serves until it is full. None may be in a block in use. */
static unsigned long serve_pages(struct kunit *test, const struct vmem_altmap *altmap,
				 const struct block *blocks, unsigned int nr_blocks)
{
	struct vmem_altmap copy;
	unsigned long served, pfn;

	memcpy(&copy, altmap, sizeof(copy));
	for (served = 0; served < copy.free; served++) {
		if (vmem_altmap_alloc(&copy, 1, &pfn))
			break;
		for (unsigned int i = 0; i < nr_blocks; i++)
			if (blocks[i].in_use && pfn >= blocks[i].pfn &&
			    pfn < blocks[i].pfn + blocks[i].nr)
				KUNIT_FAIL(test, "pfn %#lx is in a block of %lu pages", pfn,
					   blocks[i].nr);
	}
	return served;
}

/*
 * Test that no page of a block in use is handed out again, in whatever order blocks are
 * freed, and that all pages are available after the last free.
 */
static void page_in_use_is_never_handed_out_again(struct kunit *test)
{
	for (unsigned int order = 0; order < 4 * 3 * 2; order++) {
		struct vmem_altmap altmap = altmap_of(BASE, 1, 63);
		struct block blocks[] = { { 1 }, { 4 }, { 2 }, { 8 } };
		unsigned int nr_left, i, digits = order;
		unsigned long served;

		for (i = 0; i < 4; i++) {
			blocks[i].pfn = alloc_ok(test, &altmap, blocks[i].nr);
			blocks[i].in_use = true;
		}
		for (nr_left = 4; nr_left; nr_left--) {
			/* Each digit says which of the blocks in use is freed. */
			unsigned int next = digits % nr_left;

			digits /= nr_left;
			for (i = 0; !blocks[i].in_use || next--; i++)
				;
			blocks[i].in_use = false;
			vmem_altmap_free(&altmap, blocks[i].nr);
			served = serve_pages(test, &altmap, blocks, 4);
			KUNIT_EXPECT_EQ_MSG(test, served, nr_left > 1 ?
					    nr_untouched(&altmap) + altmap.gap : 63,
					    "order %u, %u blocks in use", order, nr_left - 1);
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

/* Test that the data pages start after reserve and window, whatever is in use. */
static void data_starts_after_the_window(struct kunit *test)
{
	struct vmem_altmap altmap = altmap_of(BASE, 3, 20);

	KUNIT_EXPECT_EQ(test, vmem_altmap_offset(&altmap), 23);
	alloc_ok(test, &altmap, 8);
	KUNIT_EXPECT_EQ(test, vmem_altmap_offset(&altmap), 23);
	KUNIT_EXPECT_EQ(test, vmem_altmap_offset(NULL), 0);
}

/* Test that single pages come from the gap, from first to last, until it is used up. */
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

	/* The gap is reset with everything else. */
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
	KUNIT_CASE(window_may_end_at_the_last_pfn),
	KUNIT_CASE(alloc_is_zero_after_all_pages_were_freed),
	KUNIT_CASE(range_added_again_gets_the_same_pages),
	KUNIT_CASE(repeated_cycles_keep_the_capacity),
	KUNIT_CASE(page_in_use_is_never_handed_out_again),
	KUNIT_CASE(freeing_more_than_in_use_is_reported),
	KUNIT_CASE(data_starts_after_the_window),
	KUNIT_CASE(gap_serves_single_pages_first),
	{}
};

static struct kunit_suite vmem_altmap_suite = {
	.name = "vmem_altmap",
	.test_cases = vmem_altmap_cases,
};

kunit_test_suite(vmem_altmap_suite);

MODULE_DESCRIPTION("KUnit tests for the allocator behind struct vmem_altmap");
MODULE_LICENSE("GPL");
