"""Follows replies while they are written, on any node that answers, and goes on elsewhere after a disconnect. What a follower has
is at all times the beginning of what was written, and in the end what is stored."""

import http.client
import json
import random
import threading
import time

FOLLOW = """subscription ($id: ID!, $after: String) { reply(messageId: $id, after: $after) { __typename
    ... on ReplySoFar { text recovered cursor } ... on ReplyDelta { text cursor } ... on ReplyEnded { text outcome } } }"""


class Followers:
    """One thread for each reply that is followed."""

    def __init__(self, ports, token):
        self.ports, self.token = ports, token
        self.threads, self.wrong, self.pieces, self.resumed = [], [], 0, 0
        self.is_over = False

    def follow(self, name, id, expected):
        self.threads.append(threading.Thread(target=self._follow, args=(name, id, expected), daemon=True))
        self.threads[-1].start()

    def join(self, seconds):
        """What is wrong, once nothing is written any more. A reply that has not begun by then never does: its agent was killed."""
        self.is_over, end = True, time.monotonic() + seconds
        for thread in self.threads:
            thread.join(max(end - time.monotonic(), 0))
        left = sum(thread.is_alive() for thread in self.threads)
        nothing = ["nothing was followed"] * (self.pieces == 0)
        return self.wrong + nothing + [f"{left} followers did not come to an end"] * bool(left)

    def _follow(self, name, id, expected):
        text, cursor, connections = "", None, 0
        while True:
            is_last = self.is_over and cursor is None
            try:
                for event in self._events(id, cursor):
                    kind = event["__typename"]
                    if kind == "ReplyEnded":
                        if text != event["text"]:
                            self.wrong.append(f"{name}: followed as {text!r}, stored as {event['text']!r}")
                        return
                    if kind == "ReplySoFar":
                        connections += 1
                        self.resumed += connections > 1
                        text = text if event["recovered"] and cursor else ""
                    text, cursor = text + event["text"], event["cursor"]
                    self.pieces += 1
                    if not expected.startswith(text):
                        self.wrong.append(f"{name}: followed as {text!r}, which was not written")
                        return
            except (OSError, http.client.HTTPException):
                pass
            if is_last:
                return
            # It is not there yet, or its node has gone.
            time.sleep(0.2)

    def _events(self, id, cursor):
        connection = http.client.HTTPConnection("127.0.0.1", random.choice(self.ports), timeout=40)
        try:
            body = json.dumps({"query": FOLLOW, "variables": {"id": id, "after": cursor}})
            headers = {"content-type": "application/json", "accept": "text/event-stream", "authorization": f"Bearer {self.token}"}
            connection.request("POST", "/graphql", body, headers)
            for line in connection.getresponse():
                if line.startswith(b"data:") and (payload := line[5:].strip()):
                    message = json.loads(payload)
                    if not message.get("data"):
                        return
                    yield message["data"]["reply"]
        finally:
            connection.close()
