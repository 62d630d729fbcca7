// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for memory blocks that hold their own memmap (memmap_on_memory).
 *
 *  - Each block has an altmap of its own, padded to whole pageblocks. It can be onlined,
 *    offlined and removed repeatedly.
 *  - If a block cannot be added, the blocks before it are removed again. What existed
 *    before stays as it is.
 *  - A block that cannot be onlined, offlined or removed stays as it is.
 *
 * Needs two blocks of hidden RAM, see vmt_memory.c.
 */
#include <linux/device.h>
#include <linux/memory.h>
#include <linux/memory_hotplug.h>
#include <linux/mmzone.h>
#include <linux/sizes.h>

#include "vmt_memory.h"

/* The blocks that a case has added, or an empty range; removed by the suite's exit. */
static u64 blocks_start, blocks_size;

static int add_blocks(u64 start, u64 size, mhp_t flags)
{
	int err = add_memory(first_memory_node, start, size, flags);

	if (!err) {
		blocks_start = start;
		blocks_size = size;
	}
	return err;
}

/* Onlines or offlines all blocks. */
static int set_blocks(bool online)
{
	u64 addr;
	int err = 0;

	lock_device_hotplug();
	for (addr = blocks_start; addr < blocks_start + blocks_size && err >= 0;
	     addr += memory_block_size_bytes()) {
		struct memory_block *mem = vmt_block(PHYS_PFN(addr));

		if (!mem) {
			err = -ENODEV;
			break;
		}
		/* Keep out pages that cannot be moved. */
		mem->online_type = MMOP_ONLINE_MOVABLE;
		err = online ? device_online(&mem->dev) : device_offline(&mem->dev);
		memory_block_put(mem);
	}
	unlock_device_hotplug();
	return min(err, 0);
}

static int remove_blocks(void)
{
	int err = remove_memory(blocks_start, blocks_size);

	if (!err)
		blocks_size = 0;
	return err;
}

/* The start of two blocks. */
static u64 two_blocks(struct kunit *test)
{
	struct vmt_memory *f = test->priv;
	u64 size = memory_block_size_bytes(), start = ALIGN(PFN_PHYS(f->first_pfn), size);

	if (start + 2 * size > PFN_PHYS(f->first_pfn + f->nr_pfns))
		kunit_skip(test, "needs two memory blocks of %llu MiB in hidden=", size / SZ_1M);
	return start;
}

static bool has_altmap(u64 start)
{
	struct memory_block *mem = vmt_block(PHYS_PFN(start));
	bool found = mem && mem->altmap;

	if (mem)
		memory_block_put(mem);
	return found;
}

/* Expects the block at @start to have an altmap, and its memmap to be in it. */
static void expect_altmap(struct kunit *test, u64 start)
{
	unsigned long pfn = PHYS_PFN(start), nr = PHYS_PFN(memory_block_size_bytes());
	unsigned long i, need = vmt_memmap_nr(nr), wrong = 0;
	struct memory_block *mem = vmt_block(pfn);
	struct vmem_altmap *altmap;

	KUNIT_ASSERT_NOT_NULL(test, mem);
	altmap = mem->altmap;
	memory_block_put(mem);
	if (!altmap)
		kunit_skip(test, "needs memory_hotplug.memmap_on_memory=1, or force");
	KUNIT_EXPECT_EQ(test, altmap->base_pfn, pfn);
	KUNIT_EXPECT_EQ(test, altmap->end_pfn, pfn + nr - 1);
	KUNIT_EXPECT_EQ(test, altmap->reserve, 0);
	KUNIT_EXPECT_EQ(test, altmap->free, ALIGN(need, pageblock_nr_pages));
	vmt_expect_altmap(test, altmap, need, 0);
	for (i = 0; i < need; i++)
		wrong += vmt_pfn((unsigned long)pfn_to_page(pfn) + i * PAGE_SIZE) != pfn + i;
	KUNIT_EXPECT_EQ(test, wrong, 0);
}

/* Expects the first pages of an online block, and no others, to be set aside for memmap. */
static void expect_self_hosted(struct kunit *test, u64 start)
{
	unsigned long pfn = PHYS_PFN(start), nr = PHYS_PFN(memory_block_size_bytes());
	struct memory_block *mem = vmt_block(pfn);
	unsigned long i, wrong = 0;

	KUNIT_ASSERT_NOT_NULL(test, mem);
	for (i = 0; i < nr; i++)
		wrong += PageVmemmapSelfHosted(pfn_to_page(pfn + i)) != (i < mem->altmap->free);
	memory_block_put(mem);
	KUNIT_EXPECT_EQ(test, wrong, 0);
}

/*
 * Test that with memmap_on_memory, each block has an altmap of its own, and can be onlined,
 * offlined and removed repeatedly.
 */
