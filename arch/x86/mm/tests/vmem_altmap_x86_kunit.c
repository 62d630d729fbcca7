// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for what only x86_64 promises about a memmap with and without a
 * struct vmem_altmap:
 *
 *  - The memmap of a section is mapped by one huge leaf, with the attributes of
 *    kernel data. Only where RAM has no huge page left, and there is no altmap, it
 *    is mapped by base pages.
 *  - Sections take one block of PMD_SIZE after the other from the altmap.
 *  - When the altmap has no room for a section, that is -ENOMEM: System RAM does
 *    not step in, and the sections before it stay as they are.
 *  - Less than a section takes base pages, of the altmap if there is one.
 *  - Each page of a mixed memmap returns to its owner.
 *  - A huge page that is freed in parts is returned with the last part.
 *  - The page table of memmap that HVO has split is accounted for.
 *  - To populate what is populated changes nothing.
 *
 * For what all architectures have in common, see mm/tests/vmemmap_altmap_kunit.c.
 */
#include <kunit/test.h>
#include <kunit/vmemmap_altmap.h>
#include <linux/cpufeature.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/moduleparam.h>
#include <linux/pgalloc.h>
#include <linux/pgtable.h>
#include <linux/uaccess.h>

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

#define PMD_NR	(PMD_SIZE >> PAGE_SHIFT)

/* Whoever starts a machine for so many levels notices if it got others. */
static uint levels;
module_param(levels, uint, 0444);
MODULE_PARM_DESC(levels, "expected levels of page tables: 4 or 5");

static unsigned long leaf_pfn(struct kunit *test, unsigned int unit)
{
	struct vmemmap_altmap_leaf leaf =
		vmemmap_altmap_leaf(vmemmap_altmap_addr(test->priv, unit));

	KUNIT_EXPECT_EQ_MSG(test, leaf.size, PMD_SIZE, "section %u", unit);
	return leaf.pfn;
}

/* The case is about base pages, in the terms of the fixture: a unit is a page. */
static void count_in_pages(struct vmemmap_altmap_fixture *f)
{
	f->unit_size = PAGE_SIZE;
	f->unit_nr = 1;
}

/* Pages of System RAM that are used for memmap, without page tables. */
static long ram_used(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmemmap_altmap_counters now;

	vmemmap_altmap_count(f, &now);
	return now.ram - f->before.ram - (now.tables - f->before.tables);
}

/* Test that the page tables have as many levels as this machine was started for. */
static void page_tables_have_the_promised_levels(struct kunit *test)
{
	if (!levels)
		kunit_skip(test, "needs the module parameter levels");
	KUNIT_EXPECT_EQ(test, pgtable_l5_enabled() ? 5 : 4, levels);
}

/*
 * Test that the huge leaf is writable, global or not like all of the kernel,
 * cached, and neither executable nor open to user space.
 */
static void huge_leaf_has_the_attributes_of_kernel_data(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_backing(f, 0, PMD_NR);
	unsigned long addr = vmemmap_altmap_addr(f, 0);
	pmdval_t pmd;

	vmemmap_altmap_populate_ok(f, 0, 1, altmap);
	pmd = pmd_val(*pmd_off_k(addr));

	KUNIT_EXPECT_TRUE(test, pmd & _PAGE_PRESENT);
	KUNIT_EXPECT_TRUE(test, pmd & _PAGE_PSE);
	KUNIT_EXPECT_TRUE(test, pmd & _PAGE_RW);
	KUNIT_EXPECT_FALSE(test, pmd & _PAGE_USER);
	KUNIT_EXPECT_FALSE(test, pmd & (_PAGE_PWT | _PAGE_PCD | _PAGE_PAT_LARGE));
	KUNIT_EXPECT_EQ(test, !!(pmd & _PAGE_NX), boot_cpu_has(X86_FEATURE_NX));
	KUNIT_EXPECT_EQ(test, pmd & _PAGE_GLOBAL, pgprot_val(PAGE_KERNEL_LARGE) &
			_PAGE_GLOBAL);

	vmemmap_altmap_free(f, 0, 1, altmap);
}

