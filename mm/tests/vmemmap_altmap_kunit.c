// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for populating and freeing the vmemmap, with and without a
 * struct vmem_altmap, on real page tables.
 *
 *  - With an altmap, all memmap is in the altmap's window, and takes no System RAM
 *    except for page tables. Without an altmap, it is in System RAM.
 *  - Pages that the driver reserved and data pages are never written to.
 *  - An altmap with exactly enough pages is enough. With one page less, populating
 *    fails with -ENOMEM, and does not take System RAM instead. powerpc does take it,
 *    so there the cases also let System RAM run out.
 *  - Every struct page can be written to, and is where page tables and accounting
 *    say that it is.
 *  - vmemmap_free() returns every page to its owner and leaves no entry. The range
 *    can then be populated again.
 *
 * Cases with the parameter "altmap" or "ram" run with an altmap, and without one. The
 * memmap is that of sections that do not exist, and the device is RAM of the test: see
 * include/kunit/vmt.h. After each case, vmt_exit() expects that nothing is mapped, all
 * counters are as before, the altmaps are unused, and the device's pages are intact.
 *
 * Not covered: the allocator, see vmem_altmap_kunit.c; sections, see
 * vmemmap_section_kunit.c; base pages of an altmap, see vmemmap_altmap_base_kunit.c; and
 * what is specific to an architecture, see the suites there.
 */
#include <kunit/test.h>
#include <kunit/vmt.h>
#include <linux/mm.h>

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

/* Expects units to be mapped by whole leaves. */
static void expect_whole_leaves(struct vmt *f, unsigned int unit, unsigned int nr_units)
{
	unsigned long addr = vmt_addr(f, unit), end = vmt_addr(f, unit + nr_units);

	for (; addr < end; addr += f->leaf_size) {
		struct vmt_leaf leaf = vmt_leaf(addr);

		KUNIT_ASSERT_EQ_MSG(f->test, leaf.size, f->leaf_size, "at %#lx", addr);
		KUNIT_EXPECT_EQ(f->test, leaf.pfn % f->leaf_nr, 0);
	}
}

/* Test that a huge block of the backing is mapped as one leaf. */
static void huge_block_is_mapped_as_a_leaf(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_backing(f, f->leaf_nr, 2 * f->unit_nr);

	vmt_populate_ok(f, 0, 1, altmap);
	expect_whole_leaves(f, 0, 1);
	if (altmap)
		KUNIT_EXPECT_EQ(test, vmt_pfn(vmt_addr(f, 0)), f->dev.pfn + f->leaf_nr);
	vmt_expect_altmap(test, altmap, f->unit_nr, 0);
	vmt_expect_usable(f, 0, 1);
	vmt_expect_unmapped(f, 1, f->nr_units - 1);
	vmt_free(f, 0, 1, altmap);
}

/* Test that memmap takes System RAM if and only if there is no altmap. */
static void ram_is_used_only_without_an_altmap(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_backing(f, 0, 2 * f->unit_nr);

	KUNIT_EXPECT_EQ(test, vmt_ram_memmap(f), 0);
	vmt_populate_ok(f, 0, 1, altmap);
	KUNIT_EXPECT_EQ(test, vmt_ram_memmap(f), altmap ? 0 : f->unit_nr);
	vmt_populate_ok(f, 1, 1, altmap);
	KUNIT_EXPECT_EQ(test, vmt_ram_memmap(f), altmap ? 0 : 2 * f->unit_nr);
	vmt_free(f, 1, 1, altmap);
	KUNIT_EXPECT_EQ(test, vmt_ram_memmap(f), altmap ? 0 : f->unit_nr);
	vmt_free(f, 0, 1, altmap);
}

/*
 * Test that pages skipped to align a block are counted, and that the block starts
 * right after them.
 */
