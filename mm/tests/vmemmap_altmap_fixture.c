// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fixture for KUnit tests that populate and free the vmemmap, see
 * include/kunit/vmemmap_altmap.h.
 */
#include <kunit/resource.h>
#include <kunit/static_stub.h>
#include <kunit/test-bug.h>
#include <kunit/visibility.h>
#include <kunit/vmemmap_altmap.h>
#include <linux/cacheflush.h>
#include <linux/cpufeature.h>
#include <linux/memory_hotplug.h>
#include <linux/mmzone.h>
#include <linux/pgalloc.h>
#include <linux/pgtable.h>
#include <linux/sizes.h>
#include <linux/uaccess.h>
#include <linux/vmstat.h>

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

/* What canaries consist of; no memmap pattern looks like it. */
#define CANARY	0x63616e6172794d4dULL

struct altmap_record {
	struct list_head list;
	struct vmem_altmap altmap;
};

struct populated {
	struct list_head list;
	unsigned long start, end;
	struct vmem_altmap *altmap;
};

struct ram_block {
	struct list_head list;
	struct page *page;
	unsigned long nr;
};

/*
 * References that the fixture has on each page of the device, and on the first
 * page of each block of System RAM, on top of that of their user. A page that is
 * freed by mistake, or twice, is then seen and not reused. Of a larger block that
 * holds for the first page only, so a device that lost a page is never freed.
 */
#define HOLD	2

/*
 * Of each memory that is filled, one word in this many bytes is: less than a
 * struct page, so nobody writes one without being seen.
 */
#define STRIDE	32

/* The device has room for a few pages, and a unit, even if a unit is a page. */
#define DEVICE_PAGES	64UL

/* Set by _suite_init(), constant afterwards. */
static unsigned long hole_pfn;

#ifdef CONFIG_PPC_BOOK3S_64
/* The hash MMU keeps a list of blocks instead of page tables. */
static bool has_page_tables(void)
{
	return radix_enabled();
}

static unsigned long block_size(void)
{
	return 1UL << mmu_psize_defs[mmu_vmemmap_psize].shift;
}

static struct vmemmap_altmap_leaf find_block(unsigned long addr)
{
	struct vmemmap_backing *b;

	addr = ALIGN_DOWN(addr, block_size());
	for (b = vmemmap_list; b; b = b->list)
		if (b->virt_addr == addr)
			return (struct vmemmap_altmap_leaf) { block_size(), PHYS_PFN(b->phys) };
	return (struct vmemmap_altmap_leaf) {};
}

static long count_blocks(unsigned long start, unsigned long end)
{
	struct vmemmap_backing *b;
	long nr = 0;

	for (b = vmemmap_list; b; b = b->list)
		nr += b->virt_addr >= start && b->virt_addr < end;
	return nr;
}
#else
static bool has_page_tables(void)
{
	return true;
}

static unsigned long block_size(void)
{
	return 0;
}

static struct vmemmap_altmap_leaf find_block(unsigned long addr)
{
	return (struct vmemmap_altmap_leaf) {};
}

static long count_blocks(unsigned long start, unsigned long end)
{
	return 0;
}
#endif

/*
 * Does the vmemmap have huge pages? arm64 uses them with 4 KiB pages only, and
 * not every machine of s390 has them: QEMU does not emulate them.
 */
static bool has_huge_pages(void)
{
#ifdef CONFIG_S390
	return cpu_has_edat1();
#else
	return !IS_ENABLED(CONFIG_ARM64) || PAGE_SIZE == SZ_4K;
#endif
}

/* The largest mapping that vmemmap_populate() uses. */
static unsigned long leaf_size(void)
{
	if (!has_page_tables())
		return block_size();
	return has_huge_pages() ? PMD_SIZE : PAGE_SIZE;
}

static unsigned long section_size(void)
{
	return PAGES_PER_SECTION * sizeof(struct page);
}

static unsigned long unit_size(void)
{
	return roundup(section_size(), leaf_size());
}

/* Blocks of the hash MMU can be so large that there is no RAM for twice as many. */
static unsigned int size_factor(void)
{
	return has_page_tables() ? 2 : 1;
}

static unsigned long hole_size(void)
{
	return size_factor() * VMEMMAP_ALTMAP_HOLE_UNITS * unit_size();
}

/* The last pfn that memmap at the end of the hole describes, if only in part. */
static unsigned long hole_last_pfn(unsigned long first)
{
	return first + (hole_size() - 1) / sizeof(struct page);
}

static bool section_range_absent(unsigned long pfn, unsigned long nr)
{
	unsigned long end = pfn + nr;

	for (; pfn < end; pfn += PAGES_PER_SECTION)
		if (present_section_nr(pfn_to_section_nr(pfn)))
			return false;
	return true;
}

/**
 * vmemmap_altmap_count_entries - count page tables and leaves
 * @addr: first address
 * @end: behind the last address
 * @tables: where to put the number of page tables
 * @leaves: where to put the number of leaves
 *
 * Upper levels that also serve other memory count as well: only differences matter.
 */