/* Test that sections take one block after the other, and are freed in one go. */
static void several_sections_take_consecutive_blocks(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_new(f, 1, 4 * PMD_NR + PMD_NR - 1);
	unsigned int section;

	vmemmap_altmap_populate_ok(f, 0, 4, altmap);
	for (section = 0; section < 4; section++)
		KUNIT_EXPECT_EQ(test, leaf_pfn(test, section),
				f->dev_pfn + (section + 1) * PMD_NR);
	KUNIT_EXPECT_EQ(test, altmap->alloc, 4 * PMD_NR);
	KUNIT_EXPECT_EQ(test, altmap->align, PMD_NR - 1);
	vmemmap_altmap_expect_usable(f, 0, 4);
	vmemmap_altmap_expect_device_intact(f);
	vmemmap_altmap_free(f, 0, 4, altmap);
	KUNIT_EXPECT_EQ(test, altmap->alloc, 0);
}

/* Test that sections may come and go in an order of their own. */
static void sections_are_freed_in_any_order(struct kunit *test)
{
	static const unsigned int order[] = { 2, 0, 3, 1 };
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_backing(f, 0, 4 * PMD_NR);
	unsigned int i;

	for (i = 0; i < 4; i++)
		vmemmap_altmap_populate_ok(f, order[i], 1, altmap);
	vmemmap_altmap_expect_usable(f, 0, 4);
	for (i = 0; i < 4; i++) {
		unsigned int section = order[3 - i];

		if (altmap)
			KUNIT_EXPECT_EQ(test, leaf_pfn(test, section),
					f->dev_pfn + (3 - i) * PMD_NR);
		vmemmap_altmap_free(f, section, 1, altmap);
		vmemmap_altmap_expect_unmapped(f, section, 1);
		if (altmap)
			KUNIT_EXPECT_EQ(test, altmap->alloc, (3 - i) * PMD_NR);
	}
}

/*
 * Test that the first section for which the altmap has no room is refused with
 * -ENOMEM, alone and as the first of three, and that those before it stay.
 */
static void section_without_room_is_enomem(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	/* A gap of PMD_NR - 1 pages and a block: a page less than two sections take. */
	struct vmem_altmap *altmap = vmemmap_altmap_new(f, 1, PMD_NR - 1 + PMD_NR);
	u64 salt;

	vmemmap_altmap_populate_ok(f, 0, 1, altmap);
	salt = vmemmap_altmap_fill(f, 0, 1);
	KUNIT_EXPECT_EQ(test, leaf_pfn(test, 0), f->dev_pfn + PMD_NR);
	KUNIT_EXPECT_EQ(test, vmemmap_altmap_populate(f, 1, 1, altmap), -ENOMEM);
	vmemmap_altmap_free(f, 1, 1, altmap);
	KUNIT_EXPECT_EQ(test, vmemmap_altmap_populate(f, 1, 3, altmap), -ENOMEM);
	vmemmap_altmap_free(f, 1, 3, altmap);

	KUNIT_EXPECT_EQ(test, leaf_pfn(test, 0), f->dev_pfn + PMD_NR);
	KUNIT_EXPECT_EQ(test, altmap->alloc, PMD_NR);
	vmemmap_altmap_expect_unmapped(f, 1, 3);
	vmemmap_altmap_expect_filled(f, 0, 1, salt);
	vmemmap_altmap_free(f, 0, 1, altmap);
	vmemmap_altmap_expect_device_intact(f);
}

/* Test that System RAM does not step in for an altmap that is too small. */
static void exhausted_altmap_takes_no_ram(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_new(f, 0, PMD_NR - 1);

	KUNIT_EXPECT_EQ(test, vmemmap_altmap_populate(f, 0, 1, altmap), -ENOMEM);
	KUNIT_EXPECT_EQ(test, ram_used(test), 0);
	vmemmap_altmap_free(f, 0, 1, altmap);
	vmemmap_altmap_expect_as_before(f);
}

/* Test that to populate a section again takes nothing and changes nothing. */
static void populated_section_is_not_populated_twice(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_backing(f, 0, 2 * PMD_NR);
	struct vmemmap_altmap_counters once, twice;
	unsigned long pfn;

	vmemmap_altmap_populate_ok(f, 0, 1, altmap);
	pfn = leaf_pfn(test, 0);
	vmemmap_altmap_count(f, &once);

	vmemmap_altmap_populate_ok(f, 0, 1, altmap);
	KUNIT_EXPECT_EQ(test, leaf_pfn(test, 0), pfn);
	vmemmap_altmap_count(f, &twice);
	KUNIT_EXPECT_EQ(test, twice.ram, once.ram);
	KUNIT_EXPECT_EQ(test, twice.tables, once.tables);
	if (altmap)
		KUNIT_EXPECT_EQ(test, altmap->alloc, PMD_NR);

	vmemmap_altmap_free(f, 0, 1, altmap);
	vmemmap_altmap_expect_unmapped(f, 0, 1);
}

