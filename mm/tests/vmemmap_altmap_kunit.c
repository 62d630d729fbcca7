// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for populating and freeing the vmemmap, with and without a
 * struct vmem_altmap, on real page tables.
 *
 * The contract:
 *
 *  - With an altmap, the memmap lies in the altmap's window and takes no System
 *    RAM but for page tables. Without one, it lies in System RAM.
 *  - Pages the driver reserved, data pages, and all other memory of the device
 *    are never touched.
 *  - An altmap that has exactly the pages is enough. One page less is -ENOMEM,
 *    and System RAM does not step in. On powerpc it does, so there the cases also
 *    let System RAM run out; see vmem_altmap_powerpc_kunit.c for the other half.
 *    After a failure, the caller frees the range.
 *  - What was populated is memory of its own: every struct page can be written
 *    and is found where the page tables and the accounting say.
 *  - After vmemmap_free() every page is back with its owner, every counter is
 *    what it was, no entry is left, and the same range can be populated again.
 *
 * Every case that has "backing" for a parameter runs with an altmap and, as its
 * twin, without one. What is being described are sections that do not exist, and
 * the device is RAM of the test: see include/kunit/vmemmap_altmap.h.
 *
 *  - Where base pages can be mapped, which is everywhere but with the hash MMU of
 *    powerpc and on s390, alignment does not matter: n pages of memmap are populated
 *    exactly if the altmap has n pages free. At most one whole leaf is mapped by
 *    base pages for that.
 *
 * After each case the fixture expects that alloc and align of all altmaps are zero,
 * and that all pages of the device are where they were.
 *
 * Not covered here: how sections and devices are added. For the allocator alone, see
 * vmem_altmap_kunit.c, and for what only one architecture does, the suites there.
 */
#include <kunit/test.h>
#include <kunit/vmemmap_altmap.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/prandom.h>
#include <linux/uaccess.h>

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

/* The first pfn of the leaf that the memmap of @unit starts with. */
static unsigned long leaf_pfn(const struct vmemmap_altmap_fixture *f, unsigned int unit)
{
	return vmemmap_altmap_leaf(vmemmap_altmap_addr(f, unit)).pfn;
}

/* Expects @nr_units from @unit to be mapped by whole leaves. */
static void expect_whole_leaves(struct kunit *test, unsigned int unit,
				unsigned int nr_units)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	unsigned long addr = vmemmap_altmap_addr(f, unit);
	unsigned long end = vmemmap_altmap_addr(f, unit + nr_units);

	for (; addr < end; addr += f->leaf_size) {
		struct vmemmap_altmap_leaf leaf = vmemmap_altmap_leaf(addr);

		KUNIT_ASSERT_EQ_MSG(test, leaf.size, f->leaf_size, "at %#lx", addr);
		KUNIT_EXPECT_EQ(test, leaf.pfn % f->leaf_nr, 0);
	}
}

/* Page tables that were made in this case, and that are tracked as System RAM. */
static long ram_tables(struct kunit *test, const struct vmemmap_altmap_counters *now)
{
	struct vmemmap_altmap_fixture *f = test->priv;

	return f->ram_tables ? now->tables - f->before.tables : 0;
}

/* From here on the altmap is all there is, where System RAM would step in for it. */
static void altmap_is_all_there_is(struct kunit *test, const struct vmem_altmap *altmap)
{
	struct vmemmap_altmap_fixture *f = test->priv;

	if (altmap && f->ram_fallback)
		f->nr_good_allocs = 0;
}

/*
 * Expects System RAM to have paid for the page tables, and for @nr_memmap pages
 * of memmap, and for nothing else.
 */
static void expect_ram_used(struct kunit *test, long nr_memmap)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmemmap_altmap_counters now;
	long tables;

	vmemmap_altmap_count(f, &now);
	tables = ram_tables(test, &now);
	KUNIT_EXPECT_EQ_MSG(test, now.ram - f->before.ram, tables + nr_memmap,
			    "%ld page tables, %ld memmap pages", tables, nr_memmap);
}

/* Test that a huge block is taken from its owner and mapped as one leaf. */
static void huge_block_is_mapped_as_a_leaf(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_backing(f, f->leaf_nr, 2 * f->unit_nr);

	vmemmap_altmap_populate_ok(f, 0, 1, altmap);
	expect_whole_leaves(test, 0, 1);
	if (altmap) {
		KUNIT_EXPECT_EQ(test, leaf_pfn(f, 0), f->dev_pfn + f->leaf_nr);
		KUNIT_EXPECT_EQ(test, altmap->alloc, f->unit_nr);
		KUNIT_EXPECT_EQ(test, altmap->align, 0);
	}
	vmemmap_altmap_expect_usable(f, 0, 1);
	vmemmap_altmap_expect_unmapped(f, 1, f->nr_units - 1);
	vmemmap_altmap_free(f, 0, 1, altmap);
}

