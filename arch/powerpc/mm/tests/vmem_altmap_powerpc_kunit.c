// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for what only powerpc promises about a memmap with and without a
 * struct vmem_altmap.
 *
 * With the hash MMU, the memmap is mapped by blocks of one size, and a list has
 * the address and the memory of each:
 *
 *  - A block comes from the altmap if it fits, and if all the memory that it
 *    describes is the altmap's own. Otherwise it comes from System RAM, that block
 *    and no other.
 *  - A block that cannot be recorded or mapped goes back to its owner at once, and any
 *    other when it is no longer mapped.
 *  - The list has an entry for each block that is mapped, and no other.
 *
 * With radix, it is mapped by huge pages and by base pages:
 *
 *  - Huge pages of the altmap are tried first, then base pages of the altmap, then
 *    base pages of System RAM.
 *  - Pages that also describe memory which is not the altmap's come from RAM.
 *  - Without an altmap, the huge page may be larger than what is asked for, but no
 *    base page lies outside.
 *  - Most of the memmap of a compound page can be one page, mapped many times.
 *
 * With both, each page returns to the one it came from, what two ranges have in
 * common outlives the first of them, and any sub-section can come and go alone.
 *
 * The stories about the ends of a range take place where they would in real life:
 * the case moves the device to the pfns that the hole describes, see
 * include/kunit/vmemmap_altmap.h.
 *
 *   the hole:    block 0 | block 1 | block 2 | block 3     (vmemmap addresses)
 *   describes:   0 ..... | ....... | ....... | ....... n   (pfns)
 *                 ^                                   ^
 *                 base_pfn, reserve, window, ...      end_pfn
 *
 * No RAM is there. With the hash MMU, what goes to the hash table is redirected to
 * the RAM that stands in for the device. With radix, a kernel that does its job does
 * not access that memmap.
 *
 * Not covered: that the list of blocks takes another page when it is full, and what
 * happens if there is none. The case about that replaces vmemmap_list_alloc().
 *
 * For what all architectures have in common, see mm/tests/vmemmap_altmap_kunit.c.
 */
#include <kunit/static_stub.h>
#include <kunit/test-bug.h>
#include <kunit/test.h>
#include <kunit/visibility.h>
#include <kunit/vmemmap_altmap.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/moduleparam.h>
#include <linux/pgalloc.h>
#include <linux/pgtable.h>
#include <linux/uaccess.h>

#include <asm/cpu_has_feature.h>

#include <mm/mmu_decl.h>

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

/*
 * What the machine is meant to be. Whoever starts it says so, and notices if the
 * emulator's or the kernel's choice is another.
 */
static struct {
	char *mmu;
	uint vmemmap_shift, page_shift, struct_page;
} promised;

module_param_named(mmu, promised.mmu, charp, 0444);
MODULE_PARM_DESC(mmu, "expected MMU: hash or radix");
module_param_named(vmemmap_shift, promised.vmemmap_shift, uint, 0444);
MODULE_PARM_DESC(vmemmap_shift, "expected size of vmemmap mappings, as a power of two");
module_param_named(page_shift, promised.page_shift, uint, 0444);
MODULE_PARM_DESC(page_shift, "expected page size, as a power of two");
module_param_named(struct_page, promised.struct_page, uint, 0444);
MODULE_PARM_DESC(struct_page, "expected size of struct page, in bytes");

/* Blocks of the hole that a story is about. */
#define NR_BLOCKS	4
static_assert(NR_BLOCKS <= VMEMMAP_ALTMAP_HOLE_UNITS);

/* How many more blocks can be mapped, and recorded, before that fails. */
static unsigned int nr_good_mappings;
static unsigned int nr_good_entries;

/*
 * Blocks that are mapped to the end of the device while a section is added: struct
 * pages that the kernel does not map are then a failure, and not a crash.
 */
static unsigned long guard, guard_end;

static int really_map(unsigned long start, unsigned long size, unsigned long pfn)
{
	struct kunit *test = kunit_get_current_test();
	int rc;

	/* Nothing is redirected while no test is current. */
	current->kunit_test = NULL;
	rc = hash__vmemmap_create_mapping(start, size, PFN_PHYS(pfn));
	current->kunit_test = test;
	return rc;
}

static void really_unmap(unsigned long start, unsigned long size)
{
	struct kunit *test = kunit_get_current_test();

	current->kunit_test = NULL;
	hash__vmemmap_remove_mapping(start, size);
	current->kunit_test = test;
}

/* Stands in for hash__vmemmap_create_mapping(): the device's memory is elsewhere. */
static int create_mapping(unsigned long start, unsigned long page_size, unsigned long phys)
{
	struct kunit *test = kunit_get_current_test();

	if (!nr_good_mappings)
		return -ENOSPC;
	nr_good_mappings--;
	if (start >= guard && start < guard_end)
		really_unmap(start, page_size);
	return really_map(start, page_size, vmemmap_altmap_ram_pfn(test->priv, PHYS_PFN(phys)));
}

/* Stands in for vmemmap_list_alloc(): the list may not grow any more. */
static struct vmemmap_backing *list_alloc(int node)
{
	struct kunit *test = kunit_get_current_test();
	struct vmemmap_backing *entry;

	if (!nr_good_entries)
		return NULL;
	nr_good_entries--;
	current->kunit_test = NULL;
	entry = vmemmap_list_alloc(node);
	current->kunit_test = test;
	return entry;
}

static void needs_hash(struct kunit *test)
{
	if (radix_enabled())
		kunit_skip(test, "needs the hash MMU");
}

static void needs_radix(struct kunit *test)
{
	if (!radix_enabled())
		kunit_skip(test, "needs the radix MMU");
}

/* The case is about blocks, in the terms of the fixture: a unit is a block. */
static void count_in_blocks(struct vmemmap_altmap_fixture *f)
{
	f->unit_size = f->leaf_size;
	f->unit_nr = f->leaf_nr;
}

/* The case is about base pages. */
static void count_in_pages(struct vmemmap_altmap_fixture *f)
{
	f->unit_size = PAGE_SIZE;
	f->unit_nr = 1;
}

/* The last pfn that is described by memmap below @addr, if only in part. */
static unsigned long last_pfn_below(const struct vmemmap_altmap_fixture *f,
				    unsigned long addr)
{
	unsigned long pfn = f->hole_pfn + (addr - vmemmap_altmap_addr(f, 0)) / sizeof(struct page);

	return (unsigned long)pfn_to_page(pfn) < addr ? pfn : pfn - 1;
}

static long ram_used(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmemmap_altmap_counters now;

	vmemmap_altmap_count(f, &now);
	return now.ram - f->before.ram;
}

