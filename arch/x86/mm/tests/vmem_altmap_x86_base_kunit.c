// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for ranges of memmap that begin or end within a PMD on x86_64, and for
 * ranges that cross an upper page table.
 *
 *  - Less than a PMD of memmap is mapped by base pages, of the altmap if there is one.
 *  - Page tables, huge pages and struct pages that are there stay as they are.
 *  - A part of a huge page that was freed can be populated again.
 *  - A huge page of the altmap describes no memory outside of the altmap's range.
 *  - Whichever page is missing, the caller's clean-up restores all counters.
 *  - New entries of the topmost page table reach all processes.
 *
 * After each case, vmt_exit() expects that nothing is mapped, all counters are as before,
 * the altmaps are unused, and the device's pages are intact.
 *
 * Not covered: whole PMDs, see vmem_altmap_x86_kunit.c; base pages on all architectures,
 * see mm/tests/vmemmap_altmap_base_kunit.c.
 */
#include <kunit/test.h>
#include <kunit/vmt.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/pgtable.h>
#include <linux/sched.h>
#include <linux/string.h>

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

#define PMD_NR	(PMD_SIZE >> PAGE_SHIFT)

/* Test that less than a PMD of memmap is mapped by consecutive base pages of the backing. */
static void part_of_a_section_takes_base_pages(struct kunit *test)
{
	struct vmt *f = test->priv;
	/* With room for a huge page, which must not be used. */
	struct vmem_altmap *altmap = vmt_backing(f, 3, 3 * PMD_NR);
	const unsigned int first = 16, nr = PMD_NR / 2;
	unsigned int page;

	vmt_set_unit(f, PAGE_SIZE);
	KUNIT_ASSERT_EQ(test, vmt_populate_range(f, vmt_addr(f, first), vmt_addr(f, first + nr),
						 altmap), 0);
	for (page = 0; page < PMD_NR; page++) {
		struct vmt_leaf leaf = vmt_leaf(vmt_addr(f, page));
		bool mapped = page >= first && page < first + nr;

		KUNIT_EXPECT_EQ(test, leaf.size, mapped ? PAGE_SIZE : 0);
		if (altmap && mapped)
			KUNIT_EXPECT_EQ(test, leaf.pfn, f->dev.pfn + 3 + page - first);
	}
	KUNIT_EXPECT_EQ(test, vmt_ram_memmap(f), altmap ? 0 : nr);
	vmt_expect_altmap(test, altmap, nr, 0);
	vmt_expect_usable(f, first, nr);
	vmt_free(f, first, nr, altmap);
}

/* Test that a page table stays while its first page is mapped, or its last one. */
static void page_table_stays_until_its_last_page_is_freed(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_backing(f, 0, PMD_NR);
	const unsigned int last = PMD_NR - 1;
	const unsigned int stays = vmt_has_altmap(test) ? 0 : last;
	u64 salt;

	vmt_set_unit(f, PAGE_SIZE);
	/* Two parts, so that no huge page is used. */
	vmt_populate_ok(f, 0, 1, altmap);
	vmt_populate_ok(f, 1, last, altmap);
	salt = vmt_fill(f, stays, 1);
	vmt_free(f, 1, last - 1, altmap);
	vmt_free(f, last - stays, 1, altmap);
	KUNIT_EXPECT_EQ(test, vmt_leaf(vmt_addr(f, stays)).size, PAGE_SIZE);
	vmt_expect_filled(f, stays, 1, salt);
	vmt_free(f, stays, 1, altmap);
}

/*
 * Test that whichever block of System RAM is missing, of page tables or of memmap, the
 * caller's clean-up restores all counters.
 */
static void any_block_of_ram_may_be_missing(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_backing(f, 1, 4 * PMD_NR);
	/* A PMD, and base pages in the page tables before and after it. */
	const unsigned int nr_edge = 8, limit = 32;
	unsigned long start = vmt_addr(f, 1) - nr_edge * PAGE_SIZE;
	unsigned long end = vmt_addr(f, 2) + nr_edge * PAGE_SIZE;
	struct vmt_counters now;
	unsigned int nr;
	long tables;
	int err;

	for (nr = 0; nr < limit; nr++) {
		f->ram.nr_good_allocs = nr;
		err = vmt_populate_range(f, start, end, altmap);
		if (!err)
			break;
		KUNIT_EXPECT_EQ(test, err, -ENOMEM);
		vmt_free_range(f, start, end, altmap);
		vmt_expect_as_before(f);
		vmt_expect_altmap(test, altmap, 0, 0);
	}
	KUNIT_ASSERT_EQ(test, err, 0);
	vmt_count(f, &now);
	tables = now.tables - f->before.tables;
	KUNIT_EXPECT_GE(test, tables, 2);
	KUNIT_EXPECT_EQ(test, nr, tables + (altmap ? 0 : nr_edge + 1 + nr_edge));
	vmt_free_range(f, start, end, altmap);
}

