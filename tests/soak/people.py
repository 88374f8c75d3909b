"""People with two tabs each: a list that follows by subscription or by the feed, and a chat that sends a message at a steady rate and
reads its reply on each wire in turn. After a disconnect a tab goes on at any node, as the docs tell clients to do."""

import asyncio
import contextlib
import json
import random
import time
import uuid
from types import SimpleNamespace

import aiohttp

import folds
from readers import WIRES, Client, Refused, frames
from turn import AGAIN, SEND, Turn

READ_ON = ("legacy", "graphql-ws", "ui", "graphql-sse", "agui")
# docs/errors.md: what is to be tried again. The routes of front ends answer with a status and a text.
PASSING = ("DATABASE_UNAVAILABLE", "SHUTTING_DOWN", "TIMEOUT", "OVERLOADED", "RATE_LIMITED", "REQUEST_TIMEOUT", "LAGGED", "REPLY_RUNNING",
           "503 ", "429 ")
DISCONNECTS = (aiohttp.ClientError, ConnectionError, TimeoutError)
# For one turn: longer than an outage and the lease of a lost node take together.
DEADLINE_S = 120
WATCH = "subscription { conversationUpdated { id displayName revision } }"
NEWEST = "query ($id: ID!) { conversation(id: $id) { messages(last: 1) { nodes { id } } } }"
LIST = "{ conversations(first: 100) { nodes { id displayName revision } } }"


def is_passing(refused):
    return any(code in str(refused) for code in PASSING)


def has_failed(seen):
    return seen.outcome == "failed" and seen.code in PASSING


class Said:
    """A turn as its person has it."""

    def __init__(self, text, wire):
        self.text, self.wire, self.reply, self.outcome, self.is_acknowledged = text, wire, "", None, False
        self.begun, self.first, self.ended, self.failures = time.monotonic(), None, None, 0


class Talk:
    """A conversation as its person has it."""

    def __init__(self):
        self.id, self.turns, self.begun, self.titled = str(uuid.uuid4()), [], None, None


class Reading:
    """One reply on one wire, as `readers.WIRES` wants to know it."""

    def __init__(self, wire, client, turn):
        self.wire, self.client, self.turn = wire, client, turn
        self.again()

    def again(self):
        """From its beginning: the request is repeated, and its key makes it the same turn."""
        self.fold, self.opens = WIRES[self.wire](self.client, self.turn, True)
        self.connections, self.id, self.raw = 0, None, bytearray()

    async def events(self):
        self.connections += 1
        self.fold.begin()
        if self.wire.startswith("graphql") and not self.turn.reply:
            given = {"conversationId": self.turn.conversation, "text": self.turn.round.text, "idempotencyKey": self.turn.key}
            self.turn.reply = (await self.client.graphql(SEND, input=given))["sendMessage"]["replyId"]
        async with contextlib.aclosing(self.opens(self)) as events:
            async for event in events:
                self.raw.clear()
                if event is None:
                    # There is nothing to resume; what there is follows the repeated request.
                    self.again()
                    return
                yield self.fold.add(event)

    async def regenerate(self, number):
        """A reply that failed stays so, and is answered again; the other one is followed in its place."""
        newest = (await self.client.graphql(NEWEST, id=self.turn.conversation))["conversation"]["messages"]["nodes"][0]
        answer = await self.client.graphql(AGAIN, input={"messageId": newest["id"], "idempotencyKey": f"again-{number}-{self.turn.key}"})
        self.wire, self.turn.reply = "graphql-sse", answer["regenerateReply"]["replyId"]
        self.again()

    def has_text(self):
        seen = self.fold.seen
        return bool(seen.text) or any(part[1] for part in seen.parts or ())


