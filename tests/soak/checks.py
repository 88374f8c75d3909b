"""What must hold after everything: pure functions over what people were shown and what is stored. `test_soak.py` shows them a history
of each kind that must not be."""

import os
from collections import Counter

# What a list reads when it is loaded.
LISTED = 100


def different(one, other):
    """Where two texts part."""
    at = len(os.path.commonprefix([one, other]))
    return f"from {at} of {len(one)} on {one[at:at + 60]!r}, written {other[at:at + 60]!r}"


def kept(talk, messages, written):
    """What is wrong with a conversation. `messages` are stored of it, as (role, content), None if it is not there; `written` gives
    the whole reply to a message."""
    acknowledged = [said for said in talk.turns if said.is_acknowledged]
    if messages is None:
        return [f"acknowledged, and not there: {acknowledged[0].text!r}"] if acknowledged else []
    wrong = []
    for said in talk.turns:
        whole = written(said.text)
        if said.outcome == "completed" and said.reply != whole:
            wrong.append(f"{said.wire}: a completed reply is not what the model wrote: {different(said.reply, whole)}")
        elif not whole.startswith(said.reply):
            wrong.append(f"{said.wire}: a reply is not the beginning of what the model wrote: {different(said.reply, whole)}")
    # What has no outcome was counted as wrong when its turn broke off: its message is there, or is not.
    if any(said.outcome is None for said in talk.turns):
        return wrong
    shown = []
    for said in talk.turns:
        shown.append(("user", said.text))
        # A reply of which nothing was stored before its node was killed is not among the messages that count.
        shown += [("assistant", said.reply)] * bool(said.reply)
    stored = [tuple(message) for message in messages]
    for role, text in Counter(shown) - Counter(stored):
        wrong.append(f"shown to its person, and not stored: {role} …{text[-80:]!r}")
    for role, text in Counter(stored) - Counter(shown):
        wrong.append(f"stored, and not shown to its person: {role} …{text[-80:]!r}")
    if not wrong and shown != stored:
        wrong.append("stored in another order")
    return wrong


def unexcused(talk, faults):
    """Replies that ended otherwise than they may. One whose node was killed may end with what there was of it. One that was about to
    begin when the database was lost may fail, and is answered again."""
    for said in talk.turns:
        if said.outcome is None:
            continue
        met = {kind for kind, begun, ended in faults if said.begun <= ended and begun <= said.ended}
        if said.outcome != "completed" and not (said.outcome == "incomplete" and "kill -9" in met):
            yield f"{said.wire}: a reply is {said.outcome}, and its node was not killed"
        if said.failures > 1 and "failover" not in met:
            yield f"{said.wire}: a reply failed, and the database was not lost"


def behind(person, rows):
    """How a person's list differs from what is stored, {id: (title, revision)}: the newest states, and all titles that it ever showed."""
    newest = set(list(person.talks)[-LISTED:])
    for id in person.talks:
        if id not in rows:
            continue
        title, revision = rows[id]
        at, shown = person.list.get(id, (None, None))
        if id in newest and (shown != title or at not in (0, revision)):
            yield f"{id}: the list has {shown!r} at {at}, stored {title!r} at {revision}"
        if person.titles.get(id, []) != [title]:
            yield f"{id}: the list showed the titles {person.titles.get(id, [])}, stored {title!r}"