/*
 * Test that a sub-section whose memmap has no room is not there, and that its neighbour,
 * whose base pages are in the same page table, stays as it is.
 */
static void sub_section_without_room_keeps_its_neighbour(struct kunit *test)
{
	const unsigned long nr = PAGES_PER_SUBSECTION;
	const unsigned long nr_memmap = nr * sizeof(struct page) / PAGE_SIZE;
	struct vmt *f = test->priv;
	const unsigned long pfn = f->hole_pfn, next = pfn + nr;
	struct vmem_altmap *altmap = vmt_backing(f, 0, nr_memmap - 1);
	const struct mem_section_usage *usage;
	struct vmt_counters before;

	KUNIT_ASSERT_EQ(test, vmt_add_section(pfn, nr, NULL), 0);
	KUNIT_EXPECT_EQ(test, vmt_write_struct_pages(pfn, nr), 0);
	usage = __pfn_to_section(pfn)->usage;
	vmt_count(f, &before);

	if (!altmap)
		f->ram.nr_good_allocs = nr_memmap - 1;
	KUNIT_EXPECT_EQ(test, vmt_add_section(next, nr, altmap), -ENOMEM);
	vmt_expect_same(f, &before);
	vmt_expect_altmap(test, altmap, 0, 0);
	KUNIT_EXPECT_FALSE(test, pfn_valid(next));
	KUNIT_EXPECT_TRUE(test, pfn_valid(pfn));
	KUNIT_EXPECT_PTR_EQ(test, __pfn_to_section(pfn)->usage, usage);
	KUNIT_EXPECT_EQ(test, vmt_wrong_struct_pages(pfn, nr), 0);

	/* It can be added when there is room. */
	f->ram.nr_good_allocs = UINT_MAX;
	KUNIT_EXPECT_EQ(test, vmt_add_section(next, nr, NULL), 0);
	vmt_remove_section(pfn, 2 * nr, NULL);
}

/*
 * Test that when memmap of an altmap and of System RAM is freed at once, each page returns
 * to its owner: base pages of one page table, and huge pages.
 */
static void mixed_memmap_returns_to_its_owners(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_altmap(f, 0, 2 * PMD_NR);
	unsigned long start = vmt_addr(f, 0), end = vmt_addr(f, 4);

	vmt_populate_ok(f, 1, 1, NULL);
	vmt_populate_ok(f, 2, 1, altmap);
	vmt_populate_ok(f, 3, 1, NULL);
	vmt_set_unit(f, PAGE_SIZE);
	vmt_populate_ok(f, 0, PMD_NR / 4, altmap);
	vmt_populate_ok(f, PMD_NR / 4, PMD_NR / 2, NULL);
	vmt_populate_ok(f, PMD_NR * 3 / 4, PMD_NR / 4, altmap);
	KUNIT_EXPECT_EQ(test, altmap->alloc, PMD_NR + PMD_NR / 2);
	KUNIT_EXPECT_EQ(test, vmt_ram_memmap(f), 2 * PMD_NR + PMD_NR / 2);
	vmt_expect_usable(f, 0, 4 * PMD_NR);
	vmt_free_range(f, start, end, altmap);
}

/*
 * Test that either half of a huge page can be freed and populated again, and that the
 * other half keeps its struct pages, even if these are all zeroes.
 */
