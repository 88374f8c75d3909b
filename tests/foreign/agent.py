"""A foreign agent: asks the scripted model for replies, many at once, and tees them into Titlecast. What the server acknowledged
goes to a journal, which survives a kill. Started again, it goes on with the conversations that the journal does not name."""

import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "clients/python"), str(HERE.parents[1] / "clients/testing")]

import httpx  # noqa: E402
from titlecast import Titlecast, _reply  # noqa: E402


class Journal:
    """One line an event, each in one write: a kill leaves whole lines."""

    def __init__(self, path):
        self.file = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY)

    def note(self, **event):
        os.write(self.file, json.dumps(event).encode() + b"\n")


def watched(titlecast, journal):
    """Notes each acknowledgement: an offset that the server named, and the end."""
    ask = titlecast._ask

    async def noting(method, path, **request):
        status, answer = await ask(method, path, **request)
        if "/replies" in path and 200 <= status < 300:
            conversation = path.split("/")[0]
            if isinstance(offset := answer.get("offset"), int):
                journal.note(conversation=conversation, acknowledged=offset)
            if answer.get("status") == "completed":
                journal.note(conversation=conversation, whole=True)
        return status, answer

    titlecast._ask = noting


def plant(bug):
    """Bugs that the audit has to find."""
    if bug == "double":  # what the server has already is sent again behind it
        line = _reply._line
        _reply._line = lambda at, event, offset, is_again: line(at, event, 0, False)
    elif bug:
        raise SystemExit(f"no such bug: {bug}")


def main(model, url, journal_path, first, last, at_once, words, bug=""):
    plant(bug)
    journal = Journal(journal_path)
    begun = {json.loads(line)["conversation"] for line in Path(journal_path).read_text().splitlines()}
    titlecast = Titlecast(url, patience=60)
    watched(titlecast, journal)
    users = threading.local()

    def write(number):
        conversation = f"thread-{number}"
        if conversation in begun:
            return
        journal.note(conversation=conversation, begun=True)
        if not hasattr(users, "http"):
            users.http = httpx.Client(timeout=60)
        prompt = f"Tell me of trees and tools, part {number}, in {words} words"
        body = {"model": "scripted", "stream": True, "messages": [{"role": "user", "content": prompt}]}
        reply = titlecast.reply(conversation, message=prompt, user="ada")
        journal.note(conversation=conversation, reply=reply.id, prompt=prompt)
        with users.http.stream("POST", f"{model}/chat/completions", json=body) as response:
            for _ in reply.tee(response.iter_raw(), ends=True):
                pass
        reply.wait(90)
        journal.note(conversation=conversation, outcome=reply.outcome, error=reply.error)

    with ThreadPoolExecutor(int(at_once)) as pool:
        list(pool.map(write, range(int(first), int(last))))
    titlecast.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
