"""Plays one conversation: each round is asked for on one wire, read on all others while it is written, and compared with what is
stored."""

import asyncio
import json
import uuid

import folds
import scripts
import stored
import upload
from model import Script, token_of
from readers import WIRES, Reader, Refused, TitleReader, key_of

# For one round: longer than anything in it takes, shorter than a person waits for a run that hangs.
DEADLINE_S = 60
SEND = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { replyId } }"
AGAIN = "mutation ($input: RegenerateReplyInput!) { regenerateReply(input: $input) { replyId } }"
EDIT = "mutation ($input: EditMessageInput!) { editMessage(input: $input) { replyId } }"
STOP = "mutation ($id: ID!) { stopReply(input: { replyId: $id }) { stopped } }"


class Turn:
    """One round as its wires name it. `before` is the turn whose message is answered again, or edited."""

    def __init__(self, conversation, round, place, before):
        self.conversation, self.round, self.before = conversation, round, before
        self.client_id = before.client_id if before else f"m-{place}"
        self.run_id = f"run-{place}"
        self.key = key_of(round.key, conversation, self.run_id if round.key == "agui" else self.client_id)
        self.reply = self.message = None

    def legacy_body(self):
        body = {"message": self.round.text, "conversation_id": self.conversation, "agent_type": self.round.agent}
        return body, self.key

    def ui_body(self):
        message = {"id": self.client_id, "role": "user", "parts": [{"type": "text", "text": self.round.text}]}
        old = {"id": "old", "role": "user", "parts": [{"type": "text", "text": "not read"}]}
        body = {"id": self.conversation, "messages": [old, message], "trigger": "submit-message", "agent": self.round.agent}
        if self.round.kind == "again":
            body |= {"trigger": "regenerate-message", "messageId": self.before.reply}
        elif self.round.kind == "edit":
            body |= {"messageId": self.before.message}
        return body

    def agui_body(self):
        message = {"id": self.client_id, "role": "user", "content": self.round.text}
        return {"threadId": self.conversation, "runId": self.run_id, "messages": [message], "state": None, "tools": [], "context": [],
                "forwardedProps": {"agent": self.round.agent}}


