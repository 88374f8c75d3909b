"""What the openai package yields, and what its wire has, are the same events."""

import json
import sys
import unittest
from pathlib import Path

import openai

from titlecast._decode import Decoder

sys.path.insert(0, str(Path(__file__).parents[2] / "testing"))
from model import Model, reply  # noqa: E402

PROMPT = "Tell me of trees in 30 words"


def events(stream):
    decoder = Decoder()
    return [event for item in stream for event in decoder.feed(item)], decoder


def text(found):
    return "".join(event["text"] for event in found if event["type"] == "text")


class Decoding(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = Model(pace=0)
        cls.client = openai.OpenAI(base_url=cls.model.url, api_key="none")
        cls.addClassCleanup(cls.client.close)
        cls.addClassCleanup(cls.model.server_close)
        cls.addClassCleanup(cls.model.shutdown)

    def chat(self, **more):
        return self.client.chat.completions.create(
            model="scripted", messages=[{"role": "user", "content": PROMPT}], stream=True, **more
        )

    def test_chat_completions_as_objects_and_dicts(self):
        for items in (self.chat(), (chunk.to_dict() for chunk in self.chat())):
            found, decoder = events(items)
            self.assertEqual(text(found), "".join(reply(PROMPT)))
            self.assertEqual(decoder.outcome, "completed")
            self.assertEqual(decoder.usage, {"prompt_tokens": 9, "completion_tokens": 30})
            self.assertEqual(decoder.model, "scripted")

    def test_the_model_of_responses_and_none_whose_name_the_server_would_refuse(self):
        _, decoder = events([{"type": "response.created", "response": {"model": "gpt-5-mini"}}])
        self.assertEqual(decoder.model, "gpt-5-mini")
        for model in ("", "a\0", "\ud800", "x" * 256, 7, None):
            found, decoder = events([{"model": model, "choices": [{"delta": {"content": "A"}}]}])
            self.assertEqual((text(found), decoder.model), ("A", None))

    def test_responses_as_objects(self):
        found, decoder = events(self.client.responses.create(model="scripted", input=[{"role": "user", "content": PROMPT}], stream=True))
        self.assertEqual(text(found), "".join(reply(PROMPT)))
        self.assertEqual((decoder.outcome, decoder.usage), ("completed", {"prompt_tokens": 9, "completion_tokens": 30}))

    def test_raw_bytes_cut_anywhere(self):
        with self.client.chat.completions.with_streaming_response.create(
            model="scripted", messages=[{"role": "user", "content": PROMPT}], stream=True
        ) as response:
            raw = b"".join(response.iter_bytes())
        for size in (1, 7, len(raw)):
            found, decoder = events(raw[place : place + size] for place in range(0, len(raw), size))
            self.assertEqual(text(found), "".join(reply(PROMPT)))
            self.assertEqual(decoder.outcome, "completed")

    def test_a_tool_call_comes_whole(self):
        tools = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
        found, decoder = events(self.chat(tools=tools))
        self.assertEqual(found, [{"type": "tool", "id": "call_1", "name": "weather", "arguments": '{"city": "Kyoto"}'}])
        self.assertEqual(decoder.outcome, "completed")

    def test_a_stream_without_an_end_has_no_outcome(self):
        found, decoder = events(list(self.chat())[:10])
        self.assertNotEqual(text(found), "")
        self.assertIsNone(decoder.outcome)

    def test_an_error_in_mid_stream_is_a_failure_and_no_text(self):
        word = {"choices": [{"delta": {"content": "A"}}]}
        for error in ({"error": {"message": "overloaded"}}, {"type": "error", "message": "overloaded"}):
            for items in ([word, error], [f"data: {json.dumps(item)}\n\n" for item in (word, error)] + ["data: [DONE]\n\n"]):
                found, decoder = events(items)
                self.assertEqual((text(found), decoder.outcome), ("A", "failed"))

    def test_a_chunk_whose_proxy_has_given_it_a_type_is_a_chunk(self):
        found, decoder = events([{"type": "chunk", "choices": [{"delta": {"content": "A"}, "finish_reason": "stop"}]}])
        self.assertEqual((text(found), decoder.outcome), ("A", "completed"))

    def test_what_repeats_the_whole_text_at_the_end_does_not_double_it(self):
        whole = [{"type": "message", "id": "m", "content": [{"type": "output_text", "text": "AB"}]}]
        for items in (
            [{"choices": [{"delta": {"content": "A"}}]}, {"choices": [{"message": {"content": "A"}, "finish_reason": "stop"}]}],
            [{"type": "response.output_text.delta", "delta": "A"}, {"type": "response.output_text.done", "text": "A"},
             {"type": "response.output_item.done", "item": whole[0]}, {"type": "response.completed", "response": {"output": whole}}],
        ):
            found, decoder = events(items)
            self.assertEqual((text(found), decoder.outcome), ("A", "completed"))

    def test_usage_on_every_chunk_and_a_first_chunk_without_choices_and_text_behind_a_stop(self):
        usage = {"prompt_tokens": 1, "completion_tokens": 2}
        found, decoder = events([
            {"choices": [], "prompt_filter_results": [{}], "model": ""},
            *({"choices": [{"delta": {"content": word}, "finish_reason": finish}], "usage": usage}
              for word, finish in (("A", None), ("B", "stop"), ("C", None))),
        ])
        self.assertEqual((text(found), decoder.outcome, decoder.usage), ("ABC", "completed", usage))

    def test_a_reply_that_is_too_long_for_the_model_is_incomplete(self):
        _, decoder = events([{"choices": [{"delta": {}, "finish_reason": "length"}]}])
        self.assertEqual(decoder.outcome, "incomplete")


if __name__ == "__main__":
    unittest.main()