/* Test that the memmap costs System RAM exactly where there is no altmap. */
static void ram_is_used_only_without_an_altmap(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_backing(f, 0, 2 * f->unit_nr);

	expect_ram_used(test, 0);
	vmemmap_altmap_populate_ok(f, 0, 1, altmap);
	expect_ram_used(test, altmap ? 0 : f->unit_nr);
	vmemmap_altmap_populate_ok(f, 1, 1, altmap);
	expect_ram_used(test, altmap ? 0 : 2 * f->unit_nr);
	vmemmap_altmap_free(f, 1, 1, altmap);
	vmemmap_altmap_free(f, 0, 1, altmap);
}

/*
 * Test that the pages skipped so that a block is aligned are counted, and that
 * the block starts right behind them.
 */
static void skipped_pages_are_counted(struct kunit *test)
{
	static const unsigned long reserves[] = { 1, 2, 7 };
	struct vmemmap_altmap_fixture *f = test->priv;
	int i;

	for (i = 0; i < ARRAY_SIZE(reserves); i++) {
		unsigned long reserve = reserves[i];
		/* Leaves of a single page are aligned wherever they are. */
		unsigned long first = f->leaf_nr > 1 ? f->leaf_nr : reserve;
		struct vmem_altmap *altmap =
			vmemmap_altmap_backing(f, reserve, f->leaf_nr + f->unit_nr);

		KUNIT_ASSERT_GE(test, first, reserve);

		vmemmap_altmap_populate_ok(f, 0, 1, altmap);
		expect_whole_leaves(test, 0, 1);
		if (altmap) {
			KUNIT_EXPECT_EQ(test, leaf_pfn(f, 0), f->dev_pfn + first);
			KUNIT_EXPECT_EQ(test, altmap->alloc, f->unit_nr);
			KUNIT_EXPECT_EQ(test, altmap->align, first - reserve);
		}
		vmemmap_altmap_expect_usable(f, 0, 1);
		vmemmap_altmap_expect_device_intact(f);
		vmemmap_altmap_free(f, 0, 1, altmap);
	}
}

/*
 * Test that neither the driver's pages, nor a data page, nor, without an altmap,
 * any page of the device is written to when the whole memmap is.
 */
static void reserved_and_data_pages_stay_untouched(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_backing(f, 3, f->leaf_nr + 2 * f->unit_nr);

	vmemmap_altmap_populate_ok(f, 0, 2, altmap);
	vmemmap_altmap_expect_usable(f, 0, 2);
	vmemmap_altmap_expect_device_intact(f);
	vmemmap_altmap_free(f, 0, 2, altmap);
	vmemmap_altmap_expect_device_intact(f);
}

/* How many blocks does the memmap of @nr_units take, page tables included? */
static unsigned int ram_blocks_needed(struct kunit *test, unsigned int nr_units)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmemmap_altmap_counters now;

	vmemmap_altmap_populate_ok(f, 0, nr_units, NULL);
	vmemmap_altmap_count(f, &now);
	vmemmap_altmap_free(f, 0, nr_units, NULL);
	return nr_units * f->unit_size / f->leaf_size + ram_tables(test, &now);
}

/*
 * Test that backing of exactly the size of two units' memmap is enough for both.
 * Without an altmap, that is as many blocks of System RAM as there are leaves,
 * and page tables.
 */
static void exact_fit_is_enough(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_backing(f, f->leaf_nr, 2 * f->unit_nr);

	if (!altmap)
		f->nr_good_allocs = ram_blocks_needed(test, 2);
	vmemmap_altmap_populate_ok(f, 0, 2, altmap);
	expect_whole_leaves(test, 0, 2);
	if (altmap) {
		KUNIT_EXPECT_EQ(test, altmap->alloc, altmap->free);
		altmap_is_all_there_is(test, altmap);
		KUNIT_EXPECT_EQ(test, vmemmap_altmap_populate(f, 2, 1, altmap), -ENOMEM);
		vmemmap_altmap_free(f, 2, 1, altmap);
	}
	vmemmap_altmap_free(f, 0, 2, altmap);
}

/*
 * Test that with one page less than the memmap needs there is none: -ENOMEM, and
 * once the caller has cleaned up, altmap and system are what they were. Without
 * an altmap, System RAM lacks the last block.
 */
static void one_page_short_is_enomem(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_backing(f, f->leaf_nr, f->unit_nr - 1);

	if (!altmap)
		f->nr_good_allocs = ram_blocks_needed(test, 1) - 1;
	altmap_is_all_there_is(test, altmap);
	KUNIT_EXPECT_EQ(test, vmemmap_altmap_populate(f, 0, 1, altmap), -ENOMEM);
	vmemmap_altmap_free(f, 0, 1, altmap);
	if (altmap) {
		KUNIT_EXPECT_EQ(test, altmap->alloc, 0);
		KUNIT_EXPECT_EQ(test, altmap->align, 0);
	}
	vmemmap_altmap_expect_device_intact(f);
	vmemmap_altmap_expect_as_before(f);
}

