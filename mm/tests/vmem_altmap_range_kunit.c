// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for which pages a struct vmem_altmap may be used for.
 *
 *  - It owns the pages of its window, and no others.
 *  - It fits the memory that is added if it describes exactly that memory, and leaves a data
 *    page. __add_pages() refuses any other, and the allocator relies on that.
 *  - It covers memmap that describes nothing outside of its range.
 *
 * All of this is arithmetic: the pfns are made up, and the suite runs on every architecture.
 */
#include <kunit/test.h>
#include <linux/limits.h>
#include <linux/mm.h>
#include <linux/sizes.h>

#include "vmem_altmap_kunit.h"

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

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
	{ "last_page_of_the_address_space",
		{ .end_pfn = ULONG_MAX, .reserve = ULONG_MAX - 1, .free = 2 }, ULONG_MAX, true },
	{ "pfn_0_before_a_window_at_the_end",
		{ .end_pfn = ULONG_MAX, .reserve = ULONG_MAX - 1, .free = 2 }, 0, false },
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

/* Test that no page has an owner if there is no altmap. */
static void no_altmap_owns_nothing(struct kunit *test)
{
	KUNIT_EXPECT_FALSE(test, vmem_altmap_owns_pfn(NULL, 0));
	KUNIT_EXPECT_FALSE(test, vmem_altmap_owns_pfn(NULL, BASE));
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

/*
 * Test that an altmap covers a page of memmap if its range has the first and the last pfn
 * that the page describes, if only in part: for each size of struct page, and for pages of
 * memmap from 4 KiB to the 32 MiB of a PMD of arm64.
 */
static void range_covers_what_the_memmap_describes(struct kunit *test)
{
	static const unsigned long struct_pages[] = { 56, 64, 80, 128 };
	static const unsigned long sizes[] = { SZ_4K, SZ_16K, SZ_64K, SZ_2M, SZ_16M, SZ_32M };
	const unsigned int nr = 4 * 6 * 8 * 5 * 5;
	unsigned int i, nr_covered = 0;

	for (i = 0; i < nr; i++) {
		unsigned long entry = struct_pages[i % 4], size = sizes[i / 4 % 6];
		/* Eight pages of memmap in a row. */
		unsigned long offset = (21 + i / 24 % 8) * size;
		/* Ranges that begin and end around what the page describes. */
		struct vmem_altmap altmap = {
			.base_pfn = offset / entry + i / 192 % 5 - 2,
			.end_pfn = (offset + size) / entry + i / 960 - 3,
		};
		/* Where the struct pages of the range are, in bytes. */
		bool covered = altmap.base_pfn * entry <= offset &&
			       offset + size <= (altmap.end_pfn + 1) * entry;

		KUNIT_EXPECT_EQ_MSG(test, vmem_altmap_covers(&altmap, offset, size, entry), covered,
				    "struct page of %lu bytes, %lu bytes at %#lx, range %#lx-%#lx",
				    entry, size, offset, altmap.base_pfn, altmap.end_pfn);
		nr_covered += covered;
	}
	KUNIT_EXPECT_GT(test, nr_covered, nr / 5);
	KUNIT_EXPECT_LT(test, nr_covered, nr / 2);
}

static struct kunit_case vmem_altmap_range_cases[] = {
	KUNIT_CASE_PARAM(window_edges_decide_the_owner, owners_gen_params),
	KUNIT_CASE(owned_is_exactly_what_can_be_handed_out),
	KUNIT_CASE(no_altmap_owns_nothing),
	KUNIT_CASE_PARAM(altmap_must_fit_the_memory, validities_gen_params),
	KUNIT_CASE(altmap_can_be_at_the_first_and_the_last_pfn),
	KUNIT_CASE(range_covers_what_the_memmap_describes),
	{}
};

static struct kunit_suite vmem_altmap_range_suite = {
	.name = "vmem_altmap_range",
	.test_cases = vmem_altmap_range_cases,
};

kunit_test_suite(vmem_altmap_range_suite);

MODULE_DESCRIPTION("KUnit tests for the range and the window of an altmap");
MODULE_LICENSE("GPL");
