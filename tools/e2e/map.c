// SPDX-License-Identifier: GPL-2.0-only
/*
 * map write|check FILE SIZE SEED: map FILE with MAP_SYNC, and write a pattern or compare with it.
 *
 * For the guests of tools/e2e.py, with the kernel's nolibc. FILE is on a dax file system, or a device-dax device.
 * Each page holds its own pattern, so a page that belongs elsewhere differs.
 */
#include <linux/mman.h>

#define STEP 4096

static unsigned long pattern(unsigned long seed, unsigned long offset, unsigned long word)
{
	return (seed << 48) ^ (offset << 8) ^ word;
}

int main(int argc, char **argv)
{
	unsigned long size, seed, offset, word, *page;
	int fd, write, flags;
	char *map;

	if (argc != 5)
		return 2;
	write = !strcmp(argv[1], "write");
	size = strtoul(argv[3], NULL, 0);
	seed = strtoul(argv[4], NULL, 0);
	fd = open(argv[2], O_RDWR);
	if (fd < 0) {
		printf("%s: open: error %d\n", argv[2], errno);
		return 1;
	}
	flags = MAP_SHARED_VALIDATE | MAP_SYNC;
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (map == MAP_FAILED) {
		printf("%s: mmap with MAP_SYNC: error %d\n", argv[2], errno);
		return 1;
	}
	for (offset = 0; offset < size; offset += STEP) {
		page = (unsigned long *)(map + offset);
		for (word = 0; word < STEP / sizeof(*page); word += 64) {
			if (write)
				page[word] = pattern(seed, offset, word);
			else if (page[word] != pattern(seed, offset, word)) {
				printf("%s: other data at %lu\n", argv[2], offset);
				return 1;
			}
		}
	}
	return munmap(map, size) ? 1 : 0;
}
