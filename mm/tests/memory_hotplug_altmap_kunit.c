// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests for adding and removing memory whose memmap it holds itself.
 *
 * A failed add leaves no trace. Whichever page, section, or memory block is the one
 * that cannot be had, and at whichever level the memory is added, everything is then
 * what it was, and a second attempt with what was missing succeeds. Memory that was
 * added can be removed in any order, and takes nothing of its neighbours with it.
 *
 * The memory is real, but the kernel does not know of it: it was booted with mem=, or on
 * x86_64 with memmap=exactmap. Where it is the module parameter "withheld" says:
 *
 *   memmap=exactmap memmap=639K@0 memmap=383M@1M
 *   memory_hotplug_altmap_kunit.withheld=512M@384M
 *
 * After each case, sections, resources, direct map, max_pfn, memory blocks, zones, page
 * tables, and the accounting of the memmap have to be what they were. max_pfn is the
 * exception: the kernel never lowers it when memory goes, so the suite does.
 */
#include <kunit/test.h>
#include <kunit/visibility.h>
#include <kunit/vmemmap_altmap.h>
#include <linux/device.h>
#include <linux/ioport.h>
#include <linux/memblock.h>
#include <linux/memory.h>
#include <linux/memory_hotplug.h>
#include <linux/memremap.h>
#include <linux/mmzone.h>
#include <linux/moduleparam.h>
#include <linux/sizes.h>
#include <linux/uaccess.h>

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

static char *withheld;
module_param(withheld, charp, 0);
MODULE_PARM_DESC(withheld, "RAM that the kernel does not know: size@start");

static int memmap_pages = -1;
module_param(memmap_pages, int, 0);
MODULE_PARM_DESC(memmap_pages,
		 "Pages that each memory block must hold of its own memmap, 0 for none");

static uint early_mib;
module_param(early_mib, uint, 0);
MODULE_PARM_DESC(early_mib,
		 "MiB of RAM just before withheld= that end an early section, also hidden");

/* What @withheld says. Set by _suite_init(), constant afterwards. */
static unsigned long first_pfn, nr_pfns;
static unsigned long boot_max_pfn;
static void *boot_high_memory;

/* How memory is added. */
enum level {
	SECTIONS,	/* __add_pages(): sections and their memmap */
	MEMORY,		/* arch_add_memory(): and the direct map */
	DEVICE,		/* memremap_pages(): and struct pages that are in use */
};

static const char * const level_names[] = { "sections", "memory", "device" };

struct span {
	struct list_head list;
	enum level level;
	unsigned long pfn;
	unsigned long nr;
	struct vmem_altmap *altmap;
	struct dev_pagemap pgmap;
	u64 salt;
};

/* What is added, and has to go when a case ends. */
static LIST_HEAD(added);

/* Everything that has to be what it was. */
struct machine {
	unsigned long max_pfn;
	void *high_memory;
	unsigned long sections;
	unsigned long subsections;
	unsigned long blocks;
	unsigned long resources;
	unsigned long readable;
	unsigned long present;
	unsigned long managed;
	long map_tables;
	long map_leaves;
	struct vmemmap_altmap_counters counters;
};

static unsigned long count_sections(void)
{
	unsigned long pfn, nr = 0;

	for (pfn = first_pfn; pfn < first_pfn + nr_pfns; pfn += PAGES_PER_SECTION)
		nr += present_section_nr(pfn_to_section_nr(pfn));
	return nr;
}

static unsigned long count_subsections(void)
{
	unsigned long pfn, nr = 0;

	for (pfn = first_pfn; pfn < first_pfn + nr_pfns; pfn += PAGES_PER_SUBSECTION)
		nr += pfn_valid(pfn);
	return nr;
}

static struct memory_block *get_block(unsigned long pfn)
{
	return memory_block_get(pfn / PHYS_PFN(memory_block_size_bytes()));
}

static unsigned long count_blocks(void)
{
	unsigned long pfn, nr = 0, step = PHYS_PFN(memory_block_size_bytes());

	for (pfn = ALIGN(first_pfn, step); pfn + step <= first_pfn + nr_pfns; pfn += step) {
		struct memory_block *mem = get_block(pfn);

		if (mem)
			memory_block_put(mem);
		nr += !!mem;
	}
	return nr;
}

static unsigned long count_resources(void)
{
	struct resource *r;
	unsigned long nr = 0;

	for (r = iomem_resource.child; r; r = r->sibling)
		nr += r->start < PFN_PHYS(first_pfn + nr_pfns) && r->end >= PFN_PHYS(first_pfn);
	return nr;
}

static bool is_readable(unsigned long pfn)
{
	u64 word;

	return !copy_from_kernel_nofault(&word, __va(PFN_PHYS(pfn)), sizeof(word));
}

static unsigned long count_readable(void)
{
	unsigned long pfn, nr = 0;

	/* Each takes a fault where there is no mapping. */
	for (pfn = first_pfn; pfn < first_pfn + nr_pfns; pfn += PAGES_PER_SECTION)
		nr += is_readable(pfn);
	return nr;
}

static void look(struct kunit *test, struct machine *m)
{
	struct zone *zone;
	int nid;

	memset(m, 0, sizeof(*m));
	m->max_pfn = max_pfn;
	m->high_memory = high_memory;
	m->sections = count_sections();
	m->subsections = count_subsections();
	m->blocks = count_blocks();
	m->resources = count_resources();
	m->readable = count_readable();
	for_each_online_node(nid) {
		for (zone = NODE_DATA(nid)->node_zones;
		     zone < NODE_DATA(nid)->node_zones + MAX_NR_ZONES; zone++) {
			m->present += zone->present_pages;
			m->managed += zone_managed_pages(zone);
		}
	}
	vmemmap_altmap_count_entries((unsigned long)__va(PFN_PHYS(first_pfn)),
				     (unsigned long)__va(PFN_PHYS(first_pfn + nr_pfns)),
				     &m->map_tables, &m->map_leaves);
	vmemmap_altmap_sweep(test->priv);
	vmemmap_altmap_count(test->priv, &m->counters);
}

static void expect_same(struct kunit *test, const struct machine *before)
{
	struct machine now;

	look(test, &now);
	KUNIT_EXPECT_EQ(test, now.max_pfn, before->max_pfn);
	KUNIT_EXPECT_PTR_EQ(test, now.high_memory, before->high_memory);
	KUNIT_EXPECT_EQ(test, now.sections, before->sections);
	KUNIT_EXPECT_EQ(test, now.subsections, before->subsections);
	KUNIT_EXPECT_EQ(test, now.blocks, before->blocks);
	KUNIT_EXPECT_EQ(test, now.resources, before->resources);
	KUNIT_EXPECT_EQ(test, now.readable, before->readable);
	KUNIT_EXPECT_EQ(test, now.present, before->present);
	KUNIT_EXPECT_EQ(test, now.managed, before->managed);
	KUNIT_EXPECT_EQ(test, now.map_tables, before->map_tables);
	KUNIT_EXPECT_EQ(test, now.map_leaves, before->map_leaves);
	KUNIT_EXPECT_EQ(test, now.counters.ram, before->counters.ram);
	KUNIT_EXPECT_EQ(test, now.counters.tables, before->counters.tables);
	KUNIT_EXPECT_EQ(test, now.counters.leaves, before->counters.leaves);
	KUNIT_EXPECT_EQ(test, now.counters.nr_memmap, before->counters.nr_memmap);
}

