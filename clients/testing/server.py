"""Starts and stops a server with a database of its own, and asks it. TITLECAST_BIN names the program."""

import json
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

BINARY = os.environ.get("TITLECAST_BIN", str(Path(__file__).parents[2] / "target/debug/titlecast"))
DEADLINE_S = 10
MESSAGES = """query ($id: String!) { conversation(externalId: $id) { id externalId displayName titleStatus messages(first: 50) { nodes {
    id role content outcome inReplyTo model parts { __typename ... on ToolPart { callId name arguments result state } } } } } }"""


class Server:
    def __init__(self, *flags, **settings):
        self.folder = tempfile.mkdtemp(prefix="titlecast-packages-")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.flags, self.settings = flags, settings
        self.start()

    def start(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "TITLECAST_"))}
        database = f"sqlite://{self.folder}/titlecast.db?mode=rwc"
        command = [BINARY, "--listen", f"127.0.0.1:{self.port}", "--metrics-listen", "127.0.0.1:0", "--database-url", database]
        self.process = subprocess.Popen([*command, *self.flags], env={**env, "TITLECAST_LOG": "error", **self.settings})
        wait_for(self.is_ready, "a server that is ready")

    def is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the server exited with {self.process.returncode}")
        try:
            return urllib.request.urlopen(f"{self.url}/readyz").status == 200
        except (urllib.error.URLError, ConnectionError):
            return False

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        self.kill()
        shutil.rmtree(self.folder)

    def ask(self, query, token=None, **variables):
        body = json.dumps({"query": query, "variables": variables}).encode()
        headers = {"content-type": "application/json", **({"authorization": f"Bearer {token}"} if token else {})}
        answer = json.load(urllib.request.urlopen(urllib.request.Request(f"{self.url}/graphql", body, headers)))
        if "errors" in answer:
            raise AssertionError(answer["errors"])
        return answer["data"]

    def conversation(self, id, token=None):
        """By the id that the agent gave it."""
        return self.ask(MESSAGES, token, id=id)["conversation"]

    def messages(self, id, token=None):
        return self.conversation(id, token)["messages"]["nodes"]

    def token(self, user, scopes):
        command = [BINARY, "token", "--tenant", "acme", "--user", user, "--scopes", scopes]
        return subprocess.run(command, env={**os.environ, **self.settings}, capture_output=True, text=True, check=True).stdout.strip()


def wait_for(condition, what):
    end = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"no {what} in {DEADLINE_S} s")
        time.sleep(0.02)
    return found


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
