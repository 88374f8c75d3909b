"""One reply that is written outside: what the agent gives it, and its upload. The agent's side never waits for the upload's."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from ._decode import Decoder, Event

if TYPE_CHECKING:
    from ._client import Titlecast

log = logging.getLogger("titlecast")

# What is kept of a reply, to send it again from an offset: the server's own limit of an upload.
MAX_BYTES = 4 * 1024 * 1024
# A blank line in a silence of the agent says that it lives; the server closes a reply after 30 s without one.
HEARTBEAT_S = 1.0


class TitlecastError(Exception):
    """Titlecast refused a request (`status` of HTTP, error `code`, and `detail`, its words), or did not answer (`status` 0)."""

    def __init__(self, text: str, status: int, answer: dict[str, Any]) -> None:
        self.status, self.code, self.detail = status, answer.get("code"), answer.get("message")
        super().__init__(f"{text}: {status or 'no answer'} {self.code}" + (f": {self.detail}" if self.detail else ""))


class Reply:
    """A reply while it is written. Any thread or task may call its methods; those that write do not block and do not raise."""

    def __init__(
        self, client: Titlecast, path: str, headers: dict[str, str], params: dict[str, str],
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
        self._client, self._path, self._headers, self._on_stop = client, path, headers, on_stop
        self._message, self._params = message, {**params, "reply_id": self.id}
        # Each event with the offset of the reply's text at which it begins, kept until the end: a cut needs them again.
        self._events: list[tuple[int, Event]] = []
        self._end: Event | None = None
        self._bytes = self._length = self._given = 0
        self._usage: dict[str, int] = {}
        self._model: str | None = None
        self._tools: dict[str, Event] = {}
        self._lock, self._wake, self._awake = threading.Lock(), asyncio.Event(), False
        if client._loop.is_closed():  # the agent goes on all the same
            self._done, self.error = Future[None](), "the client was closed"
            self._done.cancel()
        else:
            self._done = asyncio.run_coroutine_threadsafe(self._upload(), client._loop)

    def text(self, text: str) -> None:
        """More text of the reply."""
        self._add({"type": "text", "text": text})

    def part(self, type: str, **fields: Any) -> None:
        """A part beside the text: `reasoning` (text), `tool` (id, name, arguments, result, state), `data` (name, data)."""
        self._add({"type": type, **fields})

    def finish(self, outcome: str = "completed") -> None:
        """Ends the reply: `completed`, `incomplete`, `failed` or `stopped`. Only the first call counts."""
        with self._lock:
            usage = {"usage": self._usage} if self._usage else {}
            model = {"model": self._model} if self._model else {}
            self._end = self._end or {"type": "finish", "outcome": outcome, **usage, **model}
        self._rouse()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for the end of the upload, at most `timeout` seconds; whether the server has the reply's end."""
        wait([self._done], timeout)
        return self.outcome is not None

    def tee(self, stream: Any, ends: bool = False) -> Any:
        """Passes on what a model's stream yields, unchanged, and uploads it; `ends`: the reply ends with the stream."""
        return self._pass_async(stream, ends) if hasattr(stream, "__aiter__") else self._pass(stream, ends)

    def __enter__(self) -> Reply:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.finish("completed" if kind is None else "failed" if issubclass(kind, Exception) else "incomplete")

    def _pass(self, stream: Any, ends: bool) -> Iterator[Any]:
        with self._watching(ends) as look:
            for item in stream:
                look(item)
                yield item

    async def _pass_async(self, stream: Any, ends: bool) -> AsyncIterator[Any]:
        with self._watching(ends) as look:
            async for item in stream:
                look(item)
                yield item

    @contextmanager
    def _watching(self, ends: bool) -> Iterator[Callable[[Any], None]]:
        decoder, outcome = Decoder(), None

        def look(item: Any) -> None:
            try:
                for event in decoder.feed(item):
                    self._add(event)
            except Exception as error:  # of an item that is not what it seems; the agent gets it all the same
                log.warning("reply %s: an item of the stream cannot be read: %s", self.id, type(error).__name__)

        try:
            yield look
        except Exception:
            outcome = "failed"
            raise
        finally:
            for name, count in decoder.usage.items():
                self._usage[name] = self._usage.get(name, 0) + count
            self._model = decoder.model or self._model
            if ends:
                self.finish(outcome or decoder.outcome or "incomplete")

    def _add(self, event: Event) -> None:
        if event["type"] == "tool":  # a later state may lack the arguments
            id = event.get("id", "")
            event = self._tools[id] = {**self._tools.get(id, {}), **event}
        is_text = event["type"] == "text"
        size = len(event["text"].encode(errors="replace") if is_text else _dump(event))
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
        """Uploads until the server has all, the reply is over, or for `patience` seconds nothing went on."""
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
            if self._on_stop:
                self._on_stop()

    async def _lines(self, offset: int, given: int) -> AsyncIterator[bytes]:
        """The events from an offset of the text on; the first `given` were on the wire before."""
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
    """Whether the same request would be answered the same again."""
    return 400 <= status < 500 and status not in (408, 429)


def _line(at: int, event: Event, offset: int, is_again: bool) -> bytes:
    if event["type"] == "text":
        text = event["text"].encode(errors="replace")[max(offset - at, 0) :]
        return _dump({"type": "text", "text": text.decode()}) if text else b""
    # A tool call is told apart by its id, so that it may be sent again; reasoning would be doubled.
    return b"" if at < offset or is_again and event["type"] == "reasoning" else _dump(event)


def _dump(event: Event) -> bytes:
    return json.dumps(event, default=str).encode() + b"\n"
