# The connection to a Titlecast: where it is, as whom, and the thread in which uploads run.

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any
from urllib.parse import quote
from weakref import WeakValueDictionary

import httpx

from ._reply import Reply, TitlecastError, is_final


class Titlecast(AbstractContextManager["Titlecast"], AbstractAsyncContextManager["Titlecast"]):
    """Records messages and uploads replies, for sync and async programs. `close`, or `with`, waits for uploads under way.

    `url` and `token` default to TITLECAST_URL and TITLECAST_TOKEN; the token has the scope conversations:ingest. Temporary
    failures, as in a restart, are retried for `patience` seconds."""

    def __init__(self, url: str | None = None, token: str | None = None, *, patience: float = 60.0) -> None:
        url, token = url or os.environ.get("TITLECAST_URL"), token or os.environ.get("TITLECAST_TOKEN")
        self.patience, self._replies, self._loop = patience, set[Reply](), asyncio.new_event_loop()
        self._turns = WeakValueDictionary[tuple[str, str], asyncio.Lock]()
        self._http = httpx.AsyncClient(
            base_url=f"{(url or 'http://127.0.0.1:8080').rstrip('/')}/api/v1/conversations/",
            headers={"authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(10, connect=5, pool=None), limits=httpx.Limits(max_connections=None, max_keepalive_connections=100),
        )
        atexit.register(self.close)
        self._thread = threading.Thread(target=self._loop.run_forever, name="titlecast", daemon=True)
        self._thread.start()

    def record_message(self, conversation: str, content: str, **fields: Any) -> dict[str, Any]:
        """Stores a message without requesting a reply; the user's first message starts the title. Raises TitlecastError.

        `conversation` is a UUID or an id of your own. `fields`: `role` ("user" or "assistant"), `message_id`, `external_id`,
        `created_at`, `agent`, `topic_hint`, `auto_title`; `user` and `tenant` name the user that you act for."""
        return self._recording(conversation, content=content, **fields).result()

    async def record_message_async(self, conversation: str, content: str, **fields: Any) -> dict[str, Any]:
        """`record_message` for async programs."""
        return await asyncio.wrap_future(self._recording(conversation, content=content, **fields))

    def reply(
        self, conversation: str, *, message: str | dict[str, Any] | None = None, in_reply_to: str | None = None,
        agent: str | None = None, user: str | None = None, tenant: str | None = None, on_stop: Callable[[], object] | None = None,
    ) -> Reply:
        """Opens a reply that your program writes, in `with` or until its `finish`. Returns at once.

        `message` is the user's, recorded first. `on_stop` is called, in the thread of uploads, when a user stops the reply."""
        fields = {"content": message} if isinstance(message, str) else message
        recorded = None if fields is None else _message(**{"agent": agent, **_given(fields)})
        params = _given({"agent": agent, "in_reply_to": in_reply_to})
        reply = Reply(self, _path(conversation), _on_behalf(user, tenant), params, recorded, on_stop)
        self._replies.add(reply)
        reply._done.add_done_callback(lambda _: self._replies.discard(reply))
        return reply

    def tee(self, stream: Any, conversation: str, **options: Any) -> Any:
        """Passes a model's stream on unchanged, and uploads it as a reply; options as of `reply`."""
        return self.reply(conversation, **options).tee(stream, ends=True)

    def close(self, timeout: float = 10.0) -> None:
        """Waits for the uploads under way, at most `timeout` seconds. A reply without an end becomes incomplete."""
        atexit.unregister(self.close)
        # After a fork the child has no thread.
        end, replies = time.monotonic() + timeout, list(self._replies) if self._thread.is_alive() else []
        for reply in replies:
            reply.finish("incomplete")
        for reply in replies:
            reply.wait(max(end - time.monotonic(), 0))
            reply._done.cancel()
        if self._thread.is_alive():
            wait([asyncio.run_coroutine_threadsafe(self._http.aclose(), self._loop)], 1)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(1)
            if not self._thread.is_alive():
                self._loop.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    def _recording(self, conversation: str, **fields: Any) -> Future[dict[str, Any]]:
        headers = _on_behalf(fields.pop("user", None), fields.pop("tenant", None))
        return asyncio.run_coroutine_threadsafe(self._record(_path(conversation), _message(**fields), headers), self._loop)

    async def _record(self, path: str, message: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        # Idempotent, by the message's id or external id. One at a time in a conversation, in the order in which they were given.
        end = time.monotonic() + self.patience
        async with self._turns.setdefault((path, str(headers)), asyncio.Lock()):
            while True:
                status, answer = await self._ask("POST", f"{path}/messages", json=message, headers=headers)
                if 200 <= status < 300:
                    return answer
                if is_final(status) or time.monotonic() > end:
                    raise TitlecastError("the message was not recorded", status, answer)
                await asyncio.sleep(0.3)

    async def _ask(self, method: str, path: str, **request: Any) -> tuple[int, dict[str, Any]]:
        # Status and JSON of the answer; without an answer 0, and the error's name as `code`.
        try:
            answer = await self._http.request(method, path, **request)
        except httpx.TransportError as error:
            return 0, {"code": type(error).__name__}
        try:
            return answer.status_code, dict(answer.json())
        except (ValueError, TypeError):
            return answer.status_code, {}


def _message(**fields: Any) -> dict[str, Any]:
    # An external id makes the message's id, the same one in each request; a random one besides would make another message.
    made = {} if fields.get("external_id") else {"message_id": str(uuid.uuid4())}
    return {"role": "user", **made, **_given(fields)}


def _path(conversation: str) -> str:
    return quote(conversation, safe="").replace(".", "%2E")  # "." and ".." would be folders


def _on_behalf(user: str | None, tenant: str | None) -> dict[str, str]:
    named = _given({"titlecast-on-behalf-of": user, "titlecast-tenant": tenant})
    return {header: quote(name, safe="") for header, name in named.items()}


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