/* When a range has gone, only max_pfn may tell. */
static void expect_same_but_max_pfn(struct kunit *test, const struct machine *before)
{
	struct machine m = *before;

	m.max_pfn = max_pfn;
	m.high_memory = high_memory;
	expect_same(test, &m);
}

static void restore_max_pfn(void)
{
	max_pfn = boot_max_pfn;
	high_memory = boot_high_memory;
}

static struct span *new_span(struct kunit *test, enum level level, unsigned long pfn,
			     unsigned long nr)
{
	struct span *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, s);
	KUNIT_ASSERT_GE(test, pfn, first_pfn);
	KUNIT_ASSERT_LE(test, pfn + nr, first_pfn + nr_pfns);
	s->level = level;
	s->pfn = pfn;
	s->nr = nr;
	s->pgmap.type = MEMORY_DEVICE_GENERIC;
	s->pgmap.nr_range = 1;
	s->pgmap.range.start = PFN_PHYS(pfn);
	s->pgmap.range.end = PFN_PHYS(pfn + nr) - 1;
	return s;
}

static void set_altmap_of(struct span *s, unsigned long base_pfn, unsigned long end_pfn,
			  unsigned long reserve, unsigned long free)
{
	const struct vmem_altmap altmap = {
		.base_pfn = base_pfn,
		.end_pfn = end_pfn,
		.reserve = reserve,
		.free = free,
	};

	s->altmap = &s->pgmap.altmap;
	memcpy(s->altmap, &altmap, sizeof(altmap));
	s->pgmap.flags |= PGMAP_ALTMAP_VALID;
}

static void set_altmap(struct span *s, unsigned long reserve, unsigned long free)
{
	set_altmap_of(s, s->pfn, s->pfn + s->nr - 1, reserve, free);
}

static int add_span(struct span *s)
{
	struct mhp_params params = {
		.altmap = s->altmap,
		.pgprot = pgprot_mhp(PAGE_KERNEL),
	};
	int err;

	if (s->level == DEVICE) {
		err = PTR_ERR_OR_ZERO(memremap_pages(&s->pgmap, first_memory_node));
	} else {
		mem_hotplug_begin();
		if (s->level == MEMORY)
			err = arch_add_memory(first_memory_node, PFN_PHYS(s->pfn),
					      PFN_PHYS(s->nr), &params);
		else
			err = __add_pages(first_memory_node, s->pfn, s->nr, &params);
		mem_hotplug_done();
	}
	if (!err)
		list_add(&s->list, &added);
	return err;
}

static void remove_span(struct span *s)
{
	list_del(&s->list);
	if (s->level == DEVICE) {
		memunmap_pages(&s->pgmap);
		return;
	}
	mem_hotplug_begin();
	if (s->level == MEMORY)
		arch_remove_memory(PFN_PHYS(s->pfn), PFN_PHYS(s->nr), s->altmap, NULL);
	else
		__remove_pages(s->pfn, s->nr, s->altmap, NULL);
	mem_hotplug_done();
}

static void add_ok(struct kunit *test, struct span *s)
{
	KUNIT_ASSERT_EQ(test, add_span(s), 0);
}

/* The memory that a page of memmap describes, in whole sub-sections, in pages. */
static unsigned long described_by_a_page(void)
{
	return round_up(PAGE_SIZE / sizeof(struct page), PAGES_PER_SUBSECTION);
}

/* The memory that a page of memmap describes, in whole sections, in pages. */
static unsigned long sections_by_a_page(void)
{
	return round_up(PAGE_SIZE / sizeof(struct page), PAGES_PER_SECTION);
}

static unsigned long memmap_nr(unsigned long nr)
{
	return DIV_ROUND_UP(nr * sizeof(struct page), PAGE_SIZE);
}

/*
 * How many pages the altmap of @s has to give: those parts of its memmap that describe
 * nothing else and are not there yet. System RAM has the other blocks, @nr_ram of them.
 */
static unsigned long shares(struct kunit *test, const struct span *s, unsigned long *nr_ram)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	unsigned long start = (unsigned long)pfn_to_page(s->pfn);
	unsigned long end = start + s->nr * sizeof(struct page);
	unsigned long block = f->base_pages ? PAGE_SIZE : f->leaf_size;
	unsigned long addr, nr = 0;

	*nr_ram = 0;
	for (addr = ALIGN_DOWN(start, block); addr < end; addr += block) {
		if (vmemmap_altmap_leaf(addr).size)
			continue;
		if (addr >= start && addr + block <= end)
			nr += block >> PAGE_SHIFT;
		else
			++*nr_ram;
	}
	return nr;
}

static unsigned long altmap_share(struct kunit *test, const struct span *s)
{
	unsigned long nr_ram;

	return shares(test, s, &nr_ram);
}

/*
 * Writes each struct page of a range, or reads what the kernel wrote there.
 * That works only for struct pages that nobody else uses.
 */
static void fill(struct span *s)
{
	static u64 salt;
	unsigned long i;

	if (s->level == DEVICE)
		return;
	s->salt = ++salt << 48;
	for (i = 0; i < s->nr; i++)
		WRITE_ONCE(*(u64 *)pfn_to_page(s->pfn + i), s->salt ^ (s->pfn + i));
}

static void expect_filled(struct kunit *test, struct span *s)
{
	unsigned long i, wrong = 0;

	/* Pages in front of a device's data are nobody's. */
	for (i = s->level == DEVICE ? vmem_altmap_offset(s->altmap) : 0; i < s->nr; i++) {
		struct page *page = pfn_to_page(s->pfn + i);
		struct page copy;

		if (copy_from_kernel_nofault(&copy, page, sizeof(copy)))
			wrong++;
		else if (s->level == DEVICE)
			wrong += ((struct folio *)&copy)->pgmap != &s->pgmap;
		else
			wrong += *(u64 *)&copy != (s->salt ^ (s->pfn + i));
	}
	KUNIT_EXPECT_EQ_MSG(test, wrong, 0, "struct pages of pfn %#lx to %#lx changed",
			    s->pfn, s->pfn + s->nr - 1);
	if (s->level != SECTIONS)
		KUNIT_EXPECT_TRUE(test, is_readable(s->pfn));
}

/* An altmap that is as good as new. */
static void expect_unused(struct kunit *test, const struct vmem_altmap *altmap)
{
	KUNIT_EXPECT_EQ(test, altmap->alloc, 0);
	KUNIT_EXPECT_EQ(test, altmap->align, 0);
	KUNIT_EXPECT_EQ(test, altmap->gap, 0);
}

