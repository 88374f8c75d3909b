"""Subscriptions over WebSocket with Strawberry under FastAPI: a queue for each subscriber."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator

import strawberry
from fastapi import FastAPI
from strawberry.fastapi import GraphQLRouter
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL

subscribers: dict[str, set[asyncio.Queue]] = defaultdict(set)


@strawberry.type
class Conversation:
    id: strawberry.ID
    title: str
    revision: int


@strawberry.input
class RenameConversationInput:
    id: strawberry.ID
    display_name: str


@strawberry.type
class RenameConversationPayload:
    conversation: Conversation


@strawberry.type
class Query:
    version: int = 1


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def rename_conversation(self, input: RenameConversationInput) -> RenameConversationPayload:
        conversation = Conversation(id=input.id, title=input.display_name, revision=1)
        for queue in subscribers[input.id]:
            queue.put_nowait(conversation)
        return RenameConversationPayload(conversation=conversation)


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def conversation_updated(self, id: strawberry.ID) -> AsyncGenerator[Conversation, None]:
        queue: asyncio.Queue[Conversation] = asyncio.Queue()
        subscribers[id].add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            subscribers[id].discard(queue)


schema = strawberry.Schema(query=Query, mutation=Mutation, subscription=Subscription)
app = FastAPI()
app.include_router(
    GraphQLRouter(schema, subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL]), prefix="/graphql"
)
