"""PyPI gql: WebsocketsTransport, in both subprotocols."""

import asyncio
import json
import logging
import unittest

from gql import Client
from gql.transport.exceptions import TransportConnectionFailed
from gql.transport.websockets import WebsocketsTransport
from tenacity import retry, wait_fixed

from support import DEADLINE_S, Server, Watching, read, send


class Wire(logging.Handler):
    """The messages of the socket, as gql logs them."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.received = []
        self.subscribed = asyncio.Queue()
        self.stopped = asyncio.Queue()

    def emit(self, record):
        if record.msg not in (">>> %s", "<<< %s"):
            return
        message = json.loads(record.args[0])
        kind = message["type"]
        if record.msg == "<<< %s":
            self.received.append(message)
        elif kind in ("subscribe", "start"):
            if message["payload"]["query"].startswith("subscription"):
                self.subscribed.put_nowait(message["id"])
        elif kind in ("complete", "stop"):
            self.stopped.put_nowait(message["id"])

    def about(self, id):
        return [message for message in self.received if message.get("id") == id]


class Contract:
    subprotocol = None

    async def asyncSetUp(self):
        self.server = Server()
        self.addCleanup(self.server.end)
        await self.server.start()
        self.wire = Wire()
        log = logging.getLogger("gql.transport")
        log.setLevel(logging.DEBUG)
        log.addHandler(self.wire)
        self.addCleanup(log.removeHandler, self.wire)
        self.transport = WebsocketsTransport(
            self.server.url("ws"),
            subprotocols=[self.subprotocol],
            close_timeout=2 * DEADLINE_S,
        )
        self.client = Client(transport=self.transport)
        # As in gql's guide on permanent sessions; a retry asks again without growing pauses.
        self.session = await self.client.connect_async(
            reconnecting=True, retry_connect=retry(wait=wait_fixed(0.05))
        )
        self.addAsyncCleanup(self.client.close_async)

    async def watch(self, id=None):
        """Subscribes. What is sent on the socket afterwards finds the subscription there."""
        watching = Watching(self.session, id)
        self.addAsyncCleanup(watching.stop)
        async with asyncio.timeout(DEADLINE_S):
            watching.operation = await self.wire.subscribed.get()
        return watching

    async def send(self, text):
        return (await self.session.execute(send(text)))["sendMessage"]["conversation"]

    async def test_a_first_messages_title_comes_by_itself(self):
        everything = await self.watch()
        conversation = await self.send("How do I prune an apple tree?")
        await everything.titled(conversation)

    async def test_a_subscription_to_one_conversation_begins_with_its_present_state(self):
        everything = await self.watch()
        conversation = await self.send("How do I prune an apple tree?")
        # With the reply behind it, nothing changes any more.
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
        # gql connects again by itself, and leaves it to its caller to subscribe again.
        with self.assertRaises(TransportConnectionFailed):
            async with asyncio.timeout(DEADLINE_S):
                await everything.task
        conversation = await self.send("Which soil do blueberries like?")
        again = await self.watch(conversation["id"])
        await again.titled(conversation)
        everything = await self.watch()
        await everything.titled(await self.send("When are figs ripe?"))

    async def test_an_operation_that_is_cancelled_ends_on_the_server(self):
        first = await self.send("How do I prune an apple tree?")
        kept = await self.watch(first["id"])
        everything = await self.watch()
        await everything.stop()
        async with asyncio.timeout(DEADLINE_S):
            self.assertEqual(await self.wire.stopped.get(), everything.operation)
        second = await self.send("Which soil do blueberries like?")
        received = len(self.wire.about(everything.operation))
        other = await self.watch(second["id"])
        await other.titled(second)
        self.assertEqual(len(self.wire.about(everything.operation)), received)
        await kept.stop()
        await other.stop()

        socket = self.transport.adapter.websocket
        await self.client.close_async()
        self.assertEqual(socket.close_code, 1000)

    async def test_closing_ends_the_subscriptions_under_way(self):
        await self.watch()
        # gql stops each and waits for its end, for as long as `close_timeout` says.
        async with asyncio.timeout(DEADLINE_S):
            await self.client.close_async()


class GraphqlTransportWs(Contract, unittest.IsolatedAsyncioTestCase):
    subprotocol = WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL


class GraphqlWs(Contract, unittest.IsolatedAsyncioTestCase):
    """The older subprotocol, Apollo's, which gql prefers by default."""

    subprotocol = WebsocketsTransport.APOLLO_SUBPROTOCOL


if __name__ == "__main__":
    unittest.main()
