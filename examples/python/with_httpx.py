"""httpx: sends a message, and prints its title and the reply as they come; a reply that is cut is read on."""

import asyncio
import json
import os
import sys
import uuid

import httpx

URL = os.environ.get("TITLECAST_URL", "http://127.0.0.1:8080")
TOKEN = os.environ.get("TITLECAST_TOKEN")


async def events(client, message):
    """The events of a turn, over as many connections as it takes."""
    body = {"message": message}
    # With a key the message is stored once, however often it is sent.
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    while True:
        try:
            async with client.stream("POST", "/chat/stream?ids=true", json=body, headers=headers) as response:
                response.raise_for_status()
                async for line in response.aiter_lines():
                    if line.startswith("data: "):
                        event = json.loads(line[6:])
                    elif line.startswith("id: "):  # the last line of an event, which is whole by now
                        headers["Last-Event-ID"] = line[4:]
                        yield event
                        if event["is_terminal"]:
                            return
        except httpx.TransportError as error:
            print(f"\n{error!r}")
        await asyncio.sleep(1)


async def main():
    reply = ""
    headers = {"Authorization": f"Bearer {TOKEN}"} if TOKEN else None
    timeout = httpx.Timeout(5, read=30)  # the server says every 15 seconds that it is there
    async with httpx.AsyncClient(base_url=f"{URL}/api/v1", headers=headers, timeout=timeout) as client:
        async for event in events(client, "How do I prune an apple tree?"):
            if event["kind"] == "lifecycle":
                print(f"\n# {event['display_name']}")
            print(event.get("text_delta", ""), end="", flush=True)
            reply += event.get("text_delta", "")
            # The beginning, or all that there is in place of what is here.
            if event.get("raw_type") == "response.created" or event.get("payload", {}).get("recovered") is False:
                reply = event.get("response_text", "")
    print()
    is_whole = event.get("raw_type") == "response.completed" and reply == event["response_text"]
    if not is_whole or "display_name" not in event:
        return f"no title, or no whole reply: {event}"


try:
    sys.exit(asyncio.run(asyncio.wait_for(main(), timeout=60)))
except TimeoutError:
    sys.exit("no end within a minute")