/*
 * Test that without an altmap, and when RAM has no huge page left, the memmap is
 * mapped by base pages, and that all of these are returned.
 */
static void fragmented_ram_gives_base_pages(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmemmap_altmap_counters now;

	f->fail_huge = true;
	vmemmap_altmap_populate_ok(f, 0, 2, NULL);
	vmemmap_altmap_count(f, &now);
	KUNIT_EXPECT_EQ(test, now.leaves - f->before.leaves, 2 * PMD_NR);
	KUNIT_EXPECT_EQ(test, now.ram - f->before.ram,
			2 * PMD_NR + now.tables - f->before.tables);
	vmemmap_altmap_expect_usable(f, 0, 2);
	vmemmap_altmap_free(f, 0, 2, NULL);
	vmemmap_altmap_expect_unmapped(f, 0, 2);
	vmemmap_altmap_expect_as_before(f);
}

/*
 * Test that less than a section is mapped by base pages, one after the other, and
 * takes those of the altmap if there is one.
 */
static void part_of_a_section_takes_base_pages(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	/* With room for a huge page, which would be too much. */
	struct vmem_altmap *altmap = vmemmap_altmap_backing(f, 3, 3 * PMD_NR);
	const unsigned int first = 16, nr = PMD_NR / 2;
	unsigned int page;

	count_in_pages(f);
	KUNIT_ASSERT_EQ(test, vmemmap_altmap_populate_range(f, vmemmap_altmap_addr(f, first),
							    vmemmap_altmap_addr(f, first + nr),
							    altmap), 0);
	for (page = 0; page < PMD_NR; page++) {
		struct vmemmap_altmap_leaf leaf =
			vmemmap_altmap_leaf(vmemmap_altmap_addr(f, page));
		bool mapped = page >= first && page < first + nr;

		KUNIT_EXPECT_EQ(test, leaf.size, mapped ? PAGE_SIZE : 0);
		if (altmap && mapped)
			KUNIT_EXPECT_EQ(test, leaf.pfn, f->dev_pfn + 3 + page - first);
	}
	KUNIT_EXPECT_EQ(test, ram_used(test), altmap ? 0 : nr);
	if (altmap) {
		KUNIT_EXPECT_EQ(test, altmap->alloc, nr);
		KUNIT_EXPECT_EQ(test, altmap->align, 0);
	}
	vmemmap_altmap_expect_usable(f, first, nr);
	vmemmap_altmap_free(f, first, nr, altmap);
	vmemmap_altmap_expect_as_before(f);
}

/*
 * Test that whichever block of System RAM is missing, page table or memmap, the caller's
 * clean-up leaves nothing of the range.
 */
static void any_block_of_ram_may_be_missing(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_backing(f, 1, 4 * PMD_NR);
	/* A PMD, and base pages in two page tables beside it. */
	const unsigned int nr_edge = 8, limit = 32;
	unsigned long start = vmemmap_altmap_addr(f, 1) - nr_edge * PAGE_SIZE;
	unsigned long end = vmemmap_altmap_addr(f, 2) + nr_edge * PAGE_SIZE;
	struct vmemmap_altmap_counters now;
	unsigned int nr;
	int err;

	for (nr = 0; nr < limit; nr++) {
		f->nr_good_allocs = nr;
		err = vmemmap_altmap_populate_range(f, start, end, altmap);
		if (!err)
			break;
		KUNIT_EXPECT_EQ(test, err, -ENOMEM);
		vmemmap_altmap_free_range(f, start, end, altmap);
		vmemmap_altmap_expect_as_before(f);
		if (altmap) {
			KUNIT_EXPECT_EQ(test, altmap->alloc, 0);
			KUNIT_EXPECT_EQ(test, altmap->align, 0);
		}
	}
	KUNIT_ASSERT_EQ(test, err, 0);
	vmemmap_altmap_count(f, &now);
	KUNIT_EXPECT_EQ(test, nr, now.tables - f->before.tables +
			(altmap ? 0 : nr_edge + 1 + nr_edge));
	KUNIT_EXPECT_GE(test, now.tables - f->before.tables, 2);
	vmemmap_altmap_free_range(f, start, end, altmap);
}