static const struct malformed {
	const char *name;
	enum level level;
	/* differences to an altmap of the range, in pages */
	long base, end;
	/* the window; a negative number counts from the size of the range */
	long reserve, free;
} malformeds[] = {
	{ "base_too_low", SECTIONS, .base = -1, .free = 1 },
	{ "base_too_high", SECTIONS, .base = 1, .free = 1 },
	{ "window_larger_than_the_range", SECTIONS, .reserve = 3, .free = -2 },
	{ "reserve_larger_than_the_range", SECTIONS, .reserve = -1, .free = 8 },
	{ "no_data_page", SECTIONS, .reserve = 2, .free = -2 },
	{ "device_without_a_data_page", DEVICE, .reserve = 2, .free = -2 },
	{ "end_too_low", SECTIONS, .end = -1, .free = 1 },
	{ "end_too_high", SECTIONS, .end = 1, .free = 1 },
	{ "zero_free", SECTIONS, .reserve = 1 },
	{ "base_and_end_swapped", SECTIONS, .base = 15, .end = -15, .free = 1 },
	{ "memory_without_a_free_page", MEMORY, .reserve = 1 },
	{ "device_without_a_free_page", DEVICE, .reserve = 1 },
};

KUNIT_ARRAY_PARAM_DESC(malformeds, malformeds, name);

/*
 * Test that a malformed altmap is refused before anything was added, and that the
 * largest window that leaves a data page is not.
 */
static void malformed_altmap_is_refused(struct kunit *test)
{
	const struct malformed *m = test->param_value;
	const unsigned long nr = PAGES_PER_SECTION;
	struct span *s = new_span(test, m->level, first_pfn + nr, nr);
	struct machine before;
	unsigned long share;

	look(test, &before);
	set_altmap_of(s, s->pfn + m->base, s->pfn + nr - 1 + m->end,
		      m->reserve < 0 ? nr + m->reserve : m->reserve,
		      m->free < 0 ? nr + m->free : m->free);
	KUNIT_EXPECT_EQ(test, add_span(s), -EINVAL);
	expect_same(test, &before);

	set_altmap(s, 0, nr - 1);
	share = altmap_share(test, s);
	/* What an earlier user left in the private fields does not matter. */
	s->altmap->alloc = 1;
	s->altmap->align = ULONG_MAX;
	s->altmap->gap = 7;
	add_ok(test, s);
	KUNIT_EXPECT_EQ(test, s->altmap->alloc, share);
	remove_span(s);
	expect_same_but_max_pfn(test, &before);
}

/* Test that a range that is no multiple of sub-sections is refused. */
static void misaligned_range_is_refused(struct kunit *test)
{
	struct span *s = new_span(test, SECTIONS, first_pfn + 1, PAGES_PER_SUBSECTION);
	struct machine before;

	look(test, &before);
	kunit_warning_suppress(test) {
		KUNIT_EXPECT_EQ(test, add_span(s), -EINVAL);
		KUNIT_EXPECT_SUPPRESSED_WARNING_COUNT(test, 1);
	}
	expect_same(test, &before);
}

static const struct failure {
	const char *name;
	enum level level;
	bool altmap;
} failures[] = {
	{ "sections_altmap_too_small", SECTIONS, true },
	{ "sections_ram_missing", SECTIONS, false },
	{ "memory_altmap_too_small", MEMORY, true },
	{ "memory_ram_missing", MEMORY, false },
	{ "device_altmap_too_small", DEVICE, true },
	{ "device_ram_missing", DEVICE, false },
};

KUNIT_ARRAY_PARAM_DESC(failures, failures, name);

/* Lets an attempt to add @s have @nr pages of the altmap, or blocks of RAM. */
static void allow(struct kunit *test, struct span *s, bool altmap, unsigned long nr)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	unsigned long nr_ram;

	if (!altmap) {
		f->nr_good_allocs = nr;
		return;
	}
	/* The window starts unaligned where base pages can make up for it. */
	set_altmap(s, f->base_pages, nr);
	shares(test, s, &nr_ram);
	if (f->ram_fallback)
		f->nr_good_allocs = nr_ram;
}

static void expect_no_trace(struct kunit *test, struct span *s, int err,
			    const struct machine *before)
{
	KUNIT_EXPECT_EQ(test, err, -ENOMEM);
	expect_same(test, before);
	if (s->altmap)
		expect_unused(test, s->altmap);
}

/*
 * Test that wherever it is that memory for the memmap runs out, in each section and at
 * its end, nothing is left of the sections before, and that the range can be added
 * when there is enough.
 */
static void failed_add_leaves_no_trace(struct kunit *test)
{
	const struct failure *failure = test->param_value;
	struct vmemmap_altmap_fixture *f = test->priv;
	/* Much memory may take long: what a whole leaf describes for sure, and so many sections. */
	unsigned long much = max(2 * f->leaf_size / sizeof(struct page), 32 * PAGES_PER_SECTION);
	struct span *s = new_span(test, failure->level, first_pfn,
				  min(nr_pfns, round_up(much, PAGES_PER_SECTION)));
	unsigned long need = altmap_share(test, s), nr;
	/* Where there are too many sections, some of them. */
	unsigned int attempts = failure->level == SECTIONS ? 64 : 8;
	unsigned long step = max3(memmap_nr(PAGES_PER_SECTION) / 2, need / attempts, 1);
	struct machine before;

	look(test, &before);
	if (failure->altmap) {
		KUNIT_ASSERT_GT(test, need, 0);
		for (nr = 1; nr < need; nr += min(step, need - nr)) {
			allow(test, s, true, nr);
			expect_no_trace(test, s, add_span(s), &before);
		}
		if (need > 1) {
			allow(test, s, true, need - 1);
			expect_no_trace(test, s, add_span(s), &before);
		}
		allow(test, s, true, need);
		add_ok(test, s);
		KUNIT_EXPECT_EQ(test, s->altmap->alloc, need);
	} else {
		/* Base pages, or blocks, and page tables for them. */
		unsigned long limit = 2 * max(memmap_nr(s->nr), 16);
		int err = 0;

		step = max(s->nr * sizeof(struct page) / f->leaf_size / attempts, 1);
		for (nr = 0; nr <= limit; nr += step) {
			allow(test, s, false, nr);
			err = add_span(s);
			if (!err)
				break;
			expect_no_trace(test, s, err, &before);
		}
		KUNIT_ASSERT_EQ(test, err, 0);
		/* Each section needs some, but for those that share a block. */
		KUNIT_EXPECT_GE(test, nr, s->nr * sizeof(struct page) / f->leaf_size);
	}
	KUNIT_EXPECT_GE(test, nr, 1);
	fill(s);
	expect_filled(test, s);
	remove_span(s);
	expect_same_but_max_pfn(test, &before);
	if (s->altmap)
		expect_unused(test, s->altmap);
}

static const struct level_param {
	const char *name;
	enum level level;
} levels[] = {
	{ "sections", SECTIONS },
	{ "memory", MEMORY },
	{ "device", DEVICE },
};

