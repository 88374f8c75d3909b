# One reply that is written outside: what the agent gives it, and its upload. The agent's side never waits for the upload's.

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, suppress
from typing import Any

from ._decode import Decoder, Event
from ._tee import AsyncTee, SyncTee

log = logging.getLogger("titlecast")

# What is kept of a reply, to send it again from an offset: the server's own limit of an upload.
MAX_BYTES = 4 * 1024 * 1024
# The server refuses longer lines than 256 KiB, and keeps no part over 64 KiB. A character is at most 12 bytes of JSON.
PIECE_CHARS, MAX_PART_BYTES = 20_000, 200_000
# A blank line in a silence of the agent says that it lives; the server closes a reply after 30 s without one.
HEARTBEAT_S = 1.0


class TitlecastError(Exception):
    """Titlecast refused a request (`status` of HTTP, error `code`, and `detail`, its text), or did not answer (`status` 0)."""

    def __init__(self, text: str, status: int, answer: dict[str, Any]) -> None:
        self.status, self.code, self.detail = status, answer.get("code"), answer.get("message")
        super().__init__(f"{text}: {status or 'no answer'} {self.code}" + (f": {self.detail}" if self.detail else ""))


class Reply(AbstractContextManager["Reply"]):
    """A reply that is being written. Any thread or task may call its methods; those that write do not block and do not raise."""

    def __init__(
        self, client: Any, path: str, headers: dict[str, str], params: dict[str, str],
        message: dict[str, Any] | None, on_stop: Callable[[], object] | None,
    ) -> None:
        #: The id of the reply's message.
        self.id = str(uuid.uuid4())
        #: Set when a user stopped the reply: end the agent's run.
        self.stopped = threading.Event()
        #: How the reply ended on the server; None while it is uploaded, and where the upload failed.
        self.outcome: str | None = None
        #: Why the upload failed.
        self.error: str | None = None
        self._client, self._path, self._headers, self._on_stop = client, path, headers, on_stop or (lambda: None)
        self._message, self._params = message, {**params, "reply_id": self.id}
        # Each event with the offset of the reply's text at which it begins, kept until the end: a cut needs them again.
        self._events, self._tools, self._usage = list[tuple[int, Event]](), dict[str, Event](), dict[str, int]()
        self._bytes = self._length = self._given = 0
        self._end: Event | None = None
        self._model: str | None = None
        # A dropped tee may end the reply while its own thread has the lock.
        self._lock, self._wake, self._awake = threading.RLock(), asyncio.Event(), False
        if client._loop.is_closed():  # the agent goes on all the same
            self._done, self.error = Future[None](), "the client was closed"
            self._done.cancel()
        else:
            self._done = asyncio.run_coroutine_threadsafe(self._upload(), client._loop)

    def text(self, text: str) -> None:
        """More text of the reply."""
        for place in range(0, len(text), PIECE_CHARS):
            self._add({"type": "text", "text": text[place : place + PIECE_CHARS]})

    def part(self, type: str, **fields: Any) -> None:
        """A part other than text: `reasoning` (text), `tool` (id, name, arguments, result, state), `data` (name, data)."""
        self._add({"type": type, **fields})

    def finish(self, outcome: str = "completed") -> None:
        """Ends the reply: `completed`, `incomplete`, `failed` or `stopped`. Only the first call has an effect."""
        with self._lock:
            more = {"usage": self._usage or None, "model": self._model}
            self._end = self._end or {"type": "finish", "outcome": outcome, **more}
        self._rouse()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for the end of the upload, at most `timeout` seconds. Returns whether the server stored the reply's end."""
        wait([self._done], timeout)
        return self.outcome is not None

    def tee(self, stream: Any, ends: bool = False) -> Any:
        """The stream as it is, attributes and all, uploaded as it is read; `ends`: the reply ends with it, and closes it."""
        decoder = Decoder()

        def look(item: Any) -> Any:
            try:
                for event in decoder.feed(item):
                    self.text(event["text"]) if event["type"] == "text" else self._add(event)
            except Exception as error:  # of an item that is not what it seems; the agent gets it all the same
                log.warning("reply %s: an item of the stream cannot be read: %s", self.id, type(error).__name__)
            return item

        def end(has_failed: bool) -> None:
            for name, count in decoder.usage.items():
                self._usage[name] = self._usage.get(name, 0) + count
            decoder.usage, self._model = {}, decoder.model or self._model
            if ends:
                self.finish("failed" if has_failed else decoder.outcome or "incomplete")

        kind, items = (AsyncTee, aiter) if hasattr(stream, "__aiter__") else (SyncTee, iter)
        return kind(stream, items(stream), look, end, ends)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.finish("completed" if kind is None else "failed" if issubclass(kind, Exception) else "incomplete")

    def _add(self, event: Event) -> None:
        if event["type"] == "tool":  # a later state may lack the arguments
            id = event.get("id", "")
            event = self._tools[id] = {**self._tools.get(id, {}), **event}
        is_text = event["type"] == "text"
        size = len(event["text"].encode(errors="replace") if is_text else _dump(event))
        if not is_text and size > MAX_PART_BYTES:
            return log.warning("reply %s: a %s of %d bytes is left out", self.id, event["type"], size)
        with self._lock:
            if self._end or self._done.done() or not size:
                return
            self._bytes += size + 64
            if self._bytes > MAX_BYTES:
                self._end = {"type": "finish", "outcome": "incomplete"}
            else:
                self._events.append((self._length, event))
                self._length += size if is_text else 0
        self._rouse()

    def _rouse(self) -> None:
        if not self._awake:  # one wake-up for all that comes before the upload looks
            self._awake = True
            with suppress(RuntimeError):  # the client is closed
                self._client._loop.call_soon_threadsafe(self._wake.set)

    async def _upload(self) -> None:
        # Uploads until the server has all, the reply is over, or for `patience` seconds nothing went on.
        client, offset = self._client, 0
        try:
            if self._message is not None:
                recorded = await client._record(self._path, self._message, self._headers)
                self._params["in_reply_to"] = recorded["message_id"]
            give_up = time.monotonic() + client.patience
            while True:
                begun = time.monotonic()
                status, answer = await client._ask(
                    "POST", f"{self._path}/replies", params={**self._params, "offset": str(offset)},
                    content=self._lines(offset, self._given), headers={**self._headers, "content-type": "application/x-ndjson"},
                )
                # 201: written. 200: it had ended before.
                if status in (200, 201) and "status" in answer:
                    return self._ended(answer["status"])
                if answer.get("code") == "REPLY_STOPPED":
                    return self._ended("stopped")
                if is_final(status) and status != 409:
                    raise TitlecastError("the reply was refused", status, answer)
                # A cut, or a writer that has not been missed yet. The server says from where to go on.
                found, state = await client._ask("GET", f"{self._path}/replies/{self.id}", headers=self._headers)
                if is_final(found) and found != 404:  # an early answer to an upload may get lost with its connection
                    raise TitlecastError("the reply was refused", found, state)
                if found == 200 and state["status"] != "running":
                    return self._ended(state["status"])
                now, known = time.monotonic(), state["offset"] if found == 200 else offset
                if known > offset or now - begun > 2 * HEARTBEAT_S:
                    give_up = now + client.patience
                elif now > give_up:
                    raise TitlecastError("the reply was not uploaded", status, answer)
                offset = known
                await asyncio.sleep(0.3)
        except Exception as error:  # the agent goes on, whatever happens here
            self.error = str(error) or type(error).__name__
            log.warning("reply %s: %s", self.id, self.error)

    def _ended(self, outcome: str) -> None:
        self.outcome = outcome
        if outcome == "stopped":
            self.stopped.set()
            self._on_stop()

    async def _lines(self, offset: int, given: int) -> AsyncIterator[bytes]:
        # The events from an offset of the text on; the first `given` were on the wire before.
        place = 0
        while True:
            self._awake = False
            self._wake.clear()
            with self._lock:
                events, end = self._events[place:], self._end
            lines = b"".join(_line(*event, offset, place + n < given) for n, event in enumerate(events))
            place += len(events)
            self._given = max(self._given, place)
            if end:
                yield lines + _dump(end)
                return
            if lines:
                yield lines
            try:
                await asyncio.wait_for(self._wake.wait(), HEARTBEAT_S)
            except asyncio.TimeoutError:
                yield b"\n"


def is_final(status: int) -> bool:
    # Whether the same request would be answered the same again.
    return 400 <= status < 500 and status not in (408, 429)


def _line(at: int, event: Event, offset: int, is_again: bool) -> bytes:
    if event["type"] == "text":
        text = event["text"].encode(errors="replace")[max(offset - at, 0) :]
        return _dump({"type": "text", "text": text.decode()}) if text else b""
    # A tool call is identified by its id, so that it may be sent again; reasoning would be duplicated.
    return b"" if at < offset or is_again and event["type"] == "reasoning" else _dump(event)


def _dump(event: Event) -> bytes:
    return json.dumps(event, default=str).encode() + b"\n"
