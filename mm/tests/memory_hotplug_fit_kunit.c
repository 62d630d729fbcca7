// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for memory whose altmap has exactly as many pages as its memmap needs, with
 * base pages where no huge page fits.
 *
 *  - A range that begins or ends inside a section, also inside one with boot memory, needs
 *    exactly the pages of its own memmap. A page less is refused without a trace.
 *  - The memmap is in the window, and neither the driver's pages nor the data are written to.
 *  - Of ranges side by side, each can be removed at any time, whatever they share.
 *
 * Needs hidden RAM, see vmt_memory.c.
 */
#include <linux/ioport.h>
#include <linux/memory_hotplug.h>
#include <linux/mmzone.h>
#include <linux/pgtable.h>
#include <linux/sizes.h>

#include "vmt_memory.h"

/*
 * Ranges that begin, and may end, inside a section:
 *
 *   section:     |    0    |    1    |    2    |    3    |
 *   range:       |  start -|---------|---------|---------| or half of the last one
 */
static const struct part {
	const char *name;
	enum vmt_level level;
	/* after the start of the hidden RAM, in MiB */
	unsigned int start;
	/* in MiB, or 0 to end where there is room for some leaves of memmap */
	unsigned int size;
	/* without the second half of the last section */
	bool half;
} parts[] = {
	{ "sections_from_36m", SECTIONS, .start = 36 },
	{ "sections_from_36m_to_half_a_section", SECTIONS, .start = 36, .half = true },
	{ "sections_250m_from_16m", SECTIONS, .start = 16, .size = 250 },
	{ "memory_from_36m", MEMORY, .start = 36 },
	{ "memory_from_36m_to_half_a_section", MEMORY, .start = 36, .half = true },
	{ "memory_250m_from_16m", MEMORY, .start = 16, .size = 250 },
	{ "device_from_36m", DEVICE, .start = 36 },
	{ "device_from_36m_to_half_a_section", DEVICE, .start = 36, .half = true },
	{ "device_250m_from_16m", DEVICE, .start = 16, .size = 250 },
};

KUNIT_ARRAY_PARAM_DESC(parts, parts, name);

static struct vmt_span *part_span(struct kunit *test, const struct part *p)
{
	struct vmt_memory *f = test->priv;
	/* The memory that a leaf describes, in whole sections. */
	unsigned long leaf = round_up(DIV_ROUND_UP(f->traits.leaf_size, sizeof(struct page)),
				      PAGES_PER_SECTION);
	unsigned long start = PHYS_PFN(p->start * SZ_1M);
	unsigned long end = p->size ? start + PHYS_PFN(p->size * SZ_1M) :
			    min(f->nr_pfns, 4 * leaf);

	if (p->half)
		end -= PAGES_PER_SECTION / 2;
	if (end > f->nr_pfns)
		kunit_skip(test, "needs %u MiB in hidden=", p->start + p->size);
	if (p->level != SECTIONS && !IS_ALIGNED(start | end, PHYS_PFN(memremap_compat_align())))
		kunit_skip(test, "needs a direct map of pages smaller than %lu MiB",
			   memremap_compat_align() / SZ_1M);
	return vmt_span(test, p->level, f->first_pfn + start, end - start);
}

/*
 * The number of PMDs of memmap that are expected to be one leaf each, and the number of
 * base pages before the first of them. radix fills a PMD step by step, so only the range
 * limits it. Elsewhere, the memmap of a single section must cover the PMD.
 */
static unsigned long count_whole_pmds(struct kunit *test, const struct vmt_span *s,
				      unsigned long *head)
{
	struct vmt_memory *f = test->priv;
	unsigned long section = PAGES_PER_SECTION * sizeof(struct page);
	unsigned long start = (unsigned long)pfn_to_page(s->pfn);
	unsigned long end = start + s->nr * sizeof(struct page);
	unsigned long addr, nr = 0;

	*head = 0;
	if (!f->traits.base_pages || f->traits.leaf_size != PMD_SIZE)
		return 0;
	for (addr = ALIGN(start, PMD_SIZE); addr + PMD_SIZE <= end; addr += PMD_SIZE) {
		unsigned long offset = addr - (unsigned long)pfn_to_page(0);

		if (!f->traits.ram_fallback &&
		    offset / section != (offset + PMD_SIZE - 1) / section)
			continue;
		if (!nr++)
			*head = (addr - PAGE_ALIGN(start)) >> PAGE_SHIFT;
	}
	return nr;
}