/*
 * Test that a unit that does not fit any more leaves those alone that did: their
 * mappings, their contents, and their share of the altmap.
 */
static void exhaustion_leaves_the_neighbour_alone(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_backing(f, f->leaf_nr, 2 * f->unit_nr - 1);
	u64 salt;

	vmemmap_altmap_populate_ok(f, 0, 1, altmap);
	salt = vmemmap_altmap_fill(f, 0, 1);
	if (!altmap)
		f->nr_good_allocs = 0;
	altmap_is_all_there_is(test, altmap);

	KUNIT_EXPECT_EQ(test, vmemmap_altmap_populate(f, 1, 1, altmap), -ENOMEM);
	vmemmap_altmap_free(f, 1, 1, altmap);

	if (altmap)
		KUNIT_EXPECT_EQ(test, altmap->alloc, f->unit_nr);
	expect_whole_leaves(test, 0, 1);
	vmemmap_altmap_expect_filled(f, 0, 1, salt);
	vmemmap_altmap_expect_unmapped(f, 1, 1);
	vmemmap_altmap_free(f, 0, 1, altmap);
	vmemmap_altmap_expect_device_intact(f);
}

/* Test that every struct page is memory of its own, whichever backs it. */
static void every_struct_page_is_writable(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_backing(f, f->leaf_nr, 4 * f->unit_nr);

	vmemmap_altmap_populate_ok(f, 0, 4, altmap);
	vmemmap_altmap_expect_usable(f, 0, 4);
	vmemmap_altmap_free(f, 0, 4, altmap);
}

/*
 * Test that the memmap fills the altmap from its first usable page on: the n-th
 * leaf is the n-th block behind the reserve.
 */
static void memmap_lands_where_the_accounting_says(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_new(f, f->leaf_nr, 4 * f->unit_nr);
	unsigned long n, nr_leaves = 4 * f->unit_size / f->leaf_size;

	vmemmap_altmap_populate_ok(f, 0, 4, altmap);
	for (n = 0; n < nr_leaves; n++) {
		unsigned long addr = vmemmap_altmap_addr(f, 0) + n * f->leaf_size;

		KUNIT_EXPECT_EQ(test, vmemmap_altmap_leaf(addr).pfn,
				f->dev_pfn + (n + 1) * f->leaf_nr);
	}
	KUNIT_EXPECT_EQ(test, altmap->alloc, nr_leaves * f->leaf_nr);
	vmemmap_altmap_free(f, 0, 4, altmap);
}

/*
 * Test that populating and freeing leaves all counters as they were, and the
 * altmap as good as new, unit by unit and in one go.
 */
static void free_restores_every_counter(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_backing(f, 1, f->leaf_nr + 3 * f->unit_nr);
	int unit;

	for (unit = 0; unit < 3; unit++)
		vmemmap_altmap_populate_ok(f, unit, 1, altmap);
	if (altmap)
		KUNIT_EXPECT_EQ(test, altmap->alloc, 3 * f->unit_nr);
	for (unit = 0; unit < 3; unit++) {
		vmemmap_altmap_free(f, unit, 1, altmap);
		if (altmap)
			KUNIT_EXPECT_EQ(test, altmap->alloc, (2 - unit) * f->unit_nr);
	}
	if (altmap)
		KUNIT_EXPECT_EQ(test, altmap->align, 0);
	vmemmap_altmap_expect_as_before(f);

	vmemmap_altmap_populate_ok(f, 0, 3, altmap);
	vmemmap_altmap_free(f, 0, 3, altmap);
	if (altmap) {
		KUNIT_EXPECT_EQ(test, altmap->alloc, 0);
		KUNIT_EXPECT_EQ(test, altmap->align, 0);
	}
	vmemmap_altmap_expect_as_before(f);
}

/* Test that freeing removes exactly the entries of the range that is freed. */
static void free_leaves_no_entry_behind(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_backing(f, 0, 3 * f->unit_nr);
	u64 salt;
	int unit;

	for (unit = 0; unit < 3; unit++)
		vmemmap_altmap_populate_ok(f, unit, 1, altmap);
	salt = vmemmap_altmap_fill(f, 0, 3);
	vmemmap_altmap_free(f, 1, 1, altmap);
	expect_whole_leaves(test, 0, 1);
	vmemmap_altmap_expect_unmapped(f, 1, 1);
	expect_whole_leaves(test, 2, 1);
	vmemmap_altmap_expect_filled(f, 0, 1, salt);
	vmemmap_altmap_expect_filled(f, 2, 1, salt);
	vmemmap_altmap_free(f, 0, 1, altmap);
	vmemmap_altmap_free(f, 2, 1, altmap);
	vmemmap_altmap_expect_unmapped(f, 0, 3);
}

/*
 * Test that a range can be populated again, from either backing, and that what
 * is written then does not reach the pages of the altmap that backed it before: no
 * stale entry is left in page tables or TLB.
 */