/* Is the memory at @addr a page that @altmap hands out? Told independently. */
static bool is_altmaps(const struct vmem_altmap *altmap, unsigned long addr)
{
	struct vmemmap_altmap_leaf leaf = vmemmap_altmap_leaf(addr);
	unsigned long first = altmap->base_pfn + altmap->reserve;

	return leaf.size && leaf.pfn >= first && leaf.pfn < first + altmap->free;
}

/*
 * Test that the kernel got the MMU, the sizes of pages, and the layout of struct
 * page for which this machine was started.
 */
static void mmu_is_the_promised_one(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	uint shift = radix_enabled() ? PMD_SHIFT : mmu_psize_defs[mmu_vmemmap_psize].shift;
	struct vmemmap_altmap_counters now;

	if (!promised.mmu || !promised.vmemmap_shift || !promised.page_shift ||
	    !promised.struct_page)
		kunit_skip(test, "needs the module parameters mmu, vmemmap_shift, ...");

	KUNIT_EXPECT_STREQ(test, radix_enabled() ? "radix" : "hash", promised.mmu);
	KUNIT_EXPECT_EQ(test, shift, promised.vmemmap_shift);
	KUNIT_EXPECT_EQ(test, PAGE_SHIFT, promised.page_shift);
	KUNIT_EXPECT_EQ(test, sizeof(struct page), promised.struct_page);

	vmemmap_altmap_populate_ok(f, 0, 1, NULL);
	vmemmap_altmap_count(f, &now);
	KUNIT_EXPECT_EQ(test, now.leaves - f->before.leaves,
			f->unit_size >> promised.vmemmap_shift);
	vmemmap_altmap_free(f, 0, 1, NULL);
}

/*
 * Test that a block is outside as soon as it describes one page, or a part of one,
 * before the first or behind the last of the range. Also for blocks that begin in
 * the midst of a struct page, which happens where its size is not a power of two.
 */
static void boundary_is_told_at_both_ends(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	unsigned long sizes[] = { f->leaf_size, PAGE_SIZE };
	int i, block;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (block = 0; block < NR_BLOCKS; block++) {
			unsigned long start = vmemmap_altmap_addr(f, 0) + block * sizes[i];
			unsigned long last = last_pfn_below(f, start + sizes[i]);
			unsigned long first = last_pfn_below(f, start + 1);
			const struct {
				unsigned long base_pfn, end_pfn;
				bool crosses;
			} ranges[] = {
				{ first,     last,      false },
				{ first - 1, last,      false },
				{ first,     last + 1,  false },
				{ 0,         ULONG_MAX, false },
				{ first + 1, last,      true  },
				{ first,     last - 1,  true  },
				{ last,      last,      true  },
				{ first,     first,     true  },
				{ last + 1,  last + 9,  true  },
				{ first - 9, first - 1, true  },
			};
			int j;

			KUNIT_ASSERT_LT(test, first, last);
			for (j = 0; j < ARRAY_SIZE(ranges); j++) {
				struct vmem_altmap altmap = {
					.base_pfn = ranges[j].base_pfn,
					.end_pfn = ranges[j].end_pfn,
				};

				KUNIT_EXPECT_EQ_MSG(test,
						    altmap_cross_boundary(&altmap, start, sizes[i]),
						    ranges[j].crosses,
						    "block %d of %lu bytes describes %#lx-%#lx, range %#lx-%#lx",
						    block, sizes[i], first, last,
						    altmap.base_pfn, altmap.end_pfn);
			}
		}
	}
}

/*
 * Altmaps for a range of NR_BLOCKS blocks, described in blocks of many pages. Where a
 * block is a single page nothing is lost to alignment, so that more of them fit.
 */
static const struct story {
	const char *name;
	/* The range lacks the first, or the last, of the pfns that the blocks describe. */
	bool first_cut, last_cut;
	/* The reserve, in blocks and pages. */
	unsigned int reserve_blocks, reserve_pages;
	/* How much earlier than NR_BLOCKS blocks behind the first pfn the window ends. */
	unsigned int short_blocks, short_pages;
	/*
	 * Blocks from the altmap: the first of them, how many, and how many blocks
	 * behind the first pfn the first one's memory is.
	 */
	unsigned int first_altmap, nr_altmap, at_block;
} stories[] = {
	/* The room is there: only what the range does not have comes from RAM. */
	{ .name = "all_fit", .nr_altmap = 4 },
	{ .name = "first_block_is_the_neighbours",
	  .first_cut = true, .first_altmap = 1, .nr_altmap = 3, .at_block = 1 },
	{ .name = "last_block_is_the_neighbours",
	  .last_cut = true, .nr_altmap = 3 },
	{ .name = "both_blocks_are_the_neighbours",
	  .first_cut = true, .last_cut = true,
	  .first_altmap = 1, .nr_altmap = 2, .at_block = 1 },
	/* The few pages that the driver has cost the altmap a block. */
	{ .name = "few_reserved", .reserve_pages = 3, .nr_altmap = 3, .at_block = 1 },
	{ .name = "few_reserved_first_block_is_the_neighbours",
	  .first_cut = true, .reserve_pages = 3,
	  .first_altmap = 1, .nr_altmap = 3, .at_block = 1 },
	{ .name = "few_reserved_last_block_is_the_neighbours",
	  .last_cut = true, .reserve_pages = 3, .nr_altmap = 3, .at_block = 1 },
	{ .name = "a_block_reserved", .reserve_blocks = 1, .nr_altmap = 3, .at_block = 1 },
	/* A part of a block at the end is of no use either. */
	{ .name = "one_page_short", .short_pages = 1, .nr_altmap = 3 },
	{ .name = "few_reserved_and_one_page_short",
	  .reserve_pages = 3, .short_pages = 1, .nr_altmap = 2, .at_block = 1 },
	{ .name = "one_usable_block",
	  .reserve_pages = 3, .short_blocks = 2, .nr_altmap = 1, .at_block = 1 },
	{ .name = "one_usable_block_first_block_is_the_neighbours",
	  .first_cut = true, .reserve_pages = 3, .short_blocks = 2,
	  .first_altmap = 1, .nr_altmap = 1, .at_block = 1 },
	{ .name = "no_usable_block",
	  .reserve_pages = 3, .short_blocks = 2, .short_pages = 1, .nr_altmap = 0 },
	{ .name = "all_reserved", .reserve_blocks = 4, .nr_altmap = 0 },
};

KUNIT_ARRAY_PARAM_DESC(stories, stories, name);

