"""Clients of every wire, by their bytes: no library of a wire is between the server and the checker."""

import asyncio
import hashlib
import json
import uuid

import aiohttp

import folds

REPLY = """subscription ($id: ID!, $after: String) { reply(messageId: $id, after: $after, parts: true) { __typename
  ... on ReplySoFar { text recovered cursor parts { index part { ...P } } } ... on ReplyDelta { text cursor }
  ... on ReplyPart { index cursor part { ...P } } ... on ReplyReasoning { index text cursor }
  ... on ReplyEnded { text outcome reason error { code } usage { promptTokens completionTokens } } } }
fragment P on MessagePart { __typename ... on TextPart { text } ... on ReasoningPart { text } ... on DataPart { name json }
  ... on ToolPart { callId name arguments result state } }"""
TITLES = "subscription ($id: ID!) { conversationUpdated(id: $id) { title titleStatus revision messageCount } }"


# How often a request is made again that a busy server refuses: as clients do that read `Retry-After`.
MOST_RETRIES = 20


class Refused(Exception):
    """An answer before a stream that is not the expected one."""


class Busy(Refused):
    """The server, or its machine, has too much to do."""


async def frames(response, raw=None):
    """The frames of a stream as (data, id), with the rules that hold for each of them. `raw` takes the bytes."""
    if response.status != 200 or response.content_type != "text/event-stream":
        raise refused(response.status, await response.text())
    buffer = b""
    async for chunk in response.content.iter_any():
        if raw is not None:
            raw += chunk
        buffer += chunk
        *whole, buffer = buffer.split(b"\n\n")
        for frame in whole:
            text = frame.decode()
            if text.startswith(":"):
                continue
            folds.require(not set(text) & set("\r\u0085\u2028\u2029"), f"an end of line within a frame: {text!r}")
            data, *rest = [line for line in text.split("\n") if not line.startswith(("event: ", "retry: "))]
            folds.require(data.startswith("data: ") and len(rest) <= 1, f"a frame of other lines: {text!r}")
            folds.require(not rest or rest[0].startswith("id: "), f"a frame of other lines: {text!r}")
            yield data[6:], rest[0][4:] if rest else None
    folds.require(not buffer.strip(), f"the end within a frame: {buffer!r}")


def refused(status, text):
    """The error for an answer; a 503 is one to ask again."""
    return (Busy if status == 503 else Refused)(f"{status} {text}")


def key_of(kind, conversation, id):
    """The idempotency key of a front end's own id, by which every other wire names the same turn."""
    return f"{kind}-{hashlib.sha256(uuid.UUID(conversation).bytes + id.encode()).hexdigest()}"


class Client:
    """Requests to one node. `url` may be of a proxy."""

    def __init__(self, session, url):
        self.session, self.url = session, url

    def post(self, path, body, **headers):
        return self.session.post(self.url + path, json=body, headers=headers)

    def get(self, path, **headers):
        return self.session.get(self.url + path, headers=headers)

    async def graphql(self, query, **variables):
        for _ in range(MOST_RETRIES):
            async with self.post("/graphql", {"query": query, "variables": variables}) as response:
                answer = await response.json()
            if "errors" not in answer:
                return answer["data"]
            if any(error["extensions"]["code"] != "DATABASE_UNAVAILABLE" for error in answer["errors"]):
                break
            await asyncio.sleep(1)
        raise Refused(json.dumps(answer["errors"]))

    async def subscribe_ws(self, query, variables, raw=None, then=None):
        """The events of a subscription over a WebSocket of its own. The answer to the query `then`, which is executed once the
        subscription has begun, is among them."""
        async with self.session.ws_connect(self.url + "/graphql", protocols=["graphql-transport-ws"], max_msg_size=0) as socket:
            await socket.send_json({"type": "connection_init"})
            subscribe = {"id": "1", "type": "subscribe", "payload": {"query": query, "variables": variables}}
            async for message in socket:
                if message.type != aiohttp.WSMsgType.TEXT:
                    break
                if raw is not None:
                    raw += message.data.encode() + b"\n"
                event = message.json()
                if event["type"] == "connection_ack":
                    await socket.send_json(subscribe)
                    if then:
                        await socket.send_json({"id": "2", "type": "subscribe", "payload": {"query": then}})
                elif event["type"] == "ping":
                    await socket.send_json({"type": "pong"})
                elif event["type"] == "next":
                    yield result(event["payload"])
                elif event["type"] == "error":
                    raise Refused(str(event["payload"]))
                elif event["type"] == "complete" and event["id"] == "1":
                    return

    async def subscribe_sse(self, query, variables, raw=None):
        """The same over server-sent events, in distinct connections mode."""
        body = {"query": query, "variables": variables}
        async with self.post("/graphql", body, accept="text/event-stream") as response:
            async for data, _ in frames(response, raw):
                if data:
                    yield result(json.loads(data))