static void range_can_be_populated_again(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *first = vmemmap_altmap_backing(f, 0, f->unit_nr);
	struct vmem_altmap *other = vmemmap_altmap_new(f, 4 * f->unit_nr, f->unit_nr);
	int round;

	for (round = 0; round < 3; round++) {
		u64 *old, word;

		vmemmap_altmap_populate_ok(f, 0, 1, other);
		vmemmap_altmap_expect_usable(f, 0, 1);
		old = page_address(pfn_to_page(leaf_pfn(f, 0)));
		word = READ_ONCE(*old);
		vmemmap_altmap_free(f, 0, 1, other);

		vmemmap_altmap_populate_ok(f, 0, 1, first);
		vmemmap_altmap_expect_usable(f, 0, 1);
		expect_whole_leaves(test, 0, 1);
		KUNIT_EXPECT_EQ(test, READ_ONCE(*old), word);
		vmemmap_altmap_free(f, 0, 1, first);
	}
}

/* Test that a page in use is not handed out again when a neighbour goes first. */
static void block_in_use_is_not_handed_out_again(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_backing(f, 0, 3 * f->unit_nr);
	u64 salt;

	vmemmap_altmap_populate_ok(f, 0, 1, altmap);
	vmemmap_altmap_populate_ok(f, 1, 1, altmap);
	salt = vmemmap_altmap_fill(f, 1, 1);
	vmemmap_altmap_free(f, 0, 1, altmap);
	vmemmap_altmap_populate_ok(f, 2, 1, altmap);
	vmemmap_altmap_expect_usable(f, 2, 1);
	vmemmap_altmap_expect_filled(f, 1, 1, salt);
	vmemmap_altmap_free(f, 1, 1, altmap);
	vmemmap_altmap_free(f, 2, 1, altmap);
}

/* Test that neighbours with different owners go back to their own. */
static void neighbours_return_to_their_owners(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_new(f, 1, f->leaf_nr + f->unit_nr);
	bool first = vmemmap_altmap_has_altmap(test);
	struct vmem_altmap *owner[] = { first ? altmap : NULL, first ? NULL : altmap };
	int unit;

	for (unit = 0; unit < 2; unit++)
		vmemmap_altmap_populate_ok(f, unit, 1, owner[unit]);
	for (unit = 0; unit < 2; unit++)
		expect_whole_leaves(test, unit, 1);
	vmemmap_altmap_expect_usable(f, 0, 2);
	for (unit = 0; unit < 2; unit++)
		vmemmap_altmap_free(f, unit, 1, owner[unit]);
	KUNIT_EXPECT_EQ(test, altmap->alloc, 0);
	vmemmap_altmap_expect_device_intact(f);
}

static void needs_base_pages(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;

	if (!f->base_pages || f->leaf_nr == 1)
		kunit_skip(test, "needs base pages that step in for huge pages of an altmap");
}

/* How many whole leaves of @nr_units from unit 0 on are mapped by base pages? */
static unsigned int leaves_of_base_pages(struct kunit *test, unsigned int nr_units)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	unsigned long addr = vmemmap_altmap_addr(f, 0);
	unsigned long end = vmemmap_altmap_addr(f, nr_units);
	unsigned int nr = 0;

	for (; addr < end; addr += f->leaf_size)
		nr += vmemmap_altmap_leaf(addr).size == PAGE_SIZE;
	return nr;
}

/*
 * Test that an altmap with exactly the pages that the memmap takes is enough
 * wherever its window begins: gap and tail serve base pages, and System RAM only
 * page tables.
 */
static void any_alignment_is_enough(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	const unsigned long nr = f->nr_units * f->unit_nr;
	unsigned long reserve;

	needs_base_pages(test);
	for (reserve = 0; reserve < f->leaf_nr; reserve++) {
		struct vmem_altmap *altmap = vmemmap_altmap_new(f, reserve, nr);

		KUNIT_ASSERT_EQ_MSG(test, vmemmap_altmap_populate(f, 0, f->nr_units, altmap), 0,
				    "reserve %lu", reserve);
		expect_ram_used(test, 0);
		KUNIT_EXPECT_EQ(test, altmap->alloc, nr);
		KUNIT_EXPECT_EQ(test, leaves_of_base_pages(test, f->nr_units), !!reserve);
		if (reserve % 5 == 1)
			vmemmap_altmap_expect_usable(f, 0, f->nr_units);
		vmemmap_altmap_free(f, 0, f->nr_units, altmap);
		KUNIT_ASSERT_EQ(test, altmap->alloc, 0);
	}
	vmemmap_altmap_expect_as_before(f);
}

/*
 * Test that wherever the window begins, with a page less the last unit is refused, and
 * that after the caller's clean-up the other units and the counters are unchanged.
 */
