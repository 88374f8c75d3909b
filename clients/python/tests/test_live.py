"""The package against a live server: what an agent records and tees is there, titled, once, whatever is cut."""

import asyncio
import subprocess
import sys
import tempfile
import textwrap
import threading
import unittest
import uuid
from pathlib import Path

import openai

from titlecast import Titlecast, TitlecastError

sys.path.insert(0, str(Path(__file__).parents[2] / "testing"))
from cut import Line  # noqa: E402
from model import Model, reply  # noqa: E402
from server import Server, wait_for  # noqa: E402

PROMPT = "How do I prune an apple tree in 40 words"
WHOLE = "".join(reply(PROMPT))
STOP = "mutation ($id: ID!) { stopReply(input: { replyId: $id }) { stopped } }"


class Live(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = Model(pace=0.005)
        cls.addClassCleanup(cls.model.server_close)
        cls.addClassCleanup(cls.model.shutdown)
        cls.openai = openai.OpenAI(base_url=cls.model.url, api_key="none")
        cls.addClassCleanup(cls.openai.close)
        cls.server = Server("--ingest-idle", "3s")
        cls.addClassCleanup(cls.server.end)

    def setUp(self):
        self.thread = f"thread {uuid.uuid4().hex[:8]}/ü"
        self.titlecast = Titlecast(self.server.url)
        self.addCleanup(self.titlecast.close)

    def stream(self, prompt=PROMPT, **more):
        messages = [{"role": "user", "content": prompt}]
        return self.openai.chat.completions.create(model="scripted", messages=messages, stream=True, **more)

    def written(self, count=2):
        """The thread's messages as soon as there are so many, the last one with its outcome."""
        def found():
            messages = self.server.messages(self.thread)
            return len(messages) == count and messages[-1]["outcome"] and messages
        return wait_for(found, f"reply of {count} messages")

    def test_a_recorded_message_is_titled_and_recorded_once(self):
        id = str(uuid.uuid4())
        for _ in range(2):
            self.titlecast.record_message(self.thread, PROMPT, message_id=id)
        wait_for(lambda: self.server.conversation(self.thread)["titleStatus"] == "READY", "title")
        self.assertEqual([(m["id"], m["content"]) for m in self.server.messages(self.thread)], [(id, PROMPT)])
        with self.assertRaises(TitlecastError) as raised:
            self.titlecast.record_message(self.thread, "Other words", message_id=id)
        self.assertEqual(raised.exception.status, 409)

    def test_a_message_with_an_external_id_is_recorded_once_and_a_repeat_is_the_one_that_is_answered(self):
        first, again = (self.titlecast.record_message(self.thread, PROMPT, external_id="q-1") for _ in range(2))
        self.assertEqual((first["status"], again["status"], again["message_id"]), ("created", "exists", first["message_id"]))
        with self.assertRaises(TitlecastError) as raised:
            self.titlecast.record_message(self.thread, "Other words", external_id="q-1")
        self.assertEqual(raised.exception.code, "ID_TAKEN")
        self.titlecast.record_message(self.thread, "A later question")
        with self.titlecast.reply(self.thread, message={"content": PROMPT, "external_id": "q-1"}) as written:
            written.text(WHOLE)
        self.assertTrue(written.wait(10), written.error)
        messages = self.server.messages(self.thread)
        self.assertEqual((len(messages), messages[-1]["inReplyTo"]), (3, first["message_id"]))

    def test_a_refusal_has_the_servers_words(self):
        with self.assertRaises(TitlecastError) as raised:
            self.titlecast.record_message(self.thread, "Hello", role="assistant")
        self.assertIn("first message", raised.exception.detail)
        self.assertIn(raised.exception.detail, str(raised.exception))
        with self.assertLogs("titlecast", "WARNING") as logs:
            written = self.titlecast.reply(self.thread, message={"role": "nobody", "content": "Hello"})
            written.wait(5)
        self.assertRegex(written.error, "422 INVALID_INPUT: .*role")
        self.assertIn(written.error, logs.output[0])

    def test_a_stream_of_the_openai_package_is_a_reply(self):
        chunks = list(self.titlecast.tee(self.stream(), self.thread, message=PROMPT))
        self.assertEqual("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), WHOLE)
        message, answer = self.written()
        self.assertEqual((message["role"], message["content"]), ("USER", PROMPT))
        self.assertEqual((answer["role"], answer["content"], answer["outcome"]), ("ASSISTANT", WHOLE, "COMPLETED"))
        self.assertEqual(answer["model"], "scripted")
        wait_for(lambda: self.server.conversation(self.thread)["displayName"], "title")

    def test_an_async_stream_is_a_reply(self):
        async def run():
            client = openai.AsyncOpenAI(base_url=self.model.url, api_key="none")
            async with client, Titlecast(self.server.url) as titlecast:
                await titlecast.record_message_async(self.thread, "Hello")
                stream = await client.responses.create(model="scripted", input=[{"role": "user", "content": PROMPT}], stream=True)
                async for _ in titlecast.tee(stream, self.thread, message=PROMPT):
                    pass

        asyncio.run(run())
        self.assertEqual(self.written(3)[-1]["content"], WHOLE)

    def test_a_reply_of_several_steps_has_its_tools(self):
        tools = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
        with self.titlecast.reply(self.thread, message=PROMPT) as written:
            for _ in written.tee(self.stream(tools=tools)):
                pass
            written.part("tool", id="call_1", name="weather", result={"sky": "clear"}, state="completed")
            for _ in written.tee(self.stream()):
                pass
        answer = self.written()[-1]
        self.assertEqual((answer["content"], answer["outcome"]), (WHOLE, "COMPLETED"))
        tool = next(part for part in answer["parts"] if part["__typename"] == "ToolPart")
        self.assertEqual((tool["callId"], tool["name"], tool["arguments"], tool["state"]),
                         ("call_1", "weather", '{"city": "Kyoto"}', "COMPLETED"))
        self.assertIn("clear", tool["result"])

    def test_an_upload_that_is_cut_goes_on_where_it_was(self):
        line = Line([self.server.port], cuts=4)
        with Titlecast(line.url) as titlecast:
            prompt = "How do I prune a fig in 200 words"
            written = titlecast.reply(self.thread, message=prompt)
            list(written.tee(self.stream(prompt), ends=True))
            self.assertTrue(written.wait(20), written.error)
        self.assertEqual(line.cuts, 4)
        answer = self.written()[-1]
        self.assertEqual((answer["content"], answer["outcome"]), ("".join(reply(prompt)), "COMPLETED"))

    def test_a_server_that_is_killed_has_the_whole_reply_afterwards(self):
        server = Server()
        self.addCleanup(server.end)
        with Titlecast(server.url) as titlecast:
            written = titlecast.reply("a", message=PROMPT)
            for number, _ in enumerate(written.tee(self.stream(), ends=True)):
                if number == 15:
                    server.kill()
                    threading.Thread(target=server.start).start()
            self.assertTrue(written.wait(20), written.error)
        self.assertEqual(server.messages("a")[-1]["content"], WHOLE)

    def test_a_stop_reaches_the_agent_while_its_model_is_silent(self):
        called = threading.Event()
        written = self.titlecast.reply(self.thread, message=PROMPT, on_stop=called.set)
        written.text("Prune it")
        wait_for(lambda: self.stops(written.id), "reply that can be stopped")
        self.assertTrue(written.stopped.wait(5))
        self.assertTrue(called.wait(1))
        self.assertEqual(written.outcome, "stopped")
        self.assertEqual([m["content"] for m in self.written()], [PROMPT, "Prune it"])

    def stops(self, id):
        try:
            return self.server.ask(STOP, id=id)["stopReply"]["stopped"]
        except AssertionError:  # not opened yet
            return False

    def test_an_exception_of_the_agent_is_a_failed_reply(self):
        with self.assertRaises(KeyError), self.titlecast.reply(self.thread, message=PROMPT) as written:
            written.text("Prune")
            raise KeyError
        written.wait(5)
        self.assertEqual(written.outcome, "failed")

    def test_a_program_that_ends_without_closing_waits_for_its_uploads(self):
        program = textwrap.dedent(f"""
            from titlecast import Titlecast
            words = ({{"choices": [{{"delta": {{"content": "Prune "}}, "finish_reason": end}}]}} for end in (None, None, "stop"))
            list(Titlecast({self.server.url!r}).tee(words, {self.thread!r}, message={PROMPT!r}))
        """)
        subprocess.run([sys.executable, "-B", "-c", program], timeout=60, check=True)
        answer = self.written()[-1]
        self.assertEqual((answer["content"], answer["outcome"]), ("Prune Prune Prune ", "COMPLETED"))

    def test_each_id_of_a_conversation_is_its_own(self):
        ids = ["/", "a/b", "a#b", "a?b=c", "a%b", "a%2Fb", "%2F", "a&b", "a+b", "a b", ".a", "...", "a;b", "日本", "🌳", " a", "a//b", "a\\b"]
        ids = [f"{id}{self.thread}" for id in ids]
        for id in ids:
            with self.titlecast.reply(id, message=f"Q {id}") as written:
                written.text(f"A {id}")
            self.assertTrue(written.wait(10), written.error)
        for id in ids:
            self.assertEqual([m["content"] for m in self.server.messages(id)], [f"Q {id}", f"A {id}"])
        for id in (".", ".."):
            with self.assertRaises(TitlecastError) as raised:
                self.titlecast.record_message(id, PROMPT)
            self.assertIn("external id", raised.exception.detail)

    def test_a_text_and_a_result_larger_than_a_line_do_not_end_the_upload(self):
        with self.titlecast.reply(self.thread, message=PROMPT) as written:
            written.text("🌳" * 100_000)
            written.part("tool", id="c", name="read", arguments="{}")
            written.part("tool", id="c", name="read", result="x" * 300_000)
            written.text("!")
        self.assertTrue(written.wait(10), written.error)
        answer = self.written()[-1]
        self.assertEqual((answer["content"], answer["outcome"]), ("🌳" * 100_000 + "!", "COMPLETED"))
        self.assertEqual([part["state"] for part in answer["parts"] if part["__typename"] == "ToolPart"], ["CALLED"])

    def test_a_recorded_answer_with_the_replys_id_is_the_same_message(self):
        with self.titlecast.reply(self.thread, message=PROMPT) as written:
            written.text(WHOLE)
        self.assertTrue(written.wait(10), written.error)
        again = self.titlecast.record_message(self.thread, WHOLE, role="assistant", message_id=written.id)
        self.assertEqual((again["status"], len(self.server.messages(self.thread))), ("exists", 2))

    def test_an_agent_that_dies_leaves_an_incomplete_reply(self):
        program = textwrap.dedent(f"""
            import os, time
            from titlecast import Titlecast
            written = Titlecast({self.server.url!r}).reply({self.thread!r}, message={PROMPT!r})
            written.text("Prune it ")
            while not written._given:
                time.sleep(0.05)
            time.sleep(1)
            os._exit(9)
        """)
        subprocess.run([sys.executable, "-B", "-c", program], timeout=20)
        answer = self.written()[-1]
        self.assertEqual((answer["content"], answer["outcome"]), ("Prune it ", "INCOMPLETE"))


class Agents(unittest.TestCase):
    def test_the_agent_of_a_reply_is_the_messages_too(self):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write("""
                default_agent = "triage"
                [agents.triage]
                source = "external"
                [agents.desk]
                source = "external"
                retain = "until_titled"
            """)
            file.flush()
            server = Server("--config", file.name)
            self.addCleanup(server.end)
        with Titlecast(server.url) as titlecast:
            for thread, message, kept in (("a", {"content": PROMPT, "agent": "triage"}, PROMPT), ("b", PROMPT, "")):
                with titlecast.reply(thread, message=message, agent="desk") as written:
                    pass
                self.assertTrue(written.wait(10), written.error)
                wait_for(lambda: server.conversation(thread)["titleStatus"] == "READY", "title")
                self.assertEqual(server.messages(thread)[0]["content"], kept)


class OnBehalf(unittest.TestCase):
    def test_a_service_writes_for_a_person_who_alone_sees_it(self):
        secret = {"TITLECAST_JWT_SECRET": "as long as a secret has to be, and no secret",
                  "TITLECAST_JWT_ISSUER": "https://issuer.example", "TITLECAST_JWT_AUDIENCE": "titlecast"}
        server = Server(**secret)
        self.addCleanup(server.end)
        with Titlecast(server.url, server.token("agent", "conversations:ingest")) as titlecast:
            titlecast.record_message("a", PROMPT, user="ada")
            with titlecast.reply("a", user="ada") as written:
                written.text(WHOLE)
            self.assertTrue(written.wait(10), written.error)
            others = ("%61da", "100%25", "Jürgen", "日本", "a b/c@x.de")
            for user in others:
                titlecast.record_message("a", user, user=user, tenant="acme")
        for user in others:
            self.assertEqual([m["content"] for m in server.messages("a", server.token(user, "conversations:read"))], [user])
        ada, bob = (server.token(user, "conversations:read") for user in ("ada", "bob"))
        self.assertEqual([m["content"] for m in server.messages("a", ada)], [PROMPT, WHOLE])
        self.assertIsNone(server.conversation("a", bob))
        with Titlecast(server.url, server.token("ada", "conversations:write")) as titlecast:
            with self.assertRaises(TitlecastError) as raised:
                titlecast.record_message("a", PROMPT)
            self.assertEqual((raised.exception.status, raised.exception.code), (403, "FORBIDDEN"))
            written = titlecast.reply("a")
            written.text("?")
            self.assertFalse(written.wait(5))
            self.assertIn("403", written.error)


if __name__ == "__main__":
    unittest.main()
