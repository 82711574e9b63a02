/* trees.c - binary trees that come and go.
 *
 * Goal     programs whose data is nothing but small blocks that point to each other: compilers,
 *          interpreters, parsers. All blocks have one size.
 * Method   one tree of DEPTH levels lives all the time. Meanwhile, for each depth from 4 up in
 *          steps of 2, as many trees of that depth are built, walked and freed as together have the
 *          nodes of ROUNDS trees of DEPTH. After "binary-trees" of the Computer Language Benchmarks
 *          Game.
 */
#include "measure.h"

#include <stdlib.h>

#define DEPTH_FIRST 4u

struct node {
	struct node *left, *right;
};

static uint64_t depth, round_count;

static struct node *build(uint64_t levels)
{
	struct node *node = measure_malloc(sizeof(*node));

	node->left = levels > 1 ? build(levels - 1) : NULL;
	node->right = levels > 1 ? build(levels - 1) : NULL;
	return node;
}

static uint64_t count(const struct node *node)
{
	return node->left == NULL ? 1 : 1 + count(node->left) + count(node->right);
}

static void destroy(struct node *node)
{
	if (node->left != NULL) {
		destroy(node->left);
		destroy(node->right);
	}
	free(node);
}

static uint64_t run(void)
{
	struct node *lasting = build(depth);
	uint64_t nodes = count(lasting);

	for (uint64_t levels = DEPTH_FIRST; levels <= depth; levels += 2) {
		uint64_t trees = round_count << (depth - levels);

		for (uint64_t i = 0; i < trees; i++) {
			struct node *tree = build(levels);

			nodes += count(tree);
			destroy(tree);
		}
	}
	if (count(lasting) != (UINT64_C(1) << depth) - 1)
		measure_wrong("a node to two owners");
	destroy(lasting);
	return nodes;
}

int main(int argc, char **argv)
{
	static const char usage[] = "usage: trees DEPTH ROUNDS\n"
				    "\n"
				    "  DEPTH   levels of the largest tree, 4 to 28\n"
				    "  ROUNDS  trees of that size for each smaller depth\n";
	const struct measure_argument arguments[] = {
		{"DEPTH", DEPTH_FIRST, 28, &depth},
		{"ROUNDS", 1, 1u << 20, &round_count},
	};
	struct measure_result result = {.program = "trees"};

	measure_arguments(argc, argv, 1, usage, arguments, 2);

	double start_seconds = measure_now_seconds();

	result.operations = 2 * run();
	result.seconds = measure_now_seconds() - start_seconds;
	measure_print(&result, NULL);
	return EXIT_SUCCESS;
}
