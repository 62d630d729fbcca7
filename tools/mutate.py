# SPDX-License-Identifier: GPL-2.0-only
"""Mutants of C functions, all of them compiled into one kernel that selects one by a number (mutant schemata).

`a && b` becomes `(MUTANT(7) ? (a) : (MUTANT(8) ? (b) : (a && b)))`, and the statement `f(x);` becomes
`{ if (!MUTANT(9)) f(x); }`. The operators:

    negate     a condition
    drop       an operand of && or ||, the right operand of + - & |
    boundary   < to <= and so on
    constant   a number one smaller, 0 to 1, true to false
    remove     a call, an assignment, a return or a jump
    return     another value is returned: 0, or -EINVAL where it was 0
    altmap     an argument `altmap` becomes NULL

The parser knows as much of C as the functions in tools/mutants.toml need, and leaves alone what it does not know.
"""

import dataclasses
import re

from common import Stop

TOKEN = re.compile(r"(?P<space>\s+|/\*.*?\*/|//[^\n]*|#(?:\\\n|[^\n])*)|(?P<string>\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*')"
                   r"|(?P<number>\d\w*)|(?P<name>[A-Za-z_]\w*)"
                   r"|(?P<op><<=|>>=|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|.)", re.S)
TYPE = re.compile(r"(struct|union|enum|unsigned|signed|long|int|short|char|void|bool|const|[us](8|16|32|64)|\w+_t)$")
ASSIGN = ("=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>=")
LEVELS = (ASSIGN, ("?",), ("||",), ("&&",), ("|",), ("^",), ("&",), ("==", "!="), ("<", ">", "<=", ">="), ("<<", ">>"),
          ("+", "-"), ("*", "/", "%"))
LEVEL = {word: level for level, words in enumerate(LEVELS) for word in words}
BOUNDARY = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
CONDITION = re.compile(r"(un)?likely$|(VM_)?WARN(_ON)?(_ONCE)?$")    # the first argument is a condition, the others are text
CONSTANT = re.compile(r"sizeof|typeof|offsetof|container_of|IS_ENABLED|(READ|WRITE)_ONCE|ARRAY_SIZE")


@dataclasses.dataclass
class Mutant:
    """One change."""
    file: str
    function: str
    line: int
    operator: str
    replaced: str       # the expression or statement, in one line
    before: str         # the whole statement or condition
    after: str
    name: str           # "function: before -> after", the same whatever line it is on; a second one gets " (2)"
    number: int = 0     # selects it


@dataclasses.dataclass
class Node:
    """A piece of the text (offsets) with its mutants: (Mutant, replacement), None for a removed statement."""
    start: int
    end: int
    mutants: list
    parts: list


def flat(text):
    """`text` in one line, without comments."""
    return " ".join(re.sub(r"/\*.*?\*/", " ", text, flags=re.S).split())