class Play:
    """One conversation that is played. `asked` answers who asks, `read` those who read: two nodes, or one."""

    def __init__(self, plan, asked, read, model, database, count, samples):
        self.plan, self.asked, self.read, self.model, self.database = plan, asked, read, model, database
        self.count, self.samples = count, samples
        self.id, self.wrong, self.turns, self.announced, self.titles, self.tasks = str(uuid.uuid4()), [], [], [], [], []

    async def play(self):
        """What is wrong, as text."""
        held = asyncio.Event()
        if not self.plan.title_is_late:
            held.set()
        self.model.titles[self.plan.token] = (self.plan.title, held)
        try:
            async with asyncio.timeout(DEADLINE_S * len(self.plan.rounds)):
                for place, round in enumerate(self.plan.rounds):
                    await self.round(place, round)
                    held.set()
                await self.end()
        except TimeoutError:
            self.wrong.append("it does not come to its end")
        except (folds.Broken, Refused) as broken:
            self.wrong.append(f"round {len(self.turns)}: {broken}")
        finally:
            held.set()
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
        return self.wrong

    async def round(self, place, round):
        before = self.turns[-1] if round.kind in ("again", "edit") else None
        if round.kind == "again":
            round.text = before.round.text
        turn = Turn(self.id, round, place, before)
        script = self.model.scripts[token_of(round.text)] = Script(round.steps, round.end, round.usage)
        gates = {"middle": asyncio.Event(), "end": asyncio.Event()}
        self.count[f"asked {round.kind} {round.starter}"] += 1
        sender = await self.ask(turn, script, gates)
        await self.find(turn, sender)
        self.turns.append(turn)
        await script.reached["begin"].wait()
        if not self.titles:
            self.titles = [TitleReader(kind, self.read, self.id) for kind in ("events", "text", "graphql")]
            self.tasks += [reader.task for reader in self.titles]
        names = scripts.readers_of(round.kind, round.starter, round.key)
        live = [self.reader(name, turn, gates) for name in names if name not in round.late]
        await asyncio.gather(*(reader.joined.wait() for reader in live))
        script.open("begin")
        await script.reached["middle"].wait()
        gates["middle"].set()
        script.open("middle")
        await script.reached["end"].wait()
        if round.end == "stopped" and round.kind != "record":
            await self.stop(turn)
        script.open("end")
        while (reply := await stored.reply(self.database, turn.reply)) is None:
            await asyncio.sleep(0.02)
        gates["end"].set()
        late = [self.reader(name, turn, gates) for name in names if name in round.late]
        if isinstance(sender, Reader):
            live.append(sender)
        for reader in [*live, *late]:
            await reader.task
        self.compare(turn, reply, live, late)

    def reader(self, name, turn, gates, role=None):
        client = self.asked if role == "sender" else self.read
        fold, opens = WIRES[name](client, turn, role == "sender")
        # A whole answer cannot be cut.
        cut = turn.round.cuts.get(role or name) if name != "chat" else None
        reader = Reader(name, fold, opens, cut, gates).start()
        if name == "chat":
            reader.joined.set()
        self.tasks.append(reader.task)
        return reader

    async def ask(self, turn, script, gates):
        """Asks for the reply on its wire."""
        round = turn.round
        if round.kind == "record":
            self.tasks.append(asyncio.create_task(upload.record(self.asked, turn, script)))
            return self.tasks[-1]
        if round.starter != "graphql":
            return self.reader(round.starter, turn, gates, "sender")
        if round.kind == "send":
            given = {"conversationId": self.id, "text": round.text, "idempotencyKey": turn.key, "agent": round.agent}
            await self.asked.graphql(SEND, input=given)
        elif round.kind == "again":
            await self.asked.graphql(AGAIN, input={"messageId": turn.before.reply, "idempotencyKey": str(uuid.uuid4())})
        else:
            await self.asked.graphql(EDIT, input={"messageId": turn.before.message, "text": round.text})
        return None

    async def find(self, turn, sender):
        """Our ids of a turn, which not every wire says."""
        known = {turn.reply for turn in self.turns}
        while True:
            newest = await stored.newest_turn(self.database, self.id)
            if newest and newest[0] not in known:
                turn.reply, turn.message = newest
                return
            task = sender.task if isinstance(sender, Reader) else sender
            if task and task.done():
                await task
                raise folds.Broken("the request stored no turn")
            await asyncio.sleep(0.02)

    async def stop(self, turn):
        if turn.round.starter in ("ui", "chat"):
            async with self.asked.post(f"/api/v1/ui/chat/{self.id}/stop", None) as response:
                is_stopped = (await response.json())["stopped"]
        else:
            is_stopped = (await self.asked.graphql(STOP, id=turn.reply))["stopReply"]["stopped"]
        folds.require(is_stopped, "nothing was stopped")

    def compare(self, turn, reply, live, late):
        round, wrong = turn.round, []
        self.count["turns"] += 1
        self.count[f"ended {reply.outcome}"] += 1
        # Reasoning that is not stored: who read from the beginning to the end without a cut has all of it.
        whole = [reader for reader in live if reader.connections == 1 and not reader.is_absent and reader.fold.seen.reasoning is not None]
        reasonings = {reader.fold.seen.reasoning for reader in whole}
        if len(reasonings) > 1:
            wrong.append(f"live readers had different reasoning: { {reader.name: reader.fold.seen.reasoning for reader in whole} }")
        reasoning = next(iter(reasonings), "")
        written = scripts.joined(values[0] for kind, *values in round.steps if kind == "reasoning")
        is_whole = reply.outcome == "completed" and whole
        if not written.startswith(reasoning) or is_whole and reasoning != written:
            wrong.append(f"reasoning {reasoning!r:.200}, written {written!r:.200}")
        text = scripts.joined(values[0] for kind, *values in round.steps if kind == "text")
        if not text.startswith(reply.text.removesuffix("\ufffd")) or reply.outcome == "completed" and reply.text != text:
            wrong.append(f"stored {reply.text!r:.300}, written {text!r:.300}")
        if round.kind != "record" and reply.outcome == "completed":
            places, wanted = stored.places(reply), scripts.places(round.steps)
            wrong += [f"the calls stand at {places}, written at {wanted}"] * (places != wanted)
        for reader in [*live, *late]:
            self.count[f"read {reader.name}"] += 1
            self.count["events"] += reader.events
            self.count["came back"] += reader.connections - 1
            self.count["refused for a while"] += reader.refusals
            if reader.is_absent:
                continue
            seen = reader.fold.seen
            if reader not in whole and not reply.reasoning:
                seen.reasoning = None
            told = f"{reader.name} ({reader.connections} connections{', late' if reader in late else ''})"
            wrong += stored.differences(told, seen, reply, reasoning)
            self.announced += [(reader.name, title) for title in seen.titles]
            if reader.name in ("ui", "agui") and reader.connections == 1 and len(self.samples) < 400:
                tools = [tool[1] for tool in reply.tools]
                self.samples.append({"wire": reader.name, "body": reader.raw.decode(), "text": reply.text, "outcome": reply.outcome, "tools": tools})
        self.wrong += [f"round {turn.run_id} ({round.kind} by {round.starter}): {what}" for what in wrong]

    async def end(self):
        """Titles, and the routes that read what is stored."""
        while (row := await stored.title(self.database, self.id))[1] == "pending":
            await asyncio.sleep(0.02)
        title, status = row
        self.count[f"title {status}"] += 1
        self.wrong += [f"{name}: the title {shown!r}, stored {title!r}" for name, shown in self.announced if shown != title]
        for reader in self.titles:
            self.wrong += await reader.differences(title)
        await self.read_again()

    async def read_again(self):
        path = f"/api/v1/conversations/{self.id}"
        async with self.read.get(path) as response:
            history = await response.json()
        async with self.read.get(f"{path}/events") as response:
            items = (await response.json())["items"]
        ledger, cursor = {}, ""
        while cursor is not None:
            async with self.read.get(f"{path}/ledger/events?limit=50&cursor={cursor}") as response:
                page = await response.json()
            for event in page["items"]:
                ledger.setdefault(event["stream_id"], folds.Public()).add(event)
            cursor = page["next_cursor"]
        title, _ = await stored.title(self.database, self.id)
        if history["display_name"] != title:
            self.wrong.append(f"history: the title {history['display_name']!r}, stored {title!r}")
        # A reply that was written again is the newer one's version.
        newest = {turn.message: turn for turn in self.turns}
        for turn in self.turns:
            reply, is_newest = await stored.reply(self.database, turn.reply), newest[turn.message] is turn
            shown = [one["content"] for one in history["messages"] if one["message_id"] == turn.reply]
            if shown != [reply.text] * (is_newest and bool(reply.text)):
                self.wrong.append(f"history: {shown!r:.300}, stored {reply.text!r:.300}")
            replay = ledger.get(f"stream_{uuid.UUID(turn.reply).hex}")
            if (replay is not None) != is_newest:
                self.wrong.append(f"ledger: {turn.run_id} is {'not ' * is_newest}there")
            elif replay:
                self.wrong += stored.differences("ledger", replay.seen, reply, reply.reasoning)
        calls = [item["tool_name"] for item in items if item["run_item_type"] == "tool_call"]
        replies = [await stored.reply(self.database, turn.reply) for turn in newest.values()]
        # This route leaves out replies without text, and their calls.
        wanted = [tool[1] for reply in replies if reply.text for tool in reply.tools]
        if calls != wanted:
            self.wrong.append(f"events: the calls {calls}, stored {wanted}")
        first = self.turns[0]
        if first.round.kind == "send" and all(turn.round.kind != "edit" for turn in self.turns):
            # The first request once more is the first turn, whatever came behind it.
            again = self.reader("public", first, None, "again")
            await again.task
            reply = await stored.reply(self.database, first.reply)
            if not reply.reasoning:
                again.fold.seen.reasoning = None
            self.wrong += stored.differences("the first request again", again.fold.seen, reply, reply.reasoning)