/*
 * Test that of all blocks exactly those come from RAM that are of no use in the
 * altmap, and that all return to where they came from.
 */
static void hash_unusable_blocks_come_from_ram(struct kunit *test)
{
	const struct story *s = test->param_value;
	struct vmemmap_altmap_fixture *f = test->priv;
	unsigned long base, end, first, last, reserve, room, free, block, nr_altmap = 0;
	struct vmem_altmap *altmap;
	u64 salt;

	needs_hash(test);
	count_in_blocks(f);
	first = vmemmap_altmap_addr(f, 0);
	last = vmemmap_altmap_addr(f, NR_BLOCKS);
	base = f->hole_pfn + s->first_cut;
	end = last_pfn_below(f, last) - s->last_cut;
	f->dev_pfn = f->hole_pfn;

	reserve = s->reserve_blocks * f->leaf_nr + s->reserve_pages;
	room = (NR_BLOCKS - s->short_blocks) * f->leaf_nr - s->short_pages - s->first_cut;
	free = room > reserve ? room - reserve : 0;
	altmap = vmemmap_altmap_new_range(f, base, end, reserve, free);

	KUNIT_ASSERT_EQ(test, vmemmap_altmap_populate_range(f, first, last, altmap), 0);
	for (block = 0; block < NR_BLOCKS; block++)
		nr_altmap += is_altmaps(altmap, vmemmap_altmap_addr(f, block));

	if (s->first_cut)
		KUNIT_EXPECT_FALSE(test, is_altmaps(altmap, first));
	if (s->last_cut)
		KUNIT_EXPECT_FALSE(test, is_altmaps(altmap, last - f->leaf_size));
	for (block = 0; f->leaf_nr > 1 && block < NR_BLOCKS; block++) {
		unsigned long addr = vmemmap_altmap_addr(f, block);
		bool in_altmap = block >= s->first_altmap &&
				 block < s->first_altmap + s->nr_altmap;

		KUNIT_EXPECT_EQ_MSG(test, is_altmaps(altmap, addr), in_altmap, "block %lu", block);
		if (in_altmap)
			KUNIT_EXPECT_EQ(test, vmemmap_altmap_leaf(addr).pfn, f->dev_pfn +
					(s->at_block + block - s->first_altmap) * f->leaf_nr);
	}
	if (f->leaf_nr == 1)
		KUNIT_EXPECT_EQ(test, nr_altmap,
				min(free, NR_BLOCKS - (unsigned long)s->first_cut - s->last_cut));
	KUNIT_EXPECT_EQ(test, altmap->alloc, nr_altmap * f->leaf_nr);
	KUNIT_EXPECT_EQ(test, ram_used(test), (NR_BLOCKS - nr_altmap) * f->leaf_nr);

	salt = vmemmap_altmap_fill(f, 0, NR_BLOCKS);
	vmemmap_altmap_expect_filled(f, 0, NR_BLOCKS, salt);
	vmemmap_altmap_expect_device_intact(f);

	vmemmap_altmap_free_range(f, first, last, altmap);
	KUNIT_EXPECT_EQ(test, altmap->alloc, 0);
	KUNIT_EXPECT_EQ(test, altmap->align, 0);
	vmemmap_altmap_expect_as_before(f);
}

/*
 * Test that RAM which begins where the altmap's window ends returns to RAM: it is
 * not the altmap's, however much of the altmap is in use.
 */
static void ram_behind_the_window_is_not_the_altmaps(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	unsigned long nr_ram, nr_altmap, last;
	struct vmem_altmap *altmap;

	count_in_blocks(f);
	/* With radix, a base page steps in. All others that the altmap lacks fit. */
	nr_ram = radix_enabled() ? 1 : f->leaf_nr;
	nr_altmap = 2 * f->leaf_nr - nr_ram;
	vmemmap_altmap_ram_behind_device(f, nr_ram);
	altmap = vmemmap_altmap_new(f, f->dev_nr - nr_altmap, nr_altmap);

	vmemmap_altmap_populate_ok(f, 0, 1, altmap);
	vmemmap_altmap_populate_ok(f, 1, 1, altmap);
	KUNIT_EXPECT_EQ(test, altmap->alloc, nr_altmap);
	KUNIT_EXPECT_EQ(test, ram_used(test), nr_ram);
	last = vmemmap_altmap_addr(f, 2) - nr_ram * PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, vmemmap_altmap_leaf(last).pfn, f->dev_pfn + f->dev_nr);
	vmemmap_altmap_expect_usable(f, 0, 2);

	vmemmap_altmap_free(f, 1, 1, altmap);
	KUNIT_EXPECT_EQ(test, ram_used(test), 0);
	KUNIT_EXPECT_EQ(test, altmap->alloc, f->leaf_nr);
	vmemmap_altmap_free(f, 0, 1, altmap);
	KUNIT_EXPECT_EQ(test, altmap->alloc, 0);
	vmemmap_altmap_expect_as_before(f);
}

static const struct neighbours {
	const char *name;
	bool within_section;
	bool second_comes_first;
	bool second_goes_first;
	bool second_has_altmap;
} neighbours[] = {
	{ "first_in_first_out" },
	{ "last_in_first_out", .second_goes_first = true },
	{ "second_in_first_first_out_first", .second_comes_first = true },
	{ "second_in_first_out_first", .second_comes_first = true, .second_goes_first = true },
	{ "two_altmaps_first_in_first_out", .second_has_altmap = true },
	{ "two_altmaps_last_in_first_out",
	  .second_has_altmap = true, .second_goes_first = true },
	{ "within_a_section_first_in_first_out", .within_section = true },
	{ "within_a_section_last_in_first_out",
	  .within_section = true, .second_goes_first = true },
	{ "within_a_section_second_in_first_first_out_first",
	  .within_section = true, .second_comes_first = true },
	{ "within_a_section_second_in_first_out_first",
	  .within_section = true, .second_comes_first = true, .second_goes_first = true },
	{ "within_a_section_two_altmaps_first_in_first_out",
	  .within_section = true, .second_has_altmap = true },
	{ "within_a_section_two_altmaps_last_in_first_out",
	  .within_section = true, .second_has_altmap = true, .second_goes_first = true },
};

KUNIT_ARRAY_PARAM_DESC(neighbours, neighbours, name);

/* Pages that are added, section by section or for less than one, and removed. */
struct span {
	unsigned long pfn, nr, nr_added;
	struct vmem_altmap *altmap;
};

