// SPDX-License-Identifier: GPL-2.0-only
/*
 * A ledger of the System RAM that a case takes for memmap, and counters.
 *
 * The ledger replaces vmemmap_alloc_block(), remembers each block that it returns, and
 * fails when a case asks for that. It holds references on the blocks. So it notices
 * which of them the kernel frees, and whether any is freed twice.
 *
 * RAM that does not come from vmemmap_alloc_block() is not in the ledger: page tables on
 * powerpc and s390, those of the direct map, and slab objects. vmt_expect_balanced() finds
 * pages of these that leak.
 */
#include <kunit/resource.h>
#include <kunit/static_stub.h>
#include <kunit/test-bug.h>
#include <kunit/visibility.h>
#include <kunit/vmt.h>
#include <linux/mmzone.h>
#include <linux/vmstat.h>

struct ram_block {
	struct list_head list;
	struct page *page;
	unsigned long nr;
};

#define RESOURCE	"vmt_ram"

static struct vmt_ram *current_ram(struct kunit *test)
{
	struct kunit_resource *res = kunit_find_named_resource(test, RESOURCE);
	struct vmt_ram *ram = res->data;

	kunit_put_resource(res);
	return ram;
}

/* Replaces vmemmap_alloc_block(). */
static void *alloc_block(unsigned long size, int node)
{
	struct vmt_ram *ram = current_ram(kunit_get_current_test());
	struct page *page;
	struct ram_block *b;

	if (!ram->nr_good_allocs || (ram->fail_huge && size > PAGE_SIZE))
		return NULL;
	ram->nr_good_allocs--;

	if (ram->next_block && size == ram->next_nr << PAGE_SHIFT) {
		page = ram->next_block;
		ram->next_block = NULL;
	} else {
		page = alloc_pages_node(node, GFP_KERNEL | __GFP_RETRY_MAYFAIL,
					get_order(size));
	}
	b = kunit_kzalloc(ram->test, sizeof(*b), GFP_KERNEL);
	if (!page || !b)
		return NULL;
	/* Poison the page: callers must zero what they rely on, as page tables. */
	memset(page_address(page), 0x5a, PAGE_SIZE);
	page_ref_add(page, VMT_HOLD);
	b->page = page;
	b->nr = size >> PAGE_SHIFT;
	list_add(&b->list, &ram->blocks);
	return page_address(page);
}

/**
 * vmt_ram_init - start the ledger of a case
 * @ram: the ledger
 * @test: the case
 *
 * Return: 0 or an error.
 */
int vmt_ram_init(struct vmt_ram *ram, struct kunit *test)
{
	struct kunit_resource *res = kunit_kzalloc(test, sizeof(*res), GFP_KERNEL);

	if (!res)
		return -ENOMEM;
	*ram = (struct vmt_ram) { .nr_good_allocs = UINT_MAX, .test = test };
	INIT_LIST_HEAD(&ram->blocks);
	vmt_ram_resume(ram);
	return kunit_add_named_resource(test, NULL, NULL, res, RESOURCE, ram);
}
EXPORT_SYMBOL_IF_KUNIT(vmt_ram_init);

/**
 * vmt_ram_pause - leave vmemmap_alloc_block() alone
 * @ram: the ledger
 */
void vmt_ram_pause(struct vmt_ram *ram)
{
	kunit_deactivate_static_stub(ram->test, vmemmap_alloc_block);
}
EXPORT_SYMBOL_IF_KUNIT(vmt_ram_pause);

/**
 * vmt_ram_resume - end what vmt_ram_pause() began
 * @ram: the ledger
 */
void vmt_ram_resume(struct vmt_ram *ram)
{
	kunit_activate_static_stub(ram->test, vmemmap_alloc_block, alloc_block);
}
EXPORT_SYMBOL_IF_KUNIT(vmt_ram_resume);

/**
 * vmt_ram_sweep - drop blocks that the kernel has freed from the ledger
 * @ram: the ledger
 */
void vmt_ram_sweep(struct vmt_ram *ram)
{
	struct ram_block *b, *tmp;

	list_for_each_entry_safe(b, tmp, &ram->blocks, list) {
		int count = page_count(b->page) - VMT_HOLD;

		/* The memmap of large folios may be mapped more than once. */
		if (count >= 1)
			continue;
		KUNIT_EXPECT_EQ_MSG(ram->test, count, 0,
				    "%lu pages of RAM at pfn %#lx freed twice",
				    b->nr, page_to_pfn(b->page));
		list_del(&b->list);
		set_page_count(b->page, 1);
		__free_page(b->page);
		kunit_kfree(ram->test, b);
	}
}
EXPORT_SYMBOL_IF_KUNIT(vmt_ram_sweep);