static void block_holds_its_memmap(struct kunit *test)
{
	const u64 size = memory_block_size_bytes(), start = two_blocks(test);
	struct vmt_memory *f = test->priv;
	struct vmt_machine now;
	int round;

	for (round = 0; round < 3; round++) {
		KUNIT_ASSERT_EQ(test, add_blocks(start, 2 * size, MHP_MEMMAP_ON_MEMORY), 0);
		vmt_look(test, &now);
		KUNIT_EXPECT_EQ(test, now.blocks, 2);
		KUNIT_EXPECT_EQ(test, now.resources, 1);
		expect_altmap(test, start);
		expect_altmap(test, start + size);

		KUNIT_ASSERT_EQ(test, set_blocks(true), 0);
		vmt_look(test, &now);
		KUNIT_EXPECT_EQ(test, now.present - f->before.present, PHYS_PFN(2 * size));
		expect_self_hosted(test, start);
		expect_self_hosted(test, start + size);
		KUNIT_ASSERT_EQ(test, set_blocks(false), 0);
		expect_altmap(test, start);
		expect_altmap(test, start + size);
		KUNIT_ASSERT_EQ(test, remove_blocks(), 0);
		vmt_expect_removed(test, &f->before);
	}
}

static const struct kind {
	const char *name;
	mhp_t flags;
} kinds[] = {
	{ "altmap", MHP_MEMMAP_ON_MEMORY },
	{ "ram", MHP_NONE },
};

KUNIT_ARRAY_PARAM_DESC(kinds, kinds, name);

/* Test that if the id of a block is taken, the blocks before it are removed again. */
static void taken_block_id_is_rolled_back(struct kunit *test)
{
	const u64 size = memory_block_size_bytes(), start = two_blocks(test);
	const struct kind *k = test->param_value;
	struct vmt_memory *f = test->priv;
	struct vmt_machine before;

	lock_device_hotplug();
	KUNIT_EXPECT_EQ(test, create_memory_block_devices(start + size, size, first_memory_node,
							  NULL, NULL), 0);
	unlock_device_hotplug();
	vmt_look(test, &before);
	KUNIT_EXPECT_EQ(test, before.blocks, 1);
	KUNIT_EXPECT_EQ(test, add_blocks(start, 2 * size, k->flags), -EEXIST);
	vmt_expect_removed(test, &before);

	lock_device_hotplug();
	remove_memory_block_devices(start + size, size);
	unlock_device_hotplug();
	vmt_expect_removed(test, &f->before);
	KUNIT_EXPECT_EQ(test, add_blocks(start, 2 * size, k->flags), 0);
}

/*
 * Test that if a section of the last block exists already, the blocks before it are
 * removed again, and the section stays as it is.
 */
static void taken_section_is_rolled_back(struct kunit *test)
{
	const u64 size = memory_block_size_bytes(), start = two_blocks(test);
	const struct kind *k = test->param_value;
	unsigned long nr = vmt_section_nr();
	struct vmt_span *old = vmt_span(test, SECTIONS, PHYS_PFN(start + 2 * size) - nr, nr);
	struct vmt_memory *f = test->priv;
	struct vmt_machine before;

	vmt_add_ok(test, old);
	vmt_fill_span(old);
	vmt_look(test, &before);
	KUNIT_EXPECT_EQ(test, add_blocks(start, 2 * size, k->flags), -EEXIST);
	vmt_expect_removed(test, &before);
	vmt_expect_span(test, old);
	vmt_remove(old);
	vmt_expect_removed(test, &f->before);
	KUNIT_EXPECT_EQ(test, add_blocks(start, 2 * size, k->flags), 0);
}

/*
 * Test that if RAM for the memmap of blocks runs out, in the first section or in a later
 * one, no section, block or resource remains. On powerpc, that is inside a block.
 */
static void failed_block_leaves_no_trace(struct kunit *test)
{
	const u64 size = 2 * memory_block_size_bytes(), start = two_blocks(test);
	struct vmt_memory *f = test->priv;
	struct vmt_span *s = vmt_span(test, MEMORY, PHYS_PFN(start), PHYS_PFN(size));
	unsigned long nr_leaves = s->nr * sizeof(struct page) / f->traits.leaf_size;
	/* Base pages, or blocks, and page tables for them. */
	unsigned long limit = 2 * max(vmt_memmap_nr(s->nr), 16);
	unsigned long nr_ram, nr, step = max(nr_leaves / 16, 1);
	int err = -ENOMEM;

	/* A block that maps the memmap of boot memory may also map all of this. */
	if (!vmt_share(test, s, &nr_ram) && !nr_ram)
		kunit_skip(test, "needs memory blocks whose memmap does not exist yet");
	for (nr = 0; nr <= limit; nr += step) {
		f->ram.nr_good_allocs = nr;
		err = add_blocks(start, size, MHP_NONE);
		if (!err)
			break;
		KUNIT_EXPECT_EQ_MSG(test, err, -ENOMEM, "%pe with %lu blocks of RAM",
				    ERR_PTR(err), nr);
		vmt_expect_machine(test, &f->before);
	}
	f->ram.nr_good_allocs = UINT_MAX;
	KUNIT_ASSERT_EQ(test, err, 0);
	KUNIT_EXPECT_GE(test, nr, max(nr_leaves, 1));
	KUNIT_ASSERT_EQ(test, remove_blocks(), 0);
	vmt_expect_removed(test, &f->before);
}