class Person:
    def __init__(self, number, token, nodes, crowd):
        self.number, self.nodes, self.crowd = number, nodes, crowd
        self.headers = {"authorization": f"Bearer {token}"}
        self.talks, self.turns, self.titles, self.list = {}, 0, {}, {}

    def client(self):
        return Client(self.session, random.choice(self.nodes))

    async def live(self):
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=60)
        async with aiohttp.ClientSession(headers=self.headers, timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as self.session:
            keep = asyncio.create_task(self.keep_list())
            try:
                await asyncio.sleep(random.uniform(0, self.crowd.pause))
                while not self.crowd.is_over:
                    await self.talk()
                await self.crowd.wait_until_audited()
            finally:
                keep.cancel()
                await asyncio.gather(keep, return_exceptions=True)

    def wrong(self, what):
        self.crowd.complain(f"person {self.number}: {what}")

    # The chat.

    async def talk(self):
        talk = Talk()
        self.talks[talk.id] = talk
        for place in range(self.crowd.turns):
            if self.crowd.is_over and place:
                return
            next_at = time.monotonic() + self.crowd.pause
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await self.turn(talk, place)
            except TimeoutError:
                self.wrong(f"{talk.id}: turn {place} did not come to its end in {DEADLINE_S} s")
                return
            except (Refused, folds.Broken) as broken:
                self.wrong(f"{talk.id}: turn {place}: {broken}")
                return
            await asyncio.sleep(max(next_at - time.monotonic(), 0.2))

    async def turn(self, talk, place):
        wire = READ_ON[(self.number + self.turns) % len(READ_ON)]
        self.turns += 1
        text = f"Tell me of trees and tools, part {self.number}.{self.turns}, in {self.crowd.words} words"
        said = Said(text, wire)
        talk.turns.append(said)
        if talk.begun is None:
            talk.begun = said.begun
        round = SimpleNamespace(text=text, kind="send", key="agui" if wire == "agui" else "ui", agent="triage")
        client = self.client()
        reading = Reading(wire, client, Turn(talk.id, round, place, None))
        pause = 0.1
        while True:
            is_over = False
            try:
                if said.failures > 1 and has_failed(reading.fold.seen):
                    await reading.regenerate(said.failures)
                async with contextlib.aclosing(reading.events()) as events:
                    async for is_over in events:
                        said.is_acknowledged = True
                        if said.first is None and reading.has_text():
                            said.first = time.monotonic()
                        if is_over:
                            break
            except DISCONNECTS:
                pass
            except Refused as refused:
                if not is_passing(refused):
                    raise Refused(f"{wire}: {refused}") from None
            except folds.Broken as broken:
                raise folds.Broken(f"{wire}, connection {reading.connections}: {broken}") from None
            said.is_acknowledged |= reading.turn.reply is not None
            seen = reading.fold.seen
            if is_over and not has_failed(seen):
                break
            if is_over:
                # At first the same request again: it may only have been this stream that failed. Then the reply did.
                said.failures += 1
                self.crowd.count[f"{wire} failed with {seen.code}"] += 1
                if said.failures == 1:
                    reading.again()
            elif not said.is_acknowledged:
                reading.again()
            self.crowd.count[f"{wire} came back"] += 1
            client.url = random.choice(self.nodes)
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(pause * 2, 2)
        said.ended, said.reply, said.outcome = time.monotonic(), seen.text, seen.outcome
        self.crowd.ended(said)

    # The list.

    async def keep_list(self):
        """For ever; like a person it loads the page anew now and then, which also spreads the people over the nodes."""
        follow = self.subscribed if self.number % 2 else self.fed
        while True:
            self.list, self.cursor = {}, None
            try:
                async with asyncio.timeout(random.uniform(0.5, 1.5) * self.crowd.reload):
                    while True:
                        try:
                            await follow()
                        except DISCONNECTS:
                            pass
                        except Refused as refused:
                            if not is_passing(refused):
                                self.wrong(f"the list: {refused}")
                        self.crowd.count["list came back"] += 1
                        await asyncio.sleep(random.uniform(0.1, 0.5))
            except TimeoutError:
                pass

    async def subscribed(self):
        async with contextlib.aclosing(self.client().subscribe_ws(WATCH, {}, then=LIST)) as events:
            async for event in events:
                for state in event.get("nodes", [event]):
                    self.show(state["id"], state["displayName"], state["revision"])

    async def fed(self):
        client = self.client()
        headers = {"last-event-id": self.cursor} if self.cursor else {}
        async with client.get("/api/v1/conversations/changes", **headers) as response:
            async for data, id in frames(response):
                event, is_new = json.loads(data), self.cursor is None
                kind = event["kind"]
                if kind == "error":
                    raise Refused(data)
                if kind == "feed.reset":
                    self.wrong("the feed was reset, and nothing was pruned")
                elif kind != "feed.ready":
                    state = event["conversation"]
                    self.show(state["conversation_id"], state["display_name"], state["revision"])
                elif is_new:
                    async with client.get("/api/v1/conversations?limit=100") as listed:
                        if listed.status != 200:
                            raise Refused(f"{listed.status} {await listed.text()}")
                        for state in (await listed.json())["items"]:
                            self.show(state["conversation_id"], state["display_name"], 0)
                self.cursor = id

    def show(self, id, title, revision):
        if id in self.list and self.list[id][0] > revision:
            return
        self.list[id] = revision, title
        if title is None:
            return
        known = self.titles.setdefault(id, [])
        if title not in known:
            known.append(title)
        if (talk := self.talks.get(id)) and talk.titled is None:
            talk.titled = time.monotonic()
            self.crowd.titled(talk)