KUNIT_ARRAY_PARAM_DESC(levels, levels, name);

/*
 * Ranges that begin, and may end, inside of a section:
 *
 *   section:     |    0    |    1    |    2    |    3    |
 *   range:       |  start -|---------|---------|---------| or half of the last one
 */
static const struct part_of_section {
	const char *name;
	enum level level;
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

static struct span *new_part(struct kunit *test, const struct part_of_section *p)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	/* The memory that a leaf describes, in whole sections. */
	unsigned long leaf = round_up(DIV_ROUND_UP(f->leaf_size, sizeof(struct page)),
				      PAGES_PER_SECTION);
	unsigned long start = PHYS_PFN(p->start * SZ_1M);
	unsigned long end = min(nr_pfns, 4 * leaf);

	if (p->size)
		end = start + PHYS_PFN(p->size * SZ_1M);
	if (p->half)
		end -= PAGES_PER_SECTION / 2;
	if (end > nr_pfns)
		kunit_skip(test, "needs %u MiB of hidden RAM", p->start + p->size);
	if (p->level != SECTIONS && !IS_ALIGNED(start | end, PHYS_PFN(memremap_compat_align())))
		kunit_skip(test, "needs a direct map of pages smaller than %lu MiB",
			   memremap_compat_align() / SZ_1M);
	return new_span(test, p->level, first_pfn + start, end - start);
}

/*
 * The number of PMDs of memmap that are expected to be one leaf each, and of the pages
 * from the altmap before the first of them. radix fills a PMD step by step, so that only
 * the range limits it. Elsewhere, the memmap of a single section must cover it.
 */
static unsigned long whole_pmds(struct kunit *test, const struct span *s, unsigned long *head)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	unsigned long section = PAGES_PER_SECTION * sizeof(struct page);
	unsigned long start = (unsigned long)pfn_to_page(s->pfn);
	unsigned long end = start + s->nr * sizeof(struct page);
	unsigned long addr, nr = 0;

	*head = 0;
	if (!f->base_pages || f->leaf_size != PMD_SIZE)
		return 0;
	for (addr = ALIGN(start, PMD_SIZE); addr + PMD_SIZE <= end; addr += PMD_SIZE) {
		unsigned long offset = addr - (unsigned long)pfn_to_page(0);

		if (!f->ram_fallback && offset / section != (offset + PMD_SIZE - 1) / section)
			continue;
		if (!nr++)
			*head = (addr - PAGE_ALIGN(start)) >> PAGE_SHIFT;
	}
	return nr;
}

/* How the memmap of a range with an altmap is mapped. */
struct mapped {
	unsigned long huge;	/* leaves larger than a page that begin in it */
	unsigned long base;	/* leaves of a page */
	unsigned long inside;	/* pages of the window */
	unsigned long missing;	/* pages that are not mapped */
};

static void count_mapped(const struct span *s, struct mapped *m)
{
	unsigned long window = s->altmap->base_pfn + s->altmap->reserve;
	unsigned long start = (unsigned long)pfn_to_page(s->pfn);
	unsigned long end = start + s->nr * sizeof(struct page);
	unsigned long addr;

	memset(m, 0, sizeof(*m));
	for (addr = ALIGN_DOWN(start, PAGE_SIZE); addr < end; addr += PAGE_SIZE) {
		struct vmemmap_altmap_leaf leaf = vmemmap_altmap_leaf(addr);
		unsigned long pfn;

		if (!leaf.size) {
			m->missing++;
			continue;
		}
		if (leaf.size == PAGE_SIZE)
			m->base++;
		else
			m->huge += IS_ALIGNED(addr, leaf.size);
		pfn = leaf.pfn + ((addr & (leaf.size - 1)) >> PAGE_SHIFT);
		m->inside += pfn >= window && pfn - window < s->altmap->free;
	}
}

/* Sets a window, and no more RAM than what cannot be in it where RAM would step in. */
static void allow_window(struct kunit *test, struct span *s, unsigned long reserve,
			 unsigned long free, unsigned long nr_ram)
{
	struct vmemmap_altmap_fixture *f = test->priv;

	set_altmap(s, reserve, free);
	if (f->ram_fallback)
		f->nr_good_allocs = nr_ram;
}

/*
 * Test that a range that begins inside of a section needs exactly the pages of its own
 * memmap, that these are all in the window, that each PMD that it fills is one leaf, and
 * that a page less is refused without a trace.
 */
static void part_of_a_section_has_an_exact_fit(struct kunit *test)
{
	struct vmemmap_altmap_fixture *f = test->priv;
	struct span *s = new_part(test, test->param_value);
	unsigned long nr_ram, share = shares(test, s, &nr_ram);
	unsigned long head, whole = whole_pmds(test, s, &head);
	/* With this, the first huge page of the window is aligned, and no page skipped. */
	unsigned long aligned = -(s->pfn + head) & (f->leaf_nr - 1);
	unsigned long reserve;
	struct machine before;
	struct mapped m;

	if (!share)
		kunit_skip(test, "needs a range that fills a block of %lu KiB of memmap",
			   f->leaf_size / SZ_1K);
	look(test, &before);
	if (share > 1) {
		allow_window(test, s, aligned, share - 1, nr_ram);
		expect_no_trace(test, s, add_span(s), &before);
	}

	/* Where base pages can make up for it, a window that is not aligned is enough, too. */
	for (reserve = aligned; reserve <= aligned + f->base_pages; reserve++) {
		allow_window(test, s, reserve, share, nr_ram);
		add_ok(test, s);
		KUNIT_EXPECT_EQ(test, s->altmap->alloc, share);
		count_mapped(s, &m);
		KUNIT_EXPECT_EQ(test, m.missing, 0);
		KUNIT_EXPECT_EQ(test, m.inside, share);
		if (f->base_pages) {
			KUNIT_EXPECT_LE(test, m.huge, whole);
			/* At most one PMD has to do with the pages that were skipped. */
			KUNIT_EXPECT_GE(test, m.huge + (reserve != aligned), whole);
			KUNIT_EXPECT_EQ(test, m.base + m.huge * f->leaf_nr, share + nr_ram);
		}
		fill(s);
		expect_filled(test, s);
		remove_span(s);
		expect_unused(test, s->altmap);
		expect_same_but_max_pfn(test, &before);
	}
}

/*
 * Test that if a part of the range is already there, whichever it is, that part does not
 * change, and nothing else remains. Only sections are added: arch_add_memory() would
 * remove the direct map of that part, and relies on its callers to prevent it.
 */
static void part_that_is_there_stays(struct kunit *test)
{
	unsigned long unit = sections_by_a_page(), pfn;
	struct machine before, empty;

	look(test, &empty);
	for (pfn = first_pfn; pfn < first_pfn + 3 * unit; pfn += unit) {
		struct span *old = new_span(test, SECTIONS, pfn, unit);
		struct span *s = new_span(test, SECTIONS, first_pfn, 3 * unit);

		set_altmap(old, 0, unit / 2);
		set_altmap(s, 0, unit / 2);
		add_ok(test, old);
		fill(old);
		look(test, &before);
		KUNIT_EXPECT_EQ(test, add_span(s), -EEXIST);
		expect_same(test, &before);
		expect_unused(test, s->altmap);
		expect_filled(test, old);
		remove_span(old);
		expect_unused(test, old->altmap);
		expect_same(test, &empty);
	}
}

