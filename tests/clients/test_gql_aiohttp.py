"""PyPI gql: AIOHTTPTransport, which asks for subscriptions as multipart responses.

It neither retries nor reconnects, so the test subscribes again. When a subscription is cancelled it
closes the connection, of which nothing is seen from here.
"""

import asyncio
import unittest

import aiohttp
from gql import Client
from gql.transport.aiohttp import AIOHTTPTransport

from support import DEADLINE_S, Server, Watching, read, send


class Aiohttp(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.server = Server()
        self.addCleanup(self.server.end)
        await self.server.start()
        self.responses = asyncio.Queue()
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self.note)
        transport = AIOHTTPTransport(
            self.server.url("http"), client_session_args={"trace_configs": [trace]}
        )
        self.session = await self.enterAsyncContext(Client(transport=transport))

    async def note(self, _session, _context, params):
        if params.response.content_type == "multipart/mixed":
            self.responses.put_nowait(params.response)

    async def watch(self, id=None):
        """Subscribes, and goes on when the response has begun."""
        watching = Watching(self.session, id)
        self.addAsyncCleanup(watching.stop)
        async with asyncio.timeout(DEADLINE_S):
            await self.responses.get()
        return watching

    async def send(self, text):
        return (await self.session.execute(send(text)))["sendMessage"]["conversation"]

    async def test_a_first_messages_title_comes_by_itself(self):
        everything = await self.watch()
        await everything.titled(await self.send("How do I prune an apple tree?"))

    async def test_a_subscription_to_one_conversation_begins_with_its_present_state(self):
        everything = await self.watch()
        conversation = await self.send("How do I prune an apple tree?")
        await everything.until(
            lambda state: state["titleStatus"] == "READY" and state["messageCount"] == 2
        )
        present = (await self.session.execute(read(conversation["id"])))["conversation"]
        one = await self.watch(conversation["id"])
        self.assertEqual(await one.until(lambda _: True), present)

    async def test_a_subscription_can_be_made_again_after_a_restart_of_the_server(self):
        everything = await self.watch()
        await everything.titled(await self.send("How do I prune an apple tree?"))
        await self.server.restart()
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.wait({everything.task})
        everything = await self.watch()
        await everything.titled(await self.send("Which soil do blueberries like?"))


if __name__ == "__main__":
    unittest.main()