static const struct sub_sections {
	const char *name;
	bool second_has_altmap;
	bool second_goes_first;
} sub_sections[] = {
	{ "two_altmaps_first_goes_first", true, false },
	{ "two_altmaps_second_goes_first", true, true },
	{ "altmap_and_ram_first_goes_first", false, false },
	{ "altmap_and_ram_second_goes_first", false, true },
};

KUNIT_ARRAY_PARAM_DESC(sub_sections, sub_sections, name);

/*
 * Test that neighbouring sub-sections have their memmap each in the altmap of its
 * own, or in System RAM, and that each can go while the other one's struct pages
 * stay what they are.
 */
static void sub_sections_share_nothing(struct kunit *test)
{
	const struct sub_sections *s = test->param_value;
	const unsigned long nr = PAGES_PER_SUBSECTION * sizeof(struct page) / PAGE_SIZE;
	struct vmemmap_altmap_fixture *f = test->priv;
	unsigned long i, wrong;
	struct vmem_altmap *altmap[2] = {};
	int k, round, err;

	for (k = 0; k < 1 + s->second_has_altmap; k++)
		altmap[k] = vmemmap_altmap_new_range(f, f->dev_pfn + 64 * k, f->hole_pfn +
						     (k + 1) * PAGES_PER_SUBSECTION - 1,
						     0, 64);
	for (k = 0; k < 2; k++) {
		unsigned long pfn = f->hole_pfn + k * PAGES_PER_SUBSECTION;

		mem_hotplug_begin();
		err = sparse_add_section(first_memory_node, pfn, PAGES_PER_SUBSECTION,
					 altmap[k], NULL);
		mem_hotplug_done();
		KUNIT_ASSERT_EQ(test, err, 0);
		for (i = 0; i < PAGES_PER_SUBSECTION; i++)
			WRITE_ONCE(*(u64 *)pfn_to_page(pfn + i), ~(u64)(pfn + i));
		if (altmap[k])
			KUNIT_EXPECT_EQ(test, altmap[k]->alloc, nr);
	}
	KUNIT_EXPECT_EQ(test, ram_used(test), altmap[1] ? 0 : nr);

	for (round = 0; round < 2; round++) {
		unsigned long pfn;

		k = round ^ s->second_goes_first;
		pfn = f->hole_pfn + k * PAGES_PER_SUBSECTION;
		wrong = 0;
		for (i = 0; i < PAGES_PER_SUBSECTION; i++) {
			u64 word;

			if (copy_from_kernel_nofault(&word, pfn_to_page(pfn + i), sizeof(word)) ||
			    word != ~(u64)(pfn + i))
				wrong++;
		}
		KUNIT_EXPECT_EQ_MSG(test, wrong, 0, "struct pages of sub-section %d changed", k);
		mem_hotplug_begin();
		sparse_remove_section(pfn, PAGES_PER_SUBSECTION, altmap[k], NULL);
		mem_hotplug_done();
		if (altmap[k])
			KUNIT_EXPECT_EQ(test, altmap[k]->alloc, 0);
	}
	vmemmap_altmap_expect_as_before(f);
}

/*
 * Test that if a page table was there before, an altmap's base pages are mapped beside
 * those of System RAM, and that each of them returns to its owner.
 */
static void base_pages_beside_others_return_to_their_owner(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_new(f, 0, 2 * PMD_NR);
	unsigned long start = vmemmap_altmap_addr(f, 0);

	count_in_pages(f);
	vmemmap_altmap_populate_ok(f, 0, PMD_NR / 4, NULL);
	KUNIT_ASSERT_EQ(test, vmemmap_altmap_populate_range(f, start, start + 2 * PMD_SIZE,
							    altmap), 0);
	KUNIT_EXPECT_EQ(test, altmap->alloc, PMD_NR + PMD_NR * 3 / 4);
	KUNIT_EXPECT_EQ(test, ram_used(test), PMD_NR / 4);

	vmemmap_altmap_free_range(f, start, start + 2 * PMD_SIZE, altmap);
	KUNIT_EXPECT_EQ(test, altmap->alloc, 0);
	vmemmap_altmap_expect_as_before(f);
	vmemmap_altmap_expect_device_intact(f);
}

