"""Names that the world knows and what each is, looked up in a text: a small encoder cannot hold them all.

  lexicon.py TOKENIZER_DIR FILES... > models/stancewire-small/names.tsv

joins lists of `CLASS<TAB>NAME` into one of `CLASS<TAB>NAME<TAB>IDS OF WORD PIECES`, a class for each name. The classes are C company, A company or
something else (Apple), M news outlet, O other organisation, B product, index or event, L place, P person, W word or abbreviation.
"""
import sys
from pathlib import Path

# The number of a class is that of its kind in token types: letter case + 4 * kind. 0 is a word of no known name.
CLASSES = "CAMOBLPW"
KINDS = 1 + len(CLASSES)
NAMES = Path(__file__).parent.parent / "models" / "stancewire-small" / "names.tsv"


class Lexicon:
    """The names of a file as runs of word pieces."""

    def __init__(self, path=NAMES):
        with open(path, encoding="utf8") as f:
            rows = [line.rstrip("\n").split("\t") for line in f]
        self.kinds = {tuple(map(int, ids.split())): 1 + CLASSES.index(kind) for kind, _, ids in rows}
        self.longest = {}
        for ids in self.kinds:
            self.longest[ids[0]] = max(len(ids), self.longest.get(ids[0], 0))

    def lookup(self, ids, cases, words, hide=lambda name: False):
        """The kind of the known name over each piece of a sentence: the longest one from left to right that begins with a capital
        and ends with a word. `words` numbers the pieces' words. Names that `hide` is true of are looked up as if the list had them not."""
        out, at, n = [0] * len(ids), 0, len(ids)
        while at < n:
            end = at + 1
            if cases[at] and (at == 0 or words[at] != words[at - 1]):
                for stop in range(min(n, at + self.longest.get(ids[at], 0)), at, -1):
                    name = tuple(ids[at:stop])
                    if name in self.kinds and (stop == n or words[stop] != words[stop - 1]) and not hide(name):
                        out[at:stop] = [self.kinds[name]] * (stop - at)
                        end = stop
                        break
            at = end
        return out


def hiding(rng):
    """For one text in training: every name stays unknown in a quarter of the texts, one in seven names in the others, so that
    names which no list has are read as well."""
    if rng.random() < 0.25:
        return lambda name: True
    hidden = {}
    return lambda name: hidden.setdefault(name, rng.random() < 0.15)


def joined(tokenizer, files):
    """(class, name, ids): the class that all lists give, A where some say company and others do not, else the first in the
    order of CLASSES. Names that differ in letter case or accents alone are one to the tokenizer, and here."""
    said = {}
    for path in files:
        with open(path, encoding="utf8") as f:
            for number, line in enumerate(f, 1):
                kind, _, name = line.strip().partition("\t")
                if len(kind) != 1 or kind not in CLASSES or not any(c.isalnum() for c in name):
                    sys.exit(f"{path}:{number}: a line is CLASS<TAB>NAME with a class of {CLASSES}, not {line.strip()!r}")
                encoding = tokenizer.encode(name, add_special_tokens=False)
                if "[UNK]" not in encoding.tokens:
                    said.setdefault(" ".join(map(str, encoding.ids)), []).append((kind, name))
    for ids, rows in said.items():
        kinds = {kind for kind, _ in rows}
        kind = kinds.pop() if len(kinds) == 1 else "A" if kinds & set("CA") else min(kinds, key=CLASSES.index)
        yield kind, rows[0][1], ids


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(f"{sys.argv[1]}/tokenizer.json")
    tokenizer.no_padding()
    for row in sorted(joined(tokenizer, sys.argv[2:]), key=lambda row: (row[1].lower(), row[1])):
        print(*row, sep="\t")