/* Maps those blocks of the hash MMU that are to be mapped for [@start, @end). */
static void map_guard(struct vmemmap_altmap_fixture *f, unsigned long start, unsigned long end)
{
	unsigned long pfn = page_to_pfn(f->dev_page) + f->dev_nr - f->leaf_nr, addr;

	guard = ALIGN_DOWN(start, f->leaf_size);
	guard_end = ALIGN(end, f->leaf_size);
	while (guard < guard_end && vmemmap_altmap_leaf(guard).size)
		guard += f->leaf_size;
	while (guard < guard_end && vmemmap_altmap_leaf(guard_end - 1).size)
		guard_end -= f->leaf_size;
	for (addr = guard; addr < guard_end; addr += f->leaf_size)
		KUNIT_EXPECT_EQ(f->test, really_map(addr, f->leaf_size, pfn), 0);
}

/* How many blocks did nobody map? */
static unsigned long unmap_guard(struct vmemmap_altmap_fixture *f)
{
	unsigned long nr = 0;

	for (; guard < guard_end; guard += f->leaf_size) {
		if (vmemmap_altmap_leaf(guard).size)
			continue;
		really_unmap(guard, f->leaf_size);
		nr++;
	}
	return nr;
}

static int add_section(struct vmemmap_altmap_fixture *f, unsigned long pfn, unsigned long nr,
		       struct vmem_altmap *altmap)
{
	unsigned long nr_missing = 0;
	int err;

	if (!radix_enabled())
		map_guard(f, (unsigned long)pfn_to_page(pfn), (unsigned long)pfn_to_page(pfn + nr));
	err = sparse_add_section(first_memory_node, pfn, nr, altmap, NULL);
	if (!radix_enabled())
		nr_missing = unmap_guard(f);
	if (err || !nr_missing)
		return err;
	kunit_info(f->test, "%lu blocks of the memmap of %#lx-%#lx are not mapped\n",
		   nr_missing, pfn, pfn + nr - 1);
	sparse_remove_section(pfn, nr, altmap, NULL);
	return -EFAULT;
}

static int add_span(struct kunit *test, struct span *r)
{
	int err = 0;

	mem_hotplug_begin();
	while (r->nr_added < r->nr && !err) {
		unsigned long pfn = r->pfn + r->nr_added;
		unsigned long nr = min(r->nr - r->nr_added, SECTION_ALIGN_UP(pfn + 1) - pfn);

		err = add_section(test->priv, pfn, nr, r->altmap);
		if (!err)
			r->nr_added += nr;
	}
	mem_hotplug_done();
	KUNIT_EXPECT_EQ(test, err, 0);
	return err;
}

static void remove_span(struct span *r)
{
	mem_hotplug_begin();
	while (r->nr_added) {
		unsigned long end = r->pfn + r->nr_added;
		unsigned long pfn = max(SECTION_ALIGN_DOWN(end - 1), r->pfn);

		sparse_remove_section(pfn, end - pfn, r->altmap, NULL);
		r->nr_added -= end - pfn;
	}
	mem_hotplug_done();
}

static void write_struct_pages(unsigned long pfn, unsigned long nr)
{
	for (; nr--; pfn++)
		WRITE_ONCE(*(u64 *)pfn_to_page(pfn), ~(u64)pfn);
}

static void expect_written(struct kunit *test, unsigned long pfn, unsigned long nr)
{
	unsigned long wrong = 0, i;
	u64 word;

	for (i = 0; i < nr; i++)
		/* It may be gone altogether. */
		if (copy_from_kernel_nofault(&word, pfn_to_page(pfn + i), sizeof(word)) ||
		    word != ~(u64)(pfn + i))
			wrong++;
	KUNIT_EXPECT_EQ_MSG(test, wrong, 0, "struct pages of %#lx-%#lx changed",
			    pfn, pfn + nr - 1);
}

/*
 * Test that of two ranges that meet within a block or a section, neither has its
 * memmap in the altmap of the other, and each can go while the other one's struct
 * pages stay what they are. What the first has in its altmap has to be back when it
 * is gone.
 */
static void removed_range_keeps_the_neighbours_memmap(struct kunit *test)
{
	const struct neighbours *n = test->param_value;
	struct vmemmap_altmap_fixture *f = test->priv;
	const unsigned long size = PAGES_PER_SECTION * sizeof(struct page);
	/* A block that only the first has, and the section before the border. */
	const unsigned long nr_first = (f->leaf_size / size + 1) * PAGES_PER_SECTION +
				       n->within_section * PAGES_PER_SUBSECTION;
	/* The rest of a section. */
	const unsigned long nr = PAGES_PER_SECTION - n->within_section * PAGES_PER_SUBSECTION;
	struct span range[] = {
		{ .pfn = f->hole_pfn, .nr = nr_first },
		{ .pfn = f->hole_pfn + nr_first, .nr = nr },
	};
	unsigned long border = (unsigned long)pfn_to_page(range[1].pfn);
	int round, err = 0;
	unsigned long i;

	range[0].altmap = vmemmap_altmap_new_range(f, f->dev_pfn, range[1].pfn - 1,
						   0, 2 * f->unit_nr);
	if (n->second_has_altmap)
		range[1].altmap = vmemmap_altmap_new_range(f, f->dev_pfn + 2 * f->unit_nr,
							   range[1].pfn + nr - 1,
							   0, 2 * f->unit_nr);
	for (round = 0; round < 2 && !err; round++)
		err = add_span(test, &range[round ^ n->second_comes_first]);

	KUNIT_EXPECT_TRUE(test, is_altmaps(range[0].altmap, vmemmap_altmap_addr(f, 0)));
	for (i = 0; i < nr * sizeof(struct page); i += PAGE_SIZE) {
		KUNIT_EXPECT_FALSE_MSG(test, is_altmaps(range[0].altmap, border + i),
				       "second range, %#lx", i);
		if (range[1].altmap)
			KUNIT_EXPECT_FALSE_MSG(test, is_altmaps(range[1].altmap, border - 1 - i),
					       "first range, %#lx", i);
	}
	/* The sections at the border are those that may share a block. */
	if (!err)
		write_struct_pages(range[1].pfn - nr, 2 * nr);

	for (round = 0; round < 2; round++) {
		int k = round ^ n->second_goes_first;

		if (!err)
			expect_written(test, range[1].pfn - nr + k * nr, nr);
		remove_span(&range[k]);
		if (range[k].altmap)
			KUNIT_EXPECT_EQ(test, range[k].altmap->alloc, 0);
	}
	vmemmap_altmap_expect_as_before(f);
}