/*
 * Test that when all of a memmap is freed that an altmap and System RAM share, each
 * page returns to where it came from: base pages of one table, and huge pages.
 */
static void mixed_memmap_returns_to_its_owners(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_new(f, 0, 2 * PMD_NR);
	unsigned long start = vmemmap_altmap_addr(f, 0);

	vmemmap_altmap_populate_ok(f, 1, 1, NULL);
	vmemmap_altmap_populate_ok(f, 2, 1, altmap);
	vmemmap_altmap_populate_ok(f, 3, 1, NULL);
	count_in_pages(f);
	vmemmap_altmap_populate_ok(f, 0, PMD_NR / 4, altmap);
	vmemmap_altmap_populate_ok(f, PMD_NR / 4, PMD_NR / 2, NULL);
	vmemmap_altmap_populate_ok(f, PMD_NR * 3 / 4, PMD_NR / 4, altmap);
	KUNIT_EXPECT_EQ(test, altmap->alloc, PMD_NR + PMD_NR / 2);
	KUNIT_EXPECT_EQ(test, ram_used(test), 2 * PMD_NR + PMD_NR / 2);
	vmemmap_altmap_expect_usable(f, 0, 4 * PMD_NR);

	vmemmap_altmap_free_range(f, start, start + 4 * PMD_SIZE, altmap);
	KUNIT_EXPECT_EQ(test, altmap->alloc, 0);
	vmemmap_altmap_expect_as_before(f);
	vmemmap_altmap_expect_device_intact(f);
}

/* What fills the unused parts of a huge page, see arch/x86/mm/init_64.c. */
#define UNUSED_BYTE	0xfd

/*
 * Test that of a huge page that is freed part by part, the parts are marked as
 * unused while the others stay what they are, and that it goes with the last.
 */
static void huge_page_goes_with_its_last_part(struct kunit *test)
{
	static const unsigned int order[] = { 2, 0, 3, 1 };
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_backing(f, 0, PMD_NR);
	unsigned long addr = vmemmap_altmap_addr(f, 0), size = PMD_SIZE / 4;
	unsigned int i, k;
	u64 salt;

	vmemmap_altmap_populate_ok(f, 0, 1, altmap);
	count_in_pages(f);
	salt = vmemmap_altmap_fill(f, 0, PMD_NR);
	for (i = 0; i < 4; i++) {
		KUNIT_EXPECT_EQ(test, vmemmap_altmap_leaf(addr).size, PMD_SIZE);
		for (k = i; k < 4; k++)
			vmemmap_altmap_expect_filled(f, order[k] * PMD_NR / 4, PMD_NR / 4, salt);
		for (k = 0; k < i; k++)
			KUNIT_EXPECT_NULL(test, memchr_inv((void *)addr + order[k] * size,
							   UNUSED_BYTE, size));
		vmemmap_altmap_free_range(f, addr + order[i] * size,
					  addr + (order[i] + 1) * size, altmap);
	}
	KUNIT_EXPECT_EQ(test, vmemmap_altmap_leaf(addr).size, 0);
	if (altmap)
		KUNIT_EXPECT_EQ(test, altmap->alloc, 0);
	vmemmap_altmap_expect_as_before(f);
}

/*
 * Test that a part of a huge page that was freed can be used again, be it the first or
 * the last, and that the rest stays what it is, which may consist of zeroes.
 */