static void part_of_a_huge_page_can_be_used_again(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_backing(f, 0, PMD_NR);
	const unsigned long addr = vmt_addr(f, 0), half = PMD_SIZE / 2;
	struct vmt_counters before;
	unsigned int part;

	for (part = 0; part < 2; part++) {
		unsigned long start = addr + part * half, rest = addr + !part * half;

		vmt_populate_ok(f, 0, 1, altmap);
		vmt_count(f, &before);
		memset((void *)addr, 0, PMD_SIZE);
		vmt_free_range(f, start, start + half, altmap);
		KUNIT_EXPECT_EQ(test, vmt_populate_range(f, start, start + half, altmap), 0);
		vmt_expect_same(f, &before);
		KUNIT_ASSERT_EQ(test, vmt_leaf(addr).size, PMD_SIZE);
		KUNIT_EXPECT_NULL(test, memchr_inv((void *)rest, 0, half));
		vmt_expect_altmap(test, altmap, PMD_NR, 0);

		vmt_free_range(f, rest, rest + half, altmap);
		KUNIT_EXPECT_EQ(test, vmt_leaf(addr).size, PMD_SIZE);
		vmt_free_range(f, start, start + half, altmap);
		KUNIT_EXPECT_EQ(test, vmt_leaf(addr).size, 0);
		vmt_expect_altmap(test, altmap, 0, 0);
	}
}

/* Mappings of four PMDs, before a range across them is populated. */
static const struct row {
	const char *name;
	enum { EMPTY, TABLE, LEAF } pmd[4];
	/* The range, in quarters of a PMD. */
	unsigned int start, end;
} rows[] = {
	{ "starts_in_nothing_ends_in_a_leaf", { EMPTY, LEAF }, 3, 5 },
	{ "starts_in_a_leaf_ends_in_nothing", { LEAF, EMPTY }, 3, 5 },
	{ "starts_in_a_table_ends_in_a_leaf", { TABLE, LEAF }, 3, 5 },
	{ "table_nothing_leaf", { TABLE, EMPTY, LEAF }, 1, 11 },
	{ "leaf_nothing_table", { LEAF, EMPTY, TABLE }, 1, 11 },
	{ "leaf_within", { EMPTY, LEAF, EMPTY }, 3, 9 },
	{ "leaves_at_both_ends", { LEAF, EMPTY, TABLE, LEAF }, 2, 14 },
};

/* Each row twice: the range is populated from System RAM, and from an altmap. */
static const void *rows_gen_params(struct kunit *test, const void *prev, char *desc)
{
	unsigned long i = (unsigned long)prev;

	if (i == 2 * ARRAY_SIZE(rows))
		return NULL;
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s_%s", rows[i / 2].name, i % 2 ? "altmap" : "ram");
	return (void *)(i + 1);
}

/* Populates the mappings of a row. The units are then quarters of a PMD. */
static void populate_row(struct vmt *f, const struct row *row)
{
	unsigned int k;

	vmt_set_unit(f, PMD_SIZE / 4);
	for (k = 0; k < ARRAY_SIZE(row->pmd); k++) {
		unsigned long start = vmt_addr(f, 4 * k);

		if (row->pmd[k] == LEAF)
			KUNIT_ASSERT_EQ(f->test, vmt_populate_range(f, start, start + PMD_SIZE,
								    NULL), 0);
		else if (row->pmd[k] == TABLE)
			vmt_populate_ok(f, 4 * k, 1, NULL);
	}
}

/* Whether a row maps the unit. */
static bool mapped(const struct row *row, unsigned int unit)
{
	return row->pmd[unit / 4] == LEAF || (row->pmd[unit / 4] == TABLE && unit % 4 == 0);
}

/*
 * Test that populating a range across huge pages, page tables and nothing keeps the struct
 * pages that are there, and maps the whole range.
 */
static void range_keeps_the_mappings_that_it_meets(struct kunit *test)
{
	unsigned long i = (unsigned long)test->param_value - 1;
	const struct row *row = &rows[i / 2];
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = i % 2 ? vmt_altmap(f, 0, 5 * PMD_NR) : NULL;
	unsigned int unit, nr_units = 4 * ARRAY_SIZE(row->pmd), wrong = 0;
	unsigned long addr;

	populate_row(f, row);
	/* Struct pages of zeroes: the kernel must not take them for unused ones. */
	for (unit = 0; unit < nr_units; unit++)
		if (mapped(row, unit))
			memset((void *)vmt_addr(f, unit), 0, f->unit_size);

	KUNIT_ASSERT_EQ(test, vmt_populate_range(f, vmt_addr(f, row->start),
						 vmt_addr(f, row->end), altmap), 0);
	for (unit = 0; unit < nr_units; unit++) {
		if (row->pmd[unit / 4] == LEAF)
			KUNIT_EXPECT_EQ(test, vmt_leaf(vmt_addr(f, unit)).size, PMD_SIZE);
		if (mapped(row, unit))
			wrong += !!memchr_inv((void *)vmt_addr(f, unit), 0, f->unit_size);
	}
	KUNIT_EXPECT_EQ_MSG(test, wrong, 0, "struct pages were overwritten");
	for (addr = vmt_addr(f, row->start); addr < vmt_addr(f, row->end); addr += PAGE_SIZE)
		KUNIT_ASSERT_NE_MSG(test, vmt_leaf(addr).size, 0, "at %#lx",
				    addr - vmt_addr(f, 0));

	vmt_free(f, 0, nr_units, altmap);
}

