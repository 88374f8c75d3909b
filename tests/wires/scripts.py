"""Random turns, the same ones for the same seed: what a person sends, what the model does, who reads, and who is cut where."""

import random
import re
from dataclasses import dataclass, field

# Texts in which encoders and splitters of lines go wrong: scripts, joined and combining characters, ends of lines that are none
# in JSON, marks of direction, and what looks like a frame.
PIECES = [
    "The deer ", "bow in Nara. ", "Ναρα ", "олени ", "أيل ", "אייל ", "हिरण ", "กวาง ", "鹿は", "奈良の", "사슴 ", "ᠪᠣᠭᠤ ",
    "👩‍👩‍👧‍👦", "🏳️‍🌈 ", "🦌", "e\u0301\u0327 ", "\u202eobverse\u202c ", "\u2066iso\u2069", "a\u2028b\u2029c\u0085d", "\r\n", "\n\n", "\n", "\t",
    "  ", " ", "\ufeff", "\ufffd", "\ufffe", "\u200b", "\U0010ffff", "\u0000", "\u0007", '"quoted" \\ back', "data: no frame\n\n",
    "[DONE]", "data: [DONE]\n\n", "event: end\nid: 7\n", ": ping\n\n", "</script>&amp;", "```rust\nfn main() {}\n```\n", "|a|b|\n|-|-|\n", "{\"type\":\"finish\"}",
]
WORDS = "prune oak deer trip Kyoto fix build bake plan sort read ship Äpfel 剪定 поездка رحلة".split()
TITLES = ["Deer in Nara", "Обрезка яблони", "奈良の鹿", "رحلة إلى كيوتو", "Café à 🦌", "Rust's Borrow Checker", "“Why” Is a Word", "A b", "Line\u2028end",
          "x" * 200, "Äpfel & Birnen", "[DONE]"]
ENDS = ["stop"] * 9 + ["length", "length", "content_filter", "tool_calls", "cut", "cut", "error", "stopped", "stopped", "before"]
STARTERS = ["legacy", "public", "chat", "graphql", "ui", "agui"]


@dataclass
class Cut:
    """A reader loses its connection behind this many events, and is back at once, in the middle, or at the end."""

    events: int
    back: str


@dataclass
class Round:
    """One reply: to a message, to the same message again, to an edited one, or written by another program."""

    kind: str
    starter: str
    text: str
    agent: str
    key: str
    steps: list
    end: str
    cuts: dict
    late: list
    format: str = ""
    usage: dict | None = None


@dataclass
class Conversation:
    """Rounds in one conversation, and its title."""

    number: int
    token: str
    title: str | None
    title_is_late: bool
    rounds: list = field(default_factory=list)


def joined(pieces):
    """What pieces of text amount to: without NUL, halves of a pair are one character, lone ones U+FFFD."""
    text = "".join(pieces).replace("\0", "").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def visible(text):
    """How much of a text there is, by which places in it are compared: white space and halves of pairs may be held back."""
    return sum(one < "\ud800" and not one.isspace() and one != "\0" for one in text)


def places(steps):
    """Where the calls stand that are whole when text follows them."""
    found, before = [], 0
    for kind, *values in steps:
        if kind == "text":
            before += visible(values[0])
        elif kind == "tool" and "".join(values[2])[:1] == "{":
            found.append((values[1], before))
    return sorted(found)


def texts(draw, halves):
    """Pieces of a text, some of them empty, some long, some in the middle of a character."""
    count = draw.choice([0, 1, 2, 4, 8, 8, 16, 40]) or 1
    pieces = [draw.choice(PIECES) for _ in range(count)]
    if draw.random() < 0.06:
        pieces.insert(draw.randrange(len(pieces)), draw.choice(["long ", "長い", "🦌"]) * draw.choice([500, 4000, 9000]))
    if draw.random() < 0.3:
        pieces.insert(draw.randrange(len(pieces) + 1), "")
    if halves and draw.random() < 0.35:
        at = draw.randrange(len(pieces) + 1)
        pieces[at:at] = draw.choice([["\ud83e", "\udd8c"], ["a\ud83e"], ["\udd8cb"], ["\ud83e", "", "\udd8c"], ["\ud83e", "x"]])
    return pieces


def arguments(draw):
    """JSON in pieces."""
    text = draw.choice(['{"city": "奈良", "n": [1, 2]}', "{}", "", '{"q": "a\\"b\\u2028\\n🦌"}', '{"deep": {"a": {"b": null}}}', '"text"'])
    cut = sorted(draw.randrange(len(text) + 1) for _ in range(draw.randrange(4)))
    return [text[a:b] for a, b in zip([0, *cut], [*cut, len(text)])]