static void skipped_pages_are_counted(struct kunit *test)
{
	static const unsigned long reserves[] = { 1, 2, 7 };
	struct vmt *f = test->priv;
	int i;

	for (i = 0; i < ARRAY_SIZE(reserves); i++) {
		unsigned long reserve = reserves[i];
		/* Leaves of a single page are aligned wherever they are. */
		unsigned long first = f->leaf_nr > 1 ? f->leaf_nr : reserve;
		struct vmem_altmap *altmap = vmt_backing(f, reserve, f->leaf_nr + f->unit_nr);

		KUNIT_ASSERT_GE(test, first, reserve);
		vmt_populate_ok(f, 0, 1, altmap);
		expect_whole_leaves(f, 0, 1);
		if (altmap)
			KUNIT_EXPECT_EQ(test, vmt_pfn(vmt_addr(f, 0)), f->dev.pfn + first);
		vmt_expect_altmap(test, altmap, f->unit_nr, first - reserve);
		vmt_expect_usable(f, 0, 1);
		vmt_expect_device_intact(&f->dev);
		vmt_free(f, 0, 1, altmap);
	}
}

/*
 * Test that writing to all of the memmap changes no page of the driver and no data
 * page. Without an altmap, it changes no page of the device.
 */
static void reserved_and_data_pages_stay_untouched(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_backing(f, 3, f->leaf_nr + 2 * f->unit_nr);

	vmt_populate_ok(f, 0, 2, altmap);
	vmt_expect_usable(f, 0, 2);
	vmt_expect_device_intact(&f->dev);
	vmt_free(f, 0, 2, altmap);
}

/* The number of blocks of System RAM for the memmap of some units, with page tables. */
static unsigned int ram_blocks_needed(struct vmt *f, unsigned int nr_units)
{
	struct vmt_counters now;
	long tables = 0;

	vmt_populate_ok(f, 0, nr_units, NULL);
	vmt_count(f, &now);
	if (f->traits.ram_tables)
		tables = now.tables - f->before.tables;
	vmt_free(f, 0, nr_units, NULL);
	return nr_units * f->unit_size / f->leaf_size + tables;
}

/*
 * Test that two units can be populated if the altmap has exactly the pages for their
 * memmap, or System RAM exactly the blocks.
 */
static void exact_fit_is_enough(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_backing(f, f->leaf_nr, 2 * f->unit_nr);

	if (!altmap)
		f->ram.nr_good_allocs = ram_blocks_needed(f, 2);
	vmt_populate_ok(f, 0, 2, altmap);
	expect_whole_leaves(f, 0, 2);
	vmt_expect_altmap(test, altmap, 2 * f->unit_nr, 0);

	vmt_no_ram_fallback(f, altmap);
	KUNIT_EXPECT_EQ(test, vmt_populate(f, 2, 1, altmap), -ENOMEM);
	vmt_free(f, 2, 1, altmap);
	vmt_free(f, 0, 2, altmap);
}

/*
 * Test that a unit cannot be populated if the altmap lacks one page, or System RAM
 * lacks one block, and that the caller's clean-up restores all counters.
 */
static void one_page_short_is_enomem(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_backing(f, f->leaf_nr, f->unit_nr - 1);

	if (!altmap)
		f->ram.nr_good_allocs = ram_blocks_needed(f, 1) - 1;
	vmt_no_ram_fallback(f, altmap);
	KUNIT_EXPECT_EQ(test, vmt_populate(f, 0, 1, altmap), -ENOMEM);
	vmt_free(f, 0, 1, altmap);
	vmt_expect_altmap(test, altmap, 0, 0);
}

/*
 * Test that a unit that does not fit does not affect its neighbour: the mappings, the
 * struct pages, and the pages of the altmap stay as they are.
 */
static void exhaustion_leaves_the_neighbour_alone(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_backing(f, f->leaf_nr, 2 * f->unit_nr - 1);
	u64 salt;

	vmt_populate_ok(f, 0, 1, altmap);
	salt = vmt_fill(f, 0, 1);
	if (!altmap)
		f->ram.nr_good_allocs = 0;
	vmt_no_ram_fallback(f, altmap);

	KUNIT_EXPECT_EQ(test, vmt_populate(f, 1, 1, altmap), -ENOMEM);
	vmt_free(f, 1, 1, altmap);

	if (altmap)
		KUNIT_EXPECT_EQ(test, altmap->alloc, f->unit_nr);
	expect_whole_leaves(f, 0, 1);
	vmt_expect_filled(f, 0, 1, salt);
	vmt_expect_unmapped(f, 1, 1);
	vmt_free(f, 0, 1, altmap);
}

