"""gql: sends a message, and follows its conversation until that has a title."""

import asyncio
import os
import sys

from gql import Client, GraphQLRequest
from gql.transport.websockets import WebsocketsTransport

URL = os.environ.get("TITLECAST_URL", "http://127.0.0.1:8080")
TOKEN = os.environ.get("TITLECAST_TOKEN")

SEND = """
    mutation Send($input: SendMessageInput!) {
        sendMessage(input: $input) { conversation { id title titleStatus } }
    }
"""
WATCH = """
    subscription Watch($id: ID!) {
        conversationUpdated(id: $id) { id title titleStatus titleError { message } }
    }
"""


async def states(session, text):
    """Sends a first message; the states of its conversation, from the present one on."""
    send = GraphQLRequest(SEND, variable_values={"input": {"text": text}})
    sent = await session.execute(send)
    conversation = sent["sendMessage"]["conversation"]
    yield conversation
    # The first event is the present state, so nothing is missed between the two.
    watch = GraphQLRequest(WATCH, variable_values={"id": conversation["id"]})
    async for event in session.subscribe(watch):
        yield event["conversationUpdated"]


async def main():
    transport = WebsocketsTransport(
        f"{URL.replace('http', 'ws')}/graphql",
        headers={"Authorization": f"Bearer {TOKEN}"} if TOKEN else None,
        subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL],
    )
    async with Client(transport=transport) as session:
        async for conversation in states(session, "How do I prune an apple tree?"):
            print(conversation)
            if conversation["titleStatus"] == "READY":
                return
    return "the subscription ended without a title"


try:
    sys.exit(asyncio.run(asyncio.wait_for(main(), timeout=30)))
except TimeoutError:
    sys.exit("no title within 30 seconds")
