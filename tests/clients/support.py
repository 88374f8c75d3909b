"""Starts and stops the server; the operations that the Python clients send."""

import asyncio
import logging
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from gql import GraphQLRequest

# Sooner than the server's first keep-alive after 12 seconds, which must not be what brings an event.
DEADLINE_S = 10
BINARY = os.environ.get(
    "TITLECAST_BIN",
    str(Path(__file__).parent / "../../target/debug/titlecast"),
)

# unittest runs asyncio in its debug mode, which tells of every step that took long.
logging.getLogger("asyncio").setLevel(logging.ERROR)

FIELDS = "id displayName titleStatus messageCount revision"


def watch(id=None):
    text = "subscription Watch($id: ID) { conversationUpdated(id: $id) { %s } }"
    return GraphQLRequest(text % FIELDS, variable_values={"id": id})


def send(text):
    document = """mutation Send($input: SendMessageInput!) {
        sendMessage(input: $input) { conversation { %s } }
    }"""
    return GraphQLRequest(document % FIELDS, variable_values={"input": {"text": text}})


def read(id):
    text = "query Read($id: ID!) { conversation(id: $id) { %s } }"
    return GraphQLRequest(text % FIELDS, variable_values={"id": id})


class Watching:
    """A subscription under way; `states` is what it received."""

    def __init__(self, session, id=None):
        self.states = []
        self._news = asyncio.Event()
        self.task = asyncio.create_task(self._listen(session, id))

    async def _listen(self, session, id):
        async for data in session.subscribe(watch(id)):
            self.states.append(data["conversationUpdated"])
            self._news.set()

    async def until(self, matches):
        """The first state that matches; ends with the subscription."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                for state in self.states:
                    if matches(state):
                        return state
                self._news.clear()
                news = asyncio.create_task(self._news.wait())
                await asyncio.wait({news, self.task}, return_when=asyncio.FIRST_COMPLETED)
                if self.task.done() and not news.done():
                    news.cancel()
                    await self.task
                    raise AssertionError("the subscription was completed")

    async def titled(self, conversation):
        return await self.until(
            lambda state: state["id"] == conversation["id"]
            and state["titleStatus"] == "READY"
            and state["displayName"] is not None
        )

    async def stop(self):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class Server:
    """The server's process, with a database of its own."""

    def __init__(self):
        self._folder = tempfile.mkdtemp(prefix="titlecast-clients-")
        self._port = free_port()
        self._process = None

    def url(self, scheme):
        return f"{scheme}://127.0.0.1:{self._port}/graphql"

    async def start(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")}
        env.setdefault("TITLECAST_LOG", "error")
        database = f"sqlite://{self._folder}/titlecast.db?mode=rwc"
        listen = f"127.0.0.1:{self._port}"
        self._process = subprocess.Popen(
            [
                BINARY,
                "--listen",
                listen,
                "--metrics-listen",
                "127.0.0.1:0",
                "--database-url",
                database,
            ], env=env
        )
        async with asyncio.timeout(DEADLINE_S):
            while not await asyncio.to_thread(self._is_ready):
                if self._process.poll() is not None:
                    raise RuntimeError(f"the server exited with {self._process.returncode}")
                await asyncio.sleep(0.02)

    async def restart(self):
        """Stops the process as an operator would, and starts another on the same port and database."""
        self._process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(self._process.wait, DEADLINE_S)
        assert code == 0, f"the server exited with {code}"
        await self.start()

    def end(self):
        if self._process:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder)

    def _is_ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz"):
                return True
        except (urllib.error.URLError, ConnectionError):
            return False


def free_port():
    """A port that is free and stays so: below those that the system gives to outgoing connections."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
