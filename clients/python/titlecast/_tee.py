# A model's stream as the agent has it, attributes and all, while a reply looks at its items.

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from typing import Any


class Tee:
    # `look` returns its item. `end` is called at least once, with whether the stream failed. `owns`: dropped before its end, the
    # stream is closed.
    def __init__(self, stream: Any, items: Any, look: Callable[[Any], Any], end: Callable[[bool], None], owns: bool) -> None:
        self._stream, self._items, self._look, self._end, self._owns = stream, items, look, end, owns

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _over(self, error: BaseException) -> BaseException:
        if is_whole := isinstance(error, (StopIteration, StopAsyncIteration)):
            self._look(b"\n")  # raw bytes may end within their last line
            self._owns = False
        self._end(isinstance(error, Exception) and not is_whole)
        return error

    def _shut(self, *names: str) -> Any:
        self._end(False)
        self._owns = False
        # Some streams have the one name, some the other, and of some only the iterator has any.
        found = (getattr(it, name, None) for it in (self._stream, self._items) for name in names)
        return next((close() for close in found if close), None)


class SyncTee(Tee, Iterator[Any], AbstractContextManager[Any]):
    def __next__(self) -> Any:
        try:
            return self._look(next(self._items))
        except BaseException as error:
            raise self._over(error)

    def close(self) -> None:
        self._shut("close")

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        with suppress(Exception):
            self.close() if self._owns else self._end(False)


class AsyncTee(Tee, AsyncIterator[Any], AbstractAsyncContextManager[Any]):
    _loop: asyncio.AbstractEventLoop | None = None

    async def __anext__(self) -> Any:
        with suppress(RuntimeError):  # without asyncio, dropping it closes nothing
            self._loop = asyncio.get_running_loop()
        try:
            return self._look(await self._items.__anext__())
        except BaseException as error:
            raise self._over(error)

    async def close(self) -> None:
        if hasattr(closing := self._shut("aclose", "close"), "__await__"):
            await closing

    aclose = close

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __del__(self) -> None:
        self._end(False)
        if self._owns and self._loop and self._loop.is_running():
            asyncio.run_coroutine_threadsafe(self.close(), self._loop)