static const struct order {
	const char *name;
	bool altmap;
	/* The first sub-section, and how much farther the next one is, modulo all. */
	unsigned int first, step;
} orders[] = {
	{ "altmap_ascending", true, 0, 1 },
	{ "altmap_descending", true, SUBSECTIONS_PER_SECTION - 1, SUBSECTIONS_PER_SECTION - 1 },
	{ "altmap_every_third", true, 1, 3 },
	{ "ram_ascending", false, 0, 1 },
	{ "ram_descending", false, SUBSECTIONS_PER_SECTION - 1, SUBSECTIONS_PER_SECTION - 1 },
	{ "ram_every_third", false, 1, 3 },
};

KUNIT_ARRAY_PARAM_DESC(orders, orders, name);

/*
 * Test that the sub-sections of a section get their memmap in whatever order they
 * come, also where the section's memmap reaches into another block, and that each can
 * go without the others.
 */
static void sub_sections_come_and_go_in_any_order(struct kunit *test)
{
	const struct order *o = test->param_value;
	struct vmemmap_altmap_fixture *f = test->priv;
	const unsigned long size = PAGES_PER_SECTION * sizeof(struct page);
	/* The section in whose memmap the second block begins, or the first if blocks are small. */
	unsigned long first = f->hole_pfn + f->leaf_size / size * PAGES_PER_SECTION;
	struct span range[SUBSECTIONS_PER_SECTION] = {};
	struct vmem_altmap *altmap = NULL;
	unsigned int i, j;
	int err = 0;

	if (o->altmap)
		altmap = vmemmap_altmap_new_range(f, f->dev_pfn, first + PAGES_PER_SECTION - 1,
						  0, f->unit_nr);
	for (i = 0; i < SUBSECTIONS_PER_SECTION && !err; i++) {
		struct span *r = &range[i];

		r->pfn = first + (o->first + i * o->step) % SUBSECTIONS_PER_SECTION *
			 PAGES_PER_SUBSECTION;
		r->nr = PAGES_PER_SUBSECTION;
		r->altmap = altmap;
		err = add_span(test, r);
		if (!err)
			write_struct_pages(r->pfn, r->nr);
	}
	for (i = 0; i < SUBSECTIONS_PER_SECTION; i++) {
		for (j = i; j < SUBSECTIONS_PER_SECTION && !err; j++)
			expect_written(test, range[j].pfn, range[j].nr);
		remove_span(&range[i]);
	}
	vmemmap_altmap_expect_as_before(f);
}

/* How many entries of the list are for @addr, and what memory has the last of them? */
static unsigned int list_entries(unsigned long addr, unsigned long *pfn)
{
	struct vmemmap_backing *b;
	unsigned int nr = 0;

	*pfn = 0;
	for (b = vmemmap_list; b; b = b->list) {
		if (b->virt_addr == addr) {
			*pfn = PHYS_PFN(b->phys);
			nr++;
		}
	}
	return nr;
}

/*
 * Test that the list has an entry for each block that is mapped, with the memory
 * that was mapped, and loses exactly those of the blocks that are freed.
 */
static void hash_list_has_one_entry_per_block(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap;
	unsigned long block, pfn;
	u64 salt;

	needs_hash(test);
	count_in_blocks(f);
	altmap = vmemmap_altmap_backing(f, 0, NR_BLOCKS * f->leaf_nr);
	vmemmap_altmap_populate_ok(f, 0, 1, altmap);
	vmemmap_altmap_populate_ok(f, 1, 1, altmap);
	vmemmap_altmap_populate_ok(f, 2, 2, altmap);
	for (block = 0; block < NR_BLOCKS; block++) {
		KUNIT_EXPECT_EQ(test, list_entries(vmemmap_altmap_addr(f, block), &pfn), 1);
		if (altmap)
			KUNIT_EXPECT_EQ(test, pfn, f->dev_pfn + block * f->leaf_nr);
	}
	salt = vmemmap_altmap_fill(f, 0, NR_BLOCKS);

	vmemmap_altmap_free(f, 1, 1, altmap);
	for (block = 0; block < NR_BLOCKS; block++)
		KUNIT_EXPECT_EQ(test, list_entries(vmemmap_altmap_addr(f, block), &pfn),
				block != 1);
	vmemmap_altmap_expect_filled(f, 0, 1, salt);
	vmemmap_altmap_expect_filled(f, 2, 2, salt);

	vmemmap_altmap_free(f, 0, 1, altmap);
	vmemmap_altmap_free(f, 2, 2, altmap);
	for (block = 0; block < NR_BLOCKS; block++)
		KUNIT_EXPECT_EQ(test, list_entries(vmemmap_altmap_addr(f, block), &pfn), 0);
}

/*
 * Test that freed entries of the list are used again: it takes no memory, however
 * often blocks come and go.
 */
static void hash_freed_entries_are_used_again(struct kunit *test)
{
	const int nr_rounds = PAGE_SIZE / sizeof(struct vmemmap_backing) / NR_BLOCKS + 1;
	struct vmemmap_altmap_fixture *f = test->priv;
	int round;

	needs_hash(test);
	count_in_blocks(f);
	for (round = 0; round < nr_rounds; round++) {
		vmemmap_altmap_populate_ok(f, 0, NR_BLOCKS, NULL);
		KUNIT_ASSERT_EQ_MSG(test, ram_used(test), NR_BLOCKS * f->leaf_nr,
				    "round %d", round);
		vmemmap_altmap_free(f, 0, NR_BLOCKS, NULL);
	}
}

/* Pages in use each time that a block is unmapped, of System RAM and of an altmap. */
static unsigned long in_use[NR_BLOCKS];
static unsigned int nr_unmapped;
static const struct vmem_altmap *used_altmap;

/* Stands in for hash__vmemmap_remove_mapping(): takes stock first. */
static void remove_mapping(unsigned long start, unsigned long page_size)
{
	struct kunit *test = kunit_get_current_test();

	vmemmap_altmap_sweep(test->priv);
	if (nr_unmapped < NR_BLOCKS)
		in_use[nr_unmapped] = ram_used(test) + (used_altmap ? used_altmap->alloc : 0);
	nr_unmapped++;
	really_unmap(start, page_size);
}

/*
 * Test that a block goes back to its owner when it is no longer mapped, and not
 * before: the owner may give it to someone else at once.
 */