/* Expects memmap of @share pages in the window, and @nr_huge leaves or one less if @gap. */
static void expect_mapped(struct kunit *test, const struct vmt_span *s, unsigned long share,
			  unsigned long nr_ram, unsigned long nr_huge, bool gap)
{
	struct vmt_memory *f = test->priv;
	unsigned long start = (unsigned long)pfn_to_page(s->pfn);
	unsigned long end = start + s->nr * sizeof(struct page);
	unsigned long addr, huge = 0, base = 0, inside = 0, missing = 0;

	for (addr = ALIGN_DOWN(start, PAGE_SIZE); addr < end; addr += PAGE_SIZE) {
		unsigned long size = vmt_leaf(addr).size;

		missing += !size;
		base += size == PAGE_SIZE;
		huge += size > PAGE_SIZE && IS_ALIGNED(addr, size);
		inside += vmt_in_window(s->altmap, vmt_pfn(addr));
	}
	KUNIT_EXPECT_EQ(test, missing, 0);
	KUNIT_EXPECT_EQ(test, inside, share);
	if (!f->traits.base_pages)
		return;
	KUNIT_EXPECT_LE(test, huge, nr_huge);
	KUNIT_EXPECT_GE(test, huge + gap, nr_huge);
	KUNIT_EXPECT_EQ(test, base + (huge * f->traits.leaf_size >> PAGE_SHIFT), share + nr_ram);
}

/* Sets a window; only memmap that cannot be in it may be in RAM. */
static void set_window(struct kunit *test, struct vmt_span *s, unsigned long reserve,
		       unsigned long free, unsigned long nr_ram)
{
	struct vmt_memory *f = test->priv;

	vmt_set_altmap(s, reserve, free);
	if (f->traits.ram_fallback)
		f->ram.nr_good_allocs = nr_ram;
}

/*
 * Test that a range that begins inside a section needs exactly the pages of its own memmap,
 * that these are all in the window, that each PMD that it fills is one leaf, and that a
 * page less is refused without a trace.
 */
static void part_of_a_section_has_an_exact_fit(struct kunit *test)
{
	struct vmt_span *s = part_span(test, test->param_value);
	struct vmt_memory *f = test->priv;
	unsigned long nr_ram, share = vmt_share(test, s, &nr_ram);
	unsigned long head, nr_huge = count_whole_pmds(test, s, &head);
	/* With this reserve, the first huge page of the window is aligned. */
	unsigned long aligned = -(s->pfn + head) & ((f->traits.leaf_size >> PAGE_SHIFT) - 1);
	unsigned long reserve;

	if (!share)
		kunit_skip(test, "needs a range that fills a block of %lu KiB of memmap",
			   f->traits.leaf_size / SZ_1K);
	if (share > 1) {
		set_window(test, s, aligned, share - 1, nr_ram);
		vmt_expect_no_trace(test, s, vmt_add(test, s), &f->before);
	}
	/* Where base pages make up for it, a window that is not aligned is enough, too. */
	for (reserve = aligned; reserve <= aligned + f->traits.base_pages; reserve++) {
		set_window(test, s, reserve, share, nr_ram);
		vmt_add_ok(test, s);
		KUNIT_EXPECT_EQ(test, s->altmap->alloc, share);
		/* At most one PMD is lost to the pages that were skipped. */
		expect_mapped(test, s, share, nr_ram, nr_huge, reserve != aligned);
		vmt_fill_span(s);
		vmt_expect_span(test, s);
		vmt_remove(s);
		vmt_expect_unused(test, s->altmap);
		vmt_expect_removed(test, &f->before);
	}
}

#define NR_NEIGHBOURS	4

/*
 * Ranges side by side that share a section, a page of memmap, a leaf, or nothing. Filled by
 * suite_init, because on some machines two of these sizes are the same.
 */
static struct neighbours {
	char name[KUNIT_PARAM_DESC_SIZE];
	enum vmt_level level;
	unsigned long nr;
	bool ram;		/* every other one has no altmap */
} neighbours[12];

static unsigned int nr_neighbours;

