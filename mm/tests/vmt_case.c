// SPDX-License-Identifier: GPL-2.0-only
/*
 * The context of a case that populates and frees memmap in a hole of the vmemmap.
 *
 * Cases call the kernel through the functions here, which keep track of what is populated.
 * After each case, nothing of it may be left: no mapping, page or count, and no altmap in
 * use. What a case still has populated then is freed, so it does not fail the next one.
 *
 * Not for memory that really exists; see memory_hotplug_altmap_kunit.c for that.
 */
#include <kunit/visibility.h>
#include <kunit/vmt.h>
#include <linux/cacheflush.h>
#include <linux/memory_hotplug.h>
#include <linux/mmzone.h>

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

/* The device has room for a few pages, even if a unit is a page. */
#define DEVICE_PAGES	64UL

/* Set by vmt_suite_init(), the same for all suites. */
static unsigned long hole_pfn;

static const struct backing {
	const char *name;
	bool altmap;
} backings[] = {
	{ "altmap", true },
	{ "ram", false },
};

KUNIT_ARRAY_PARAM_DESC(backings, backings, name);

/**
 * vmt_backings - parameter generator: with an altmap, and the RAM variant
 * @test: the test
 * @prev: the previous parameter
 * @desc: set to the parameter's name
 *
 * Return: the next parameter, or %NULL.
 */
const void *vmt_backings(struct kunit *test, const void *prev, char *desc)
{
	return backings_gen_params(test, prev, desc);
}
EXPORT_SYMBOL_IF_KUNIT(vmt_backings);

/**
 * vmt_has_altmap - check which parameter of vmt_backings() is current
 * @test: the test
 *
 * Return: true if it is "altmap".
 */
bool vmt_has_altmap(const struct kunit *test)
{
	return ((const struct backing *)test->param_value)->altmap;
}
EXPORT_SYMBOL_IF_KUNIT(vmt_has_altmap);

/**
 * vmt_altmap - make an altmap at the start of the device
 * @f: the context
 * @reserve: pages of the driver
 * @free: pages of the window
 *
 * The hole is above the device. So end_pfn is the last pfn that the hole describes, for
 * code that compares the range with the pfns that a leaf describes.
 *
 * Return: the altmap; the case ends if there is none.
 */
struct vmem_altmap *vmt_altmap(struct vmt *f, unsigned long reserve, unsigned long free)
{
	return vmt_device_altmap(&f->dev, f->dev.pfn, vmt_hole_last_pfn(f->hole_pfn),
				 reserve, free);
}
EXPORT_SYMBOL_IF_KUNIT(vmt_altmap);

/**
 * vmt_backing - make the altmap for the current parameter of vmt_backings()
 * @f: the context
 * @reserve: pages of the driver
 * @free: pages of the window
 *
 * Return: the altmap, or %NULL for the RAM variant.
 */
struct vmem_altmap *vmt_backing(struct vmt *f, unsigned long reserve, unsigned long free)
{
	return vmt_has_altmap(f->test) ? vmt_altmap(f, reserve, free) : NULL;
}
EXPORT_SYMBOL_IF_KUNIT(vmt_backing);

/**
 * vmt_no_ram_fallback - let System RAM run out where it would replace pages of an altmap
 * @f: the context
 * @altmap: the altmap, or %NULL to do nothing
 */
void vmt_no_ram_fallback(struct vmt *f, const struct vmem_altmap *altmap)
{
	if (altmap && f->traits.ram_fallback)
		f->ram.nr_good_allocs = 0;
}
EXPORT_SYMBOL_IF_KUNIT(vmt_no_ram_fallback);

/**
 * vmt_set_unit - choose another unit than the memmap of a section
 * @f: the context
 * @size: size of a unit, in bytes of memmap
 */
void vmt_set_unit(struct vmt *f, unsigned long size)
{
	f->unit_size = size;
	f->unit_nr = size >> PAGE_SHIFT;
}
EXPORT_SYMBOL_IF_KUNIT(vmt_set_unit);

/**
 * vmt_addr - address of a unit
 * @f: the context
 * @unit: number of the unit in the hole
 *
 * Return: the vmemmap address.
 */
unsigned long vmt_addr(const struct vmt *f, unsigned int unit)
{
	return (unsigned long)pfn_to_page(f->hole_pfn) + unit * f->unit_size;
}
EXPORT_SYMBOL_IF_KUNIT(vmt_addr);