class Function:
    """The mutants of one function: `nodes` for render(), which cover parts of the text from `start` to `end`.

    `ignored` is a pattern of the functions whose calls stay as they are, `also` are more changes (old, new) of a whole
    expression or statement. If the function is defined twice, for different configurations, it is the longer one.
    """

    def __init__(self, file, text, name, ignored, also=()):
        self.file, self.text, self.name, self.ignored, self.also = file, text, name, re.compile(rf"({ignored})$"), also
        found = [(match.start(), match.end() - 1, text.index("\n}", match.end()) + 2) for match in
                 re.finditer(rf"^(?:[A-Za-z_][^;{{}}()#/]*[\s*])?{name}\([^;{{}}]*\)\n\{{$", text, re.M)]
        if not found:
            raise Stop(f"there is no function {name} in {file}; bring tools/mutants.toml up to date")
        self.start, body, self.end = max(found, key=lambda span: span[2] - span[1])
        self.tokens = [(match.lastgroup, match[0], match.start(), match.end())
                       for match in TOKEN.finditer(text, body, self.end) if match.lastgroup != "space"]
        self.pair, opened, self.clause = {}, [], None
        for i, (_, word, *_) in enumerate(self.tokens):
            if word in ("(", "[", "{"):
                opened.append(i)
            elif word in (")", "]", "}"):
                self.pair[opened.pop()] = i
        # The compiler refuses a function that ends without a return: only if one is at the end, others can be removed.
        ends = max(i for i in range(len(self.tokens)) if i < 2 or self.word(i - 1) in (";", "}", ":") and self.word(i) != "}")
        self.returns = self.word(ends) == "return" or re.search(rf"\bvoid\s+(__\w+\s+)*{name}\(", text[self.start:body])
        self.last = ends
        self.nodes = self.statement(0)[0]

    def word(self, i):
        return self.tokens[i][1] if i < len(self.tokens) else ""

    def span(self, low, high):
        """Where the tokens [low, high) begin and end in the text."""
        return self.tokens[low][2], self.tokens[high - 1][3]

    def source(self, low, high):
        return self.text[slice(*self.span(low, high))]

    def find(self, low, high, words):
        """The first of `words` in [low, high) that is outside of all brackets, or None."""
        while low < high and self.word(low) not in words:
            low = self.pair.get(low, low) + 1
        return low if low < high else None

    def split(self, low, high):
        """The parts of [low, high) between commas."""
        while low < high:
            comma = self.find(low, high, (",",)) or high
            yield low, comma
            low = comma + 1

    def is_type(self, i):
        return bool(TYPE.match(self.word(i)))

    def node(self, low, high, changes, parts):
        """[Node] for the tokens [low, high), with a Mutant for each of `changes` (operator, replacement); `parts` without."""
        (start, end), (first, last) = self.span(low, high), self.clause
        source, before = flat(self.text[start:end]), flat(self.text[first:last])
        made = []
        for operator, new in changes + [("also", new) for old, new in self.also if old == source]:
            after = "removed" if new is None else flat(self.text[first:start] + new + self.text[end:last])
            made.append((Mutant(self.file, self.name, self.text.count("\n", 0, start) + 1, operator, source, before, after,
                                f"{self.name}: {before} -> {after}"), new))
        return [Node(start, end, made, parts)] if made else parts

    # Statements

    def statement(self, i):
        """([Node], what follows) of the statement at `i`."""
        kind, word = self.tokens[i][:2]
        if word == "{":
            end, nodes, i = self.pair[i], [], i + 1
            while i < end:
                more, i = self.statement(i)
                nodes += more
            return nodes, end + 1
        if word in ("if", "while", "switch", "for"):
            close = self.pair[i + 1]
            nodes, low, high = [], i + 2, close
            if word == "for":
                low = self.find(low, close, (";",)) + 1
                high = self.find(low, close, (";",))
                for part in [*self.split(i + 2, low - 1), *self.split(high + 1, close)]:
                    self.clause = self.span(*part)
                    nodes += self.expression(*part)
            if word != "switch" and low < high:
                nodes += self.condition(low, high)
            more, i = self.statement(close + 1)
            other, i = self.statement(i + 1) if word == "if" and self.word(i) == "else" else ([], i)
            return nodes + more + other, i
        if word in ("case", "default") or kind == "name" and self.word(i + 1) == ":":
            return [], self.find(i, len(self.tokens), (":",)) + 1
        if self.word(i + 1) == "(" and (self.tokens[self.pair[i + 1] + 1][0] == "name" or self.word(self.pair[i + 1] + 1) == "{"):
            return self.statement(self.pair[i + 1] + 1)      # for_each_...()
        end = self.find(i, len(self.tokens), (";",))
        self.clause = self.span(i, end + 1)
        return self.simple(i, end) if i < end else [], end + 1

    def condition(self, low, high, negate=True):
        """The nodes of [low, high), which the names of the mutants quote."""
        outer, self.clause = self.clause, self.span(low, high)
        nodes = self.expression(low, high, True, negate)
        self.clause = outer
        return nodes

    def simple(self, low, end):
        """The nodes of a statement that ends with the semicolon `end`."""
        kind, word = self.tokens[low][:2]
        remove = [("remove", None)]
        if word == "return":
            parts = self.returned(low + 1, end) if low + 1 < end else []
            return self.node(low, end + 1, remove if self.returns and low != self.last else [], parts)
        if word in ("goto", "break", "continue"):
            return self.node(low, end + 1, remove, [])
        assigned = self.find(low, end, ASSIGN)
        if self.find(low, end, ("{",)) or word == "static":
            return []
        if kind == "name" and (self.tokens[low + 1][0] == "name" or self.word(low + 1) == "*"):      # a declaration
            return [node for first, high in self.split(low, end) if self.find(first, high, ("=",))
                    for node in self.expression(self.find(first, high, ("=",)) + 1, high)]
        if assigned:
            return self.node(low, end + 1, remove, self.expression(assigned + 1, end))
        if "++" in (word, self.word(end - 1)) or "--" in (word, self.word(end - 1)):
            return self.node(low, end + 1, remove, [])
        if self.ignored.match(word):
            return []
        return self.node(low, end + 1, [] if CONDITION.match(word) else remove, self.expression(low, end))

    def returned(self, low, high):
        text = self.source(low, high)
        if text in ("0", "NULL") or re.fullmatch("-E[A-Z]+", text):
            changes = {"0": [("return", "-EINVAL")], "NULL": []}.get(text, [("return", "0")])
            return self.node(low, high, changes, [])
        parts = self.expression(low, high)
        truth = parts and (parts[0].start, parts[0].end) == self.span(low, high) \
            and parts[0].mutants[0][0].operator in ("negate", "constant")
        return parts if truth else self.node(low, high, [("return", "0")], parts)

    # Expressions

    def operators(self, low, high):
        """[(index, word)] of the binary operators in [low, high) that are outside of all brackets."""
        found, operand = [], False
        while low < high:
            kind, word = self.tokens[low][:2]
            if word == "sizeof" and self.word(low + 1) == "(":
                low, operand = self.pair[low + 1], True
            elif low in self.pair:
                operand = operand or word != "(" or not self.is_type(low + 1)     # else a cast
                low = self.pair[low]
            elif kind != "op":
                operand = True
            elif word in ("->", "."):
                operand = False
            elif operand and (word in LEVEL or word == ":"):
                found.append((low, word))
                operand = False
            low += 1
        return found

    def binary(self, low, high, found, negation):
        """The nodes of an expression with the binary operators `found`."""
        level = min(LEVEL.get(word, 99) for _, word in found)
        joints = [i for i, word in found if LEVEL.get(word) == level]
        at = joints[0 if level < 2 else -1]
        word, left = self.word(at), self.source(low, at)
        if level == 0:
            return self.expression(at + 1, high)
        if word == "?":
            colon = next(i for i, other in found if other == ":" and i > at)
            return self.expression(low, at, True) + self.expression(at + 1, colon) + self.expression(colon + 1, high)
        if word in ("&&", "||"):
            operands = list(zip([low] + [i + 1 for i in joints], joints + [high]))
            texts = [self.source(*operand) for operand in operands]
            drop = [("drop", f" {word} ".join(texts[:i] + texts[i + 1:])) for i in range(len(texts))]
            return self.node(low, high, negation + drop, [node for one in operands for node in self.condition(*one, False)])
        changes = negation + [("boundary", f"{left} {BOUNDARY[word]} {self.source(at + 1, high)}")] if word in BOUNDARY else \
            negation + [("drop", left)] if word in "+-&|" and self.tokens[at + 1][0] != "number" else negation
        return self.node(low, high, changes, self.expression(low, at) + self.expression(at + 1, high))

    def expression(self, low, high, truth=False, negate=True):
        """The nodes of [low, high). With `truth` it is used as a condition; without `negate` that was negated already."""
        kind, word = self.tokens[low][:2]
        if re.search(r"\bIS_ENABLED\b", self.source(low, high)):
            return []
        if self.pair.get(low) == high - 1 and word == "(" and not self.is_type(low + 1):
            return [] if self.word(low + 1) == "{" else self.expression(low + 1, high - 1, truth, negate)
        found = self.operators(low, high)
        truth = truth or any(other in ("&&", "||", "==", "!=", *BOUNDARY) for _, other in found)
        negation = [("negate", f"!({self.source(low, high)})")] if truth and negate else []
        if found:
            return self.binary(low, high, found, negation)
        if word == "!":
            return self.node(low, high, [("negate", self.source(low + 1, high))] if negate else [],
                             self.expression(low + 1, high, True, False))
        if word in ("&", "++", "--", "sizeof"):
            return []
        if low in self.pair and self.is_type(low + 1):       # a cast
            return self.expression(self.pair[low] + 1, high)
        if kind == "op":
            return self.node(low, high, negation, self.expression(low + 1, high))
        if kind == "number" and high == low + 1:
            digits, suffix = re.fullmatch(r"(0[xX][0-9a-fA-F]+|\d+)(\w*)", word).groups()
            number = int(digits, 0)
            return self.node(low, high, [("constant", f"{int(not number) if truth or not number else number - 1}{suffix}")], [])
        if word in ("true", "false"):
            return self.node(low, high, [("constant", "false" if word == "true" else "true")], [])
        parts = []
        if self.word(low + 1) == "(" and self.pair[low + 1] == high - 1:
            if CONSTANT.match(word) or self.ignored.match(word):
                return []
            for first, after in self.split(low + 2, high - 1):
                text = self.source(first, after)
                if CONDITION.match(word):
                    return self.condition(first, after)
                if re.fullmatch(r"(\w+(->|\.))?altmap|pgmap_altmap\(\w+\)", text):
                    parts += self.node(first, after, [("altmap", "NULL")], [])
                elif not self.is_type(first) and '"' not in text:
                    parts += self.expression(first, after)
        return self.node(low, high, negation, parts)


def render(text, start, end, nodes):
    """The part [start, end) of `text` with the mutants of `nodes` in it."""
    result = ""
    for node in sorted(nodes, key=lambda node: node.start):
        inner = render(text, node.start, node.end, node.parts)
        statement = inner[-1] in ";}"
        for mutant, new in node.mutants:
            inner = f"(MUTANT({mutant.number}) ? ({new}) : ({inner}))" if not statement else \
                f"{{ if (!MUTANT({mutant.number})) {inner} }}" if new is None else \
                f"{{ if (MUTANT({mutant.number})) {{ {new} }} else {inner} }}"
        result += text[start:node.start] + inner
        start = node.end
    return result + text[start:end]


def mutants(nodes):
    """All mutants of `nodes`, in the order of the text."""
    for node in nodes:
        yield from (mutant for mutant, _ in node.mutants)
        yield from mutants(node.parts)
