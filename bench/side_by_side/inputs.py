"""What the real programs read: made anew for each row, and always the same."""

import random

SEED = 42
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def words_of(draw, count):
    return " ".join("".join(draw.choices(LETTERS, k=draw.randint(3, 12))) for _ in range(count))


def sql_script(work):
    """Work is in rows of the largest table. After SQLite's own speed test: inserts, with and
    without an index, selects by range, by text and over two tables, updates, deletes."""
    draw = random.Random(SEED)
    lines = ["CREATE TABLE parts(id INTEGER PRIMARY KEY, size INTEGER, name TEXT, note TEXT);",
             "CREATE TABLE orders(id INTEGER PRIMARY KEY, part INTEGER, amount INTEGER);",
             "BEGIN;"]
    for number in range(work):
        lines.append(f"INSERT INTO parts VALUES({number}, {draw.randrange(work)}, "
                     f"'{words_of(draw, 1)}', '{words_of(draw, draw.randint(1, 20))}');")
    lines += ["COMMIT;", "CREATE INDEX parts_by_size ON parts(size);",
              "CREATE INDEX parts_by_name ON parts(name, size);", "BEGIN;"]
    for number in range(work):
        lines.append(f"INSERT INTO orders VALUES({number}, {draw.randrange(work)}, "
                     f"{draw.randrange(100)});")
    lines += ["COMMIT;", "CREATE INDEX orders_by_part ON orders(part);"]
    for _ in range(work // 20):
        low = draw.randrange(work)
        lines.append("SELECT count(*), sum(length(note)), group_concat(name) FROM parts "
                     f"WHERE size BETWEEN {low} AND {low + 50};")
    for _ in range(10):
        text = "".join(draw.choices(LETTERS, k=3))
        lines.append(f"SELECT count(*) FROM parts WHERE note LIKE '%{text}%';")
    lines += ["SELECT substr(name, 1, 2) AS start, count(*), avg(amount) FROM parts JOIN orders ON "
              "orders.part = parts.id GROUP BY start ORDER BY 2 DESC, 1 LIMIT 20;",
              "SELECT id, name FROM parts ORDER BY note, id LIMIT 20;", "BEGIN;"]
    for _ in range(work // 5):
        lines.append(f"UPDATE parts SET note = note || ' {words_of(draw, 2)}', size = size + 1 "
                     f"WHERE id = {draw.randrange(work)};")
    for _ in range(work // 5):
        lines.append(f"DELETE FROM orders WHERE part = {draw.randrange(work)};")
    lines += ["COMMIT;", "DELETE FROM parts WHERE size % 3 = 0;", "VACUUM;",
              "SELECT count(*), sum(size), sum(length(note)) FROM parts;",
              "SELECT count(*), sum(amount) FROM orders;", "PRAGMA integrity_check;"]
    return "\n".join(lines) + "\n"


def c_function(draw, number):
    """A function with loops, a switch, and calls of those before it."""
    lines = [f"static struct node *make_{number}(struct node *next, unsigned seed)", "{",
             f"\tunsigned table[{draw.randint(4, 32)}] = {{seed}};",
             "\tfor (unsigned i = 1; i < sizeof table / sizeof *table; i++)",
             f"\t\ttable[i] = table[i - 1] * {draw.randrange(3, 9999, 2)}u + "
             f"{draw.randrange(9999)}u;",
             "\tswitch (seed % 8) {"]
    for case in range(8):
        lines.append(f"\tcase {case}:")
        for _ in range(draw.randint(1, 4)):
            lines.append(f"\t\tnext->value[{draw.randrange(8)}] {draw.choice('+-^|')}= "
                         f"table[{draw.randrange(4)}] {draw.choice(['>>', '<<'])} "
                         f"{draw.randrange(1, 12)};")
        if number:
            lines.append(f"\t\tif (next->value[{case}] > {draw.randrange(99999)}u)\n\t\t\tnext = "
                         f"make_{draw.randrange(max(0, number - 20), number)}(next, seed / 2);")
        lines.append("\t\tbreak;")
    lines += ["\t}", f"\tnext->name = \"{words_of(draw, 3)}\";", "\treturn next->next;", "}", ""]
    return "\n".join(lines)


def c_source(work):
    """Work is in functions."""
    draw = random.Random(SEED)
    parts = ["struct node {\n\tstruct node *next;\n\tconst char *name;\n\tunsigned value[8];\n};\n"]
    parts += [c_function(draw, number) for number in range(work)]
    calls = "".join(f"\t\tnode = make_{number}(node, {number}u);\n" for number in range(work))
    parts.append(f"void run_all(struct node *node)\n{{\n\twhile (node) {{\n{calls}\t}}\n}}\n")
    return "\n".join(parts)