def result(payload):
    if payload.get("errors"):
        raise Refused(str(payload["errors"]))
    return next(iter(payload["data"].values()))


class Reader:
    """Reads one reply on one wire; is cut and comes back as its plan says. `opens` makes an iterator of events for a
    connection, given the number of the connection."""

    def __init__(self, name, fold, opens, cut=None, gates=None):
        self.name, self.fold, self.opens, self.cut, self.gates = name, fold, opens, cut, gates
        self.joined, self.connections, self.events, self.is_absent = asyncio.Event(), 0, 0, False
        self.id, self.raw, self.refusals = None, bytearray(), 0

    def start(self):
        self.task = asyncio.create_task(self.run())
        return self

    async def run(self):
        try:
            while not await self.connect():
                if self.is_refused:
                    await asyncio.sleep(1)
                    continue
                if self.cut.back != "now":
                    await self.gates[self.cut.back].wait()
                self.cut = None
        except (folds.Broken, KeyError, TypeError, aiohttp.ClientError) as broken:
            raise folds.Broken(f"{self.name}: {broken!r}") from None
        except Refused as refused:
            raise folds.Broken(f"{self.name}: refused: {refused}") from None
        finally:
            self.joined.set()

    async def connect(self):
        """Reads a connection; whether it came to the end, behind which nothing may come."""
        self.connections += 1
        is_over = self.is_refused = False
        self.fold.begin()
        self.raw.clear()
        events = self.opens(self)
        try:
            async for event in events:
                if event is None:  # there is nothing to read any more
                    self.is_absent = True
                    return True
                is_over = self.fold.add(event)
                self.events += 1
                self.joined.set()
                if not is_over and self.cut and self.events >= self.cut.events:
                    return False
        except Busy:
            self.refusals += 1
            if self.refusals > MOST_RETRIES:
                raise
            # As if it had not been asked.
            self.connections, self.is_refused = self.connections - 1, True
            return False
        finally:
            await events.aclose()
        folds.require(is_over, "the stream ended without its last event")
        return True


def legacy(client, turn, is_sender):
    """`POST …/chat/stream`, and `…/reply` for all others and after a cut."""
    async def opens(reader):
        if is_sender and reader.connections == 1:
            body, key = turn.legacy_body()
            request = client.post("/api/v1/chat/stream?ids=true&contract=legacy", body, **{"idempotency-key": key})
        else:
            path = f"/api/v1/conversations/{turn.conversation}/reply"
            request = client.get(path, **({"last-event-id": reader.id} if reader.id else {}))
        async with request as response:
            if response.status == 204:
                yield None
                return
            async for data, id in frames(response, reader.raw):
                reader.id = id
                yield json.loads(data)
    return folds.Legacy(), opens


def public(client, turn, is_sender):
    async def opens(reader):
        body, key = turn.legacy_body()
        path = "/api/v1/chat/stream?contract=public_sse_v1"
        async with client.post(path, body, **{"idempotency-key": key}) as response:
            async for data, id in frames(response, reader.raw):
                folds.require(id is None, "an id")
                yield json.loads(data)
    return folds.Public(), opens