static void hash_block_is_unmapped_before_it_is_freed(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmem_altmap *altmap;
	unsigned int block;

	needs_hash(test);
	count_in_blocks(f);
	altmap = vmemmap_altmap_backing(f, 0, NR_BLOCKS * f->leaf_nr);
	vmemmap_altmap_populate_ok(f, 0, NR_BLOCKS, altmap);

	used_altmap = altmap;
	nr_unmapped = 0;
	kunit_activate_static_stub(test, hash__vmemmap_remove_mapping, remove_mapping);
	vmemmap_altmap_free(f, 0, NR_BLOCKS, altmap);
	kunit_deactivate_static_stub(test, hash__vmemmap_remove_mapping);
	KUNIT_ASSERT_EQ(test, nr_unmapped, NR_BLOCKS);
	for (block = 0; block < NR_BLOCKS; block++)
		KUNIT_EXPECT_EQ_MSG(test, in_use[block], (NR_BLOCKS - block) * f->leaf_nr,
				    "when block %u was unmapped", block);
	vmemmap_altmap_expect_as_before(f);
}

/* Whose the blocks are of which the last cannot be recorded or mapped. */
static const struct failing {
	const char *name;
	unsigned int nr_altmap;
} failing[] = {
	{ "altmap", NR_BLOCKS },
	{ "last_block_from_ram", NR_BLOCKS - 1 },
	{ "ram", 0 },
};

KUNIT_ARRAY_PARAM_DESC(failing, failing, name);

/* Populates three blocks, of which the last fails, beside one that is there. */
static void expect_third_block_to_fail(struct kunit *test, unsigned int *nr_good, int err)
{
	const struct failing *p = test->param_value;
	struct vmemmap_altmap_fixture *f = test->priv;
	unsigned long start, end, pfn, nr;
	struct vmem_altmap *altmap = NULL;
	u64 salt;

	count_in_blocks(f);
	nr = f->leaf_nr;
	if (p->nr_altmap)
		altmap = vmemmap_altmap_new(f, 0, p->nr_altmap * nr);
	start = vmemmap_altmap_addr(f, 1);
	end = vmemmap_altmap_addr(f, 4);
	vmemmap_altmap_populate_ok(f, 0, 1, altmap);
	salt = vmemmap_altmap_fill(f, 0, 1);

	*nr_good = 2;
	KUNIT_EXPECT_EQ(test, vmemmap_altmap_populate_range(f, start, end, altmap), err);
	KUNIT_EXPECT_EQ(test, *nr_good, 0);
	KUNIT_EXPECT_EQ(test, list_entries(vmemmap_altmap_addr(f, 2), &pfn), 1);
	KUNIT_EXPECT_EQ(test, list_entries(vmemmap_altmap_addr(f, 3), &pfn), 0);
	/* The block that failed is back, before anyone cleans up after the others. */
	vmemmap_altmap_sweep(f);
	KUNIT_EXPECT_EQ(test, ram_used(test), altmap ? 0 : 3 * nr);
	if (altmap)
		KUNIT_EXPECT_EQ(test, altmap->alloc, 3 * nr);

	vmemmap_altmap_free_range(f, start, end, altmap);
	KUNIT_EXPECT_EQ(test, ram_used(test), altmap ? 0 : nr);
	if (altmap)
		KUNIT_EXPECT_EQ(test, altmap->alloc, nr);
	vmemmap_altmap_expect_unmapped(f, 1, 3);
	vmemmap_altmap_expect_filled(f, 0, 1, salt);
	vmemmap_altmap_free(f, 0, 1, altmap);
	vmemmap_altmap_expect_as_before(f);

	/* Nothing that failed is in the way. */
	*nr_good = UINT_MAX;
	vmemmap_altmap_populate_ok(f, 0, 4, altmap);
	KUNIT_EXPECT_EQ(test, ram_used(test), (4 - p->nr_altmap) * nr);
	vmemmap_altmap_expect_usable(f, 0, 4);
	vmemmap_altmap_free(f, 0, 4, altmap);
}

/* Test that a block that cannot be recorded goes back to its owner at once. */
static void hash_block_without_entry_is_returned(struct kunit *test)
{
	needs_hash(test);
	kunit_activate_static_stub(test, vmemmap_list_alloc, list_alloc);
	expect_third_block_to_fail(test, &nr_good_entries, -ENOMEM);
}

/*
 * Test that a block for which the hash table has no room goes back to its owner at
 * once, and its entry, too.
 */
static void hash_block_without_mapping_is_returned(struct kunit *test)
{
	needs_hash(test);
	expect_third_block_to_fail(test, &nr_good_mappings, -EFAULT);
}

/*
 * Test the order in which radix looks for memory: a huge page of the altmap, base
 * pages of the altmap, base pages of RAM.
 */
static void radix_huge_page_then_altmap_pages_then_ram(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	const unsigned long left = 5;
	unsigned long start, end, addr, i;
	struct vmem_altmap *altmap;

	needs_radix(test);
	altmap = vmemmap_altmap_new(f, f->leaf_nr, f->leaf_nr + left);
	start = vmemmap_altmap_addr(f, 0);
	end = start + 2 * f->leaf_size;
	KUNIT_ASSERT_EQ(test, vmemmap_altmap_populate_range(f, start, end, altmap), 0);

	KUNIT_EXPECT_EQ(test, vmemmap_altmap_leaf(start).size, f->leaf_size);
	KUNIT_EXPECT_EQ(test, vmemmap_altmap_leaf(start).pfn, f->dev_pfn + f->leaf_nr);
	for (addr = start + f->leaf_size, i = 0; addr < end; addr += PAGE_SIZE, i++) {
		struct vmemmap_altmap_leaf leaf = vmemmap_altmap_leaf(addr);

		KUNIT_EXPECT_EQ(test, leaf.size, PAGE_SIZE);
		if (i < left)
			KUNIT_EXPECT_EQ(test, leaf.pfn, f->dev_pfn + 2 * f->leaf_nr + i);
		else
			KUNIT_EXPECT_FALSE(test, is_altmaps(altmap, addr));
	}
	KUNIT_EXPECT_EQ(test, altmap->alloc, f->leaf_nr + left);
	KUNIT_EXPECT_EQ(test, altmap->align, 0);
	KUNIT_EXPECT_EQ(test, ram_used(test), f->leaf_nr - left);

	count_in_pages(f);
	vmemmap_altmap_expect_usable(f, 0, 2 * f->leaf_nr);
	vmemmap_altmap_free_range(f, start, end, altmap);
	KUNIT_EXPECT_EQ(test, altmap->alloc, 0);
	vmemmap_altmap_expect_as_before(f);
}

/*
 * Test that a request that begins within a huge page gets base pages up to the
 * next one, none for what was not asked for, and huge pages from there on.
 */
