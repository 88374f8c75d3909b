"""What is stored, read from the database itself, and what each wire has to show of it."""

import asyncio
import json
import sqlite3
import uuid

from folds import merged, value
from scripts import visible

REPLY = """SELECT m.content, m.status, m.outcome, {failure}, p.parts, c.prompt_tokens, c.completion_tokens,
    (SELECT t.reply_reason FROM agent_turns t WHERE t.conversation_id = m.conversation_id AND t.reply_id = m.id) AS reason
    FROM {table} m LEFT JOIN agent_reply_parts p ON p.reply_id = m.id LEFT JOIN agent_reply_calls c ON c.id = m.id WHERE m.id = {id}"""
TABLES = (("agent_messages", "NULL"), ("agent_message_versions", "m.failure"))
TURN = """SELECT reply_id, COALESCE(in_reply_to, message_id) AS message_id FROM agent_turns WHERE conversation_id = {id}
    ORDER BY created_at DESC LIMIT 1"""
TITLE = "SELECT display_name, title_status FROM agent_conversations WHERE id = {id}"


class Sqlite:
    def __init__(self, path):
        self.connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)

    async def row(self, query, id, **names):
        return self.connection.execute(query.format(id="?", **names), (uuid.UUID(id).bytes,)).fetchone()


class Postgres:
    def __init__(self, psql, url):
        self.psql, self.url = psql, url

    async def row(self, query, id, **names):
        query = query.format(id=f"'{uuid.UUID(id)}'", **names)
        # In hexadecimal digits, because psql leaves out U+10FFFF.
        query = f"SELECT encode(convert_to(json_agg(r)::text, 'UTF8'), 'hex') FROM ({query}) r"
        command = [self.psql, self.url, "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", query]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError("psql failed")
        rows = json.loads(bytes.fromhex(out.decode())) if out.strip() else None
        return list(rows[0].values()) if rows else None


class Reply:
    """A stored reply, as wires show it."""

    def __init__(self, row):
        self.text, status, self.outcome, self.code, parts, prompt, completion, self.reason = row
        self.outcome = self.outcome or {"complete": "completed"}.get(status, status)
        self.usage = None if prompt is None else {"prompt_tokens": prompt, "completion_tokens": completion}
        self.parts, at, text = [], 0, self.text.encode()
        for part in json.loads(parts or "[]"):
            self.parts.append(("text", text[at:part["at"]].decode()))
            at = part["at"]
            self.parts.append({
                "reasoning": lambda: ("reasoning", part["text"]),
                "data": lambda: ("data", part["name"], value(part["json"])),
                "tool": lambda: ("tool", part["name"], value(part["arguments"]), value(part.get("result")),
                                 "called" if part["state"] == "called" else "ended"),
            }[part["type"]]())
        self.parts = merged([*self.parts, ("text", text[at:].decode())])
        self.reasoning = "".join(part[1] for part in self.parts if part[0] == "reasoning")
        self.tools = [part for part in self.parts if part[0] == "tool"]


async def reply(database, id):
    """The reply with this id: a message, or one that does not count."""
    for table, failure in TABLES:
        if row := await database.row(REPLY, id, table=table, failure=failure):
            return Reply(row)
    return None


def places(reply):
    """Where the calls of a stored reply stand, as `scripts.places` has them."""
    found, before = [], 0
    for part in reply.parts:
        if part[0] == "text":
            before += visible(part[1])
        elif part[0] == "tool" and isinstance(part[2], dict):
            found.append((part[1], before))
    return sorted(found)


async def newest_turn(database, conversation):
    """The ids of the newest reply and of the message that it answers."""
    row = await database.row(TURN, conversation)
    return row and tuple(str(uuid.UUID(bytes=id) if isinstance(id, bytes) else id) for id in row)


async def title(database, id):
    return await database.row(TITLE, id)


def differences(name, seen, reply, reasoning):
    """What a client has that is not stored, or lacks, as text. `reasoning` is what live readers have to have had."""
    def differ(what, here, there):
        if here is not None and here != there:
            yield f"{name}: {what} {here!r:.300}, stored {there!r:.300}"

    yield from differ("the text", seen.text, reply.text)
    yield from differ("the outcome", seen.outcome, reply.outcome)
    if seen.outcome == "incomplete":
        # One wire tells a filtered reply from others, and no more.
        there = (reply.reason == "content_filter") if isinstance(seen.reason, bool) else reply.reason or ""
        yield from differ("the reason", seen.reason, there)
    if seen.outcome == "failed" and reply.code:
        yield from differ("the code", seen.code, reply.code)
    yield from differ("the usage", seen.usage and {key: seen.usage.get(key) for key in ("prompt_tokens", "completion_tokens")}, reply.usage)
    wanted = reply.reasoning if reply.reasoning or not seen.is_live else reasoning
    yield from differ("the reasoning", seen.reasoning, wanted)
    yield from differ("the tools", seen.tools and [tool_of(name, tool) for tool in seen.tools], [tool_of(name, tool) for tool in reply.tools])
    if seen.tools == [] and reply.tools:
        yield f"{name}: no tool call, stored {reply.tools}"
    if seen.parts is not None:
        kinds = ("text", "tool", "data") if not reply.reasoning else ("text", "tool", "data", "reasoning")
        here = merged([tool_of(name, part) for part in seen.parts if part[0] in kinds])
        there = merged([tool_of(name, part) for part in reply.parts if part[0] in kinds])
        yield from differ("the order", here, there)
    data = [part for part in reply.parts if part[0] == "data"]
    yield from differ("the data", getattr(seen, "data", None), data)


def tool_of(name, part):
    """As every wire may show it: the AI SDK wants an object where a model wrote no arguments."""
    if part[0] != "tool":
        return tuple(part)
    kind, tool, arguments, result, state = part
    # The text of a failure may be JSON itself.
    return kind, tool, {} if arguments in ("", {}) else arguments, value(result) if isinstance(result, str) else result, state