static const struct odd_range {
	const char *name;
	/* after the start of a section, and the size, in sub-sections */
	unsigned int start, nr;
} odd_ranges[] = {
	{ "subsection", 0, 1 },
	{ "nine_subsections", 0, 9 },
	{ "second_subsection", 1, 1 },
	{ "starts_after_a_subsection", 1, 7 },
	{ "starts_and_ends_after_a_subsection", 1, 8 },
};

KUNIT_ARRAY_PARAM_DESC(odd_ranges, odd_ranges, name);

/*
 * Test that memory that does not consist of whole sections is readable to its last page
 * after it was added, or is refused without a trace.
 */
static void added_memory_is_readable_or_refused(struct kunit *test)
{
	const struct odd_range *o = test->param_value;
	struct span *s = new_span(test, MEMORY, first_pfn + o->start * PAGES_PER_SUBSECTION,
				  o->nr * PAGES_PER_SUBSECTION);
	unsigned long pfn, unreadable = 0;
	struct machine before;
	int err;

	look(test, &before);
	err = add_span(s);
	if (err) {
		/* Not even all sub-sections of nvdimm can be added everywhere. */
		KUNIT_EXPECT_FALSE(test, IS_ALIGNED(s->pfn | s->nr,
						    PHYS_PFN(memremap_compat_align())));
		expect_same(test, &before);
		return;
	}
	for (pfn = s->pfn; pfn < s->pfn + s->nr; pfn++)
		unreadable += !is_readable(pfn);
	KUNIT_EXPECT_EQ(test, unreadable, 0);
	remove_span(s);
	expect_same_but_max_pfn(test, &before);
}

/* Test that memory below other memory does not lower max_pfn when it is added. */
static void lower_memory_leaves_max_pfn(struct kunit *test)
{
	struct span *low = new_span(test, MEMORY, first_pfn, PAGES_PER_SECTION);
	struct span *high = new_span(test, MEMORY, first_pfn + PAGES_PER_SECTION,
				       PAGES_PER_SECTION);

	KUNIT_EXPECT_LT(test, max_pfn, high->pfn + high->nr);
	add_ok(test, high);
	KUNIT_EXPECT_EQ(test, max_pfn, high->pfn + high->nr);
	add_ok(test, low);
	KUNIT_EXPECT_EQ(test, max_pfn, high->pfn + high->nr);
}

#define NR_NEIGHBOURS	4

/*
 * Ranges side by side that share a section, a page of memmap, a leaf, or nothing. Made
 * by _suite_init(), as not all sizes are different everywhere.
 */
static struct neighbours {
	char name[KUNIT_PARAM_DESC_SIZE];
	enum level level;
	unsigned long nr;
	bool ram;		/* every other one has no altmap */
} neighbours[12];

static unsigned int nr_neighbours;