void vmemmap_altmap_count_entries(unsigned long addr, unsigned long end,
				  long *tables, long *leaves)
{
	unsigned long next, start = addr;

	*tables = 0;
	*leaves = has_page_tables() ? 0 : count_blocks(addr, end);
	if (!has_page_tables())
		return;
	for (; addr < end; addr = next) {
		pgd_t *pgd = pgd_offset_k(addr);
		p4d_t *p4d;
		pud_t *pud;
		pmd_t *pmd;
		pte_t *pte;

		next = pgd_addr_end(addr, end);
		if (pgd_none(pgdp_get(pgd)))
			continue;
		p4d = p4d_offset(pgd, addr);
		next = p4d_addr_end(addr, end);
		if (p4d_none(p4dp_get(p4d)))
			continue;
		/* A table is counted where its first address is met. */
		if (addr == start || IS_ALIGNED(addr, P4D_SIZE))
			++*tables;
		pud = pud_offset(p4d, addr);
		next = pud_addr_end(addr, end);
		if (pud_none(pudp_get(pud)))
			continue;
		if (pud_leaf(pudp_get(pud))) {
			++*leaves;
			continue;
		}
		if (addr == start || IS_ALIGNED(addr, PUD_SIZE))
			++*tables;
		pmd = pmd_offset(pud, addr);
		next = pmd_addr_end(addr, end);
		if (pmd_none(pmdp_get(pmd)))
			continue;
		if (pmd_leaf(pmdp_get(pmd))) {
			++*leaves;
			continue;
		}
		if (addr == start || IS_ALIGNED(addr, PMD_SIZE))
			++*tables;
		pte = pte_offset_kernel(pmd, addr);
		next = addr + PAGE_SIZE;
		if (!pte_none(ptep_get(pte)))
			++*leaves;
	}
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_count_entries);

/**
 * vmemmap_altmap_leaf - look up how an address is mapped
 * @addr: the address
 *
 * Return: size and first pfn of the mapping that contains @addr.
 */
struct vmemmap_altmap_leaf vmemmap_altmap_leaf(unsigned long addr)
{
	pgd_t *pgd = pgd_offset_k(addr);
	p4d_t *p4d;
	pud_t *pud;
	pmd_t *pmd;
	pte_t pte;

	if (!has_page_tables())
		return find_block(addr);
	if (pgd_none(pgdp_get(pgd)))
		return (struct vmemmap_altmap_leaf) {};
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(p4dp_get(p4d)))
		return (struct vmemmap_altmap_leaf) {};
	pud = pud_offset(p4d, addr);
	if (pud_none(pudp_get(pud)))
		return (struct vmemmap_altmap_leaf) {};
	if (pud_leaf(pudp_get(pud)))
		return (struct vmemmap_altmap_leaf) { PUD_SIZE, pud_pfn(pudp_get(pud)) };
	pmd = pmd_offset(pud, addr);
	if (pmd_none(pmdp_get(pmd)))
		return (struct vmemmap_altmap_leaf) {};
	if (pmd_leaf(pmdp_get(pmd)))
		return (struct vmemmap_altmap_leaf) { PMD_SIZE, pmd_pfn(pmdp_get(pmd)) };
	pte = ptep_get(pte_offset_kernel(pmd, addr));
	if (pte_none(pte))
		return (struct vmemmap_altmap_leaf) {};
	return (struct vmemmap_altmap_leaf) { PAGE_SIZE, pte_pfn(pte) };
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_leaf);