def whole(client, turn, is_sender):
    async def opens(reader):
        body, key = turn.legacy_body()
        async with client.post("/api/v1/chat", body, **{"idempotency-key": key}) as response:
            reader.raw += await response.read()
            answer = await response.json()
            if response.status == 503 and answer["code"] == "DATABASE_UNAVAILABLE":
                raise refused(response.status, answer)
            yield response.status, answer
    return folds.Whole(), opens


def graphql(over):
    def wire(client, turn, is_sender):
        async def opens(reader):
            subscribe = getattr(client, f"subscribe_{over}")
            variables = {"id": turn.reply, "after": reader.fold.cursor}
            events = subscribe(REPLY, variables, reader.raw)
            async for event in events:
                yield event
        return folds.GraphQL(), opens
    return wire


def ui(client, turn, is_sender):
    """`POST …/ui/chat`, and the route to resume for all others and after a cut, which has the whole reply."""
    async def opens(reader):
        if is_sender and reader.connections == 1:
            request = client.post("/api/v1/ui/chat", turn.ui_body())
        else:
            request = client.get(f"/api/v1/ui/chat/{turn.conversation}/stream")
        async with request as response:
            if response.status == 204:
                yield None
                return
            async for data, _ in frames(response, reader.raw):
                yield data if data == "[DONE]" else json.loads(data)
    return folds.Ui(), opens


def ui_retry(client, turn, is_sender):
    async def opens(reader):
        async with client.post("/api/v1/ui/chat", turn.ui_body()) as response:
            async for data, _ in frames(response, reader.raw):
                yield data if data == "[DONE]" else json.loads(data)
    return folds.Ui(), opens


def agui(client, turn, is_sender):
    """A run; the same run again for others, and after a cut."""
    async def opens(reader):
        async with client.post("/api/v1/agui", turn.agui_body()) as response:
            async for data, _ in frames(response, reader.raw):
                yield json.loads(data)
    return folds.AgUi(), opens


WIRES = {"legacy": legacy, "public": public, "chat": whole, "graphql-ws": graphql("ws"), "graphql-sse": graphql("sse"),
         "ui": ui, "ui-retry": ui_retry, "agui": agui}


class TitleReader:
    """Reads the titles of a conversation: as `events`, as `text`, or by GraphQL."""

    def __init__(self, kind, client, conversation):
        self.kind, self.client, self.conversation, self.titles, self.is_over = kind, client, conversation, [], False
        self.task = asyncio.create_task(getattr(self, kind)())

    async def events(self):
        async with self.client.get(f"/api/v1/conversations/{self.conversation}/stream?contract=legacy") as response:
            async for data, _ in frames(response):
                self.titles.append(json.loads(data)["display_name"])

    async def text(self):
        async with self.client.get(f"/api/v1/conversations/{self.conversation}/stream?contract=text") as response:
            lines = [data async for data, _ in frames(response)]
        folds.require(lines[-1] == "[DONE]" and len(lines) <= 2, f"the title as text: {lines}")
        self.titles, self.is_over = lines[:-1], True

    async def graphql(self):
        async for state in self.client.subscribe_ws(TITLES, {"id": self.conversation}):
            if state["titleStatus"] == "READY":
                self.titles.append(state["title"])

    async def differences(self, title, deadline=15):
        """Waits for the stored title. What is wrong, as text."""
        wanted = [title] if title is not None else []
        for _ in range(deadline * 50):
            if self.task.done() and self.task.exception():
                return [f"title as {self.kind}: {self.task.exception()}"]
            if self.titles[-1:] == wanted and (self.kind != "text" or self.is_over):
                break
            await asyncio.sleep(0.02)
        return [] if self.titles[-1:] == wanted else [f"title as {self.kind}: {self.titles}, stored {title!r}"]