static void make_neighbours(const char *name, enum vmt_level level, unsigned long nr)
{
	unsigned int i, ram;

	if (nr * NR_NEIGHBOURS > vmt_hidden_nr())
		return;
	for (i = 0; i < nr_neighbours; i++)
		if (neighbours[i].nr == nr)
			return;
	/* memremap_pages() and the direct map do not accept every size. */
	if (!IS_ALIGNED(nr, PHYS_PFN(memremap_compat_align())))
		level = SECTIONS;
	for (ram = 0; ram < 2; ram++) {
		struct neighbours *n = &neighbours[nr_neighbours++];

		snprintf(n->name, sizeof(n->name), "%s_%s_%s", vmt_level_names[level], name,
			 ram ? "altmap_and_ram" : "altmap");
		n->level = level;
		n->nr = nr;
		n->ram = ram;
	}
}

static const void *neighbours_gen_params(struct kunit *test, const void *prev, char *desc)
{
	const struct neighbours *n = prev ? (const struct neighbours *)prev + 1 : neighbours;

	if (n == neighbours + nr_neighbours)
		return NULL;
	strscpy(desc, n->name, KUNIT_PARAM_DESC_SIZE);
	return n;
}

/* Puts the numbers below NR_NEIGHBOURS in a different order for each @n below 24. */
static void put_in_order(unsigned int n, unsigned int *order)
{
	unsigned int i, k;

	for (i = 0; i < NR_NEIGHBOURS; i++) {
		k = n % (i + 1);
		n /= i + 1;
		memmove(order + k + 1, order + k, (i - k) * sizeof(*order));
		order[k] = i;
	}
}

/*
 * Test that four ranges side by side can be removed in any order, and that the struct pages
 * of those that remain do not change.
 */
static void neighbours_go_in_any_order(struct kunit *test)
{
	const struct neighbours *n = test->param_value;
	struct vmt_memory *f = test->priv;
	struct vmt_span *s[NR_NEIGHBOURS];
	unsigned int i, k, round, order[NR_NEIGHBOURS];

	for (i = 0; i < NR_NEIGHBOURS; i++)
		s[i] = vmt_span(test, n->level, f->first_pfn + i * n->nr, n->nr);
	for (round = 0; round < 24; round++) {
		for (i = 0; i < NR_NEIGHBOURS; i++) {
			unsigned long share = vmt_share(test, s[i], NULL);

			if (!n->ram || !(i & 1))
				vmt_set_altmap(s[i], 1, vmt_memmap_nr(n->nr));
			vmt_add_ok(test, s[i]);
			vmt_fill_span(s[i]);
			if (s[i]->altmap)
				KUNIT_EXPECT_EQ(test, s[i]->altmap->alloc, share);
		}
		put_in_order(round, order);
		for (i = 0; i < NR_NEIGHBOURS; i++) {
			for (k = i; k < NR_NEIGHBOURS; k++)
				vmt_expect_span(test, s[order[k]]);
			vmt_remove(s[order[i]]);
			vmt_expect_unused(test, s[order[i]]->altmap);
		}
		vmt_expect_removed(test, &f->before);
	}
}

/* Writes a canary to each page of @s, which must not be there. */
static void write_canaries(struct kunit *test, const struct vmt_span *s)
{
	struct vmt_span *map = vmt_span(test, MEMORY, s->pfn, s->nr);
	unsigned long i;

	vmt_add_ok(test, map);
	for (i = 0; i < s->nr; i++)
		*(u64 *)__va(PFN_PHYS(s->pfn + i)) = vmt_canary(i);
	vmt_remove(map);
}

/*
 * Test that the memmap of a device is in the device, between the driver's pages and the
 * data, and that neither of these is written to.
 */