/*
 * Test that huge pages of the altmap describe only the altmap's range. If the range ends a
 * pfn too early, the last PMD is mapped by base pages.
 */
static void huge_page_describes_only_its_range(struct kunit *test)
{
	struct vmt *f = test->priv;
	unsigned long last = f->hole_pfn + (2 * PMD_SIZE - 1) / sizeof(struct page);
	struct vmem_altmap *altmap;

	altmap = vmt_device_altmap(&f->dev, f->dev.pfn, last, 0, 2 * PMD_NR);
	vmt_populate_ok(f, 0, 2, altmap);
	KUNIT_EXPECT_EQ(test, vmt_leaf(vmt_addr(f, 0)).size, PMD_SIZE);
	KUNIT_EXPECT_EQ(test, vmt_leaf(vmt_addr(f, 1)).size, PMD_SIZE);
	vmt_free(f, 0, 2, altmap);

	altmap = vmt_device_altmap(&f->dev, f->dev.pfn, last - 1, 0, 2 * PMD_NR);
	vmt_populate_ok(f, 0, 2, altmap);
	KUNIT_EXPECT_EQ(test, vmt_leaf(vmt_addr(f, 0)).size, PMD_SIZE);
	KUNIT_EXPECT_EQ(test, vmt_leaf(vmt_addr(f, 1)).size, PAGE_SIZE);
	vmt_expect_altmap(test, altmap, 2 * PMD_NR, 0);
	KUNIT_EXPECT_EQ(test, vmt_ram_memmap(f), 0);
	vmt_expect_usable(f, 0, 2);
	vmt_free(f, 0, 2, altmap);
}

static const struct boundary {
	const char *name;
	unsigned int shift;
} boundaries[] = {
	{ "pud", PUD_SHIFT },
	/* An entry of the topmost table with four levels, and of the next with five. */
	{ "p4d", 39 },
};

/*
 * Only boundaries within the direct map, which is small if address space layout is
 * randomised: boot with nokaslr for all. The hole of the suite must be below.
 */
static const void *boundaries_gen_params(struct kunit *test, const void *prev, char *desc)
{
	const struct boundary *b = prev ? (const struct boundary *)prev + 1 : boundaries;
	unsigned long low = (unsigned long)pfn_to_page(max_pfn) + 4 * PUD_SIZE;

	while (b < boundaries + ARRAY_SIZE(boundaries) &&
	       !vmt_find_hole_across(low, 1UL << b->shift))
		b++;
	if (b == boundaries + ARRAY_SIZE(boundaries))
		return NULL;
	strscpy(desc, b->name, KUNIT_PARAM_DESC_SIZE);
	return b;
}

/*
 * Test that a range across the boundary of an upper page table is populated and freed. If
 * any page table or the last page is missing, the caller's clean-up restores all counters.
 */