static void radix_unaligned_start_takes_base_pages(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	unsigned long hole, start, end, addr, nr;
	struct vmem_altmap *altmap;

	needs_radix(test);
	nr = f->leaf_nr - 3;
	altmap = vmemmap_altmap_new(f, f->leaf_nr + 3, nr + f->leaf_nr);
	hole = vmemmap_altmap_addr(f, 0);
	start = hole + 3 * PAGE_SIZE;
	end = hole + 2 * f->leaf_size;
	KUNIT_ASSERT_EQ(test, vmemmap_altmap_populate_range(f, start, end, altmap), 0);

	for (addr = hole; addr < start; addr += PAGE_SIZE)
		KUNIT_EXPECT_EQ(test, vmemmap_altmap_leaf(addr).size, 0);
	for (; addr < hole + f->leaf_size; addr += PAGE_SIZE) {
		struct vmemmap_altmap_leaf leaf = vmemmap_altmap_leaf(addr);

		KUNIT_EXPECT_EQ(test, leaf.size, PAGE_SIZE);
		KUNIT_EXPECT_EQ(test, leaf.pfn,
				f->dev_pfn + f->leaf_nr + (addr - hole) / PAGE_SIZE);
	}
	KUNIT_EXPECT_EQ(test, vmemmap_altmap_leaf(addr).size, f->leaf_size);
	KUNIT_EXPECT_EQ(test, vmemmap_altmap_leaf(addr).pfn, f->dev_pfn + 2 * f->leaf_nr);
	KUNIT_EXPECT_EQ(test, altmap->alloc, altmap->free);
	KUNIT_EXPECT_EQ(test, ram_used(test), 0);

	count_in_pages(f);
	vmemmap_altmap_expect_usable(f, 3, nr + f->leaf_nr);
	vmemmap_altmap_free_range(f, start, end, altmap);
	KUNIT_EXPECT_EQ(test, altmap->alloc, 0);
	vmemmap_altmap_expect_as_before(f);
}

/*
 * Test that without an altmap the whole huge page is mapped of which only a part is
 * asked for, and that it goes when that part goes.
 */
static void radix_without_altmap_takes_the_whole_huge_page(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	unsigned long hole, start, end;

	needs_radix(test);
	hole = vmemmap_altmap_addr(f, 0);
	start = hole + 3 * PAGE_SIZE;
	end = hole + f->leaf_size - 5 * PAGE_SIZE;
	KUNIT_ASSERT_EQ(test, vmemmap_altmap_populate_range(f, start, end, NULL), 0);
	KUNIT_EXPECT_EQ(test, vmemmap_altmap_leaf(hole).size, f->leaf_size);
	KUNIT_EXPECT_EQ(test, ram_used(test), f->leaf_nr);
	KUNIT_EXPECT_EQ(test, vmemmap_altmap_leaf(hole + f->leaf_size).size, 0);
	vmemmap_altmap_free_range(f, start, end, NULL);
	vmemmap_altmap_expect_as_before(f);
}

/*
 * Test that without an altmap and without a huge page, exactly those base pages are
 * mapped that are needed, and all of them go with what was asked for, also if the last
 * of them was not to be had.
 */
static void radix_without_huge_page_maps_what_is_asked_for(struct kunit *test)
{
	const unsigned long sub_section = PAGES_PER_SUBSECTION * sizeof(struct page);
	struct vmemmap_altmap_fixture *f = test->priv;
	const struct {
		unsigned long from, to;
	} parts[] = {
		{ 0, f->leaf_size },
		{ 3 * PAGE_SIZE, f->leaf_size - 5 * PAGE_SIZE },
		{ f->leaf_size - PAGE_SIZE, f->leaf_size + PAGE_SIZE },
		/* May be less than a page, and begin within one. */
		{ 9 * sub_section, 10 * sub_section },
	};
	int i;

	needs_radix(test);
	f->fail_huge = true;
	count_in_pages(f);
	for (i = 0; i < ARRAY_SIZE(parts); i++) {
		unsigned long hole = vmemmap_altmap_addr(f, 0), start, end, addr, wrong = 0;
		unsigned long first = parts[i].from / PAGE_SIZE;
		unsigned long nr = DIV_ROUND_UP(parts[i].to, PAGE_SIZE) - first;

		start = hole + parts[i].from;
		end = hole + parts[i].to;
		f->nr_good_allocs = nr - 1;
		KUNIT_EXPECT_EQ(test, vmemmap_altmap_populate_range(f, start, end, NULL), -ENOMEM);
		vmemmap_altmap_free_range(f, start, end, NULL);
		vmemmap_altmap_expect_as_before(f);
		/* What should not be there should not be in the way either. */
		vmemmap_altmap_free_range(f, hole, hole + 2 * f->leaf_size, NULL);

		f->nr_good_allocs = UINT_MAX;
		KUNIT_ASSERT_EQ(test, vmemmap_altmap_populate_range(f, start, end, NULL), 0);
		for (addr = hole; addr < hole + 2 * f->leaf_size; addr += PAGE_SIZE) {
			bool needed = addr < end && addr + PAGE_SIZE > start;

			if (vmemmap_altmap_leaf(addr).size != (needed ? PAGE_SIZE : 0))
				wrong++;
		}
		KUNIT_EXPECT_EQ_MSG(test, wrong, 0, "of %#lx-%#lx", parts[i].from, parts[i].to);
		KUNIT_EXPECT_EQ(test, ram_used(test), nr);
		vmemmap_altmap_expect_usable(f, first, nr);
		vmemmap_altmap_free_range(f, start, end, NULL);
		vmemmap_altmap_expect_as_before(f);
		vmemmap_altmap_free_range(f, hole, hole + 2 * f->leaf_size, NULL);
	}
}

/*
 * Test that of the memmap of a compound page, for which two pages are enough, either
 * all that is asked for is mapped, or it is -ENOMEM.
 */
static void radix_compound_page_is_mapped_or_enomem(struct kunit *test)
{
	const unsigned int nr_pages = 16;
	struct dev_pagemap pgmap = {
		.vmemmap_shift = ilog2(nr_pages * PAGE_SIZE / sizeof(struct page)),
	};
	struct vmemmap_altmap_fixture *f = test->priv;
	unsigned int nr, good, i;

	needs_radix(test);
	if (!is_power_of_2(sizeof(struct page)))
		kunit_skip(test, "needs a struct page whose size is a power of two");

	for (nr = 2; nr <= nr_pages; nr++) {
		for (good = 0; good <= 2; good++) {
			unsigned long start = vmemmap_altmap_addr(f, 0), shared;
			unsigned long end = start + nr * PAGE_SIZE;
			int err;

			f->nr_good_allocs = good;
			mem_hotplug_begin();
			err = vmemmap_populate_compound_pages(f->hole_pfn, start, end,
							      first_memory_node, &pgmap);
			mem_hotplug_done();
			KUNIT_EXPECT_EQ_MSG(test, err, good < 2 ? -ENOMEM : 0,
					    "%u pages of memmap, %u of RAM", nr, good);
			KUNIT_EXPECT_EQ(test, ram_used(test), good);

			shared = vmemmap_altmap_leaf(start + PAGE_SIZE).pfn;
			for (i = 0; i < nr && !err; i++) {
				struct vmemmap_altmap_leaf leaf;

				leaf = vmemmap_altmap_leaf(start + i * PAGE_SIZE);
				KUNIT_EXPECT_EQ_MSG(test, leaf.size, PAGE_SIZE,
						    "page %u of %u", i, nr);
				KUNIT_EXPECT_EQ(test, leaf.pfn == shared, i > 0);
			}
			vmemmap_altmap_free_range(f, start, end, NULL);
			vmemmap_altmap_expect_as_before(f);
		}
	}
}

