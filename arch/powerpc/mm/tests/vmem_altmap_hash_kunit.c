// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for memmap that the hash MMU of powerpc maps, with and without a struct
 * vmem_altmap.
 *
 * The memmap is mapped by blocks of one size. A list has the address and the memory of
 * each block:
 *
 *  - A block comes from the altmap if it fits, and if the altmap's range contains all
 *    memory that the block describes. Otherwise this block comes from System RAM.
 *  - A block that cannot be recorded or mapped returns to its owner at once. Any other
 *    block returns after it is unmapped.
 *  - The list has one entry for each mapped block, and reuses entries.
 *  - A full list takes another page of System RAM.
 *
 * Not covered: vmemmap_list_alloc() warns if there is no RAM for that page. The case for
 * this error replaces the function instead.
 *
 * For what holds for both MMUs, see vmem_altmap_powerpc_kunit.c. For what all architectures
 * have in common, see mm/tests/vmemmap_altmap_kunit.c.
 */
#include <kunit/static_stub.h>
#include <kunit/test-bug.h>
#include <kunit/test.h>
#include <kunit/visibility.h>
#include <kunit/vmt.h>
#include <linux/gfp.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/pgalloc.h>
#include <linux/pgtable.h>

#include <mm/mmu_decl.h>

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

/* Blocks of the hole that a case uses. A unit of the hole is a block here. */
#define NR_BLOCKS	4

#define ENTRIES_PER_PAGE	(PAGE_SIZE / sizeof(struct vmemmap_backing))

/* Calls after which the replaced functions fail. Set to UINT_MAX before each case. */
static unsigned int nr_good_mappings;
static unsigned int nr_good_entries;

/* Replaces hash__vmemmap_create_mapping(): maps the RAM that plays the device. */
static int create_mapping(unsigned long start, unsigned long page_size, unsigned long phys)
{
	struct kunit *test = kunit_get_current_test();
	struct vmt *f = test->priv;
	int rc;

	if (!nr_good_mappings)
		return -ENOSPC;
	nr_good_mappings--;
	phys = PFN_PHYS(vmt_device_ram(&f->dev, PHYS_PFN(phys)));
	kunit_deactivate_static_stub(test, hash__vmemmap_create_mapping);
	rc = hash__vmemmap_create_mapping(start, page_size, phys);
	kunit_activate_static_stub(test, hash__vmemmap_create_mapping, create_mapping);
	return rc;
}

/* Replaces vmemmap_list_alloc(). */
static struct vmemmap_backing *list_alloc(int node)
{
	struct kunit *test = kunit_get_current_test();
	struct vmemmap_backing *entry;

	if (!nr_good_entries)
		return NULL;
	nr_good_entries--;
	kunit_deactivate_static_stub(test, vmemmap_list_alloc);
	entry = vmemmap_list_alloc(node);
	kunit_activate_static_stub(test, vmemmap_list_alloc, list_alloc);
	return entry;
}

/*
 * Layouts of a device whose memory NR_BLOCKS blocks describe:
 *
 *   memmap:   block 0 | block 1 | block 2 | block 3       (vmemmap addresses)
 *   pfns:     0 . . . | . . . . | . . . . | . . . n       (described by the blocks)
 *   range:    0 . . . . . . . . . . . . . . . . . n       without 0 if first_cut, and
 *                                                         without n if last_cut
 *   device:   reserve | window of the altmap      | short
 *
 * As in real life, the device is at the pfns that the blocks describe. No RAM is there. So
 * create_mapping() maps the RAM that plays the device.
 */
