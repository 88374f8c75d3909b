"""The audit finds each kind of history that must not be."""

import unittest

from audit import audit

WHOLE = "Prune late – in winter."


def history(content=WHOLE, outcome="COMPLETED", acknowledged=0, whole=True, names=("Trees",), status="READY", **more):
    messages = [{"role": "USER", "content": "How?", "outcome": None}]
    if content is not None:
        messages.append({"role": "ASSISTANT", "content": content, "outcome": outcome})
    journal = [{"conversation": "a", "begun": True}, {"conversation": "a", "acknowledged": acknowledged}]
    journal += [{"conversation": "a", "whole": True}] * whole
    found = {"id": "1", "titleStatus": status, "displayName": names[-1] if names else None, "messages": messages, "expected": WHOLE}
    changes = [("1", old, new) for old, new in zip((None, *names), names)]
    return audit(journal, {"a": {**found, **more}}, changes)


class Audit(unittest.TestCase):
    def test_what_may_be(self):
        self.assertEqual(history(), [])
        self.assertEqual(history(content="Prune late", outcome="INCOMPLETE", whole=False, acknowledged=10), [])
        self.assertEqual(history(content=None, whole=False), [])
        self.assertEqual(audit([{"conversation": "a", "begun": True}], {}, []), [])

    def test_what_must_not_be(self):
        messages = [{"role": role, "content": WHOLE, "outcome": "COMPLETED"} for role in ("USER", "ASSISTANT", "ASSISTANT")]
        for wrong, what in {
            "doubled": dict(content="Prune late Prune late", outcome="INCOMPLETE", whole=False),
            "a gap": dict(content="late – in", outcome="INCOMPLETE", whole=False),
            "lost": dict(content="Prune", outcome="INCOMPLETE", whole=False, acknowledged=10),
            "cut inside a character": dict(content="Prune late ", outcome="INCOMPLETE", whole=False, acknowledged=12),
            "whole, and incomplete": dict(content="Prune", outcome="INCOMPLETE"),
            "complete, and not whole": dict(content="Prune", whole=False),
            "failed": dict(outcome="FAILED", whole=False),
            "still running": dict(outcome=None, whole=False),
            "no reply": dict(content=None),
            "two replies": dict(messages=messages),
            "no title": dict(names=(), status="PENDING"),
            "two titles": dict(names=("Trees", "Tools")),
        }.items():
            with self.subTest(wrong):
                self.assertNotEqual(history(**what), [])
        self.assertNotEqual(audit([{"conversation": "a", "whole": True}], {}, []), [])
        self.assertNotEqual(audit([], {"b": {}}, []), [])


if __name__ == "__main__":
    unittest.main()
