"""gql: stops a reply, writes it anew, edits its message, and prints all versions of both with their parts."""

import asyncio
import os
import sys

from gql import Client, GraphQLRequest
from gql.transport.websockets import WebsocketsTransport

URL = os.environ.get("TITLECAST_URL", "http://127.0.0.1:8080")
TOKEN = os.environ.get("TITLECAST_TOKEN")

SEND = """mutation ($text: String!) {
    sendMessage(input: { text: $text }) { conversation { id } message { id } replyId }
}"""
STOP = "mutation ($reply: ID!) { stopReply(input: { replyId: $reply }) { stopped } }"
ANEW = "mutation ($id: ID!) { regenerateReply(input: { messageId: $id }) { replyId } }"
EDIT = """mutation ($id: ID!, $text: String!) {
    editMessage(input: { messageId: $id, text: $text }) { replyId }
}"""
FOLLOW = """subscription ($reply: ID!) {
    reply(messageId: $reply, parts: true) {
        ... on ReplySoFar { text }
        ... on ReplyDelta { text }
        ... on ReplyPart { index part { ... on ToolPart { name arguments state } } }
        ... on ReplyEnded { outcome error { code message } model }
    }
}"""
MESSAGES = """query ($id: ID!) {
    conversation(id: $id) {
        messages(last: 20) {
            nodes { role content outcome error { code } versions { content outcome } }
        }
    }
}"""


async def main():
    transport = WebsocketsTransport(
        f"{URL.replace('http', 'ws')}/graphql",
        headers={"Authorization": f"Bearer {TOKEN}"} if TOKEN else None,
        subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL],
    )
    async with Client(transport=transport) as session:
        async def ask(query, field, **variables):
            return (await session.execute(GraphQLRequest(query, variable_values=variables)))[field]

        async def follow(reply):
            async for event in session.subscribe(GraphQLRequest(FOLLOW, variable_values={"reply": reply})):
                print(event["reply"])
            # The last event: COMPLETED, INCOMPLETE (also after a stop), or FAILED with an error to show.
            return event["reply"]["outcome"]

        sent = await ask(SEND, "sendMessage", text="How do I prune an apple tree?")
        await ask(STOP, "stopReply", reply=sent["replyId"])
        print("stopped:", await follow(sent["replyId"]))
        anew = await ask(ANEW, "regenerateReply", id=sent["replyId"])
        print("anew:", await follow(anew["replyId"]))
        edited = await ask(EDIT, "editMessage", id=sent["message"]["id"], text="How do I prune a fig?")
        outcome = await follow(edited["replyId"])
        conversation = await ask(MESSAGES, "conversation", id=sent["conversation"]["id"])
        for message in conversation["messages"]["nodes"]:
            print(message)
    return None if outcome == "COMPLETED" else f"the reply ended {outcome}"


sys.exit(asyncio.run(asyncio.wait_for(main(), timeout=30)))