/* Test that every struct page has memory of its own. */
static void every_struct_page_is_writable(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_backing(f, f->leaf_nr, 4 * f->unit_nr);

	vmt_populate_ok(f, 0, 4, altmap);
	vmt_expect_usable(f, 0, 4);
	vmt_free(f, 0, 4, altmap);
}

/* Test that the n-th leaf is the n-th block after the reserved pages. */
static void memmap_lands_where_the_accounting_says(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_altmap(f, f->leaf_nr, 4 * f->unit_nr);
	unsigned long addr = vmt_addr(f, 0), pfn = f->dev.pfn + f->leaf_nr;

	vmt_populate_ok(f, 0, 4, altmap);
	for (; addr < vmt_addr(f, 4); addr += f->leaf_size, pfn += f->leaf_nr)
		KUNIT_EXPECT_EQ(test, vmt_leaf(addr).pfn, pfn);
	vmt_expect_altmap(test, altmap, 4 * f->unit_nr, 0);
	vmt_free(f, 0, 4, altmap);
}

/*
 * Test that freeing what was populated, unit by unit or at once, restores all counters,
 * and that the altmap is then as good as new.
 */
static void free_restores_every_counter(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_backing(f, 1, f->leaf_nr + 3 * f->unit_nr);
	int unit;

	for (unit = 0; unit < 3; unit++)
		vmt_populate_ok(f, unit, 1, altmap);
	for (unit = 0; unit < 3; unit++) {
		if (altmap)
			KUNIT_EXPECT_EQ(test, altmap->alloc, (3 - unit) * f->unit_nr);
		vmt_free(f, unit, 1, altmap);
	}
	vmt_expect_altmaps_unused(&f->dev);
	vmt_expect_as_before(f);

	vmt_populate_ok(f, 0, 3, altmap);
	vmt_free(f, 0, 3, altmap);
}

/* Test that freeing removes exactly the entries of the range that is freed. */
static void free_leaves_no_entry_behind(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_backing(f, 0, 3 * f->unit_nr);
	u64 salt;

	vmt_populate_ok(f, 0, 3, altmap);
	salt = vmt_fill(f, 0, 3);
	vmt_free(f, 1, 1, altmap);
	expect_whole_leaves(f, 0, 1);
	vmt_expect_unmapped(f, 1, 1);
	expect_whole_leaves(f, 2, 1);
	vmt_expect_filled(f, 0, 1, salt);
	vmt_expect_filled(f, 2, 1, salt);
	vmt_free(f, 0, 1, altmap);
	vmt_free(f, 2, 1, altmap);
}

/*
 * Test that a range can be populated again, and that writing to it then does not reach
 * the pages that backed it before: neither page tables nor TLB have a stale entry.
 */
static void range_can_be_populated_again(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmem_altmap *first = vmt_backing(f, 0, f->unit_nr);
	struct vmem_altmap *other = vmt_altmap(f, 4 * f->unit_nr, f->unit_nr);
	int round;

	for (round = 0; round < 3; round++) {
		u64 *old, word;

		vmt_populate_ok(f, 0, 1, other);
		vmt_expect_usable(f, 0, 1);
		old = page_address(pfn_to_page(vmt_pfn(vmt_addr(f, 0))));
		word = READ_ONCE(*old);
		vmt_free(f, 0, 1, other);

		vmt_populate_ok(f, 0, 1, first);
		vmt_expect_usable(f, 0, 1);
		expect_whole_leaves(f, 0, 1);
		KUNIT_EXPECT_EQ(test, READ_ONCE(*old), word);
		vmt_free(f, 0, 1, first);
	}
}

/* Test that a block in use is not handed out again after its neighbour was freed. */
static void block_in_use_is_not_handed_out_again(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_backing(f, 0, 3 * f->unit_nr);
	u64 salt;

	vmt_populate_ok(f, 0, 2, altmap);
	salt = vmt_fill(f, 1, 1);
	vmt_free(f, 0, 1, altmap);
	vmt_populate_ok(f, 2, 1, altmap);
	vmt_expect_usable(f, 2, 1);
	vmt_expect_filled(f, 1, 1, salt);
	vmt_free(f, 1, 1, altmap);
	vmt_free(f, 2, 1, altmap);
}