static const struct layout {
	const char *name;
	/* The range lacks the first, or the last, pfn that the blocks describe. */
	bool first_cut, last_cut;
	/* Size of the reserve. */
	unsigned int reserve_blocks, reserve_pages;
	/* How much earlier than NR_BLOCKS blocks after the first pfn the window ends. */
	unsigned int short_blocks, short_pages;
	/*
	 * Blocks that come from the altmap: the first one, their number, and the block of
	 * the device that the first one is in. Only for blocks of many pages.
	 */
	unsigned int first_altmap, nr_altmap, at_block;
} layouts[] = {
	/* The window has room for all blocks. Only blocks across the range's ends do not fit. */
	{ .name = "all_fit", .nr_altmap = 4 },
	{ .name = "first_block_is_the_neighbours",
	  .first_cut = true, .first_altmap = 1, .nr_altmap = 3, .at_block = 1 },
	{ .name = "last_block_is_the_neighbours",
	  .last_cut = true, .nr_altmap = 3 },
	{ .name = "both_blocks_are_the_neighbours",
	  .first_cut = true, .last_cut = true,
	  .first_altmap = 1, .nr_altmap = 2, .at_block = 1 },
	/* A few reserved pages make a block of the device useless. */
	{ .name = "few_reserved", .reserve_pages = 3, .nr_altmap = 3, .at_block = 1 },
	{ .name = "few_reserved_first_block_is_the_neighbours",
	  .first_cut = true, .reserve_pages = 3,
	  .first_altmap = 1, .nr_altmap = 3, .at_block = 1 },
	{ .name = "few_reserved_last_block_is_the_neighbours",
	  .last_cut = true, .reserve_pages = 3, .nr_altmap = 3, .at_block = 1 },
	{ .name = "a_block_reserved", .reserve_blocks = 1, .nr_altmap = 3, .at_block = 1 },
	/* So does a missing page at the end. */
	{ .name = "one_page_short", .short_pages = 1, .nr_altmap = 3 },
	{ .name = "few_reserved_and_one_page_short",
	  .reserve_pages = 3, .short_pages = 1, .nr_altmap = 2, .at_block = 1 },
	{ .name = "one_usable_block",
	  .reserve_pages = 3, .short_blocks = 2, .nr_altmap = 1, .at_block = 1 },
	{ .name = "one_usable_block_first_block_is_the_neighbours",
	  .first_cut = true, .reserve_pages = 3, .short_blocks = 2,
	  .first_altmap = 1, .nr_altmap = 1, .at_block = 1 },
	{ .name = "no_usable_block",
	  .reserve_pages = 3, .short_blocks = 2, .short_pages = 1 },
	{ .name = "all_reserved", .reserve_blocks = 4 },
};

KUNIT_ARRAY_PARAM_DESC(layouts, layouts, name);

/* Moves the device to the pfns that the hole describes, and makes the altmap. */
static struct vmem_altmap *layout_altmap(struct vmt *f, const struct layout *l)
{
	unsigned long last = f->hole_pfn + (NR_BLOCKS * f->leaf_size - 1) / sizeof(struct page);
	unsigned long reserve = l->reserve_blocks * f->leaf_nr + l->reserve_pages;
	unsigned long room = (NR_BLOCKS - l->short_blocks) * f->leaf_nr - l->short_pages -
			     l->first_cut;

	f->dev.pfn = f->hole_pfn;
	return vmt_device_altmap(&f->dev, f->hole_pfn + l->first_cut, last - l->last_cut,
				 reserve, room > reserve ? room - reserve : 0);
}

/*
 * Test that exactly those blocks come from RAM for which the altmap has no aligned block,
 * or which also describe memory outside of the range.
 */
static void unusable_blocks_come_from_ram(struct kunit *test)
{
	const struct layout *l = test->param_value;
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = layout_altmap(f, l);
	unsigned long first = l->first_altmap, nr = l->nr_altmap, block;
	unsigned long pfn = f->dev.pfn + l->at_block * f->leaf_nr;
	unsigned long start = vmt_addr(f, 0), end = vmt_addr(f, NR_BLOCKS);

	if (f->leaf_nr == 1) {
		/* Alignment does not waste any page, so that more blocks fit. */
		first = l->first_cut;
		nr = min(altmap->free, NR_BLOCKS - first - l->last_cut);
		pfn = altmap->base_pfn + altmap->reserve;
	}

	KUNIT_ASSERT_EQ(test, vmt_populate_range(f, start, end, altmap), 0);
	for (block = 0; block < NR_BLOCKS; block++) {
		unsigned long at = vmt_pfn(vmt_addr(f, block));

		if (block >= first && block < first + nr)
			KUNIT_EXPECT_EQ_MSG(test, at, pfn + (block - first) * f->leaf_nr,
					    "block %lu", block);
		else
			KUNIT_EXPECT_TRUE_MSG(test, vmt_ram_owns(&f->ram, at), "block %lu", block);
	}
	KUNIT_EXPECT_EQ(test, altmap->alloc, nr * f->leaf_nr);
	KUNIT_EXPECT_EQ(test, vmt_ram_memmap(f), (NR_BLOCKS - nr) * f->leaf_nr);
	vmt_expect_usable(f, 0, NR_BLOCKS);
	vmt_expect_device_intact(&f->dev);
	vmt_free_range(f, start, end, altmap);
}

