"""An agent's loop as LangGraph or the Agents SDK runs it: the model calls a tool, reads its result, and answers. Titlecast looks
on: it names the conversation, and shows the reply live to every client. Prints what it has in the end."""

import json
import os
import sys
import time
import uuid

import httpx
from openai import OpenAI
from titlecast import Titlecast

URL = os.environ.get("TITLECAST_URL", "http://127.0.0.1:8080")
TOKEN = os.environ.get("TITLECAST_TOKEN")
MODEL = OpenAI(base_url=os.environ.get("MODEL_URL"), api_key=os.environ.get("OPENAI_API_KEY", "none"))
TOOLS = [{"type": "function", "function": {
    "name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]
QUERY = """query ($id: String!) { conversation(externalId: $id) { displayName messages(first: 9) { nodes {
    role content outcome parts { ... on ToolPart { name arguments result state } } } } } }"""


def weather(city):
    return {"city": city, "sky": "clear"}


def answer(reply, messages):
    """The agent, as it was before: but for `reply.tee` and `reply.part`."""
    while not reply.stopped.is_set():
        text, calls = "", {}
        stream = MODEL.chat.completions.create(
            model=os.environ.get("MODEL", "scripted"), messages=messages, tools=TOOLS, stream=True)
        for chunk in reply.tee(stream):
            for choice in chunk.choices:
                text += choice.delta.content or ""
                print(choice.delta.content or "", end="", flush=True)
                for part in choice.delta.tool_calls or ():
                    call = calls.setdefault(part.index, {"id": part.id, "name": part.function.name, "arguments": ""})
                    call["arguments"] += part.function.arguments or ""
        if not calls:
            return
        asked = [{"id": call["id"], "type": "function", "function": {k: call[k] for k in ("name", "arguments")}}
                 for call in calls.values()]
        messages.append({"role": "assistant", "content": text or None, "tool_calls": asked})
        for call in calls.values():
            result = weather(**json.loads(call["arguments"]))
            reply.part("tool", id=call["id"], name=call["name"], result=result, state="completed")
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": json.dumps(result)})


thread, question = f"example-{uuid.uuid4()}", "What do I wear for a walk in Kyoto today?"
with Titlecast(URL, TOKEN) as titlecast:
    with titlecast.reply(thread, message=question) as reply:
        answer(reply, [{"role": "user", "content": question}])
    if not reply.wait(10):
        sys.exit(f"\nthe reply was not uploaded: {reply.error}")

headers = {"Authorization": f"Bearer {TOKEN}"} if TOKEN else None
for _ in range(300):
    body = {"query": QUERY, "variables": {"id": thread}}
    conversation = httpx.post(f"{URL}/graphql", json=body, headers=headers).json()["data"]["conversation"]
    if conversation["displayName"]:
        print(f"\n{json.dumps(conversation, indent=2)}")
        sys.exit(conversation["messages"]["nodes"][-1]["outcome"] != "COMPLETED")
    time.sleep(0.1)
sys.exit("no title within 30 seconds")
