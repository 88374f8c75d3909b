"""Server-sent events with FastAPI: a queue for each subscriber."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterable

from fastapi import FastAPI
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel

subscribers: dict[str, set[asyncio.Queue]] = defaultdict(set)
app = FastAPI()


class Rename(BaseModel):
    display_name: str


class Conversation(BaseModel):
    id: str
    title: str
    revision: int


@app.patch("/conversations/{id}/title")
async def rename(id: str, body: Rename) -> Conversation:
    conversation = Conversation(id=id, title=body.display_name, revision=1)
    for queue in subscribers[id]:
        queue.put_nowait(conversation)
    return conversation


@app.get("/conversations/{id}/events", response_class=EventSourceResponse)
async def events(id: str) -> AsyncIterable[Conversation]:
    queue: asyncio.Queue[Conversation] = asyncio.Queue()
    subscribers[id].add(queue)
    try:
        while True:
            yield await queue.get()
    finally:
        subscribers[id].discard(queue)