static void any_alignment_with_a_page_less_is_cleaned_up(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	const unsigned int last = f->nr_units - 1;
	const unsigned long nr = f->nr_units * f->unit_nr;
	struct vmemmap_altmap_counters before;
	unsigned long reserve;

	needs_base_pages(test);
	if (f->ram_fallback)
		kunit_skip(test, "needs an architecture without fallback to System RAM");
	for (reserve = 0; reserve < f->leaf_nr; reserve++) {
		struct vmem_altmap *altmap = vmemmap_altmap_new(f, reserve, nr - 1);

		vmemmap_altmap_populate_ok(f, 0, last, altmap);
		vmemmap_altmap_count(f, &before);

		KUNIT_EXPECT_EQ(test, vmemmap_altmap_populate(f, last, 1, altmap), -ENOMEM);
		vmemmap_altmap_free(f, last, 1, altmap);
		KUNIT_EXPECT_EQ(test, altmap->alloc, last * f->unit_nr);
		vmemmap_altmap_expect_same(f, &before);

		vmemmap_altmap_free(f, 0, last, altmap);
		KUNIT_ASSERT_EQ_MSG(test, altmap->alloc, 0, "reserve %lu", reserve);
	}
	vmemmap_altmap_expect_as_before(f);
}

#define SEED		0x6d656d6d61700001ULL
#define NR_LAYOUTS	300
#define NR_PARTS	8

/*
 * Test that with random windows, and random parts of the hole one after the other,
 * a part is populated exactly if the altmap has as many pages free, and that all
 * return.
 */
static void pages_that_are_free_are_enough(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	const unsigned long hole = vmemmap_altmap_addr(f, 0);
	const unsigned long nr_hole = f->hole_size / PAGE_SIZE;
	unsigned int layout, served = 0, refused = 0;
	struct rnd_state rnd;

	needs_base_pages(test);
	prandom_seed_state(&rnd, SEED);
	kunit_info(test, "seed %#llx, %d layouts\n", SEED, NR_LAYOUTS);
	for (layout = 0; layout < NR_LAYOUTS; layout++) {
		unsigned long reserve = prandom_u32_state(&rnd) % (2 * f->leaf_nr);
		unsigned long free = prandom_u32_state(&rnd) % (6 * f->leaf_nr);
		struct vmem_altmap *altmap = vmemmap_altmap_new(f, reserve, free);
		struct { unsigned long start, end; } part[NR_PARTS];
		unsigned long page = 0, in_use = 0;
		int i, nr = 0;

		/* Page tables of radix come by another way. */
		altmap_is_all_there_is(test, altmap);
		for (i = 0; i < NR_PARTS && page < nr_hole; i++) {
			unsigned long size = 1 + prandom_u32_state(&rnd) % (2 * f->leaf_nr);
			int err;

			if (prandom_u32_state(&rnd) % 2)
				page = min(ALIGN(page, f->leaf_nr), nr_hole);
			/* radix maps a huge page also for its first part. */
			if (f->ram_fallback && IS_ALIGNED(page, f->leaf_nr))
				size = ALIGN(size, f->leaf_nr);
			/* Not all architectures take more than a section in one go. */
			size = min3(size, nr_hole - page, f->unit_nr - page % f->unit_nr);
			if (!size)
				break;
			part[nr].start = hole + page * PAGE_SIZE;
			part[nr].end = part[nr].start + size * PAGE_SIZE;
			page += size;

			err = vmemmap_altmap_populate_range(f, part[nr].start, part[nr].end,
							    altmap);
			KUNIT_ASSERT_EQ_MSG(test, err, in_use + size <= free ? 0 : -ENOMEM,
					    "reserve %lu, free %lu, in use %lu, part %#lx of %lu pages",
					    reserve, free, in_use, part[nr].start - hole, size);
			if (err) {
				refused++;
				vmemmap_altmap_free_range(f, part[nr].start, part[nr].end, altmap);
				KUNIT_ASSERT_EQ(test, altmap->alloc, in_use);
				/* Pages that were freed are only available again later. */
				break;
			}
			served++;
			in_use += size;
			nr++;
			KUNIT_ASSERT_EQ(test, altmap->alloc, in_use);
		}
		expect_ram_used(test, 0);
		while (nr) {
			i = prandom_u32_state(&rnd) % nr--;
			vmemmap_altmap_free_range(f, part[i].start, part[i].end, altmap);
			part[i] = part[nr];
		}
		KUNIT_ASSERT_EQ(test, altmap->alloc, 0);
		vmemmap_altmap_expect_as_before(f);
	}
	KUNIT_EXPECT_GT(test, served, 3 * NR_LAYOUTS / 2);
	KUNIT_EXPECT_GT(test, refused, NR_LAYOUTS / 3);
}

/*
 * Test that when a range is freed in one go that belongs to an altmap and to System
 * RAM in turns, each unit returns to where it came from.
 */