static void part_of_a_huge_page_can_be_used_again(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = vmemmap_altmap_backing(f, 0, PMD_NR);
	unsigned long addr = vmemmap_altmap_addr(f, 0), half = PMD_SIZE / 2;
	struct vmemmap_altmap_counters before;
	unsigned int part;

	for (part = 0; part < 2; part++) {
		unsigned long start = addr + part * half, rest = addr + !part * half;

		vmemmap_altmap_populate_ok(f, 0, 1, altmap);
		vmemmap_altmap_count(f, &before);
		memset((void *)addr, 0, PMD_SIZE);
		vmemmap_altmap_free_range(f, start, start + half, altmap);
		KUNIT_EXPECT_EQ(test, vmemmap_altmap_populate_range(f, start, start + half,
								    altmap), 0);
		vmemmap_altmap_expect_same(f, &before);
		KUNIT_EXPECT_EQ(test, vmemmap_altmap_leaf(addr).size, PMD_SIZE);
		KUNIT_EXPECT_NULL(test, memchr_inv((void *)rest, 0, half));
		if (altmap)
			KUNIT_EXPECT_EQ(test, altmap->alloc, PMD_NR);
		vmemmap_altmap_free_range(f, rest, rest + half, altmap);
		KUNIT_EXPECT_EQ(test, vmemmap_altmap_leaf(addr).size, PMD_SIZE);
		vmemmap_altmap_free_range(f, start, start + half, altmap);
		KUNIT_EXPECT_EQ(test, vmemmap_altmap_leaf(addr).size, 0);
		if (altmap)
			KUNIT_EXPECT_EQ(test, altmap->alloc, 0);
	}
}