static void range_crosses_upper_tables(struct kunit *test)
{
	const struct boundary *b = test->param_value;
	struct vmt *f = test->priv;
	const unsigned long nr = f->hole_size >> PAGE_SHIFT;
	/* Two tables of PMDs and one of PTEs. Only five levels also free a table of PUDs. */
	long nr_tables, min_tables = 3 + (pgtable_l5_enabled() && b->shift > PUD_SHIFT);
	struct vmem_altmap *altmap;
	unsigned long start, end;
	struct vmt_counters now;

	KUNIT_ASSERT_EQ(test, vmt_straddle(f, 1UL << b->shift), 0);
	altmap = vmt_altmap(f, 1, nr);
	start = vmt_addr(f, 0);
	end = start + f->hole_size;
	KUNIT_EXPECT_NE(test, start >> b->shift, (end - 1) >> b->shift);

	KUNIT_ASSERT_EQ(test, vmt_populate_range(f, start, end, altmap), 0);
	vmt_expect_usable(f, 0, f->hole_size / f->unit_size);
	vmt_count(f, &now);
	nr_tables = now.tables - f->before.tables;
	KUNIT_EXPECT_GE(test, nr_tables, min_tables);
	vmt_free_range(f, start, end, altmap);
	vmt_expect_altmap(test, altmap, 0, 0);
	vmt_expect_as_before(f);

	while (nr_tables--) {
		f->ram.nr_good_allocs = nr_tables;
		KUNIT_EXPECT_EQ(test, vmt_populate_range(f, start, end, altmap), -ENOMEM);
		vmt_free_range(f, start, end, altmap);
		vmt_expect_altmap(test, altmap, 0, 0);
		vmt_expect_as_before(f);
	}

	f->ram.nr_good_allocs = UINT_MAX;
	altmap = vmt_altmap(f, 1, nr - 1);
	KUNIT_EXPECT_EQ(test, vmt_populate_range(f, start, end, altmap), -ENOMEM);
	vmt_free_range(f, start, end, altmap);
}

/*
 * Test that a process whose topmost page table lacks an entry can access the memmap. With
 * four levels, "p4d" is a boundary between two entries, of which only the lower is in use.
 */
static void upper_tables_reach_all_processes(struct kunit *test)
{
	const struct boundary *b = test->param_value;
	struct vmt *f = test->priv;
	unsigned long start, last;

	KUNIT_ASSERT_EQ(test, kunit_attach_mm(), 0);
	KUNIT_ASSERT_EQ(test, vmt_straddle(f, 1UL << b->shift), 0);
	start = vmt_addr(f, 0);
	last = start + f->hole_size - 1;
	if (pgd_index(start) != pgd_index(last))
		WRITE_ONCE(pgd_offset(current->mm, last)->pgd, 0);

	KUNIT_ASSERT_EQ(test, vmt_populate_range(f, start, last + 1, NULL), 0);
	KUNIT_ASSERT_EQ(test, pgd_val(*pgd_offset(current->mm, last)),
			pgd_val(*pgd_offset_k(last)));
	vmt_expect_usable(f, 0, f->hole_size / f->unit_size);
	vmt_free_range(f, start, last + 1, NULL);
}

static struct kunit_case vmem_altmap_x86_base_cases[] = {
	KUNIT_CASE_PARAM(part_of_a_section_takes_base_pages, vmt_backings),
	KUNIT_CASE_PARAM(page_table_stays_until_its_last_page_is_freed, vmt_backings),
	KUNIT_CASE_PARAM(any_block_of_ram_may_be_missing, vmt_backings),
	KUNIT_CASE_PARAM(sub_section_without_room_keeps_its_neighbour, vmt_backings),
	KUNIT_CASE(mixed_memmap_returns_to_its_owners),
	KUNIT_CASE_PARAM(part_of_a_huge_page_can_be_used_again, vmt_backings),
	KUNIT_CASE_PARAM(range_keeps_the_mappings_that_it_meets, rows_gen_params),
	KUNIT_CASE(huge_page_describes_only_its_range),
	KUNIT_CASE_PARAM(range_crosses_upper_tables, boundaries_gen_params),
	KUNIT_CASE_PARAM(upper_tables_reach_all_processes, boundaries_gen_params),
	{}
};

static int vmem_altmap_x86_base_init(struct kunit *test)
{
	int err = vmt_init(test);

	/* If struct page does not have 64 bytes, a section is not a PMD of memmap. */
	if (!err)
		vmt_set_unit(test->priv, PMD_SIZE);
	return err;
}

static struct kunit_suite vmem_altmap_x86_base_suite = {
	.name = "vmem_altmap_x86_base",
	.suite_init = vmt_suite_init,
	.init = vmem_altmap_x86_base_init,
	.exit = vmt_exit,
	.test_cases = vmem_altmap_x86_base_cases,
};

kunit_test_suite(vmem_altmap_x86_base_suite);

MODULE_DESCRIPTION("KUnit tests for ranges of memmap within a PMD on x86_64");
MODULE_LICENSE("GPL");
