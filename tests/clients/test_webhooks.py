"""Webhooks as a receiver in Python verifies them, with the library of the specification."""

import asyncio
import http.server
import json
import os
import queue
import tempfile
import threading
import unittest
import urllib.request
from pathlib import Path
from unittest import mock

from standardwebhooks import Webhook, WebhookVerificationError

from support import DEADLINE_S, Server

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_KEY = "whsec_" + "CAgI" * 10 + "CAgICA=="


class Receiver(http.server.BaseHTTPRequestHandler):
    received = queue.Queue()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.received.put((body, {key.lower(): value for key, value in self.headers.items()}))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


class Webhooks(unittest.IsolatedAsyncioTestCase):
    async def test_events_are_verified_by_standardwebhooks(self):
        receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        self.addCleanup(receiver.server_close)
        self.addCleanup(receiver.shutdown)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        config = Path(folder.name) / "titlecast.toml"
        (config.parent / "key").write_text(KEY + "\n")
        url = f"http://127.0.0.1:{receiver.server_address[1]}/"
        config.write_text(
            f'[webhooks.test]\nurl = "{url}"\nsecret_file = "key"\n'
            'tenants = ["local"]\nallow_private = ["127.0.0.1"]\n'
        )
        server = Server()
        self.addCleanup(server.end)
        with mock.patch.dict(os.environ, {"TITLECAST_CONFIG": str(config)}):
            await server.start()
        body, headers = await asyncio.to_thread(self.first, server)
        event = Webhook(KEY).verify(body, headers)
        self.assertEqual(event, json.loads(body))
        self.assertTrue(event["type"].startswith("conversation."))
        with self.assertRaises(WebhookVerificationError):
            Webhook(OTHER_KEY).verify(body, headers)
        with self.assertRaises(WebhookVerificationError):
            Webhook(KEY).verify(body.replace(b"local", b"other"), headers)

    def first(self, server):
        """The first event; the first messages may be older than the registration."""
        chat = server.url("http").replace("/graphql", "/api/v1/chat")
        for _ in range(DEADLINE_S):
            message = json.dumps({"message": "Plan a trip to Kyoto"}).encode()
            request = urllib.request.Request(chat, message, {"content-type": "application/json"})
            with urllib.request.urlopen(request) as response:
                self.assertEqual(response.status, 200)
            try:
                return Receiver.received.get(timeout=2)
            except queue.Empty:
                continue
        self.fail("no event")