static void make_neighbours(const char *name, enum level level, unsigned long nr)
{
	unsigned int i, ram;

	if (nr < PAGES_PER_SUBSECTION || nr * NR_NEIGHBOURS > nr_pfns)
		return;
	for (i = 0; i < nr_neighbours; i++)
		if (neighbours[i].nr == nr)
			return;
	/* memremap_pages() and the direct map do not take everything. */
	if (!IS_ENABLED(CONFIG_ZONE_DEVICE) || !IS_ALIGNED(nr, PHYS_PFN(memremap_compat_align())))
		level = SECTIONS;
	for (ram = 0; ram < 2; ram++) {
		struct neighbours *n = neighbours + nr_neighbours++;

		snprintf(n->name, sizeof(n->name), "%s_%s_%s", level_names[level], name,
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

/* Puts the numbers below NR_NEIGHBOURS in an order of its own for each @n below 24. */
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
 * Test that of four ranges side by side, each can go at any time, and the struct pages
 * of those that remain stay what they are, whatever they share.
 */
static void neighbours_go_in_any_order(struct kunit *test)
{
	const struct neighbours *n = test->param_value;
	struct span *s[NR_NEIGHBOURS];
	unsigned int i, k, round, order[NR_NEIGHBOURS];
	struct machine before;

	look(test, &before);
	for (i = 0; i < NR_NEIGHBOURS; i++)
		s[i] = new_span(test, n->level, first_pfn + i * n->nr, n->nr);
	for (round = 0; round < 24; round++) {
		for (i = 0; i < NR_NEIGHBOURS; i++) {
			unsigned long share = altmap_share(test, s[i]);

			if (!n->ram || !(i & 1))
				set_altmap(s[i], 1, memmap_nr(n->nr));
			add_ok(test, s[i]);
			fill(s[i]);
			if (s[i]->altmap)
				KUNIT_EXPECT_EQ(test, s[i]->altmap->alloc, share);
		}
		put_in_order(round, order);
		for (i = 0; i < NR_NEIGHBOURS; i++) {
			for (k = i; k < NR_NEIGHBOURS; k++)
				expect_filled(test, s[order[k]]);
			remove_span(s[order[i]]);
			if (s[order[i]]->altmap)
				expect_unused(test, s[order[i]]->altmap);
		}
		expect_same_but_max_pfn(test, &before);
	}
}

/*
 * Test that adding and removing a range many times changes neither the number of free
 * pages nor that of page tables, nor what the altmap has to give.
 */
static void many_cycles_leak_nothing(struct kunit *test)
{
	const struct level_param *l = test->param_value;
	const unsigned long nr = min(PAGES_PER_SECTION, nr_pfns);
	struct span *s = new_span(test, l->level, first_pfn, nr);
	unsigned long share = altmap_share(test, s);
	struct machine before, after;
	const int cycles = 50;
	int i;

	look(test, &before);
	for (i = 0; i < cycles; i++) {
		if (!i)
			set_altmap(s, 1, memmap_nr(nr));
		add_ok(test, s);
		KUNIT_EXPECT_EQ(test, s->altmap->alloc, share);
		remove_span(s);
		expect_unused(test, s->altmap);
	}
	expect_same_but_max_pfn(test, &before);
	look(test, &after);
	/* Others take and give pages meanwhile, but not in step with this. */
	KUNIT_EXPECT_LT(test, abs(after.counters.free_pages - before.counters.free_pages), cycles);
	KUNIT_EXPECT_LT(test, abs(after.counters.nr_pagetable - before.counters.nr_pagetable),
			cycles);
}

/* A value for each page that nothing else leaves there. */
static u64 canary(unsigned long pfn)
{
	return 0x63616e6172794d4dULL + pfn;
}

/*
 * Test that the memmap of a device is in the device, between the driver's pages and the
 * data, and that neither of these is written to.
 */
static void device_holds_its_memmap(struct kunit *test)
{
	const unsigned long nr = 2 * sections_by_a_page(), reserve = 3;
	struct span *s = new_span(test, DEVICE, first_pfn, nr), *map;
	unsigned long share = altmap_share(test, s), free = memmap_nr(nr), pfn, addr;
	unsigned long start = (unsigned long)pfn_to_page(s->pfn), outside = 0, written = 0;
	struct machine before, now;

	look(test, &before);
	/* The canaries are older than the memmap. */
	map = new_span(test, MEMORY, s->pfn, nr);
	add_ok(test, map);
	for (pfn = s->pfn; pfn < s->pfn + nr; pfn++)
		*(u64 *)__va(PFN_PHYS(pfn)) = canary(pfn);
	remove_span(map);
	expect_same_but_max_pfn(test, &before);

	set_altmap(s, reserve, free);
	add_ok(test, s);
	look(test, &now);
	KUNIT_EXPECT_EQ(test, s->altmap->alloc, share);
	/* Counted section by section. */
	KUNIT_EXPECT_EQ(test, now.counters.nr_memmap - before.counters.nr_memmap,
			nr / PAGES_PER_SECTION * memmap_nr(PAGES_PER_SECTION));
	for (addr = start; addr < start + nr * sizeof(struct page); addr += PAGE_SIZE) {
		struct vmemmap_altmap_leaf leaf = vmemmap_altmap_leaf(addr);

		pfn = leaf.pfn + ((addr & (leaf.size - 1)) >> PAGE_SHIFT);
		outside += pfn < s->pfn + reserve || pfn >= s->pfn + reserve + free;
	}
	KUNIT_EXPECT_EQ(test, outside, memmap_nr(nr) - share);
	expect_filled(test, s);
	for (pfn = s->pfn; pfn < s->pfn + nr; pfn++)
		if (pfn < s->pfn + reserve || pfn >= s->pfn + reserve + free)
			written += *(u64 *)__va(PFN_PHYS(pfn)) != canary(pfn);
	KUNIT_EXPECT_EQ(test, written, 0);
	remove_span(s);
	expect_unused(test, s->altmap);
	expect_same_but_max_pfn(test, &before);
}

/*
 * Test that a device that begins inside an early section takes no page of its altmap for
 * the memmap that is there since boot, and that its removal leaves that memmap alone.
 *
 * One trace is by design: the section remains marked as one that had device memory.
 */
static void device_in_an_early_section_has_an_exact_fit(struct kunit *test)
{
	const unsigned long early = PHYS_PFN((u64)early_mib * SZ_1M), reserve = 2;
	const unsigned long nr = PAGES_PER_SECTION + PAGES_PER_SECTION / 2;
	unsigned long share;
	struct machine before;
	struct span *s;
	int round;

	if (!early)
		kunit_skip(test, "needs hidden RAM inside an early section, see early_mib=");
	KUNIT_ASSERT_LT(test, early, PAGES_PER_SECTION);
	KUNIT_ASSERT_TRUE(test, IS_ALIGNED(early, PAGES_PER_SUBSECTION));
	KUNIT_ASSERT_TRUE(test, early_section(__pfn_to_section(first_pfn - 1)));
	KUNIT_ASSERT_EQ(test, region_intersects(PFN_PHYS(first_pfn - early), PFN_PHYS(early),
						IORESOURCE_SYSTEM_RAM, IORES_DESC_NONE),
			REGION_DISJOINT);
	KUNIT_ASSERT_FALSE(test, is_readable(first_pfn - early));

	s = new_span(test, DEVICE, first_pfn, nr);
	s->pfn -= early;
	s->nr += early;
	s->pgmap.range.start = PFN_PHYS(s->pfn);
	share = altmap_share(test, s);
	KUNIT_EXPECT_EQ(test, share, memmap_nr(nr));
	look(test, &before);
	for (round = 0; round < 3; round++) {
		set_altmap(s, reserve, share - 1);
		expect_no_trace(test, s, add_span(s), &before);
		KUNIT_EXPECT_FALSE(test, is_readable(s->pfn));

		set_altmap(s, reserve, share);
		add_ok(test, s);
		KUNIT_EXPECT_EQ(test, s->altmap->alloc, share);
		expect_filled(test, s);
		remove_span(s);
		expect_unused(test, s->altmap);
		expect_same_but_max_pfn(test, &before);
		KUNIT_EXPECT_FALSE(test, is_readable(s->pfn));
		KUNIT_EXPECT_TRUE(test, early_section(__pfn_to_section(first_pfn - 1)));
		KUNIT_EXPECT_NE(test, vmemmap_altmap_leaf((unsigned long)pfn_to_page(s->pfn)).size,
				0);
	}
}

/*
 * Test that all struct pages of large folios have memory of their own when there is an
 * altmap, though there is less to be had without one.
 */
static void large_folios_keep_their_memmap_with_an_altmap(struct kunit *test)
{
	/* Two pages are the least that remain of the memmap of a folio, so twice that. */
	const unsigned int order = ilog2(4 * PAGE_SIZE / sizeof(struct page));
	struct span *s = new_span(test, DEVICE, first_pfn, max(PAGES_PER_SECTION, 2UL << order));
	unsigned long start = (unsigned long)pfn_to_page(s->pfn), share = altmap_share(test, s);
	unsigned long size = s->nr * sizeof(struct page), addr, other, same;
	struct machine before, now;
	bool altmap;

	look(test, &before);
	s->pgmap.vmemmap_shift = order;
	for (altmap = true;; altmap = false) {
		if (altmap) {
			/* Data begins with a folio. */
			set_altmap(s, 0, ALIGN(memmap_nr(s->nr), 1UL << order));
		} else {
			s->altmap = NULL;
			s->pgmap.flags = 0;
		}
		add_ok(test, s);
		look(test, &now);
		same = 0;
		for (addr = start; addr < start + size; addr += PAGE_SIZE)
			for (other = start; other < addr; other += PAGE_SIZE) {
				struct vmemmap_altmap_leaf a = vmemmap_altmap_leaf(addr);
				struct vmemmap_altmap_leaf b = vmemmap_altmap_leaf(other);

				if (a.size == PAGE_SIZE && a.pfn == b.pfn) {
					same++;
					break;
				}
			}
		if (altmap) {
			KUNIT_EXPECT_EQ(test, s->altmap->alloc, share);
			KUNIT_EXPECT_EQ(test, same, 0);
		} else {
			KUNIT_EXPECT_EQ(test, same > 0, vmemmap_can_optimize(NULL, &s->pgmap));
		}
		remove_span(s);
		expect_same_but_max_pfn(test, &before);
		if (!altmap)
			break;
	}
}

/* Memory blocks that a case has added. */
static u64 blocks_start, blocks_size;

static int add_blocks(u64 start, u64 size)
{
	int err = add_memory(first_memory_node, start, size, MHP_MEMMAP_ON_MEMORY);

	if (!err) {
		blocks_start = start;
		blocks_size = size;
	}
	return err;
}

/* Sets all blocks online, or offline. */
static int set_blocks(bool online)
{
	u64 addr;
	int err = 0;

	lock_device_hotplug();
	for (addr = blocks_start; addr < blocks_start + blocks_size && err >= 0;
	     addr += memory_block_size_bytes()) {
		struct memory_block *mem = get_block(PHYS_PFN(addr));

		if (!mem) {
			err = -ENODEV;
			break;
		}
		/* So that nothing moves in that could not move out. */
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
static u64 first_block(struct kunit *test)
{
	u64 size = memory_block_size_bytes(), start = ALIGN(PFN_PHYS(first_pfn), size);

	if (start + 2 * size > PFN_PHYS(first_pfn + nr_pfns))
		kunit_skip(test, "needs two memory blocks of %llu MiB", size / SZ_1M);
	return start;
}

/* Expects the block that starts with @pfn to hold its memmap, or not to, as promised. */
static void expect_block(struct kunit *test, unsigned long pfn)
{
	unsigned long i, need = memmap_nr(PHYS_PFN(memory_block_size_bytes()));
	struct memory_block *mem = get_block(pfn);
	struct vmem_altmap *altmap;

	KUNIT_ASSERT_NOT_NULL(test, mem);
	altmap = mem->altmap;
	memory_block_put(mem);
	if (memmap_pages >= 0)
		KUNIT_EXPECT_EQ(test, altmap ? altmap->free : 0, memmap_pages);
	if (!altmap)
		return;
	KUNIT_EXPECT_EQ(test, altmap->base_pfn, pfn);
	KUNIT_EXPECT_EQ(test, altmap->end_pfn, pfn + PHYS_PFN(memory_block_size_bytes()) - 1);
	KUNIT_EXPECT_EQ(test, altmap->reserve, 0);
	KUNIT_EXPECT_GE(test, altmap->free, need);
	KUNIT_EXPECT_EQ(test, altmap->alloc, need);
	KUNIT_EXPECT_EQ(test, altmap->align, 0);
	for (i = 0; i < need; i++) {
		unsigned long addr = (unsigned long)pfn_to_page(pfn) + i * PAGE_SIZE;
		struct vmemmap_altmap_leaf leaf = vmemmap_altmap_leaf(addr);

		KUNIT_EXPECT_EQ(test, leaf.pfn + ((addr & (leaf.size - 1)) >> PAGE_SHIFT),
				pfn + i);
	}
}

/* Expects the pages in front of a block that is online to be set aside for its memmap. */
static void expect_block_online(struct kunit *test, unsigned long pfn)
{
	unsigned long i, hosted = 0, nr = PHYS_PFN(memory_block_size_bytes());
	struct memory_block *mem = get_block(pfn);

	KUNIT_ASSERT_NOT_NULL(test, mem);
	for (i = 0; i < nr && PageVmemmapSelfHosted(pfn_to_page(pfn + i)); i++)
		hosted++;
	KUNIT_EXPECT_EQ(test, hosted, mem->altmap ? mem->altmap->free : 0);
	for (; i < nr; i++)
		hosted += PageVmemmapSelfHosted(pfn_to_page(pfn + i));
	KUNIT_EXPECT_EQ(test, hosted, mem->altmap ? mem->altmap->free : 0);
	memory_block_put(mem);
}

/*
 * Test that with memmap_on_memory, each memory block has an altmap of its own, padded
 * to whole pageblocks if that is forced, can go online and offline, and be removed, one
 * time like the other.
 */
static void block_holds_its_memmap(struct kunit *test)
{
	const u64 size = memory_block_size_bytes(), start = first_block(test);
	struct machine before, now;
	int round, block;

	look(test, &before);
	for (round = 0; round < 3; round++) {
		KUNIT_ASSERT_EQ(test, add_blocks(start, 2 * size), 0);
		look(test, &now);
		KUNIT_EXPECT_EQ(test, now.blocks - before.blocks, 2);
		KUNIT_EXPECT_EQ(test, now.resources - before.resources, 1);
		for (block = 0; block < 2; block++)
			expect_block(test, PHYS_PFN(start + block * size));

		KUNIT_ASSERT_EQ(test, set_blocks(true), 0);
		look(test, &now);
		KUNIT_EXPECT_EQ(test, now.present - before.present, PHYS_PFN(2 * size));
		for (block = 0; block < 2; block++)
			expect_block_online(test, PHYS_PFN(start + block * size));
		KUNIT_ASSERT_EQ(test, set_blocks(false), 0);
		for (block = 0; block < 2; block++)
			expect_block(test, PHYS_PFN(start + block * size));
		KUNIT_ASSERT_EQ(test, remove_blocks(), 0);
		expect_same_but_max_pfn(test, &before);
	}
}

/*
 * Test that when the id of a block is taken, the blocks before it are removed again, and
 * can be added once it is free.
 */
static void taken_block_id_is_rolled_back(struct kunit *test)
{
	const u64 size = memory_block_size_bytes(), start = first_block(test);
	struct machine before, empty;

	look(test, &empty);
	lock_device_hotplug();
	KUNIT_EXPECT_EQ(test, create_memory_block_devices(start + size, size, first_memory_node,
							  NULL, NULL), 0);
	unlock_device_hotplug();
	look(test, &before);
	KUNIT_EXPECT_EQ(test, before.blocks - empty.blocks, 1);

	KUNIT_EXPECT_EQ(test, add_blocks(start, 2 * size), -EEXIST);
	expect_same_but_max_pfn(test, &before);

	lock_device_hotplug();
	remove_memory_block_devices(start + size, size);
	unlock_device_hotplug();
	expect_same_but_max_pfn(test, &empty);
	KUNIT_EXPECT_EQ(test, add_blocks(start, 2 * size), 0);
	expect_block(test, PHYS_PFN(start));
	expect_block(test, PHYS_PFN(start + size));
}

/*
 * Test that when a block cannot be added since some of it is there, the blocks before it
 * are removed again, and what was there stays.
 */
static void taken_section_is_rolled_back(struct kunit *test)
{
	const u64 size = memory_block_size_bytes(), start = first_block(test);
	unsigned long nr = sections_by_a_page();
	struct span *old = new_span(test, SECTIONS, PHYS_PFN(start + 2 * size) - nr, nr);
	struct machine before, empty;

	look(test, &empty);
	add_ok(test, old);
	fill(old);
	look(test, &before);
	KUNIT_EXPECT_EQ(test, add_blocks(start, 2 * size), -EEXIST);
	expect_same_but_max_pfn(test, &before);
	expect_filled(test, old);
	remove_span(old);
	expect_same_but_max_pfn(test, &empty);
	KUNIT_EXPECT_EQ(test, add_blocks(start, 2 * size), 0);
	expect_block(test, PHYS_PFN(start));
	expect_block(test, PHYS_PFN(start + size));
}

/*
 * Test that when memory for the memmap of blocks runs out, in the first section or in a
 * later one, no section, block or resource remains, and that the blocks can be added when
 * there is enough. With powerpc's sections of 16 MiB, that is in the midst of a block.
 */
static void failed_block_leaves_no_trace(struct kunit *test)
{
	const u64 size = 2 * memory_block_size_bytes(), start = first_block(test);
	struct vmemmap_altmap_fixture *f = test->priv;
	unsigned long leaves = PHYS_PFN(size) * sizeof(struct page) / f->leaf_size;
	/* Base pages, or blocks, and page tables for them. */
	unsigned long limit = 2 * max(memmap_nr(PHYS_PFN(size)), 16);
	struct span *s = new_span(test, MEMORY, PHYS_PFN(start), PHYS_PFN(size));
	unsigned long nr_ram, share = shares(test, s, &nr_ram);
	unsigned long nr, step = max(leaves / 16, 1);
	struct machine before, now;
	int err = 0;

	/* The memmap of boot memory may be in a block that also describes all of this. */
	if (!share && !nr_ram)
		kunit_skip(test, "needs memory blocks whose memmap is not there yet");
	look(test, &before);
	for (nr = 0; nr <= limit; nr += step) {
		f->nr_good_allocs = nr;
		err = add_memory(first_memory_node, start, size, MHP_NONE);
		if (!err)
			break;
		KUNIT_EXPECT_EQ_MSG(test, err, -ENOMEM, "%pe with %lu blocks of RAM",
				    ERR_PTR(err), nr);
		expect_same(test, &before);
	}
	f->nr_good_allocs = UINT_MAX;
	KUNIT_ASSERT_EQ(test, err, 0);
	blocks_start = start;
	blocks_size = size;
	KUNIT_EXPECT_GE(test, nr, 1);
	KUNIT_EXPECT_GE(test, nr, leaves);
	look(test, &now);
	KUNIT_EXPECT_EQ(test, now.blocks - before.blocks, 2);
	KUNIT_EXPECT_EQ(test, now.resources - before.resources, 1);
	KUNIT_ASSERT_EQ(test, remove_blocks(), 0);
	expect_same_but_max_pfn(test, &before);
}

static struct kunit_case memory_hotplug_altmap_cases[] = {
	KUNIT_CASE_PARAM(malformed_altmap_is_refused, malformeds_gen_params),
	KUNIT_CASE(misaligned_range_is_refused),
	KUNIT_CASE_PARAM(failed_add_leaves_no_trace, failures_gen_params),
	KUNIT_CASE_PARAM(part_of_a_section_has_an_exact_fit, parts_gen_params),
	KUNIT_CASE(part_that_is_there_stays),
	KUNIT_CASE_PARAM(added_memory_is_readable_or_refused, odd_ranges_gen_params),
	KUNIT_CASE(lower_memory_leaves_max_pfn),
	KUNIT_CASE_PARAM(neighbours_go_in_any_order, neighbours_gen_params),
	KUNIT_CASE_PARAM(many_cycles_leak_nothing, levels_gen_params),
	KUNIT_CASE(device_holds_its_memmap),
	KUNIT_CASE(device_in_an_early_section_has_an_exact_fit),
	KUNIT_CASE(large_folios_keep_their_memmap_with_an_altmap),
	KUNIT_CASE(block_holds_its_memmap),
	KUNIT_CASE(taken_block_id_is_rolled_back),
	KUNIT_CASE(taken_section_is_rolled_back),
	KUNIT_CASE(failed_block_leaves_no_trace),
	{}
};

/* What every case starts with, and ends with. */
static struct machine at_start;

static int memory_hotplug_altmap_init(struct kunit *test)
{
	int err;

	if (!nr_pfns)
		kunit_skip(test, "needs memory that the kernel does not know, see withheld=");
	err = vmemmap_altmap_init_at(test, first_pfn, nr_pfns);
	if (err)
		return err;
	look(test, &at_start);
	return at_start.sections || at_start.blocks || at_start.readable ? -EBUSY : 0;
}

static void memory_hotplug_altmap_exit(struct kunit *test)
{
	struct span *s, *tmp;

	if (!test->priv)
		return;
	list_for_each_entry_safe(s, tmp, &added, list)
		remove_span(s);
	if (blocks_size) {
		set_blocks(false);
		KUNIT_EXPECT_EQ(test, remove_blocks(), 0);
	}
	restore_max_pfn();
	expect_same(test, &at_start);
	vmemmap_altmap_exit(test);
}

/* As page tables of the upper levels are never freed, have them there. */
static int make_page_tables(void)
{
	struct mhp_params params = { .pgprot = pgprot_mhp(PAGE_KERNEL) };
	int err;

	mem_hotplug_begin();
	err = arch_add_memory(first_memory_node, PFN_PHYS(first_pfn), PFN_PHYS(nr_pfns), &params);
	if (!err)
		arch_remove_memory(PFN_PHYS(first_pfn), PFN_PHYS(nr_pfns), NULL, NULL);
	mem_hotplug_done();
	restore_max_pfn();
	return err;
}

static int memory_hotplug_altmap_suite_init(struct kunit_suite *suite)
{
	u64 start, size;
	char *p;

	nr_pfns = 0;
	nr_neighbours = 0;
	if (!withheld)
		return 0;
	size = memparse(withheld, &p);
	start = *p == '@' ? memparse(p + 1, &p) : 0;
	if (*p || !start || !IS_ALIGNED(start | size, PFN_PHYS(PAGES_PER_SECTION)) ||
	    size < 4 * PFN_PHYS(PAGES_PER_SECTION)) {
		kunit_err(suite, "withheld=%s: size@start of at least four sections expected\n",
			  withheld);
		return -EINVAL;
	}
	first_pfn = PHYS_PFN(start);
	nr_pfns = PHYS_PFN(size);
	if (count_sections() || count_resources()) {
		kunit_err(suite, "withheld=%s: not withheld\n", withheld);
		nr_pfns = 0;
		return -EBUSY;
	}
	boot_max_pfn = max_pfn;
	boot_high_memory = high_memory;
	make_neighbours("subsections", DEVICE, PAGES_PER_SUBSECTION);
	make_neighbours("half_sections", DEVICE, PAGES_PER_SECTION / 2);
	make_neighbours("sections", MEMORY, PAGES_PER_SECTION);
	make_neighbours("pages_of_memmap", DEVICE, described_by_a_page());
	make_neighbours("pmds_of_memmap", MEMORY,
			round_up(PMD_SIZE / sizeof(struct page), PAGES_PER_SUBSECTION));
	return make_page_tables();
}

static struct kunit_suite memory_hotplug_altmap_suite = {
	.name = "memory_hotplug_altmap",
	.suite_init = memory_hotplug_altmap_suite_init,
	.init = memory_hotplug_altmap_init,
	.exit = memory_hotplug_altmap_exit,
	.test_cases = memory_hotplug_altmap_cases,
};

kunit_test_suite(memory_hotplug_altmap_suite);

MODULE_DESCRIPTION("KUnit tests for adding and removing memory that holds its own memmap");
MODULE_LICENSE("GPL");
