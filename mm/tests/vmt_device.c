// SPDX-License-Identifier: GPL-2.0-only
/*
 * A fake device: RAM of the test that plays the memory of a device, and the altmaps that
 * a case makes for it.
 *
 * Every page has a canary, and references that show whether it was freed as RAM. So
 * vmt_expect_device_intact() notices if the kernel takes a page that it was not offered.
 * The device knows nothing of page tables: what its pages are used for is up to the case.
 */
#include <kunit/resource.h>
#include <kunit/visibility.h>
#include <kunit/vmt.h>
#include <linux/mmzone.h>

struct altmap_record {
	struct list_head list;
	struct vmem_altmap altmap;
};

/* The distance of canaries, in words: less than a struct page, so that none fits between. */
#define STRIDE		(32 / sizeof(u64))
#define PAGE_WORDS	(PAGE_SIZE / sizeof(u64))

static u64 *device_page(const struct vmt_device *dev, unsigned long i)
{
	return page_address(dev->page + i);
}

static void free_device(void *data)
{
	struct vmt_device *dev = data;
	unsigned long i;

	if (dev->lost)
		return;
	for (i = 0; i < dev->nr; i++)
		set_page_count(dev->page + i, 1);
	free_contig_range(page_to_pfn(dev->page), dev->nr);
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

/**
 * vmt_device_init - make the device of a case
 * @dev: the device
 * @test: the case
 * @nr: number of pages, a power of two
 *
 * Return: 0, or -ENOMEM.
 */
int vmt_device_init(struct vmt_device *dev, struct kunit *test, unsigned long nr)
{
	unsigned long i, j;

	dev->test = test;
	dev->nr = nr;
	dev->page = alloc_split_pages(nr);
	if (!dev->page)
		return -ENOMEM;
	dev->pfn = page_to_pfn(dev->page);
	INIT_LIST_HEAD(&dev->altmaps);
	for (i = 0; i < nr; i++) {
		page_ref_add(dev->page + i, VMT_HOLD);
		for (j = 0; j < PAGE_WORDS; j += STRIDE)
			device_page(dev, i)[j] = vmt_canary(i);
	}
	return kunit_add_action_or_reset(test, free_device, dev);
}
EXPORT_SYMBOL_IF_KUNIT(vmt_device_init);

/**
 * vmt_device_altmap - make an altmap from pages of the device
 * @dev: the device
 * @base_pfn: first pfn of the range, not before the device
 * @end_pfn: last pfn of the range
 * @reserve: pages of the driver, from @base_pfn on
 * @free: pages of the window
 *
 * Return: the altmap, which lives until the case ends; the case ends if there is none.
 */
struct vmem_altmap *vmt_device_altmap(struct vmt_device *dev, unsigned long base_pfn,
				      unsigned long end_pfn, unsigned long reserve,
				      unsigned long free)
{
	const struct vmem_altmap altmap = {
		.base_pfn = base_pfn,
		.end_pfn = end_pfn,
		.reserve = reserve,
		.free = free,
	};
	struct altmap_record *r;

	KUNIT_ASSERT_GE(dev->test, base_pfn, dev->pfn);
	KUNIT_ASSERT_LE_MSG(dev->test, base_pfn - dev->pfn + reserve + free, dev->nr,
			    "the device is too small");
	r = kunit_kzalloc(dev->test, sizeof(*r), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(dev->test, r);
	list_add(&r->list, &dev->altmaps);
	return memcpy(&r->altmap, &altmap, sizeof(altmap));
}
EXPORT_SYMBOL_IF_KUNIT(vmt_device_altmap);

/**
 * vmt_device_ram - translate a page of the device to a page of RAM
 * @dev: the device
 * @pfn: any pfn
 *
 * Return: the page that plays page @pfn of the device. It differs from @pfn if the case
 * moved the device. If @pfn is not in the device, @pfn.
 */
unsigned long vmt_device_ram(const struct vmt_device *dev, unsigned long pfn)
{
	if (pfn < dev->pfn || pfn >= dev->pfn + dev->nr)
		return pfn;
	return page_to_pfn(dev->page) + (pfn - dev->pfn);
}
EXPORT_SYMBOL_IF_KUNIT(vmt_device_ram);

/**
 * vmt_device_shrink - turn the end of the device into System RAM
 * @dev: the device
 * @nr: number of pages, a power of two
 *
 * Return: the pages, as alloc_pages() returns them.
 */
struct page *vmt_device_shrink(struct vmt_device *dev, unsigned long nr)
{
	unsigned long i;

	KUNIT_ASSERT_GT(dev->test, dev->nr, nr);
	dev->nr -= nr;
	/* Only the first page has a reference. */
	for (i = 0; i < nr; i++)
		set_page_count(dev->page + dev->nr + i, !i);
	return dev->page + dev->nr;
}
EXPORT_SYMBOL_IF_KUNIT(vmt_device_shrink);

/**
 * vmt_in_window - check whether an altmap hands out a page
 * @altmap: the altmap, or %NULL
 * @pfn: the page
 *
 * Does not depend on the kernel's own test.
 *
 * Return: true if @pfn is in the window.
 */
bool vmt_in_window(const struct vmem_altmap *altmap, unsigned long pfn)
{
	unsigned long first;

	if (!altmap)
		return false;
	first = altmap->base_pfn + altmap->reserve;
	return pfn >= first && pfn < first + altmap->free;
}
EXPORT_SYMBOL_IF_KUNIT(vmt_in_window);

static bool in_any_window(const struct vmt_device *dev, unsigned long pfn)
{
	struct altmap_record *r;

	list_for_each_entry(r, &dev->altmaps, list)
		if (vmt_in_window(&r->altmap, pfn))
			return true;
	return false;
}

/**
 * vmt_expect_device_intact - expect that no page was taken that was not offered
 * @dev: the device
 *
 * No page of the device may have been freed as RAM, and no page outside the windows of
 * the altmaps may have been written to.
 */
void vmt_expect_device_intact(struct vmt_device *dev)
{
	unsigned long i, j, nr_freed = 0, nr_written = 0;

	for (i = 0; i < dev->nr; i++) {
		int count = page_count(dev->page + i) - VMT_HOLD;
		u64 *p = device_page(dev, i);

		if (count != 1 && !nr_freed++)
			kunit_info(dev->test, "page %lu of the device: count %d\n", i, count);
		if (in_any_window(dev, dev->pfn + i))
			continue;
		for (j = 0; j < PAGE_WORDS && p[j] == vmt_canary(i); j += STRIDE)
			;
		if (j < PAGE_WORDS && !nr_written++)
			kunit_info(dev->test, "page %lu of the device: %#llx at offset %zu\n",
				   i, p[j], j * sizeof(*p));
	}
	if (nr_freed)
		dev->lost = true;
	KUNIT_EXPECT_EQ_MSG(dev->test, nr_freed, 0, "pages of the device were freed as RAM");
	KUNIT_EXPECT_EQ_MSG(dev->test, nr_written, 0,
			    "pages outside the windows were written to");
}
EXPORT_SYMBOL_IF_KUNIT(vmt_expect_device_intact);

/**
 * vmt_expect_altmap - expect an altmap to account for so many pages
 * @test: the case
 * @altmap: the altmap, or %NULL to expect nothing
 * @alloc: pages in use
 * @align: pages skipped
 */
void vmt_expect_altmap(struct kunit *test, const struct vmem_altmap *altmap,
		       unsigned long alloc, unsigned long align)
{
	if (!altmap)
		return;
	KUNIT_EXPECT_EQ_MSG(test, altmap->alloc, alloc, "in %pS", (void *)_RET_IP_);
	KUNIT_EXPECT_EQ_MSG(test, altmap->align, align, "in %pS", (void *)_RET_IP_);
	KUNIT_EXPECT_LE_MSG(test, altmap->gap, align, "in %pS", (void *)_RET_IP_);
}
EXPORT_SYMBOL_IF_KUNIT(vmt_expect_altmap);

/**
 * vmt_expect_altmaps_unused - expect all altmaps of the case to be as good as new
 * @dev: the device
 */
void vmt_expect_altmaps_unused(struct vmt_device *dev)
{
	struct altmap_record *r;

	list_for_each_entry(r, &dev->altmaps, list)
		vmt_expect_altmap(dev->test, &r->altmap, 0, 0);
}
EXPORT_SYMBOL_IF_KUNIT(vmt_expect_altmaps_unused);