static void range_of_two_owners_is_freed_in_one_go(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_new(f, 0, 2 * f->unit_nr);
	unsigned int unit;

	for (unit = 0; unit < 4; unit++)
		vmemmap_altmap_populate_ok(f, unit, 1, unit % 2 ? altmap : NULL);
	KUNIT_EXPECT_EQ(test, altmap->alloc, 2 * f->unit_nr);
	expect_ram_used(test, 2 * f->unit_nr);
	vmemmap_altmap_free(f, 0, 4, altmap);
	KUNIT_EXPECT_EQ(test, altmap->alloc, 0);
	vmemmap_altmap_expect_as_before(f);
	vmemmap_altmap_expect_device_intact(f);
}

#define CYCLES	200
#define ROUNDS	5

/*
 * Expects cycles of populating and freeing to leave the system's own counters
 * alone. Others change them, too, but not in every round by one for each cycle.
 */
static void expect_cycles_to_leak_nothing(struct kunit *test, struct vmem_altmap *altmap)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmemmap_altmap_counters before, now;
	int round, cycle;

	for (round = 0; round < ROUNDS; round++) {
		vmemmap_altmap_count(f, &before);
		for (cycle = 0; cycle < CYCLES; cycle++) {
			vmemmap_altmap_populate_ok(f, 0, 1, altmap);
			vmemmap_altmap_free(f, 0, 1, altmap);
		}
		vmemmap_altmap_count(f, &now);
		if (abs(now.free_pages - before.free_pages) < CYCLES / 2 &&
		    abs(now.nr_pagetable - before.nr_pagetable) < CYCLES / 2)
			return;
	}
	KUNIT_FAIL(test, "free pages %ld -> %ld, page tables %ld -> %ld in %d cycles",
		   before.free_pages, now.free_pages,
		   before.nr_pagetable, now.nr_pagetable, CYCLES);
}

/* Test that cycles of populating and freeing leak nothing. */
static void repeated_cycles_leak_nothing(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;

	expect_cycles_to_leak_nothing(test, vmemmap_altmap_backing(f, 1, f->leaf_nr + f->unit_nr));
}

/*
 * Test that cycles leak nothing either where base pages step in for huge pages, and
 * page tables come and go with them.
 */
static void repeated_cycles_of_base_pages_leak_nothing(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap;

	needs_base_pages(test);
	f->fail_huge = true;
	/* Enough, but the first leaf cannot be aligned in it. */
	altmap = vmemmap_altmap_backing(f, 1, f->unit_nr);
	vmemmap_altmap_populate_ok(f, 0, 1, altmap);
	KUNIT_EXPECT_GT(test, leaves_of_base_pages(test, 1), 0);
	vmemmap_altmap_free(f, 0, 1, altmap);
	expect_cycles_to_leak_nothing(test, altmap);
}

static int add_part(unsigned long pfn, unsigned long nr, struct vmem_altmap *altmap)
{
	int err;

	mem_hotplug_begin();
	err = sparse_add_section(first_memory_node, pfn, nr, altmap, NULL);
	mem_hotplug_done();
	return err;
}

static void remove_part(unsigned long pfn, unsigned long nr, struct vmem_altmap *altmap)
{
	mem_hotplug_begin();
	sparse_remove_section(pfn, nr, altmap, NULL);
	mem_hotplug_done();
}

/*
 * Test that a section counts as memmap while it is there, whichever backs it,
 * and that removing it restores all counters.
 */
static void section_is_counted_as_memmap(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_backing(f, f->leaf_nr, f->unit_nr);
	long nr = DIV_ROUND_UP(PAGES_PER_SECTION * sizeof(struct page), PAGE_SIZE);
	struct vmemmap_altmap_counters now;

	KUNIT_ASSERT_EQ(test, add_part(f->hole_pfn, PAGES_PER_SECTION, altmap), 0);
	vmemmap_altmap_count(f, &now);
	KUNIT_EXPECT_EQ(test, now.nr_memmap - f->before.nr_memmap, nr);
	KUNIT_EXPECT_TRUE(test, pfn_valid(f->hole_pfn));
	KUNIT_EXPECT_TRUE(test, present_section_nr(pfn_to_section_nr(f->hole_pfn)));
	remove_part(f->hole_pfn, PAGES_PER_SECTION, altmap);
	KUNIT_EXPECT_FALSE(test, pfn_valid(f->hole_pfn));
	KUNIT_EXPECT_FALSE(test, present_section_nr(pfn_to_section_nr(f->hole_pfn)));
	if (altmap)
		KUNIT_EXPECT_EQ(test, altmap->alloc, 0);
	vmemmap_altmap_expect_as_before(f);
}

/* Writes the struct pages from @pfn on, and returns how many are not mapped. */
static unsigned long write_struct_pages(unsigned long pfn, unsigned long nr)
{
	unsigned long i, unmapped = 0;

	for (i = pfn; i < pfn + nr; i++) {
		if (vmemmap_altmap_leaf((unsigned long)pfn_to_page(i)).size)
			WRITE_ONCE(*(u64 *)pfn_to_page(i), ~(u64)i);
		else
			unmapped++;
	}
	return unmapped;
}

