#!/usr/bin/python3
"""objects.py ROUNDS: many small objects that point to each other, come and go.

A plan of constraints between variables, as in the Deltablue benchmark: chains are built, values
are passed along them, links are cut and made anew. Prints sums of what came out.
"""

import sys


class Variable:
    def __init__(self, name, value):
        self.name = name
        self.value = value
        self.links = []


class Link:
    def __init__(self, source, target, factor):
        self.source, self.target, self.factor = source, target, factor
        source.links.append(self)

    def pass_on(self):
        self.target.value = (self.source.value * self.factor + 1) % 1000003

    def cut(self):
        self.source.links.remove(self)


def chain(length, seed):
    variables = [Variable(f"v{i}", seed + i) for i in range(length)]
    links = [Link(a, b, 3 + i % 5) for i, (a, b) in enumerate(zip(variables, variables[1:]))]
    return variables, links


def one_round(number, kept):
    variables, links = chain(2000, number)
    for link in links:
        link.pass_on()
    for place in range(0, len(links), 3):
        links[place].cut()
        links[place] = Link(variables[place], variables[-1 - place], place % 11)
    for link in links:
        link.pass_on()
    # Some outlive their round, each in another place than those before it.
    kept.append(variables[number % 7::7])
    if len(kept) > 40:
        kept.pop(number * 7919 % len(kept))
    return sum(variable.value * len(variable.links) for variable in variables)


def main(rounds):
    kept = []
    total = sum(one_round(number, kept) for number in range(rounds))
    print("sum", total, "kept", sum(one.value for part in kept for one in part))


if __name__ == "__main__":
    main(int(sys.argv[1]))