/**
 * vmt_ram_owns - check whether a page is in a block that is in use
 * @ram: the ledger
 * @pfn: the page
 *
 * Return: true if it is.
 */
bool vmt_ram_owns(const struct vmt_ram *ram, unsigned long pfn)
{
	struct ram_block *b;

	list_for_each_entry(b, &ram->blocks, list)
		if (pfn >= page_to_pfn(b->page) && pfn < page_to_pfn(b->page) + b->nr)
			return true;
	return false;
}
EXPORT_SYMBOL_IF_KUNIT(vmt_ram_owns);

/**
 * vmt_count_range - read all counters
 * @ram: the ledger
 * @start: start address of the memmap whose entries are counted
 * @end: end address
 * @now: set to the values
 */
void vmt_count_range(struct vmt_ram *ram, unsigned long start, unsigned long end,
		     struct vmt_counters *now)
{
	struct ram_block *b;

	vmt_ram_sweep(ram);
	vmt_count_entries(start, end, &now->tables, &now->leaves);
	now->ram = 0;
	list_for_each_entry(b, &ram->blocks, list)
		now->ram += b->nr;
	now->nr_memmap = atomic_long_read(&nr_memmap_pages);
}
EXPORT_SYMBOL_IF_KUNIT(vmt_count_range);

/**
 * vmt_expect_counters - expect counters to be equal
 * @test: the case
 * @now: the actual values
 * @before: the expected values
 */
void vmt_expect_counters(struct kunit *test, const struct vmt_counters *now,
			 const struct vmt_counters *before)
{
	KUNIT_EXPECT_EQ(test, now->ram, before->ram);
	KUNIT_EXPECT_EQ(test, now->tables, before->tables);
	KUNIT_EXPECT_EQ(test, now->leaves, before->leaves);
	KUNIT_EXPECT_EQ(test, now->nr_memmap, before->nr_memmap);
}
EXPORT_SYMBOL_IF_KUNIT(vmt_expect_counters);

/* Free pages, including those in per-cpu lists and counter differences. */
static long nr_free_pages_exact(void)
{
	int nid, zid, cpu;
	long nr = 0;

	for_each_online_node(nid) {
		for (zid = 0; zid < MAX_NR_ZONES; zid++) {
			struct zone *zone = NODE_DATA(nid)->node_zones + zid;

			if (!populated_zone(zone))
				continue;
			nr += zone_page_state_snapshot(zone, NR_FREE_PAGES);
			for_each_online_cpu(cpu)
				nr += per_cpu_ptr(zone->per_cpu_pageset, cpu)->count;
		}
	}
	return nr;
}

static long nr_pagetable_exact(void)
{
	/* global_node_page_state() returns 0 for negative values. */
	long nr = atomic_long_read(&vm_node_stat[NR_PAGETABLE]);
#ifdef CONFIG_SMP
	int nid, cpu;

	for_each_online_node(nid)
		for_each_online_cpu(cpu)
			nr += per_cpu_ptr(NODE_DATA(nid)->per_cpu_nodestats, cpu)
				->vm_node_stat_diff[NR_PAGETABLE];
#endif
	return nr;
}

/**
 * vmt_expect_balanced - expect a cycle to leave system-wide counters unchanged
 * @test: the case
 * @cycle: adds and removes something
 * @arg: passed to @cycle
 *
 * Other tasks may change the free pages and NR_PAGETABLE at any time, but not in most
 * cycles. What a cycle leaks changes them in each.
 */
void vmt_expect_balanced(struct kunit *test, void (*cycle)(struct kunit *test, void *arg),
			 void *arg)
{
	unsigned int i, free_changed = 0, tables_changed = 0;
	const unsigned int nr_cycles = 50;

	for (i = 0; i < nr_cycles; i++) {
		long nr_free = nr_free_pages_exact(), nr_tables = nr_pagetable_exact();

		cycle(test, arg);
		free_changed += nr_free_pages_exact() != nr_free;
		tables_changed += nr_pagetable_exact() != nr_tables;
	}
	KUNIT_EXPECT_LT(test, free_changed, nr_cycles / 2);
	KUNIT_EXPECT_LT(test, tables_changed, nr_cycles / 2);
}
EXPORT_SYMBOL_IF_KUNIT(vmt_expect_balanced);
