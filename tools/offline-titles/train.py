"""Learns the weights of the offline model's English titles: src/llm/offline/english/weights.txt.

    python3 -m venv venv && venv/bin/pip install numpy scipy scikit-learn
    venv/bin/python tools/offline-titles/train.py SET.jsonl          # writes the table
    venv/bin/python tools/offline-titles/train.py SET.jsonl --check  # five-fold cross-validation, and what each feature gives

SET holds a JSON object a line with `message` and `title`. The table was learned from 2,000 pairs of the dev split of
azomDev/TinyTitle (docs/titles.md names its sources and licences), and from chats.jsonl beside this script.

Two logistic regressions:
- of a word of the message: is it in the title? By the word, its neighbours, its place, its form.
- of a word that is often in titles and not in the message ("calculation"): is it in this title? By the message's words.

The features and the titles come from the program: src/llm/offline/english.rs, through the ignored test
`features_and_titles_of_a_set` (set CARGO for another cargo). A new feature or rule is written there alone.
"""

import argparse, collections, json, os, pathlib, re, subprocess

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
TABLE = ROOT / "src/llm/offline/english/weights.txt"
FOLDER = ROOT / "target/offline-titles"  # what the test reads and writes

# How often a feature has to be in the set, the least weight that is kept, and how one's own examples count.
SEEN, LEAST, OWN = 4, 0.15, 8
MIN_TARGET = 6  # in how many titles a word has to be that is not in their messages


def tokens(text):
    return re.findall(r"[^\W_]+", text.lower())


def f1(guess, title):
    guess, title = tokens(guess), tokens(title)
    same = sum((collections.Counter(guess) & collections.Counter(title)).values())
    return 2 * same / (len(guess) + len(title)) if same else 0.0


def program(rows, table=""):
    """What the program makes of each message: features of its words, its own features, the title by these weights."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "set").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (FOLDER / "table").write_text(table)
    test = ["test", "--quiet", "--lib", "features_and_titles_of_a_set", "--", "--ignored"]
    subprocess.run([os.environ.get("CARGO", "cargo"), *test], cwd=ROOT, check=True)
    return [json.loads(line) for line in (FOLDER / "output").read_text().split("\n")[:-1]]


class Row:
    def __init__(self, pair, made, own):
        self.pair, self.weight, self.message = pair, OWN if own else 1, made["message"]
        self.words = [[f"{family} {value}" for family, value in word] for word in made["words"]]
        keys = [dict(word)["w"] for word in made["words"]]
        gold = set(tokens(pair["title"]))
        self.absent = gold - {t for key in keys for t in tokens(key)}
        self.labels = [2 * sum(t in gold for t in tokens(key)) >= max(1, len(tokens(key))) for key in keys]


def matrix(rows, vocabulary):
    indices, ends = [], [0]
    for row in rows:
        indices += [vocabulary[x] for x in row if x in vocabulary]
        ends.append(len(indices))
    return csr_matrix((np.ones(len(indices), np.float32), indices, ends), (len(rows), len(vocabulary)))


def vocabulary(rows):
    """rows: for each message its weight and its features."""
    counts = collections.Counter()
    for weight, names in rows:
        for name in set(names):
            counts[name] += weight
    return {name: i for i, name in enumerate(sorted(n for n, c in counts.items() if c >= SEEN))}


def learn(rows, without=""):
    """The table of weights, without a family of features."""
    chosen = [[[n for n in word if n.split()[0] != without] for word in row.words] for row in rows]
    names = vocabulary([(row.weight, [n for word in words for n in word]) for row, words in zip(rows, chosen)])
    x = matrix([word for words in chosen for word in words], names)
    y = [label for row in rows for label in row.labels]
    model = LogisticRegression(C=0.3, solver="liblinear").fit(x, y, [row.weight for row in rows for _ in row.labels])
    hundredths = lambda weights: [(n, round(100 * w)) for n, w in zip(names, weights) if abs(w) >= LEAST]
    lines = ["# Learned by tools/offline-titles/train.py: hundredths of the weight of each feature. Do not edit."]
    lines += [f"bias {round(100 * model.intercept_[0])}"] + [f"{n} {w}" for n, w in hundredths(model.coef_[0])]
    counts = collections.Counter(word for row in rows for word in row.absent)
    names = vocabulary([(row.weight, row.message) for row in rows])
    x = matrix([row.message for row in rows], names)
    # Three letters: "of" and "in" are no subject.
    for target in sorted(w for w, c in counts.items() if c >= MIN_TARGET and len(w) > 3):
        y = [target in row.absent for row in rows]
        model = LogisticRegression(C=1, l1_ratio=1, solver="liblinear").fit(x, y, [row.weight for row in rows])
        lines.append(f"+ {target} bias {round(100 * model.intercept_[0])}")
        lines += [f"+ {target} {n} {w}" for n, w in hundredths(model.coef_[0])]
    return "\n".join(lines) + "\n"


def check(rows, without=""):
    """The mean F1 of the set and of our own chats, each by weights learned from the other four fifths, and their number."""
    fold = np.random.RandomState(0).permutation(len(rows)) % 5
    scores, size = {1: [], OWN: []}, 0
    for k in range(5):
        table = learn([row for row, f in zip(rows, fold) if f != k], without)
        tested = [row for row, f in zip(rows, fold) if f == k]
        for row, made in zip(tested, program([row.pair for row in tested], table)):
            scores[row.weight].append(f1(made["title"], row.pair["title"]))
        size += table.count("\n") // 5
    return np.mean(scores[1]), np.mean(scores[OWN]), size


def read(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("set")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    pairs, own = read(arguments.set), read(HERE / "chats.jsonl")
    made = program(pairs + own)
    rows = [Row(pair, row, i >= len(pairs)) for i, (pair, row) in enumerate(zip(pairs + own, made))]
    if arguments.check:
        families = sorted({n.split()[0] for row in rows for word in row.words for n in word})
        for family in [""] + families:
            score, of_own, size = check(rows, family)
            print(f"without {family or 'nothing':8} F1 {score:.3f}, our own chats {of_own:.3f}, {size} weights", flush=True)
    else:
        TABLE.write_text(learn(rows))