/* How many struct pages from @pfn on do not hold what was written, or cannot be read? */
static unsigned long wrong_struct_pages(unsigned long pfn, unsigned long nr)
{
	unsigned long i, wrong = 0;
	u64 word;

	for (i = pfn; i < pfn + nr; i++)
		if (copy_from_kernel_nofault(&word, pfn_to_page(i), sizeof(word)) ||
		    word != ~(u64)i)
			wrong++;
	return wrong;
}

/* How many struct pages from @pfn on are in pages that @altmap hands out? */
static unsigned long struct_pages_in(const struct vmem_altmap *altmap, unsigned long pfn,
				     unsigned long nr)
{
	unsigned long i, found = 0;

	for (i = pfn; i < pfn + nr; i++) {
		unsigned long addr = (unsigned long)pfn_to_page(i);
		struct vmemmap_altmap_leaf leaf = vmemmap_altmap_leaf(addr);
		unsigned long page = leaf.pfn + ((addr & (leaf.size - 1)) >> PAGE_SHIFT);

		found += leaf.size && page >= altmap->base_pfn + altmap->reserve &&
			 page < altmap->base_pfn + altmap->reserve + altmap->free;
	}
	return found;
}

static const struct sub_sections {
	const char *name;
	unsigned int nr_altmaps;
	bool second_goes_first;
} sub_sections[] = {
	{ "two_altmaps_first_goes_first", 2, false },
	{ "two_altmaps_second_goes_first", 2, true },
	{ "altmap_and_ram_first_goes_first", 1, false },
	{ "altmap_and_ram_second_goes_first", 1, true },
	{ "ram_first_goes_first", 0, false },
	{ "ram_second_goes_first", 0, true },
};

KUNIT_ARRAY_PARAM_DESC(sub_sections, sub_sections, name);

/*
 * Test that of two sub-sections of a section, each can be removed without changing the
 * struct pages of the other, and that its altmap is unused then. So they must not share
 * a page of memmap, unless it is one of System RAM.
 */
static void removed_sub_section_keeps_the_neighbours_memmap(struct kunit *test)
{
	const struct sub_sections *s = test->param_value;
	struct vmemmap_altmap_fixture *f = test->priv;
	const unsigned long nr = PAGES_PER_SUBSECTION;
	const unsigned long pfn[] = { f->hole_pfn, f->hole_pfn + nr };
	struct vmem_altmap *altmap[2] = {};
	int k, round;

	for (k = 0; k < 2; k++) {
		if (k < s->nr_altmaps)
			altmap[k] = vmemmap_altmap_new_range(f, f->dev_pfn + k * f->unit_nr,
							     pfn[k] + nr - 1, 0, f->unit_nr);
		KUNIT_ASSERT_EQ(test, add_part(pfn[k], nr, altmap[k]), 0);
		KUNIT_EXPECT_EQ_MSG(test, write_struct_pages(pfn[k], nr), 0,
				    "struct pages of sub-section %d are not mapped", k);
	}
	for (k = 0; k < s->nr_altmaps; k++)
		KUNIT_EXPECT_EQ(test, struct_pages_in(altmap[k], pfn[!k], nr), 0);

	for (round = 0; round < 2; round++) {
		k = round ^ s->second_goes_first;
		KUNIT_EXPECT_EQ_MSG(test, wrong_struct_pages(pfn[k], nr), 0,
				    "struct pages of sub-section %d changed", k);
		remove_part(pfn[k], nr, altmap[k]);
		if (altmap[k])
			KUNIT_EXPECT_EQ(test, altmap[k]->alloc, 0);
	}
	vmemmap_altmap_expect_as_before(f);
}

/*
 * Test that all of the memmap is there if it begins and ends within a page, as it
 * does with pages so large that sub-sections share them.
 */
static void memmap_that_begins_within_a_page_is_complete(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	const unsigned long sub_section = PAGES_PER_SUBSECTION * sizeof(struct page);
	const unsigned long nr_sub = min(DIV_ROUND_UP(PAGE_SIZE, sub_section),
					 SUBSECTIONS_PER_SECTION - 1);
	const unsigned long pfn = f->hole_pfn + PAGES_PER_SUBSECTION;
	const unsigned long nr = nr_sub * PAGES_PER_SUBSECTION;
	struct vmem_altmap *altmap = NULL;

	if (vmemmap_altmap_has_altmap(test))
		altmap = vmemmap_altmap_new_range(f, f->dev_pfn, pfn + nr - 1, 0, f->unit_nr);
	KUNIT_ASSERT_EQ(test, add_part(pfn, nr, altmap), 0);
	KUNIT_EXPECT_EQ_MSG(test, write_struct_pages(pfn, nr), 0, "struct pages are not mapped");
	KUNIT_EXPECT_EQ_MSG(test, wrong_struct_pages(pfn, nr), 0, "struct pages are lost");
	remove_part(pfn, nr, altmap);
	if (altmap)
		KUNIT_EXPECT_EQ(test, altmap->alloc, 0);
	vmemmap_altmap_expect_as_before(f);
}