/* Number of entries in the list for a block. */
static unsigned int nr_entries(const struct vmt *f, unsigned int block)
{
	struct vmemmap_backing *b;
	unsigned int nr = 0;

	for (b = vmemmap_list; b; b = b->list)
		nr += b->virt_addr == vmt_addr(f, block);
	return nr;
}

/*
 * Test that the list has one entry for each mapped block, with the memory of that block,
 * and loses exactly the entries of blocks that are freed.
 */
static void list_has_one_entry_per_block(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_backing(f, 0, NR_BLOCKS * f->leaf_nr);
	unsigned int block;
	u64 salt;

	vmt_populate_ok(f, 0, 1, altmap);
	vmt_populate_ok(f, 1, 1, altmap);
	vmt_populate_ok(f, 2, 2, altmap);
	for (block = 0; block < NR_BLOCKS; block++) {
		KUNIT_EXPECT_EQ(test, nr_entries(f, block), 1);
		if (altmap)
			KUNIT_EXPECT_EQ(test, vmt_pfn(vmt_addr(f, block)),
					f->dev.pfn + block * f->leaf_nr);
	}
	salt = vmt_fill(f, 0, NR_BLOCKS);

	vmt_free(f, 1, 1, altmap);
	for (block = 0; block < NR_BLOCKS; block++)
		KUNIT_EXPECT_EQ(test, nr_entries(f, block), block != 1);
	vmt_expect_filled(f, 0, 1, salt);
	vmt_expect_filled(f, 2, 2, salt);

	vmt_free(f, 0, 1, altmap);
	vmt_free(f, 2, 2, altmap);
	for (block = 0; block < NR_BLOCKS; block++)
		KUNIT_EXPECT_EQ(test, nr_entries(f, block), 0);
}

/*
 * Test that the list reuses the entries of freed blocks: it takes no page, however often
 * blocks are populated and freed.
 */
static void freed_entries_are_used_again(struct kunit *test)
{
	const unsigned int nr_rounds = ENTRIES_PER_PAGE / NR_BLOCKS + 1;
	struct vmt *f = test->priv;
	unsigned int round;

	for (round = 0; round < nr_rounds; round++) {
		vmt_populate_ok(f, 0, NR_BLOCKS, NULL);
		KUNIT_ASSERT_EQ_MSG(test, vmt_ram_memmap(f), NR_BLOCKS * f->leaf_nr,
				    "round %u", round);
		vmt_free(f, 0, NR_BLOCKS, NULL);
	}
}

/* Takes an entry of the list. Returns true if there was one. */
static bool take_entry(struct vmemmap_backing **taken)
{
	struct vmemmap_backing *b = vmemmap_list_alloc(first_memory_node);

	if (!b)
		return false;
	b->list = *taken;
	*taken = b;
	return true;
}

/*
 * Returns @nr entries to the list: adds each as the entry of a block without memory, and
 * frees this block. But pages of the ledger are freed. All their entries must be in @taken.
 */
static void return_entries(struct vmt *f, struct vmemmap_backing *taken, unsigned int nr)
{
	unsigned long start = vmt_addr(f, 0);

	while (nr--) {
		struct vmemmap_backing *b = taken;

		taken = b->list;
		if (!vmt_ram_owns(&f->ram, PHYS_PFN(__pa(b)))) {
			*b = (struct vmemmap_backing) { .list = vmemmap_list, .virt_addr = start };
			vmemmap_list = b;
			vmemmap_free(start, start + f->leaf_size, NULL);
		} else if (PAGE_ALIGNED(b)) {
			free_page((unsigned long)b);
		}
	}
}