/* Populates at most @step bytes at once: not every architecture takes any range. */
static int populate(unsigned long start, unsigned long end, unsigned long step,
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

static void free_memmap(unsigned long start, unsigned long end, struct vmem_altmap *altmap)
{
	mem_hotplug_begin();
	vmemmap_free(start, end, altmap);
	mem_hotplug_done();
}

/* Makes the page tables of the upper levels, which are never freed. */
static int make_page_tables(unsigned long pfn)
{
	unsigned long start = (unsigned long)pfn_to_page(pfn), end = start + vmt_hole_size();
	int err = populate(start, end, vmt_hole_unit(), NULL);

	free_memmap(start, end, NULL);
	return err;
}

static void record(struct vmt *f, unsigned long start, unsigned long end,
		   struct vmem_altmap *altmap)
{
	unsigned long hole = (unsigned long)pfn_to_page(f->hole_pfn);
	struct vmt_range *p;

	KUNIT_ASSERT_GE(f->test, start, hole);
	KUNIT_ASSERT_LE(f->test, end, hole + f->hole_size);
	p = kunit_kzalloc(f->test, sizeof(*p), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(f->test, p);
	p->start = start;
	p->end = end;
	p->altmap = altmap;
	list_add(&p->list, &f->populated);
}

/**
 * vmt_populate_range - populate a part of the hole by one call of vmemmap_populate()
 * @f: the context
 * @start: start address
 * @end: end address
 * @altmap: where to take the pages from, or %NULL
 *
 * As callers of vmemmap_populate() do, a case must free the range also after a failure.
 *
 * Return: what vmemmap_populate() returned.
 */
int vmt_populate_range(struct vmt *f, unsigned long start, unsigned long end,
		       struct vmem_altmap *altmap)
{
	record(f, start, end, altmap);
	return populate(start, end, end - start, altmap);
}
EXPORT_SYMBOL_IF_KUNIT(vmt_populate_range);

/**
 * vmt_free_range - free a part of the hole
 * @f: the context
 * @start: start address
 * @end: end address
 * @altmap: what to pass to vmemmap_free()
 *
 * Frees ranges that were passed to vmt_populate_range(), whether that failed or not. Free
 * a range once even if it was populated twice.
 */
void vmt_free_range(struct vmt *f, unsigned long start, unsigned long end,
		    struct vmem_altmap *altmap)
{
	struct vmt_range *p, *tmp;

	list_for_each_entry_safe(p, tmp, &f->populated, list) {
		if (p->start >= start && p->end <= end) {
			list_del(&p->list);
			kunit_kfree(f->test, p);
		}
	}
	free_memmap(start, end, altmap);
}
EXPORT_SYMBOL_IF_KUNIT(vmt_free_range);

/**
 * vmt_populate - populate some units, one after the other, until one fails
 * @f: the context
 * @unit: number of the first unit
 * @nr_units: number of units
 * @altmap: where to take the pages from, or %NULL
 *
 * Return: what vmemmap_populate() returned last.
 */
int vmt_populate(struct vmt *f, unsigned int unit, unsigned int nr_units,
		 struct vmem_altmap *altmap)
{
	unsigned long start = vmt_addr(f, unit), end = vmt_addr(f, unit + nr_units);

	record(f, start, end, altmap);
	return populate(start, end, f->unit_size, altmap);
}
EXPORT_SYMBOL_IF_KUNIT(vmt_populate);

/**
 * vmt_populate_ok - populate some units, or end the case
 * @f: the context
 * @unit: number of the first unit
 * @nr_units: number of units
 * @altmap: where to take the pages from, or %NULL
 */
void vmt_populate_ok(struct vmt *f, unsigned int unit, unsigned int nr_units,
		     struct vmem_altmap *altmap)
{
	KUNIT_ASSERT_EQ_MSG(f->test, vmt_populate(f, unit, nr_units, altmap), 0, "in %pS",
			    (void *)_RET_IP_);
}
EXPORT_SYMBOL_IF_KUNIT(vmt_populate_ok);

/**
 * vmt_free - free some units, see vmt_free_range()
 * @f: the context
 * @unit: number of the first unit
 * @nr_units: number of units
 * @altmap: what to pass to vmemmap_free()
 */
void vmt_free(struct vmt *f, unsigned int unit, unsigned int nr_units,
	      struct vmem_altmap *altmap)
{
	vmt_free_range(f, vmt_addr(f, unit), vmt_addr(f, unit + nr_units), altmap);
}
EXPORT_SYMBOL_IF_KUNIT(vmt_free);

/**
 * vmt_count - read all counters for the hole
 * @f: the context
 * @now: set to the values
 */
void vmt_count(struct vmt *f, struct vmt_counters *now)
{
	unsigned long start = (unsigned long)pfn_to_page(f->hole_pfn);

	vmt_count_range(&f->ram, start, start + f->hole_size, now);
}
EXPORT_SYMBOL_IF_KUNIT(vmt_count);

/**
 * vmt_ram_memmap - System RAM that the case uses for memmap, without page tables
 * @f: the context
 *
 * Return: number of pages.
 */
long vmt_ram_memmap(struct vmt *f)
{
	struct vmt_counters now;

	vmt_count(f, &now);
	return now.ram - f->before.ram -
	       (f->traits.ram_tables ? now.tables - f->before.tables : 0);
}
EXPORT_SYMBOL_IF_KUNIT(vmt_ram_memmap);

/**
 * vmt_expect_same - expect all counters to be what they were
 * @f: the context
 * @before: what vmt_count() returned then
 */
void vmt_expect_same(struct vmt *f, const struct vmt_counters *before)
{
	struct vmt_counters now;

	vmt_count(f, &now);
	vmt_expect_counters(f->test, &now, before);
}
EXPORT_SYMBOL_IF_KUNIT(vmt_expect_same);

/**
 * vmt_expect_as_before - expect all counters to be what they were when the case began
 * @f: the context
 */
void vmt_expect_as_before(struct vmt *f)
{
	vmt_expect_same(f, &f->before);
}
EXPORT_SYMBOL_IF_KUNIT(vmt_expect_as_before);

/**
 * vmt_suite_init - find a hole in the vmemmap
 * @suite: the suite
 *
 * Also prints how this machine maps the vmemmap.
 *
 * Return: 0, or -ENXIO if there is no hole. The suite is skipped on machines that map
 * memmap by less than a page, as altmaps consist of pages.
 */
int vmt_suite_init(struct kunit_suite *suite)
{
	struct vmt_traits traits = vmt_traits();
	int levels = !traits.page_tables ? 0 :
		     5 - !!mm_p4d_folded(&init_mm) - !!mm_pud_folded(&init_mm);

	kunit_info(suite, "pages of %lu bytes, struct page of %zu, leaves of %lu, %d levels\n",
		   PAGE_SIZE, sizeof(struct page), traits.leaf_size, levels);
	if (traits.leaf_size < PAGE_SIZE) {
		kunit_mark_skipped(suite, "memmap is mapped by less than a page");
		return 0;
	}
	hole_pfn = vmt_find_hole();
	if (!hole_pfn) {
		kunit_err(suite, "no absent sections without page tables found\n");
		return -ENXIO;
	}
	return make_page_tables(hole_pfn);
}
EXPORT_SYMBOL_IF_KUNIT(vmt_suite_init);

/**
 * vmt_init - set up the context of a case
 * @test: the case
 *
 * Return: 0; test->priv is the struct vmt. -ENOMEM if RAM is too small for the device,
 * -EBUSY if an earlier case left the hole populated.
 */
int vmt_init(struct kunit *test)
{
	struct vmt *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);
	int err;

	if (!f)
		return -ENOMEM;
	f->test = test;
	f->traits = vmt_traits();
	f->leaf_size = f->traits.leaf_size;
	f->leaf_nr = f->leaf_size >> PAGE_SHIFT;
	f->hole_pfn = hole_pfn;
	f->hole_size = vmt_hole_size();
	vmt_set_unit(f, vmt_hole_unit());
	f->nr_units = f->hole_size / f->unit_size;
	INIT_LIST_HEAD(&f->populated);
	err = vmt_device_init(&f->dev, test,
			      roundup_pow_of_two(max(VMT_DEVICE_UNITS / VMT_HOLE_UNITS *
						     f->nr_units * f->unit_nr,
						     DEVICE_PAGES)));
	if (err)
		return err;
	if (f->dev.pfn + f->dev.nr > f->hole_pfn)
		kunit_skip(test, "needs RAM below the pfns that the hole describes");
	err = vmt_ram_init(&f->ram, test);
	if (err)
		return err;
	vmt_count(f, &f->before);
	if (f->before.leaves)
		return -EBUSY;
	test->priv = f;
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(vmt_init);

/**
 * vmt_exit - expect that a case left nothing behind
 * @test: the case
 */
void vmt_exit(struct kunit *test)
{
	struct vmt *f = test->priv;
	struct vmt_counters now;
	struct vmt_range *p;

	if (!f)
		return;
	list_for_each_entry(p, &f->populated, list)
		free_memmap(p->start, p->end, p->altmap);
	if (f->ram.next_block)
		__free_pages(f->ram.next_block, ilog2(f->ram.next_nr));
	vmt_set_unit(f, vmt_hole_unit());
	vmt_expect_unmapped(f, 0, f->nr_units);
	vmt_count(f, &now);
	vmt_expect_counters(test, &now, &f->before);
	vmt_expect_device_intact(&f->dev);
	vmt_expect_altmaps_unused(&f->dev);
	/* A mapping that is left may still be written to. */
	if (now.leaves)
		f->dev.lost = true;
}
EXPORT_SYMBOL_IF_KUNIT(vmt_exit);

/**
 * vmt_straddle - move the hole to where it crosses a boundary
 * @f: the context of a case that has just begun
 * @boundary: a power of two, in bytes of the vmemmap
 *
 * Return: 0, or -ENXIO if there is no such hole.
 */
int vmt_straddle(struct vmt *f, unsigned long boundary)
{
	unsigned long pfn = vmt_find_hole_across(vmt_addr(f, 0) + f->hole_size, boundary);
	int err;

	if (!pfn)
		return -ENXIO;
	/* Keep this out of the case's accounting. */
	vmt_ram_pause(&f->ram);
	err = make_page_tables(pfn);
	vmt_ram_resume(&f->ram);
	if (err)
		return err;
	f->hole_pfn = pfn;
	vmt_count(f, &f->before);
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(vmt_straddle);

MODULE_DESCRIPTION("Helpers for KUnit tests of the vmemmap");
MODULE_LICENSE("GPL");