/*
 * Test that no base page of an altmap describes other memory: of the memmap of a
 * sub-section the altmap holds what fills whole pages, and System RAM the rest.
 */
static void altmap_describes_only_its_own_range(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	const unsigned long nr = PAGES_PER_SUBSECTION;
	const bool shared = !IS_ALIGNED(nr * sizeof(struct page), PAGE_SIZE);
	int k;

	if (!f->base_pages)
		kunit_skip(test, "needs base pages");
	/* As both ends of the range matter, it is where it is described: look, don't touch. */
	f->dev_pfn = f->hole_pfn;
	for (k = 0; k < 2; k++) {
		unsigned long pfn = f->hole_pfn + k * nr;
		unsigned long start = ALIGN_DOWN((unsigned long)pfn_to_page(pfn), PAGE_SIZE);
		unsigned long end = ALIGN((unsigned long)pfn_to_page(pfn + nr), PAGE_SIZE);
		struct vmem_altmap *altmap =
			vmemmap_altmap_new_range(f, pfn, pfn + nr - 1, 0, min(nr, f->unit_nr));

		KUNIT_ASSERT_EQ(test, vmemmap_altmap_populate_range(f, start, end, altmap), 0);
		KUNIT_EXPECT_EQ(test, struct_pages_in(altmap, pfn, nr), shared ? 0 : nr);
		KUNIT_EXPECT_EQ(test, altmap->alloc, shared ? 0 : (end - start) / PAGE_SIZE);
		expect_ram_used(test, shared ? (end - start) / PAGE_SIZE : 0);
		vmemmap_altmap_free_range(f, start, end, altmap);
		KUNIT_EXPECT_EQ(test, altmap->alloc, 0);
	}
	vmemmap_altmap_expect_as_before(f);
}

static struct kunit_case vmemmap_altmap_cases[] = {
	KUNIT_CASE_PARAM(huge_block_is_mapped_as_a_leaf, vmemmap_altmap_backings),
	KUNIT_CASE_PARAM(ram_is_used_only_without_an_altmap, vmemmap_altmap_backings),
	KUNIT_CASE_PARAM(skipped_pages_are_counted, vmemmap_altmap_backings),
	KUNIT_CASE_PARAM(reserved_and_data_pages_stay_untouched, vmemmap_altmap_backings),
	KUNIT_CASE_PARAM(exact_fit_is_enough, vmemmap_altmap_backings),
	KUNIT_CASE_PARAM(one_page_short_is_enomem, vmemmap_altmap_backings),
	KUNIT_CASE_PARAM(exhaustion_leaves_the_neighbour_alone, vmemmap_altmap_backings),
	KUNIT_CASE_PARAM(every_struct_page_is_writable, vmemmap_altmap_backings),
	KUNIT_CASE(memmap_lands_where_the_accounting_says),
	KUNIT_CASE_PARAM(free_restores_every_counter, vmemmap_altmap_backings),
	KUNIT_CASE_PARAM(free_leaves_no_entry_behind, vmemmap_altmap_backings),
	KUNIT_CASE_PARAM(range_can_be_populated_again, vmemmap_altmap_backings),
	KUNIT_CASE_PARAM(block_in_use_is_not_handed_out_again, vmemmap_altmap_backings),
	KUNIT_CASE_PARAM(neighbours_return_to_their_owners, vmemmap_altmap_backings),
	KUNIT_CASE(range_of_two_owners_is_freed_in_one_go),
	KUNIT_CASE(any_alignment_is_enough),
	KUNIT_CASE(any_alignment_with_a_page_less_is_cleaned_up),
	KUNIT_CASE(pages_that_are_free_are_enough),
	KUNIT_CASE_PARAM(repeated_cycles_leak_nothing, vmemmap_altmap_backings),
	KUNIT_CASE_PARAM(repeated_cycles_of_base_pages_leak_nothing, vmemmap_altmap_backings),
	KUNIT_CASE_PARAM(section_is_counted_as_memmap, vmemmap_altmap_backings),
	KUNIT_CASE_PARAM(removed_sub_section_keeps_the_neighbours_memmap,
			 sub_sections_gen_params),
	KUNIT_CASE_PARAM(memmap_that_begins_within_a_page_is_complete, vmemmap_altmap_backings),
	KUNIT_CASE(altmap_describes_only_its_own_range),
	{}
};

static struct kunit_suite vmemmap_altmap_suite = {
	.name = "vmemmap_altmap",
	.suite_init = vmemmap_altmap_suite_init,
	.init = vmemmap_altmap_init,
	.exit = vmemmap_altmap_exit,
	.test_cases = vmemmap_altmap_cases,
};

kunit_test_suite(vmemmap_altmap_suite);

MODULE_DESCRIPTION("KUnit tests for populating and freeing the vmemmap");
MODULE_LICENSE("GPL");