/* The action that the notifier refuses, or 0. A notifier has no other way to know. */
static unsigned long refused_action;

static int refuse(struct notifier_block *nb, unsigned long action, void *arg)
{
	return action == refused_action ? notifier_from_errno(-EPERM) : NOTIFY_OK;
}

static struct notifier_block refuse_nb = { .notifier_call = refuse };

/* Expects that @online cannot be done while the notifier refuses @action. */
static void expect_refused(struct kunit *test, bool online, unsigned long action)
{
	struct vmt_machine before;

	vmt_look(test, &before);
	refused_action = action;
	KUNIT_EXPECT_EQ(test, set_blocks(online), -EPERM);
	refused_action = 0;
	vmt_expect_removed(test, &before);
}

/*
 * Test that if somebody refuses that a block goes online or offline, it stays as it was,
 * and can go online or offline afterwards. A block that is online cannot be removed.
 */
static void refused_online_and_offline_change_nothing(struct kunit *test)
{
	const u64 size = memory_block_size_bytes(), start = two_blocks(test);
	const struct kind *k = test->param_value;

	KUNIT_ASSERT_EQ(test, add_blocks(start, size, k->flags), 0);
	KUNIT_ASSERT_EQ(test, register_memory_notifier(&refuse_nb), 0);
	expect_refused(test, true, MEM_GOING_ONLINE);
	KUNIT_EXPECT_EQ(test, set_blocks(true), 0);
	expect_refused(test, false, MEM_GOING_OFFLINE);
	KUNIT_EXPECT_EQ(test, remove_blocks(), -EBUSY);
	KUNIT_EXPECT_EQ(test, set_blocks(false), 0);
	unregister_memory_notifier(&refuse_nb);
}

/* Test that a block with an altmap and one without cannot be removed by one call. */
static void blocks_with_and_without_an_altmap_are_removed_apart(struct kunit *test)
{
	const u64 size = memory_block_size_bytes(), start = two_blocks(test);
	struct vmt_memory *f = test->priv;
	struct vmt_machine before;
	int err = 0;

	KUNIT_ASSERT_EQ(test, add_memory(first_memory_node, start, size, MHP_MEMMAP_ON_MEMORY), 0);
	KUNIT_EXPECT_EQ(test, add_memory(first_memory_node, start + size, size, MHP_NONE), 0);
	vmt_look(test, &before);
	if (has_altmap(start)) {
		kunit_warning_suppress(test) {
			err = remove_memory(start, 2 * size);
		}
		KUNIT_EXPECT_EQ(test, err, -EINVAL);
		vmt_expect_machine(test, &before);
	}
	KUNIT_EXPECT_EQ(test, remove_memory(start, size), 0);
	KUNIT_EXPECT_EQ(test, remove_memory(start + size, size), 0);
	vmt_expect_removed(test, &f->before);
	if (!err)
		kunit_skip(test, "needs memory_hotplug.memmap_on_memory=1, or force");
}

static void memory_hotplug_block_exit(struct kunit *test)
{
	if (blocks_size) {
		set_blocks(false);
		KUNIT_EXPECT_EQ(test, remove_blocks(), 0);
	}
	vmt_memory_exit(test);
}

static struct kunit_case memory_hotplug_block_cases[] = {
	KUNIT_CASE(block_holds_its_memmap),
	KUNIT_CASE_PARAM(taken_block_id_is_rolled_back, kinds_gen_params),
	KUNIT_CASE_PARAM(taken_section_is_rolled_back, kinds_gen_params),
	KUNIT_CASE_PARAM(refused_online_and_offline_change_nothing, kinds_gen_params),
	KUNIT_CASE(blocks_with_and_without_an_altmap_are_removed_apart),
	KUNIT_CASE(failed_block_leaves_no_trace),
	{}
};

static struct kunit_suite memory_hotplug_block_suite = {
	.name = "memory_hotplug_block",
	.suite_init = vmt_memory_suite_init,
	.init = vmt_memory_init,
	.exit = memory_hotplug_block_exit,
	.test_cases = memory_hotplug_block_cases,
};

kunit_test_suite(memory_hotplug_block_suite);