/*
 * Test that a full list takes a page of RAM, and takes the next one after it has used all
 * entries of this page.
 */
static void full_list_takes_a_page(struct kunit *test)
{
	const unsigned int max_left = 100 * ENTRIES_PER_PAGE;
	struct vmemmap_backing *taken = NULL;
	struct vmt *f = test->priv;
	unsigned int nr = 0, nr_left, wrong = 0;

	mem_hotplug_begin();
	while (!vmt_ram_memmap(f) && nr < max_left && take_entry(&taken))
		nr++;
	/* The last of these is the first of a new page. Use up this page and another one. */
	nr_left = nr - 1;
	while (nr < nr_left + 2 * ENTRIES_PER_PAGE && take_entry(&taken)) {
		nr++;
		wrong += vmt_ram_memmap(f) != DIV_ROUND_UP(nr - nr_left, ENTRIES_PER_PAGE);
	}
	if (!wrong)
		return_entries(f, taken, nr);
	mem_hotplug_done();
	KUNIT_EXPECT_EQ(test, nr, nr_left + 2 * ENTRIES_PER_PAGE);
	KUNIT_EXPECT_EQ(test, wrong, 0);
}

/* For remove_mapping(): the altmap, or NULL, and how many pages must be in use next time. */
static const struct vmem_altmap *watched;
static unsigned long nr_in_use;

/* Replaces hash__vmemmap_remove_mapping(): expects that the block is still in use. */
static void remove_mapping(unsigned long start, unsigned long page_size)
{
	struct kunit *test = kunit_get_current_test();
	struct vmt *f = test->priv;

	KUNIT_EXPECT_EQ_MSG(test, vmt_ram_memmap(f) + (watched ? watched->alloc : 0), nr_in_use,
			    "at %#lx", start);
	nr_in_use -= f->leaf_nr;
	kunit_deactivate_static_stub(test, hash__vmemmap_remove_mapping);
	hash__vmemmap_remove_mapping(start, page_size);
	kunit_activate_static_stub(test, hash__vmemmap_remove_mapping, remove_mapping);
}

/*
 * Test that a block returns to its owner after it is unmapped: the owner may hand it out
 * again at once.
 */
static void block_is_unmapped_before_it_is_freed(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmem_altmap *altmap = vmt_backing(f, 0, NR_BLOCKS * f->leaf_nr);

	vmt_populate_ok(f, 0, NR_BLOCKS, altmap);
	watched = altmap;
	nr_in_use = NR_BLOCKS * f->leaf_nr;
	kunit_activate_static_stub(test, hash__vmemmap_remove_mapping, remove_mapping);
	vmt_free(f, 0, NR_BLOCKS, altmap);
	kunit_deactivate_static_stub(test, hash__vmemmap_remove_mapping);
	KUNIT_EXPECT_EQ(test, nr_in_use, 0);
}

/* How many of the blocks fit in the altmap. The last block is the one that fails. */
static const struct fit {
	const char *name;
	unsigned int nr_altmap;
} fits[] = {
	{ "altmap", NR_BLOCKS },
	{ "last_block_from_ram", NR_BLOCKS - 1 },
	{ "ram", 0 },
};

KUNIT_ARRAY_PARAM_DESC(fits, fits, name);

static void expect_in_use(struct vmt *f, const struct vmem_altmap *altmap, unsigned int nr_blocks)
{
	if (altmap)
		KUNIT_EXPECT_EQ(f->test, altmap->alloc, nr_blocks * f->leaf_nr);
	KUNIT_EXPECT_EQ(f->test, vmt_ram_memmap(f), altmap ? 0 : nr_blocks * f->leaf_nr);
}

/*
 * Populates the first block, and then the other three in one call. The last block fails
 * because @nr_good, the counter of the replaced function, is set to 2.
 */