/* Mappings of four PMDs in a row, before a range across them is populated. */
static const struct row {
	const char *name;
	/* what is there: nothing, a page table, or a huge page */
	enum { EMPTY, TABLE, LEAF } pmd[4];
	/* the range, in quarters of a PMD */
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

static const void *rows_gen_params(struct kunit *test, const void *prev, char *desc)
{
	/* Each row twice: first from System RAM, then from an altmap. */
	unsigned long i = prev ? (unsigned long)prev : 0;

	if (i == 2 * ARRAY_SIZE(rows))
		return NULL;
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s_%s", rows[i / 2].name, i % 2 ? "altmap" : "ram");
	return (void *)(i + 1);
}

/*
 * Test that populating a range across huge pages, page tables and nothing leaves the
 * struct pages that are there alone, and makes the whole range usable.
 */
static void range_keeps_the_mappings_that_it_meets(struct kunit *test)
{
	unsigned long i = (unsigned long)test->param_value - 1;
	const struct row *row = &rows[i / 2];
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap = i % 2 ? vmemmap_altmap_new(f, 0, 5 * PMD_NR) : NULL;
	unsigned long hole = vmemmap_altmap_addr(f, 0), quarter = PMD_SIZE / 4;
	unsigned long start = hole + row->start * quarter, end = hole + row->end * quarter;
	unsigned long addr, wrong = 0;
	unsigned int k;

	for (k = 0; k < ARRAY_SIZE(row->pmd); k++)
		if (row->pmd[k] == LEAF)
			vmemmap_altmap_populate_ok(f, k, 1, NULL);
	count_in_pages(f);
	for (k = 0; k < ARRAY_SIZE(row->pmd); k++)
		if (row->pmd[k] == TABLE)
			vmemmap_altmap_populate_ok(f, k * PMD_NR, PMD_NR / 4, NULL);
	/* Empty words are what a page table would be made of. */
	for (addr = hole; addr < hole + 4 * PMD_SIZE; addr += PAGE_SIZE)
		if (vmemmap_altmap_leaf(addr).size)
			memset((void *)addr, 0, PAGE_SIZE);

	KUNIT_ASSERT_EQ(test, vmemmap_altmap_populate_range(f, start, end, altmap), 0);
	for (k = 0; k < ARRAY_SIZE(row->pmd); k++) {
		addr = hole + k * PMD_SIZE;
		if (row->pmd[k] == LEAF) {
			KUNIT_EXPECT_EQ(test, vmemmap_altmap_leaf(addr).size, PMD_SIZE);
			wrong += !!memchr_inv((void *)addr, 0, PMD_SIZE);
		} else if (row->pmd[k] == TABLE) {
			wrong += !!memchr_inv((void *)addr, 0, PMD_SIZE / 4);
		}
	}
	KUNIT_EXPECT_EQ_MSG(test, wrong, 0, "struct pages were overwritten");
	for (addr = start; addr < end; addr += PAGE_SIZE)
		KUNIT_ASSERT_NE_MSG(test, vmemmap_altmap_leaf(addr).size, 0, "at %#lx",
				    addr - hole);

	/* The whole of what is mapped goes at once. */
	vmemmap_altmap_free_range(f, hole, hole + 4 * PMD_SIZE, altmap);
	if (altmap)
		KUNIT_EXPECT_EQ(test, altmap->alloc, 0);
	vmemmap_altmap_expect_as_before(f);
}

/*
 * Test that a huge page of the altmap describes nothing but the altmap's own range,
 * even if more is asked for: of a range that ends a pfn too early, the last one is
 * mapped by base pages.
 */
static void huge_page_describes_only_its_range(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	unsigned long last = f->hole_pfn + 2 * PAGES_PER_SECTION - 1;
	struct vmem_altmap *altmap;

	altmap = vmemmap_altmap_new_range(f, f->dev_pfn, last, 0, 2 * PMD_NR);
	vmemmap_altmap_populate_ok(f, 0, 2, altmap);
	KUNIT_EXPECT_EQ(test, vmemmap_altmap_leaf(vmemmap_altmap_addr(f, 0)).size, PMD_SIZE);
	KUNIT_EXPECT_EQ(test, vmemmap_altmap_leaf(vmemmap_altmap_addr(f, 1)).size, PMD_SIZE);
	vmemmap_altmap_free(f, 0, 2, altmap);

	altmap = vmemmap_altmap_new_range(f, f->dev_pfn, last - 1, 0, 2 * PMD_NR);
	vmemmap_altmap_populate_ok(f, 0, 2, altmap);
	KUNIT_EXPECT_EQ(test, vmemmap_altmap_leaf(vmemmap_altmap_addr(f, 0)).size, PMD_SIZE);
	KUNIT_EXPECT_EQ(test, vmemmap_altmap_leaf(vmemmap_altmap_addr(f, 1)).size, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, altmap->alloc, 2 * PMD_NR);
	KUNIT_EXPECT_EQ(test, ram_used(test), 0);
	vmemmap_altmap_expect_usable(f, 0, 2);
	vmemmap_altmap_free(f, 0, 2, altmap);
	KUNIT_EXPECT_EQ(test, altmap->alloc, 0);
}

static const struct boundary {
	const char *name;
	unsigned int shift;
} boundaries[] = {
	{ "pud", PUD_SHIFT },
	/* An entry of the topmost table with four levels, and of the next with five. */
	{ "p4d", 39 },
};

KUNIT_ARRAY_PARAM_DESC(boundaries, boundaries, name);

/*
 * Test that a range across the boundary of an upper page table is populated and freed
 * like any other, also after a failure.
 */
static void range_crosses_upper_tables(struct kunit *test)
{
	const struct boundary *b = test->param_value;
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmemmap_altmap_counters now;
	struct vmem_altmap *altmap;
	unsigned long start, end;
	int err;

	err = vmemmap_altmap_straddle(f, 1UL << b->shift);
	if (err == -ENXIO)
		kunit_skip(test, "needs a larger direct map: try nokaslr");
	KUNIT_ASSERT_EQ(test, err, 0);
	start = vmemmap_altmap_addr(f, 0);
	end = start + f->hole_size;
	KUNIT_EXPECT_NE(test, start >> b->shift, (end - 1) >> b->shift);

	altmap = vmemmap_altmap_new(f, 1, f->nr_units * PMD_NR);
	KUNIT_ASSERT_EQ(test, vmemmap_altmap_populate_range(f, start, end, altmap), 0);
	vmemmap_altmap_expect_usable(f, 0, f->nr_units);
	vmemmap_altmap_count(f, &now);
	/* Of two tables of PMDs, and one of PTEs. */
	KUNIT_EXPECT_GE(test, now.tables - f->before.tables, 3);
	vmemmap_altmap_free_range(f, start, end, altmap);
	KUNIT_EXPECT_EQ(test, altmap->alloc, 0);
	vmemmap_altmap_expect_as_before(f);

	altmap = vmemmap_altmap_new(f, 1, f->nr_units * PMD_NR - 1);
	KUNIT_EXPECT_EQ(test, vmemmap_altmap_populate_range(f, start, end, altmap), -ENOMEM);
	vmemmap_altmap_free_range(f, start, end, altmap);
	KUNIT_EXPECT_EQ(test, altmap->alloc, 0);
	vmemmap_altmap_expect_as_before(f);
}

/*
 * Test that the page table of a huge page that HVO has split is no longer accounted for
 * after it was freed. HVO allocates it by pte_alloc_one_kernel().
 */
static void split_huge_page_is_unaccounted(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	unsigned long addr = vmemmap_altmap_addr(f, 0), pfn, i;
	struct ptdesc *table;
	pte_t *ptes;
	int accounted;

	vmemmap_altmap_populate_ok(f, 0, 1, NULL);
	pfn = leaf_pfn(test, 0);
	ptes = pte_alloc_one_kernel(&init_mm);
	KUNIT_ASSERT_NOT_NULL(test, ptes);
	for (i = 0; i < PMD_NR; i++)
		set_pte_at(&init_mm, addr + i * PAGE_SIZE, ptes + i,
			   pfn_pte(pfn + i, PAGE_KERNEL));
	/* Each page of the block is now freed on its own. */
	split_page(pfn_to_page(pfn), PMD_ORDER);
	/* Look at the page table after it was freed. */
	table = virt_to_ptdesc(ptes);
	get_page(ptdesc_page(table));
	pmd_populate_kernel(&init_mm, pmd_off_k(addr), ptes);
	vmemmap_altmap_expect_usable(f, 0, 1);

	vmemmap_altmap_free(f, 0, 1, NULL);
	accounted = PageTable(ptdesc_page(table));
	KUNIT_EXPECT_FALSE_MSG(test, accounted, "the page table still counts in NR_PAGETABLE");
	if (accounted)
		pagetable_dtor(table);
	put_page(ptdesc_page(table));
	vmemmap_altmap_expect_as_before(f);
}

static struct kunit_case vmem_altmap_x86_cases[] = {
	KUNIT_CASE(page_tables_have_the_promised_levels),
	KUNIT_CASE_PARAM(huge_leaf_has_the_attributes_of_kernel_data, vmemmap_altmap_backings),
	KUNIT_CASE(several_sections_take_consecutive_blocks),
	KUNIT_CASE_PARAM(sections_are_freed_in_any_order, vmemmap_altmap_backings),
	KUNIT_CASE(section_without_room_is_enomem),
	KUNIT_CASE(exhausted_altmap_takes_no_ram),
	KUNIT_CASE_PARAM(populated_section_is_not_populated_twice, vmemmap_altmap_backings),
	KUNIT_CASE(fragmented_ram_gives_base_pages),
	KUNIT_CASE_PARAM(part_of_a_section_takes_base_pages, vmemmap_altmap_backings),
	KUNIT_CASE_PARAM(any_block_of_ram_may_be_missing, vmemmap_altmap_backings),
	KUNIT_CASE_PARAM(sub_sections_share_nothing, sub_sections_gen_params),
	KUNIT_CASE(base_pages_beside_others_return_to_their_owner),
	KUNIT_CASE(mixed_memmap_returns_to_its_owners),
	KUNIT_CASE_PARAM(huge_page_goes_with_its_last_part, vmemmap_altmap_backings),
	KUNIT_CASE_PARAM(part_of_a_huge_page_can_be_used_again, vmemmap_altmap_backings),
	KUNIT_CASE_PARAM(range_keeps_the_mappings_that_it_meets, rows_gen_params),
	KUNIT_CASE(huge_page_describes_only_its_range),
	KUNIT_CASE(split_huge_page_is_unaccounted),
	KUNIT_CASE_PARAM(range_crosses_upper_tables, boundaries_gen_params),
	{}
};

static int vmem_altmap_x86_suite_init(struct kunit_suite *suite)
{
	/* Some debugging options, KMSAN for example, make struct page larger. */
	if (PAGES_PER_SECTION * sizeof(struct page) != PMD_SIZE) {
		kunit_mark_skipped(suite, "sizeof(struct page) is %zu, not 64",
				   sizeof(struct page));
		return 0;
	}
	return vmemmap_altmap_suite_init(suite);
}

static struct kunit_suite vmem_altmap_x86_suite = {
	.name = "vmem_altmap_x86",
	.suite_init = vmem_altmap_x86_suite_init,
	.init = vmemmap_altmap_init,
	.exit = vmemmap_altmap_exit,
	.test_cases = vmem_altmap_x86_cases,
};

kunit_test_suite(vmem_altmap_x86_suite);

MODULE_DESCRIPTION("KUnit tests for a memmap with an altmap on x86_64");
MODULE_LICENSE("GPL");