def steps_of(draw, uploaded):
    """What a model writes, or a program: lists of a kind and its values."""
    steps, calls = [], 0
    for _ in range(draw.choice([1, 1, 2, 3, 5])):
        kind = draw.choices(["text", "reasoning", "tool", "result", "data"], [6, 2, 2, 4 * uploaded, 1.5 * uploaded])[0]
        if kind == "text":
            steps += [("text", piece) for piece in texts(draw, not uploaded)]
        elif kind == "reasoning":
            steps += [("reasoning", piece) for piece in draw.sample(PIECES, 3) if piece.strip("\0")]
        elif kind == "tool":
            steps.append(("tool", f"call_{calls}", draw.choice(["search", "weather", "天気"]), arguments(draw)))
            calls += 1
        elif kind == "result" and calls:
            result = draw.choice([{"sky": "clear\u2028"}, "no such city", [1, None], "", 0])
            steps.append(("result", f"call_{draw.randrange(calls)}", result, draw.choice(["completed", "completed", "failed"])))
        elif kind == "data":
            steps.append(("data", draw.choice(["place", "step"]), draw.choice([{"n": calls}, "Nara\u2029", None, [1.5, "鹿"]])))
    # A place to wait at the beginning, one in the middle, and one before the end.
    steps.insert(draw.randrange(len(steps) + 1), ("gate", "middle"))
    return [("gate", "begin"), *steps, ("text", draw.choice(["End.", "終", "\ud83e\udd8c" if not uploaded else "🦌"])), ("gate", "end")]


def readers_of(kind, starter, key):
    """Who reads while the reply is written, beside the one who asked."""
    readers = ["legacy", "graphql-ws", "graphql-sse", "ui"]
    if kind == "send":
        readers += ["public", "chat"] + {"agui": ["agui"], "ui": ["ui-retry"]}.get(key, [])
    elif kind == "again" and starter == "agui":
        readers.append("agui")
    return readers


def round_of(draw, number, token, kind, starters):
    """One round. `starters` are those who asked before: a client names only messages of its own."""
    uploaded = kind == "record"
    if kind == "send":
        starter = draw.choice(STARTERS)
    elif kind == "again":
        starter = draw.choice(["graphql", "ui"] + ["agui"] * (starters[-1] in ("agui", "ui")))
    elif kind == "edit":
        starter = draw.choice(["graphql", "ui"])
    else:
        starter = draw.choice(["upload", "steps"])
    key = {"ui": "ui", "agui": "agui"}.get(starter) or draw.choice(["agui", "agui", "ui"])
    end = draw.choice(ENDS)
    if uploaded:
        end = draw.choice(["stop", "stop", "incomplete", "failed", "stopped"])
    readers = readers_of(kind, starter, key)
    cuts = {}
    for reader in [*readers, "sender"]:
        if draw.random() < 0.35:
            cuts[reader] = Cut(draw.choice([1, 1, 2, 3, 5, 8, 13]), draw.choice(["now", "middle", "end"]))
    late = [reader for reader in readers if draw.random() < 0.15 and reader not in cuts]
    text = f"{token} " + " ".join(draw.sample(WORDS, 4)) + draw.choice(["", " 🦌", "\n\u2028?", ' "?"'])
    usage = draw.choice([None, {"prompt_tokens": 9, "completion_tokens": draw.randrange(1, 99)}])
    if usage and not uploaded and draw.random() < 0.3:
        usage["completion_tokens_details"] = {"reasoning_tokens": usage["completion_tokens"] // 2}
    if usage and not uploaded:
        usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
    agent = "people" if uploaded else "failing" if end == "before" else draw.choice(["keeper", "forgetful"])
    return Round(kind, starter, text, agent, key, steps_of(draw, uploaded), end, cuts, late, usage=usage,
                 format=draw.choice(["application/x-ndjson", "text/event-stream"]))


def conversation(seed, number):
    """The conversation of this number."""
    draw = random.Random(f"{seed} {number}")
    token = f"turn-{seed}-{number}-"
    title = draw.choice([*TITLES, None])
    one = Conversation(number, token, title, draw.random() < 0.06)
    kinds = ["record" if draw.random() < 0.2 else "send"]
    while draw.random() < 0.35 and len(kinds) < 4:
        kinds.append("record" if kinds[0] == "record" else draw.choice(["send", "send", "again", "edit"]))
    starters = []
    for place, kind in enumerate(kinds):
        one.rounds.append(round_of(draw, number, f"{token}{place}", kind, starters))
        if kind in ("send", "edit"):
            starters.append(one.rounds[-1].starter if kind == "send" else "graphql")
    return one
