"""What `just cluster` starts does what it is for, and leaves nothing behind. TITLECAST_BIN names the program; without it
that is target/debug/titlecast. What needs nginx is skipped where there is none."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest
import uuid
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("TITLECAST_BIN", str(ROOT / "target/debug/titlecast"))
JSON = {"Content-Type": "application/json"}


def events(response):
    """The events of a stream as they arrive, each with the time of its arrival. What is waited for has to be among those
    of 20 seconds: a stream that only keeps itself alive would go on for ever."""
    begun = time.monotonic()
    for line in response:
        if time.monotonic() > begun + 20:
            raise AssertionError("no further event in 20 s")
        if line.startswith(b"data: "):
            yield time.monotonic(), json.loads(line[6:])


def listens(url):
    parts = urlsplit(url)
    with socket.socket() as one:
        return one.connect_ex((parts.hostname, parts.port)) == 0


class ClusterTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # The caller's environment is not passed on.
        settings = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "TITLECAST_"))}
        command = [sys.executable, ROOT / "tools/cluster/run", "--titlecast", BINARY]
        cls.process = subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, text=True)
        cls.addClassCleanup(cls.process.stdout.close)
        cls.addClassCleanup(cls.process.wait)
        cls.addClassCleanup(cls.process.terminate)
        cls.places = {}
        for line in cls.process.stdout:
            if line.startswith("Ctrl-C"):
                break
            name, place = re.split(r"  +| (?=\S+://)", line.strip(), maxsplit=1)
            cls.places[name] = place
        else:
            raise AssertionError("the cluster did not start")
        cls.proxy = cls.places["proxy"]

    def request(self, url, method, path, body=None, headers=JSON):
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
        self.addCleanup(connection.close)
        connection.request(method, path, json.dumps(body) if body else None, headers)
        response = connection.getresponse()
        self.addCleanup(response.close)
        return response

    def need_proxy(self):
        if not shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin"):
            self.skipTest("nginx is not installed here")

    def test_both_nodes_hear_each_other(self):
        for node in ("node a", "node b"):
            page = json.load(self.request(self.places[node], "GET", "/readyz"))
            self.assertEqual((page["status"], page["nats"]), ("ready", "ok"), node)

    def test_a_title_made_on_one_node_reaches_a_subscriber_of_the_other(self):
        query = {"query": "subscription { conversationUpdated { id titleStatus title } }"}
        accept = {**JSON, "Accept": "text/event-stream"}
        stream = self.request(self.places["node b"], "POST", "/graphql", query, accept)
        body = {"message": "Plan a trip to Kyoto in April"}
        sent = self.request(self.places["node a"], "POST", "/api/v1/chat/stream", body)
        conversation = next(events(sent))[1]["conversation_id"]
        for _, event in events(stream):
            update = event["data"]["conversationUpdated"]
            if update["id"] == conversation and update["titleStatus"] == "READY":
                break
        self.assertIn("Kyoto", update["title"])

    def test_a_reply_comes_through_the_proxy_word_by_word(self):
        self.need_proxy()
        sent = self.request(self.proxy, "POST", "/api/v1/chat/stream", {"message": "Plan a trip to Kyoto in April"})
        times = [when for when, _ in events(sent)]
        self.assertGreater(len(times), 10)
        self.assertGreater(times[-1] - times[0], 0.3, "the reply came all at once")

    def test_the_proxy_lets_a_websocket_through(self):
        self.need_proxy()
        place = urlsplit(self.proxy)
        with socket.create_connection((place.hostname, place.port), timeout=20) as one:
            one.sendall(
                f"GET /graphql HTTP/1.1\r\nHost: {place.netloc}\r\nOrigin: {self.proxy}\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n".encode()
            )
            answer = one.makefile("rb")
            self.assertIn(b" 101 ", answer.readline())
            while answer.readline() != b"\r\n":
                pass
            # A text frame, masked with zeroes.
            text = b'{"type":"connection_init"}'
            one.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
            header = answer.read(2)
            self.assertIn(b"connection_ack", answer.read(header[1]))

    def test_the_proxy_refuses_a_large_body_as_the_nodes_do(self):
        self.need_proxy()
        for _ in range(20):  # a node's own answer would be lost now and then
            refused = [
                self.request(self.places[place], "POST", "/api/v1/chat", {"message": "x" * 300_000})
                for place in ("proxy", "node a")
            ]
            self.assertEqual([answer.status for answer in refused], [413, 413])
            self.assertEqual(json.load(refused[0]), json.load(refused[1]))

    def test_the_proxy_lets_a_long_conversation_through_and_limits_it_as_the_nodes_do(self):
        self.need_proxy()
        texts = {"assistant": "x" * 300_000, "user": "Hi"}
        messages = [{"id": role, "role": role, "parts": [{"type": "text", "text": text}]} for role, text in texts.items()]
        answer = self.request(self.proxy, "POST", "/api/v1/ui/chat", {"id": str(uuid.uuid4()), "messages": messages})
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, "text/event-stream"))
        for path in ("/api/v1/ui/chat", "/api/v1/agui", f"/api/v1/conversations/{uuid.uuid4()}/messages"):
            length = {**JSON, "Content-Length": "9000000"}  # and no body, which a refused request could not send
            proxy, node = (self.request(self.places[place], "POST", path, headers=length) for place in ("proxy", "node a"))
            self.assertEqual([proxy.status, node.status], [413, 413], path)
            self.assertEqual(proxy.headers["Content-Type"], node.headers["Content-Type"], path)
            self.assertEqual(proxy.read(), node.read(), path)

    def test_z_ctrl_c_leaves_nothing_behind(self):
        self.process.send_signal(signal.SIGINT)
        self.assertEqual(self.process.wait(60), 0)
        for place in self.places.values():
            if "://" in place:
                self.assertFalse(listens(place), place)
        self.assertFalse(Path(self.places["logs"]).parent.exists())


if __name__ == "__main__":
    unittest.main()