static void expect_last_block_to_fail(struct kunit *test, unsigned int *nr_good, int err)
{
	unsigned int nr_altmap = ((const struct fit *)test->param_value)->nr_altmap;
	struct vmt *f = test->priv;
	unsigned long start = vmt_addr(f, 1), end = vmt_addr(f, NR_BLOCKS);
	struct vmem_altmap *altmap = NULL;
	u64 salt;

	if (nr_altmap)
		altmap = vmt_altmap(f, 0, nr_altmap * f->leaf_nr);
	vmt_populate_ok(f, 0, 1, altmap);
	salt = vmt_fill(f, 0, 1);

	*nr_good = 2;
	KUNIT_EXPECT_EQ(test, vmt_populate_range(f, start, end, altmap), err);
	KUNIT_EXPECT_EQ(test, *nr_good, 0);
	KUNIT_EXPECT_EQ(test, nr_entries(f, 2), 1);
	KUNIT_EXPECT_EQ(test, nr_entries(f, 3), 0);
	/* The last block has returned to its owner before the range is freed. */
	expect_in_use(f, altmap, 3);

	vmt_free_range(f, start, end, altmap);
	expect_in_use(f, altmap, 1);
	vmt_expect_unmapped(f, 1, 3);
	vmt_expect_filled(f, 0, 1, salt);
	vmt_free(f, 0, 1, altmap);

	/* The failure does not prevent the next attempt. */
	*nr_good = UINT_MAX;
	vmt_populate_ok(f, 0, NR_BLOCKS, altmap);
	KUNIT_EXPECT_EQ(test, vmt_ram_memmap(f), (NR_BLOCKS - nr_altmap) * f->leaf_nr);
	vmt_expect_usable(f, 0, NR_BLOCKS);
	vmt_free(f, 0, NR_BLOCKS, altmap);
}

/* Test that a block that cannot be recorded returns to its owner at once. */
static void block_without_entry_is_returned(struct kunit *test)
{
	kunit_activate_static_stub(test, vmemmap_list_alloc, list_alloc);
	expect_last_block_to_fail(test, &nr_good_entries, -ENOMEM);
}

/*
 * Test that a block for which the hash table has no room returns to its owner at once, and
 * its entry to the list.
 */
static void block_without_mapping_is_returned(struct kunit *test)
{
	expect_last_block_to_fail(test, &nr_good_mappings, -EFAULT);
}

static struct kunit_case vmem_altmap_hash_cases[] = {
	KUNIT_CASE_PARAM(unusable_blocks_come_from_ram, layouts_gen_params),
	KUNIT_CASE_PARAM(list_has_one_entry_per_block, vmt_backings),
	KUNIT_CASE(freed_entries_are_used_again),
	KUNIT_CASE(full_list_takes_a_page),
	KUNIT_CASE_PARAM(block_is_unmapped_before_it_is_freed, vmt_backings),
	KUNIT_CASE_PARAM(block_without_entry_is_returned, fits_gen_params),
	KUNIT_CASE_PARAM(block_without_mapping_is_returned, fits_gen_params),
	{}
};

static int vmem_altmap_hash_suite_init(struct kunit_suite *suite)
{
	if (radix_enabled()) {
		kunit_mark_skipped(suite, "needs the hash MMU");
		return 0;
	}
	return vmt_suite_init(suite);
}

static int vmem_altmap_hash_init(struct kunit *test)
{
	struct vmt *f;
	int err = vmt_init(test);

	if (err)
		return err;
	f = test->priv;
	vmt_set_unit(f, f->leaf_size);
	nr_good_mappings = UINT_MAX;
	nr_good_entries = UINT_MAX;
	kunit_activate_static_stub(test, hash__vmemmap_create_mapping, create_mapping);
	return 0;
}

static struct kunit_suite vmem_altmap_hash_suite = {
	.name = "vmem_altmap_hash",
	.suite_init = vmem_altmap_hash_suite_init,
	.init = vmem_altmap_hash_init,
	.exit = vmt_exit,
	.test_cases = vmem_altmap_hash_cases,
};

kunit_test_suite(vmem_altmap_hash_suite);

MODULE_DESCRIPTION("KUnit tests for memmap that the hash MMU maps");
MODULE_LICENSE("GPL");