/* Test that neighbours with different owners return to them. The parameter is the first owner. */
static void neighbours_return_to_their_owners(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_altmap(f, 1, f->leaf_nr + f->unit_nr);
	struct vmem_altmap *first = vmt_has_altmap(test) ? altmap : NULL;
	struct vmem_altmap *second = vmt_has_altmap(test) ? NULL : altmap;

	vmt_populate_ok(f, 0, 1, first);
	vmt_populate_ok(f, 1, 1, second);
	expect_whole_leaves(f, 0, 2);
	vmt_expect_usable(f, 0, 2);
	vmt_free(f, 0, 1, first);
	KUNIT_EXPECT_EQ(test, altmap->alloc, first ? 0 : f->unit_nr);
	vmt_free(f, 1, 1, second);
}

/* Test that each unit returns to its owner when a range of two owners is freed at once. */
static void range_of_two_owners_is_freed_in_one_go(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_altmap(f, 0, 2 * f->unit_nr);
	unsigned int unit;

	for (unit = 0; unit < 4; unit++)
		vmt_populate_ok(f, unit, 1, unit % 2 ? altmap : NULL);
	KUNIT_EXPECT_EQ(test, altmap->alloc, 2 * f->unit_nr);
	KUNIT_EXPECT_EQ(test, vmt_ram_memmap(f), 2 * f->unit_nr);
	vmt_free(f, 0, 4, altmap);
}

static void populate_and_free(struct kunit *test, void *altmap)
{
	struct vmt *f = test->priv;

	vmt_populate_ok(f, 0, 1, altmap);
	vmt_free(f, 0, 1, altmap);
	vmt_expect_as_before(f);
}

/* Test that cycles of populating and freeing leak nothing. */
static void repeated_cycles_leak_nothing(struct kunit *test)
{
	struct vmt *f = test->priv;

	vmt_expect_balanced(test, populate_and_free,
			    vmt_backing(f, 1, f->leaf_nr + f->unit_nr));
}

static struct kunit_case vmemmap_altmap_cases[] = {
	KUNIT_CASE_PARAM(huge_block_is_mapped_as_a_leaf, vmt_backings),
	KUNIT_CASE_PARAM(ram_is_used_only_without_an_altmap, vmt_backings),
	KUNIT_CASE_PARAM(skipped_pages_are_counted, vmt_backings),
	KUNIT_CASE_PARAM(reserved_and_data_pages_stay_untouched, vmt_backings),
	KUNIT_CASE_PARAM(exact_fit_is_enough, vmt_backings),
	KUNIT_CASE_PARAM(one_page_short_is_enomem, vmt_backings),
	KUNIT_CASE_PARAM(exhaustion_leaves_the_neighbour_alone, vmt_backings),
	KUNIT_CASE_PARAM(every_struct_page_is_writable, vmt_backings),
	KUNIT_CASE(memmap_lands_where_the_accounting_says),
	KUNIT_CASE_PARAM(free_restores_every_counter, vmt_backings),
	KUNIT_CASE_PARAM(free_leaves_no_entry_behind, vmt_backings),
	KUNIT_CASE_PARAM(range_can_be_populated_again, vmt_backings),
	KUNIT_CASE_PARAM(block_in_use_is_not_handed_out_again, vmt_backings),
	KUNIT_CASE_PARAM(neighbours_return_to_their_owners, vmt_backings),
	KUNIT_CASE(range_of_two_owners_is_freed_in_one_go),
	KUNIT_CASE_PARAM(repeated_cycles_leak_nothing, vmt_backings),
	{}
};

static struct kunit_suite vmemmap_altmap_suite = {
	.name = "vmemmap_altmap",
	.suite_init = vmt_suite_init,
	.init = vmt_init,
	.exit = vmt_exit,
	.test_cases = vmemmap_altmap_cases,
};

kunit_test_suite(vmemmap_altmap_suite);

MODULE_DESCRIPTION("KUnit tests for populating and freeing the vmemmap");
MODULE_LICENSE("GPL");
