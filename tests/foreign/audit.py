"""What must hold after anything: a pure function over what the agent's journal has, what the server shows, and what its database
saw. `test_audit.py` shows it a history of each kind that must not be."""

# Each change of a conversation's name, by any client.
TRIGGER = """
CREATE TABLE names (at bigserial, id text, old text, new text);
CREATE FUNCTION note_name() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO names (id, old, new) VALUES (NEW.id::text, CASE TG_OP WHEN 'UPDATE' THEN OLD.display_name END, NEW.display_name);
    RETURN NEW; END $$;
CREATE TRIGGER note_name AFTER INSERT OR UPDATE ON agent_conversations FOR EACH ROW EXECUTE FUNCTION note_name();
"""
NAMES = "SELECT id || E'\\t' || coalesce(old, '') || E'\\t' || coalesce(new, '') FROM names ORDER BY at"


def read_names(lines):
    """The changes of names, from what `NAMES` selects."""
    return [tuple(part or None for part in line.split("\t")) for line in lines.splitlines()]


def audit(journal, conversations, names):
    """All that is wrong, as text. `journal` has the agent's events in order; `conversations` each by its external id, with its
    `expected` text; `names` each change of a conversation's name, as (id, old, new)."""
    wrong = []
    acknowledged, whole, begun = {}, set(), set()
    for event in journal:
        conversation = event["conversation"]
        begun.add(conversation)
        acknowledged[conversation] = max(acknowledged.get(conversation, 0), event.get("acknowledged", 0))
        if event.get("whole") or event.get("outcome") == "completed":
            whole.add(conversation)
    for name in sorted(begun):
        found = conversations.get(name)
        if found is None:
            if name in whole or acknowledged[name]:
                wrong.append(f"{name}: acknowledged, and not there")
            continue
        wrong += [f"{name}: {what}" for what in replies(found, acknowledged[name], name in whole)]
        wrong += [f"{name}: {what}" for what in titles(found, names)]
    wrong += [f"{name}: nobody wrote it" for name in sorted(set(conversations) - begun)]
    return wrong


def replies(found, acknowledged, whole):
    messages = found["messages"]
    roles = [message["role"] for message in messages]
    # The message is stored before its reply is begun; a kill may come between.
    if roles not in (["USER"], ["USER", "ASSISTANT"]) or (roles == ["USER"] and (whole or acknowledged)):
        yield f"its messages are {roles}"
        return
    if roles == ["USER"]:
        return
    reply, expected = messages[1], found["expected"]
    if reply["outcome"] not in ("COMPLETED", "INCOMPLETE"):
        yield f"its reply is {reply['outcome']}"
    if not expected.startswith(reply["content"]):
        yield "its reply is not the beginning of what was written: doubled, or with a gap"
    elif reply["outcome"] == "COMPLETED" and reply["content"] != expected:
        yield "its reply is COMPLETED, and not whole"
    if whole and reply["outcome"] != "COMPLETED":
        yield f"its reply was acknowledged as whole, and is {reply['outcome']}"
    if len(reply["content"].encode()) < acknowledged:
        yield f"{acknowledged} bytes were acknowledged, {len(reply['content'].encode())} are there"


def titles(found, names):
    given = [new for id, old, new in names if id == found["id"] and new != old]
    if found["titleStatus"] != "READY" or found["displayName"] is None:
        yield f"its title is {found['titleStatus']}"
    if given != [found["displayName"]]:
        yield f"its titles were {given}"