/*
 * Test that where a huge page would also describe memory outside the range, base
 * pages are used instead, and that those come from the altmap but for the ones
 * which themselves reach outside.
 */
static void radix_pages_outside_the_range_come_from_ram(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	unsigned long start, end, addr, base, last, room, nr_ram = 0, nr_huge = 0, wrong = 0;
	struct vmem_altmap *altmap;

	needs_radix(test);
	/* The pfns of the hole may be anything there, and the CPU may prefetch. */
	if (cpu_has_feature(CPU_FTR_HVMODE))
		kunit_skip(test, "needs a hypervisor below");
	start = vmemmap_altmap_addr(f, 0);
	end = start + NR_BLOCKS * f->leaf_size;
	/* From the middle of the first huge page to that of the last. */
	base = f->hole_pfn + f->leaf_size / 2 / sizeof(struct page) + 1;
	last = last_pfn_below(f, end - f->leaf_size / 2) + 1;
	f->dev_pfn = ALIGN_DOWN(base, f->leaf_nr);
	room = f->dev_nr - (base - f->dev_pfn);
	KUNIT_ASSERT_GE(test, room, NR_BLOCKS * f->leaf_nr);
	altmap = vmemmap_altmap_new_range(f, base, last, 0, NR_BLOCKS * f->leaf_nr);

	KUNIT_ASSERT_EQ(test, vmemmap_altmap_populate_range(f, start, end, altmap), 0);
	for (addr = start; addr < end; addr += PAGE_SIZE) {
		struct vmemmap_altmap_leaf leaf = vmemmap_altmap_leaf(addr);
		unsigned long block = ALIGN_DOWN(addr, leaf.size ?: PAGE_SIZE);
		bool inside = last_pfn_below(f, block + 1) >= base &&
			      last_pfn_below(f, block + leaf.size) <= last;
		bool huge = addr >= start + f->leaf_size && addr < end - f->leaf_size;

		if (leaf.size != (huge ? f->leaf_size : PAGE_SIZE) ||
		    is_altmaps(altmap, addr) != inside) {
			if (!wrong++)
				kunit_info(test, "%#lx: leaf of %lu bytes at pfn %#lx\n",
					   addr, leaf.size, leaf.pfn);
		}
		nr_ram += !inside;
		nr_huge += leaf.size == f->leaf_size;
	}
	KUNIT_EXPECT_EQ(test, wrong, 0);
	KUNIT_EXPECT_EQ(test, nr_huge, (NR_BLOCKS - 2) * f->leaf_nr);
	/* Half of the first and half of the last huge page, and those that straddle. */
	KUNIT_EXPECT_GE(test, nr_ram, f->leaf_nr);
	KUNIT_EXPECT_LE(test, nr_ram, f->leaf_nr + 2);
	KUNIT_EXPECT_EQ(test, ram_used(test), nr_ram);
	KUNIT_EXPECT_EQ(test, altmap->alloc, NR_BLOCKS * f->leaf_nr - nr_ram);

	vmemmap_altmap_free_range(f, start, end, altmap);
	KUNIT_EXPECT_EQ(test, altmap->alloc, 0);
	vmemmap_altmap_expect_as_before(f);
}

static struct kunit_case vmem_altmap_powerpc_cases[] = {
	KUNIT_CASE(mmu_is_the_promised_one),
	KUNIT_CASE(boundary_is_told_at_both_ends),
	KUNIT_CASE(ram_behind_the_window_is_not_the_altmaps),
	KUNIT_CASE_PARAM(removed_range_keeps_the_neighbours_memmap, neighbours_gen_params),
	KUNIT_CASE_PARAM(sub_sections_come_and_go_in_any_order, orders_gen_params),
	KUNIT_CASE_PARAM(hash_unusable_blocks_come_from_ram, stories_gen_params),
	KUNIT_CASE_PARAM(hash_list_has_one_entry_per_block, vmemmap_altmap_backings),
	KUNIT_CASE(hash_freed_entries_are_used_again),
	KUNIT_CASE_PARAM(hash_block_is_unmapped_before_it_is_freed, vmemmap_altmap_backings),
	KUNIT_CASE_PARAM(hash_block_without_entry_is_returned, failing_gen_params),
	KUNIT_CASE_PARAM(hash_block_without_mapping_is_returned, failing_gen_params),
	KUNIT_CASE(radix_huge_page_then_altmap_pages_then_ram),
	KUNIT_CASE(radix_unaligned_start_takes_base_pages),
	KUNIT_CASE(radix_without_altmap_takes_the_whole_huge_page),
	KUNIT_CASE(radix_without_huge_page_maps_what_is_asked_for),
	KUNIT_CASE(radix_compound_page_is_mapped_or_enomem),
	KUNIT_CASE(radix_pages_outside_the_range_come_from_ram),
	{}
};

static int vmem_altmap_powerpc_init(struct kunit *test)
{
	int err = vmemmap_altmap_init(test);

	if (err)
		return err;
	nr_good_entries = UINT_MAX;
	nr_good_mappings = UINT_MAX;
	if (!radix_enabled())
		kunit_activate_static_stub(test, hash__vmemmap_create_mapping, create_mapping);
	return 0;
}

static struct kunit_suite vmem_altmap_powerpc_suite = {
	.name = "vmem_altmap_powerpc",
	.suite_init = vmemmap_altmap_suite_init,
	.init = vmem_altmap_powerpc_init,
	.exit = vmemmap_altmap_exit,
	.test_cases = vmem_altmap_powerpc_cases,
};

kunit_test_suite(vmem_altmap_powerpc_suite);

MODULE_DESCRIPTION("KUnit tests for a memmap with an altmap on powerpc");
MODULE_LICENSE("GPL");