static void device_holds_its_memmap(struct kunit *test)
{
	struct vmt_memory *f = test->priv;
	const unsigned long nr = 2 * vmt_section_nr(), reserve = 3;
	struct vmt_span *s = vmt_span(test, DEVICE, f->first_pfn, nr);
	unsigned long start = (unsigned long)pfn_to_page(s->pfn), addr;
	unsigned long share = vmt_share(test, s, NULL), i, inside = 0, written = 0;
	struct vmt_machine now;

	write_canaries(test, s);
	vmt_set_altmap(s, reserve, vmt_memmap_nr(nr));
	vmt_add_ok(test, s);
	vmt_look(test, &now);
	KUNIT_EXPECT_EQ(test, s->altmap->alloc, share);
	/* Counted section by section. */
	KUNIT_EXPECT_EQ(test, now.counters.nr_memmap - f->before.counters.nr_memmap,
			nr / PAGES_PER_SECTION * vmt_memmap_nr(PAGES_PER_SECTION));
	for (addr = start; addr < start + nr * sizeof(struct page); addr += PAGE_SIZE)
		inside += vmt_in_window(s->altmap, vmt_pfn(addr));
	KUNIT_EXPECT_EQ(test, inside, share);
	vmt_expect_span(test, s);
	for (i = 0; i < nr; i++)
		if (!vmt_in_window(s->altmap, s->pfn + i))
			written += *(u64 *)__va(PFN_PHYS(s->pfn + i)) != vmt_canary(i);
	KUNIT_EXPECT_EQ(test, written, 0);
}

/*
 * Test that a device that begins in a section with boot memory takes no page of its altmap
 * for memmap that exists since boot, and that its removal leaves that memmap alone.
 *
 * One trace is by design: the section remains marked as one that had device memory.
 */
static void device_in_an_early_section_has_an_exact_fit(struct kunit *test)
{
	struct vmt_memory *f = test->priv;
	const unsigned long nr = PAGES_PER_SECTION + PAGES_PER_SECTION / 2, reserve = 2;
	struct vmt_span *s = vmt_span(test, DEVICE, f->first_pfn - f->nr_early, f->nr_early + nr);
	unsigned long share = vmt_share(test, s, NULL);
	int round;

	if (!f->nr_early)
		kunit_skip(test, "needs hidden= that begins in a section with boot memory");
	KUNIT_EXPECT_EQ(test, share, vmt_memmap_nr(nr));
	for (round = 0; round < 3; round++) {
		vmt_set_altmap(s, reserve, share - 1);
		vmt_expect_no_trace(test, s, vmt_add(test, s), &f->before);

		vmt_set_altmap(s, reserve, share);
		vmt_add_ok(test, s);
		KUNIT_EXPECT_EQ(test, s->altmap->alloc, share);
		vmt_expect_span(test, s);
		vmt_remove(s);
		vmt_expect_unused(test, s->altmap);
		vmt_expect_removed(test, &f->before);
		KUNIT_EXPECT_TRUE(test, early_section(__pfn_to_section(f->first_pfn - 1)));
		KUNIT_EXPECT_NE(test, vmt_pfn((unsigned long)pfn_to_page(s->pfn)), VMT_UNMAPPED);
	}
}

static struct kunit_case memory_hotplug_fit_cases[] = {
	KUNIT_CASE_PARAM(part_of_a_section_has_an_exact_fit, parts_gen_params),
	KUNIT_CASE_PARAM(neighbours_go_in_any_order, neighbours_gen_params),
	KUNIT_CASE(device_holds_its_memmap),
	KUNIT_CASE(device_in_an_early_section_has_an_exact_fit),
	{}
};

static int memory_hotplug_fit_suite_init(struct kunit_suite *suite)
{
	int err = vmt_memory_suite_init(suite);

	nr_neighbours = 0;
	make_neighbours("subsections", DEVICE, PAGES_PER_SUBSECTION);
	make_neighbours("half_sections", DEVICE, PAGES_PER_SECTION / 2);
	make_neighbours("sections", MEMORY, PAGES_PER_SECTION);
	make_neighbours("pages_of_memmap", DEVICE,
			round_up(PAGE_SIZE / sizeof(struct page), PAGES_PER_SUBSECTION));
	make_neighbours("pmds_of_memmap", MEMORY,
			round_up(PMD_SIZE / sizeof(struct page), PAGES_PER_SUBSECTION));
	return err;
}

static struct kunit_suite memory_hotplug_fit_suite = {
	.name = "memory_hotplug_fit",
	.suite_init = memory_hotplug_fit_suite_init,
	.init = vmt_memory_init,
	.exit = vmt_memory_exit,
	.test_cases = memory_hotplug_fit_cases,
};

kunit_test_suite(memory_hotplug_fit_suite);