/* Free pages, without the inaccuracy of per-cpu differences and lists. */
static long nr_free_pages_exact(void)
{
	long nr = 0;
	int nid, zid, cpu;

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
	/* global_node_page_state() tells 0 for what is below. */
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
 * vmemmap_altmap_count - read all counters
 * @f: the fixture
 * @now: where to put them
 */
void vmemmap_altmap_count(const struct vmemmap_altmap_fixture *f,
			  struct vmemmap_altmap_counters *now)
{
	unsigned long start = vmemmap_altmap_addr(f, 0);
	struct ram_block *b;

	vmemmap_altmap_count_entries(start, start + f->hole_size, &now->tables, &now->leaves);
	now->ram = 0;
	list_for_each_entry(b, &f->blocks, list)
		now->ram += b->nr;
	now->nr_memmap = atomic_long_read(&nr_memmap_pages);
	now->nr_pagetable = nr_pagetable_exact();
	now->free_pages = nr_free_pages_exact();
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_count);

/**
 * vmemmap_altmap_addr - address of a unit's memmap
 * @f: the fixture
 * @unit: number of the unit in the hole
 *
 * Return: the vmemmap address.
 */
unsigned long vmemmap_altmap_addr(const struct vmemmap_altmap_fixture *f,
				  unsigned int unit)
{
	return (unsigned long)pfn_to_page(f->hole_pfn) + unit * f->unit_size;
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_addr);

/**
 * vmemmap_altmap_new - make an altmap from the device's pages
 * @f: the fixture
 * @reserve: pages the driver keeps at the start of the device
 * @free: pages of the window
 *
 * The altmap lives until the case ends. As the hole lies above the device,
 * end_pfn is the last described pfn: that satisfies architectures which compare
 * it with the pages that a leaf describes.
 *
 * Return: the altmap; the case ends if there is none.
 */
struct vmem_altmap *vmemmap_altmap_new(struct vmemmap_altmap_fixture *f,
				       unsigned long reserve, unsigned long free)
{
	return vmemmap_altmap_new_range(f, f->dev_pfn, hole_last_pfn(f->hole_pfn),
					reserve, free);
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_new);

/**
 * vmemmap_altmap_new_range - make an altmap with a range of its own
 * @f: the fixture
 * @base_pfn: first pfn of the range, not before the device
 * @end_pfn: last pfn of the range
 * @reserve: pages the driver keeps from @base_pfn on
 * @free: pages of the window
 *
 * As vmemmap_altmap_new(), for what compares the range with described pfns.
 *
 * Return: the altmap; the case ends if there is none.
 */
struct vmem_altmap *vmemmap_altmap_new_range(struct vmemmap_altmap_fixture *f,
					     unsigned long base_pfn, unsigned long end_pfn,
					     unsigned long reserve, unsigned long free)
{
	const struct vmem_altmap template = {
		.base_pfn = base_pfn,
		.end_pfn = end_pfn,
		.reserve = reserve,
		.free = free,
	};
	struct altmap_record *r;

	KUNIT_ASSERT_GE(f->test, base_pfn, f->dev_pfn);
	KUNIT_ASSERT_LE_MSG(f->test, base_pfn - f->dev_pfn + reserve + free, f->dev_nr,
			    "the device is too small");
	r = kunit_kzalloc(f->test, sizeof(*r), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(f->test, r);
	list_add(&r->list, &f->altmaps);
	return memcpy(&r->altmap, &template, sizeof(template));
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_new_range);

/**
 * vmemmap_altmap_ram_pfn - where a page of the device really is
 * @f: the fixture
 * @pfn: any pfn
 *
 * Return: if @pfn is a page of the device, the page of RAM that stands in for
 * it: another one if the case moved the device. @pfn otherwise.
 */
unsigned long vmemmap_altmap_ram_pfn(const struct vmemmap_altmap_fixture *f,
				     unsigned long pfn)
{
	if (pfn >= f->dev_pfn && pfn < f->dev_pfn + f->dev_nr)
		return page_to_pfn(f->dev_page) + (pfn - f->dev_pfn);
	return pfn;
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_ram_pfn);

/**
 * vmemmap_altmap_ram_behind_device - have System RAM begin where the device ends
 * @f: the fixture
 * @nr: pages to take from the end of the device, a power of two
 *
 * The device gets smaller, and the pages become a block that is given to whom next
 * asks vmemmap_alloc_block() for as many.
 */
void vmemmap_altmap_ram_behind_device(struct vmemmap_altmap_fixture *f, unsigned long nr)
{
	unsigned long i;

	KUNIT_ASSERT_GT(f->test, f->dev_nr, nr);
	f->dev_nr -= nr;
	f->next_block = f->dev_page + f->dev_nr;
	f->next_nr = nr;
	/* As alloc_pages() returns it: only the first page has a reference. */
	for (i = 0; i < nr; i++)
		set_page_count(f->next_block + i, !i);
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_ram_behind_device);

/*
 * Stands in for vmemmap_alloc_block(): calls it, but keeps the books, and lets it
 * fail when the case asked for that.
 */
static void *alloc_block(unsigned long size, int node)
{
	struct kunit *test = kunit_get_current_test();
	struct vmemmap_altmap_fixture *f = test->priv;
	struct ram_block *b;
	void *p;

	if (!f->nr_good_allocs || (f->fail_huge && size > PAGE_SIZE))
		return NULL;
	f->nr_good_allocs--;

	if (f->next_block && size == f->next_nr << PAGE_SHIFT) {
		p = page_address(f->next_block);
		f->next_block = NULL;
	} else {
		/* Nothing is redirected while no test is current. */
		current->kunit_test = NULL;
		p = vmemmap_alloc_block(size, node);
		current->kunit_test = test;
	}
	if (!p)
		return NULL;
	/* Who needs zeroes has to write them; page tables are not larger. */
	memset(p, 0x5a, PAGE_SIZE);

	b = kunit_kzalloc(test, sizeof(*b), GFP_KERNEL);
	if (!b) {
		free_pages((unsigned long)p, get_order(size));
		return NULL;
	}
	b->page = virt_to_page(p);
	b->nr = size >> PAGE_SHIFT;
	page_ref_add(b->page, HOLD);
	list_add(&b->list, &f->blocks);
	return p;
}

/**
 * vmemmap_altmap_sweep - let go of the blocks of System RAM that were freed
 * @f: the fixture
 *
 * For vmemmap_altmap_count() to notice what the kernel freed on its own. Happens
 * anyway after each vmemmap_altmap_free().
 */
void vmemmap_altmap_sweep(struct vmemmap_altmap_fixture *f)
{
	struct ram_block *b, *tmp;

	list_for_each_entry_safe(b, tmp, &f->blocks, list) {
		int count = page_count(b->page) - HOLD;

		/* The memmap of large folios may be mapped more than once. */
		if (count >= 1)
			continue;
		KUNIT_EXPECT_EQ_MSG(f->test, count, 0, "%lu pages of RAM at pfn %#lx freed twice",
				    b->nr, page_to_pfn(b->page));
		list_del(&b->list);
		set_page_count(b->page, 1);
		__free_page(b->page);
		kunit_kfree(f->test, b);
	}
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_sweep);

static const struct backing {
	const char *name;
	bool altmap;
} backings[] = {
	{ "altmap", true },
	{ "ram", false },
};

KUNIT_ARRAY_PARAM_DESC(backings, backings, name);

/**
 * vmemmap_altmap_backings - parameter generator: with altmap, and without
 * @test: the test
 * @prev: the previous parameter
 * @desc: where to put the parameter's name
 *
 * Return: the next parameter, or %NULL.
 */
const void *vmemmap_altmap_backings(struct kunit *test, const void *prev, char *desc)
{
	return backings_gen_params(test, prev, desc);
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_backings);

/**
 * vmemmap_altmap_has_altmap - tell the case from its twin
 * @test: the test
 *
 * Return: true if the current parameter of vmemmap_altmap_backings() is "altmap".
 */
bool vmemmap_altmap_has_altmap(const struct kunit *test)
{
	return ((const struct backing *)test->param_value)->altmap;
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_has_altmap);

/**
 * vmemmap_altmap_backing - make the altmap for a case, and none for its twin
 * @f: the fixture
 * @reserve: pages the driver keeps at the start of the device
 * @free: pages of the window
 *
 * Return: what vmemmap_altmap_new() returns, or %NULL if the parameter is "ram".
 */
struct vmem_altmap *vmemmap_altmap_backing(struct vmemmap_altmap_fixture *f,
					   unsigned long reserve, unsigned long free)
{
	return vmemmap_altmap_has_altmap(f->test) ?
	       vmemmap_altmap_new(f, reserve, free) : NULL;
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_backing);

/* Frees without bookkeeping of ranges. */
static void free_memmap(struct vmemmap_altmap_fixture *f, unsigned long start,
			unsigned long end, struct vmem_altmap *altmap)
{
	mem_hotplug_begin();
	vmemmap_free(start, end, altmap);
	mem_hotplug_done();
	vmemmap_altmap_sweep(f);
}

/* As populated sections need vmemmap_free() also if that failed half way. */
static void record_range(struct vmemmap_altmap_fixture *f, unsigned long start,
			 unsigned long end, struct vmem_altmap *altmap)
{
	unsigned long hole = vmemmap_altmap_addr(f, 0);
	struct populated *p;

	KUNIT_ASSERT_GE(f->test, start, hole);
	KUNIT_ASSERT_LE(f->test, end, hole + f->hole_size);
	p = kunit_kzalloc(f->test, sizeof(*p), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(f->test, p);
	p->start = start;
	p->end = end;
	p->altmap = altmap;
	list_add(&p->list, &f->populated);
}

/* At most @step bytes at once, for not all architectures take any range in one go. */
static int populate_range(unsigned long start, unsigned long end, unsigned long step,
			  struct vmem_altmap *altmap)
{
	unsigned long addr, next;
	int err = 0;

	mem_hotplug_begin();
	for (addr = start; addr < end && !err; addr = next) {
		next = min(addr + step, end);
		err = vmemmap_populate(addr, next, first_memory_node, altmap);
		if (!err)
			flush_cache_vmap(addr, next);
	}
	mem_hotplug_done();
	return err;
}

/**
 * vmemmap_altmap_populate_range - populate a part of the hole, by one call
 * @f: the fixture
 * @start: first address
 * @end: behind the last address
 * @altmap: where to take the pages from, or %NULL
 *
 * As callers of vmemmap_populate() do, a case has to free the range also after a
 * failure; what was not freed when the case ends is freed by vmemmap_altmap_exit().
 *
 * Return: what vmemmap_populate() returned.
 */
int vmemmap_altmap_populate_range(struct vmemmap_altmap_fixture *f, unsigned long start,
				  unsigned long end, struct vmem_altmap *altmap)
{
	record_range(f, start, end, altmap);
	return populate_range(start, end, end - start, altmap);
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_populate_range);

/**
 * vmemmap_altmap_free_range - free a part of the hole
 * @f: the fixture
 * @start: first address
 * @end: behind the last address
 * @altmap: what to pass to vmemmap_free()
 *
 * To be used on ranges for which vmemmap_altmap_populate_range() was called, and
 * which were populated or failed to be. A range that was populated twice is freed
 * once.
 */
void vmemmap_altmap_free_range(struct vmemmap_altmap_fixture *f, unsigned long start,
			       unsigned long end, struct vmem_altmap *altmap)
{
	struct populated *p, *tmp;

	list_for_each_entry_safe(p, tmp, &f->populated, list) {
		if (p->start >= start && p->end <= end) {
			list_del(&p->list);
			kunit_kfree(f->test, p);
		}
	}
	free_memmap(f, start, end, altmap);
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_free_range);

/**
 * vmemmap_altmap_populate - populate the memmap of some units
 * @f: the fixture
 * @unit: number of the first unit
 * @nr_units: number of units
 * @altmap: where to take the pages from, or %NULL
 *
 * As vmemmap_altmap_populate_range(), but one unit after the other, until one fails.
 *
 * Return: what vmemmap_populate() returned last.
 */
int vmemmap_altmap_populate(struct vmemmap_altmap_fixture *f, unsigned int unit,
			    unsigned int nr_units, struct vmem_altmap *altmap)
{
	unsigned long start = vmemmap_altmap_addr(f, unit);
	unsigned long end = vmemmap_altmap_addr(f, unit + nr_units);

	record_range(f, start, end, altmap);
	return populate_range(start, end, f->unit_size, altmap);
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_populate);

/**
 * vmemmap_altmap_populate_ok - populate the memmap of some units, or end the case
 * @f: the fixture
 * @unit: number of the first unit
 * @nr_units: number of units
 * @altmap: where to take the pages from, or %NULL
 */
void vmemmap_altmap_populate_ok(struct vmemmap_altmap_fixture *f, unsigned int unit,
				unsigned int nr_units, struct vmem_altmap *altmap)
{
	KUNIT_ASSERT_EQ(f->test, vmemmap_altmap_populate(f, unit, nr_units, altmap), 0);
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_populate_ok);

/**
 * vmemmap_altmap_free - free the memmap of some units
 * @f: the fixture
 * @unit: number of the first unit
 * @nr_units: number of units
 * @altmap: what to pass to vmemmap_free()
 *
 * See vmemmap_altmap_free_range().
 */
void vmemmap_altmap_free(struct vmemmap_altmap_fixture *f, unsigned int unit,
			 unsigned int nr_units, struct vmem_altmap *altmap)
{
	vmemmap_altmap_free_range(f, vmemmap_altmap_addr(f, unit),
				  vmemmap_altmap_addr(f, unit + nr_units), altmap);
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_free);

/**
 * vmemmap_altmap_expect_same - expect counters to be what they were
 * @f: the fixture
 * @before: what vmemmap_altmap_count() counted then
 *
 * Compares all counters that nobody else changes.
 */
void vmemmap_altmap_expect_same(struct vmemmap_altmap_fixture *f,
				const struct vmemmap_altmap_counters *before)
{
	struct vmemmap_altmap_counters now;

	vmemmap_altmap_sweep(f);
	vmemmap_altmap_count(f, &now);
	KUNIT_EXPECT_EQ(f->test, now.ram, before->ram);
	KUNIT_EXPECT_EQ(f->test, now.tables, before->tables);
	KUNIT_EXPECT_EQ(f->test, now.leaves, before->leaves);
	KUNIT_EXPECT_EQ(f->test, now.nr_memmap, before->nr_memmap);
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_expect_same);

/**
 * vmemmap_altmap_expect_as_before - expect to have left no trace
 * @f: the fixture
 *
 * Compares all counters that nobody else changes with what they were when the
 * case began.
 */
void vmemmap_altmap_expect_as_before(struct vmemmap_altmap_fixture *f)
{
	vmemmap_altmap_expect_same(f, &f->before);
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_expect_as_before);

static void expect_unmapped(struct vmemmap_altmap_fixture *f, unsigned long start,
			    unsigned long end)
{
	unsigned long step = max(f->leaf_size / 64, PAGE_SIZE);
	unsigned long addr;
	u64 word;

	for (addr = start; addr < end; addr += PAGE_SIZE)
		if (vmemmap_altmap_leaf(addr).size)
			break;
	KUNIT_EXPECT_EQ_MSG(f->test, addr, end, "mapped by a leaf of %lu bytes at pfn %#lx",
			    vmemmap_altmap_leaf(addr).size, vmemmap_altmap_leaf(addr).pfn);
	if (addr < end)
		return;

	/* The hardware may know more: a stale TLB or hash table entry. */
	for (addr = start; addr < end; addr += step)
		if (!copy_from_kernel_nofault(&word, (void *)addr, sizeof(word)))
			break;
	KUNIT_EXPECT_GE_MSG(f->test, addr, end, "mapped nowhere, but can be read");
}

/**
 * vmemmap_altmap_expect_unmapped - expect no mapping in some units' memmap
 * @f: the fixture
 * @unit: number of the first unit
 * @nr_units: number of units
 *
 * Neither may one be recorded, nor may the memmap be readable.
 */
void vmemmap_altmap_expect_unmapped(struct vmemmap_altmap_fixture *f,
				    unsigned int unit, unsigned int nr_units)
{
	unsigned long addr = vmemmap_altmap_addr(f, unit);
	unsigned long end = vmemmap_altmap_addr(f, unit + nr_units);

	expect_unmapped(f, addr, end);
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_expect_unmapped);

static u64 *device_page(const struct vmemmap_altmap_fixture *f, unsigned long i)
{
	return page_address(f->dev_page + i);
}

#define WORDS_PER_PAGE	(PAGE_SIZE / sizeof(u64))
#define WORDS_PER_STEP	(STRIDE / sizeof(u64))

/* vmem_altmap_owns_pfn(), told independently. */
static bool in_window(const struct vmem_altmap *altmap, unsigned long pfn)
{
	unsigned long first = altmap->base_pfn + altmap->reserve;

	return pfn >= first && pfn < first + altmap->free;
}

/* Does some altmap of the case hand out page @pfn? */
static bool in_a_window(const struct vmemmap_altmap_fixture *f, unsigned long pfn)
{
	struct altmap_record *r;

	list_for_each_entry(r, &f->altmaps, list)
		if (in_window(&r->altmap, pfn))
			return true;
	return false;
}

/**
 * vmemmap_altmap_expect_device_intact - expect nobody to have taken the device's pages
 * @f: the fixture
 *
 * No page of the device may have been given to the page allocator, and no page
 * outside the windows of the case's altmaps may have been written to.
 */
void vmemmap_altmap_expect_device_intact(struct vmemmap_altmap_fixture *f)
{
	unsigned long i, j, put = 0, written = 0;

	for (i = 0; i < f->dev_nr; i++) {
		struct page *page = f->dev_page + i;
		u64 *p = device_page(f, i);

		if (page_count(page) != 1 + HOLD) {
			if (!put++)
				kunit_info(f->test, "page %lu of the device: count %d\n",
					   i, page_count(page) - HOLD);
			f->device_lost = true;
		}
		if (in_a_window(f, f->dev_pfn + i))
			continue;
		for (j = 0; j < WORDS_PER_PAGE && p[j] == CANARY + i; j += WORDS_PER_STEP)
			;
		if (j < WORDS_PER_PAGE && !written++)
			kunit_info(f->test, "page %lu of the device: %#llx at offset %zu\n",
				   i, p[j], j * sizeof(*p));
	}
	KUNIT_EXPECT_EQ_MSG(f->test, put, 0, "pages of the device were freed as RAM");
	KUNIT_EXPECT_EQ_MSG(f->test, written, 0, "pages outside the windows were written to");
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_expect_device_intact);

/* The altmap from which the memmap at @addr was populated, %NULL for none. */
static struct vmem_altmap *altmap_at(const struct vmemmap_altmap_fixture *f,
				     unsigned long addr)
{
	struct populated *p;

	list_for_each_entry(p, &f->populated, list)
		if (addr >= p->start && addr < p->end)
			return p->altmap;
	return NULL;
}

static bool in_a_block(const struct vmemmap_altmap_fixture *f, unsigned long pfn)
{
	struct ram_block *b;

	list_for_each_entry(b, &f->blocks, list)
		if (pfn >= page_to_pfn(b->page) && pfn < page_to_pfn(b->page) + b->nr)
			return true;
	return false;
}

/*
 * Is page @pfn, which backs the memmap at @addr, one that its owner accounts for:
 * in the window of the altmap that was asked, or in a block of System RAM where
 * that was asked or may step in?
 */
static bool is_owned(const struct vmemmap_altmap_fixture *f, unsigned long addr,
		     unsigned long pfn)
{
	const struct vmem_altmap *altmap = altmap_at(f, addr);

	if (altmap && in_window(altmap, pfn))
		return true;
	return (!altmap || f->ram_fallback) && in_a_block(f, pfn);
}

/* The RAM that backs @addr, or 0 with a failure if there is none or a stranger's. */
static unsigned long backing_pfn(struct vmemmap_altmap_fixture *f, unsigned long addr)
{
	struct vmemmap_altmap_leaf leaf = vmemmap_altmap_leaf(addr);
	unsigned long pfn = leaf.pfn + ((addr & (leaf.size - 1)) >> PAGE_SHIFT);

	if (leaf.size && is_owned(f, addr, pfn))
		return vmemmap_altmap_ram_pfn(f, pfn);
	KUNIT_FAIL(f->test, "memmap at %#lx: leaf of %lu bytes, pfn %#lx is not its owner's",
		   addr, leaf.size, leaf.pfn);
	return 0;
}

/**
 * vmemmap_altmap_fill - write all struct pages of some units
 * @f: the fixture
 * @unit: number of the first unit
 * @nr_units: number of units
 *
 * A word in each struct page gets a value of its own, never used before in the case.
 * Nothing is written unless every page is backed by its owner.
 *
 * Return: what vmemmap_altmap_expect_filled() wants to know.
 */
u64 vmemmap_altmap_fill(struct vmemmap_altmap_fixture *f,
			unsigned int unit, unsigned int nr_units)
{
	unsigned long start = vmemmap_altmap_addr(f, unit);
	unsigned long end = vmemmap_altmap_addr(f, unit + nr_units);
	unsigned long addr;

	f->salt += 1ULL << 48;
	for (addr = start; addr < end; addr += PAGE_SIZE)
		if (!backing_pfn(f, addr))
			return f->salt;
	for (addr = start; addr < end; addr += STRIDE)
		WRITE_ONCE(*(u64 *)addr, f->salt ^ ~(u64)addr);
	return f->salt;
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_fill);

/**
 * vmemmap_altmap_expect_filled - expect struct pages to hold what was written
 * @f: the fixture
 * @unit: number of the first unit
 * @nr_units: number of units
 * @salt: what vmemmap_altmap_fill() returned
 *
 * Each word must be found through the vmemmap, and in the direct map at the pfn
 * that the page tables name: no two struct pages may share memory.
 */
void vmemmap_altmap_expect_filled(struct vmemmap_altmap_fixture *f, unsigned int unit,
				  unsigned int nr_units, u64 salt)
{
	unsigned long addr = vmemmap_altmap_addr(f, unit);
	unsigned long end = vmemmap_altmap_addr(f, unit + nr_units);
	unsigned long i, wrong = 0;

	for (; addr < end; addr += PAGE_SIZE) {
		unsigned long pfn = backing_pfn(f, addr);
		u64 *direct;

		if (!pfn)
			return;
		direct = page_address(pfn_to_page(pfn));
		for (i = 0; i < WORDS_PER_PAGE; i += WORDS_PER_STEP) {
			u64 expected = salt ^ ~(u64)(addr + i * sizeof(u64));

			if (READ_ONCE(((u64 *)addr)[i]) == expected &&
			    READ_ONCE(direct[i]) == expected)
				continue;
			if (!wrong++)
				kunit_info(f->test, "%#lx: %#llx in the vmemmap, %#llx at pfn %#lx\n",
					   addr + i * sizeof(u64), ((u64 *)addr)[i],
					   direct[i], pfn);
		}
	}
	KUNIT_EXPECT_EQ(f->test, wrong, 0);
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_expect_filled);

/**
 * vmemmap_altmap_expect_usable - expect a memmap to be memory of its own
 * @f: the fixture
 * @unit: number of the first unit
 * @nr_units: number of units
 */
void vmemmap_altmap_expect_usable(struct vmemmap_altmap_fixture *f,
				  unsigned int unit, unsigned int nr_units)
{
	vmemmap_altmap_expect_filled(f, unit, nr_units,
				     vmemmap_altmap_fill(f, unit, nr_units));
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_expect_usable);

static void free_device(void *data)
{
	struct vmemmap_altmap_fixture *f = data;
	unsigned long i;

	if (f->device_lost)
		return;
	for (i = 0; i < f->dev_nr; i++)
		set_page_count(f->dev_page + i, 1);
	free_contig_range(page_to_pfn(f->dev_page), f->dev_nr);
}

/* @nr pages, a power of two, each with a reference of its own. */
static struct page *alloc_split_pages(unsigned long nr)
{
	unsigned int order = ilog2(nr);
	struct page *page;

	if (order > MAX_PAGE_ORDER)
		return alloc_contig_pages(nr, GFP_KERNEL, first_memory_node, NULL);
	page = alloc_pages_node(first_memory_node, GFP_KERNEL, order);
	if (page)
		split_page(page, order);
	return page;
}

static int alloc_device(struct vmemmap_altmap_fixture *f)
{
	struct page *page;
	unsigned long i, j;

	f->dev_nr = roundup_pow_of_two(max(size_factor() * VMEMMAP_ALTMAP_DEVICE_UNITS *
					   f->unit_nr, DEVICE_PAGES));
	page = alloc_split_pages(f->dev_nr);
	if (!page)
		return -ENOMEM;
	f->dev_page = page;
	f->dev_pfn = page_to_pfn(page);
	for (i = 0; i < f->dev_nr; i++) {
		u64 *p = device_page(f, i);

		page_ref_add(page + i, HOLD);
		for (j = 0; j < WORDS_PER_PAGE; j += WORDS_PER_STEP)
			p[j] = CANARY + i;
	}
	return kunit_add_action_or_reset(f->test, free_device, f);
}

static struct vmemmap_altmap_fixture *new_fixture(struct kunit *test, unsigned long pfn,
						  unsigned long size)
{
	struct vmemmap_altmap_fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	if (!f)
		return NULL;
	f->test = test;
	f->hole_pfn = pfn;
	f->hole_size = size;
	f->unit_size = unit_size();
	f->unit_nr = f->unit_size >> PAGE_SHIFT;
	f->leaf_size = leaf_size();
	f->leaf_nr = f->leaf_size >> PAGE_SHIFT;
	f->ram_tables = !IS_ENABLED(CONFIG_PPC) && !IS_ENABLED(CONFIG_S390);
	f->ram_fallback = IS_ENABLED(CONFIG_PPC);
	f->base_pages = has_page_tables() && !IS_ENABLED(CONFIG_S390);
	f->nr_units = f->hole_size / f->unit_size;
	f->nr_good_allocs = UINT_MAX;
	INIT_LIST_HEAD(&f->altmaps);
	INIT_LIST_HEAD(&f->blocks);
	INIT_LIST_HEAD(&f->populated);
	return f;
}

static void begin(struct vmemmap_altmap_fixture *f)
{
	f->test->priv = f;
	kunit_activate_static_stub(f->test, vmemmap_alloc_block, alloc_block);
	vmemmap_altmap_count(f, &f->before);
}

/**
 * vmemmap_altmap_init - set up the fixture for a case
 * @test: the case
 *
 * Return: 0; test->priv is the &struct vmemmap_altmap_fixture. -ENOMEM if the
 * system has no room for the device, -EBUSY if an earlier case left the hole
 * populated.
 */
int vmemmap_altmap_init(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f;
	int err;

	/* The altmap's unit is the page. */
	if (leaf_size() < PAGE_SIZE)
		kunit_skip(test, "the memmap is mapped by less than a page");
	f = new_fixture(test, hole_pfn, hole_size());
	if (!f)
		return -ENOMEM;
	err = alloc_device(f);
	if (err)
		return err;
	if (f->dev_pfn + f->dev_nr > f->hole_pfn)
		kunit_skip(test, "needs RAM below the pfns that the hole describes");
	begin(f);
	return f->before.leaves ? -EBUSY : 0;
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_init);

/**
 * vmemmap_altmap_init_at - set up the fixture around memory that there is
 * @test: the case
 * @pfn: the first page
 * @nr: number of pages
 *
 * For suites that add real memory: the hole is its memmap, of which boot memory may
 * have a share, and the fixture has no device, but keeps the books of System RAM.
 *
 * Return: 0, or -ENOMEM.
 */
int vmemmap_altmap_init_at(struct kunit *test, unsigned long pfn, unsigned long nr)
{
	struct vmemmap_altmap_fixture *f = new_fixture(test, pfn, nr * sizeof(struct page));

	if (!f)
		return -ENOMEM;
	begin(f);
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_init_at);

/**
 * vmemmap_altmap_exit - expect a case to have left nothing behind
 * @test: the case
 *
 * Frees what the case did not. Then no mapping, page or count may be left, every
 * altmap must be as good as new, and the device intact.
 */
void vmemmap_altmap_exit(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct vmemmap_altmap_counters now;
	struct altmap_record *r;
	struct populated *p;

	if (!f)
		return;
	list_for_each_entry(p, &f->populated, list)
		free_memmap(f, p->start, p->end, p->altmap);
	if (f->next_block)
		__free_pages(f->next_block, ilog2(f->next_nr));
	/* Without a device, others may have a share in what maps the ends of the hole. */
	if (f->dev_nr)
		expect_unmapped(f, vmemmap_altmap_addr(f, 0),
				vmemmap_altmap_addr(f, 0) + f->hole_size);
	vmemmap_altmap_expect_as_before(f);
	vmemmap_altmap_expect_device_intact(f);
	list_for_each_entry(r, &f->altmaps, list) {
		KUNIT_EXPECT_EQ(test, r->altmap.alloc, 0);
		KUNIT_EXPECT_EQ(test, r->altmap.align, 0);
	}
	/* Who still maps the device may write to it. */
	vmemmap_altmap_count(f, &now);
	if (now.leaves)
		f->device_lost = true;
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_exit);

/*
 * Looks for absent sections whose memmap has page tables of its own, so that
 * populating it has to make them, and whose neighbours are absent as well. @top is
 * what an entry of the lowest table spans that may be there, and @max_tables how
 * many may.
 */
static unsigned long find_hole_below(unsigned long top, long max_tables)
{
	unsigned long last = PHYS_PFN(mhp_get_pluggable_range(true).end);
	unsigned long pfn, step;

	step = roundup_pow_of_two(max(top, hole_size()) / sizeof(struct page));
	for (pfn = step; pfn + step <= last; pfn += step) {
		unsigned long nr = SECTION_ALIGN_UP(hole_last_pfn(pfn) + 1) - pfn;
		unsigned long addr = (unsigned long)pfn_to_page(pfn);
		long tables, leaves;

		if (!IS_ALIGNED(addr, leaf_size()) ||
		    !section_range_absent(pfn - PAGES_PER_SECTION, nr + 2 * PAGES_PER_SECTION))
			continue;
		vmemmap_altmap_count_entries(addr, addr + hole_size(), &tables, &leaves);
		if (tables <= max_tables && !leaves)
			return pfn;
	}
	return 0;
}

static unsigned long find_hole(void)
{
	unsigned long pfn;

	if (!has_page_tables())
		return find_hole_below(leaf_size(), 0);
	/* The highest table may serve the memmap of RAM, too. */
	pfn = find_hole_below(PUD_SIZE, 1);
	/* An entry may be so large that it spans all of the vmemmap. */
	return pfn ?: find_hole_below(PMD_SIZE, 2);
}

/* As page tables of the upper levels are never freed, have them there. */
static int make_page_tables(unsigned long start)
{
	unsigned long end = start + hole_size();
	int err = populate_range(start, end, unit_size(), NULL);

	mem_hotplug_begin();
	vmemmap_free(start, end, NULL);
	mem_hotplug_done();
	return err;
}

/**
 * vmemmap_altmap_straddle - move the hole to where it crosses a boundary
 * @f: the fixture
 * @boundary: a power of two, in bytes of the vmemmap
 *
 * To be used at the beginning of a case. Half of the hole is then below and half of
 * it is above an address that is a multiple of @boundary.
 *
 * Return: 0, or -ENXIO if there is no such hole.
 */
int vmemmap_altmap_straddle(struct vmemmap_altmap_fixture *f, unsigned long boundary)
{
	unsigned long last = PHYS_PFN(mhp_get_pluggable_range(true).end);
	unsigned long addr = ALIGN(vmemmap_altmap_addr(f, 0) + f->hole_size, boundary);
	struct kunit *test = current->kunit_test;
	unsigned long pfn, nr;
	long tables, leaves;
	int err;

	for (;; addr += boundary) {
		unsigned long start = addr - f->hole_size / 2;

		pfn = (start - (unsigned long)pfn_to_page(0)) / sizeof(struct page);
		nr = SECTION_ALIGN_UP(hole_last_pfn(pfn) + 1) - pfn;
		if (pfn + nr + PAGES_PER_SECTION > last)
			return -ENXIO;
		vmemmap_altmap_count_entries(start, start + f->hole_size, &tables, &leaves);
		if ((unsigned long)pfn_to_page(pfn) == start && !leaves &&
		    section_range_absent(pfn - PAGES_PER_SECTION, nr + 2 * PAGES_PER_SECTION))
			break;
	}
	/* Not for the case to reckon with. */
	current->kunit_test = NULL;
	err = make_page_tables((unsigned long)pfn_to_page(pfn));
	current->kunit_test = test;
	if (err)
		return err;
	f->hole_pfn = pfn;
	vmemmap_altmap_count(f, &f->before);
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_straddle);

/**
 * vmemmap_altmap_suite_init - look for a hole in the vmemmap
 * @suite: the suite
 *
 * Populates and frees the hole once: page tables of the levels that the
 * architecture never frees are then there, and no case has to reckon with them.
 *
 * Return: 0, or -ENXIO if there is no hole.
 */
int vmemmap_altmap_suite_init(struct kunit_suite *suite)
{
	if (leaf_size() < PAGE_SIZE)
		return 0;
	hole_pfn = find_hole();
	if (!hole_pfn) {
		kunit_err(suite, "no absent sections without page tables found\n");
		return -ENXIO;
	}
	return make_page_tables((unsigned long)pfn_to_page(hole_pfn));
}
EXPORT_SYMBOL_IF_KUNIT(vmemmap_altmap_suite_init);

MODULE_DESCRIPTION("Fixture for KUnit tests that populate and free the vmemmap");
MODULE_LICENSE("GPL");
