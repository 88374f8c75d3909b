"""The checks and the verdict of a soak against histories of each kind that must not be."""

import unittest
from types import SimpleNamespace

import checks
import figures


def said(text, reply, outcome="completed", is_acknowledged=True, begun=0, ended=9, failures=0):
    given = {"text": text, "reply": reply, "outcome": outcome, "is_acknowledged": is_acknowledged}
    return SimpleNamespace(**given, wire="legacy", begun=begun, ended=ended, failures=failures)


def written(text):
    return f"{text} answered"


TALK = SimpleNamespace(turns=[said("a", "a answered"), said("b", "b answered")])
STORED = [["user", "a"], ["assistant", "a answered"], ["user", "b"], ["assistant", "b answered"]]


class ChecksTest(unittest.TestCase):
    def wrong(self, messages, talk=TALK):
        return " ".join(checks.kept(talk, messages, written))

    def test_what_is_kept_is_not_wrong(self):
        self.assertEqual(self.wrong(STORED), "")
        lost = SimpleNamespace(turns=[said("a", "", "incomplete")])
        self.assertEqual(self.wrong([["user", "a"]], lost), "")
        unknown = SimpleNamespace(turns=[said("a", "", None, is_acknowledged=False)])
        self.assertEqual(self.wrong(None, unknown), "")

    def test_each_loss_is_found(self):
        self.assertIn("not there", self.wrong(None))
        for place in range(4):
            self.assertIn("shown to its person, and not stored", self.wrong(STORED[:place] + STORED[place + 1 :]))
        self.assertIn("not stored", self.wrong([*STORED[:3], ["assistant", "b answere"]]))

    def test_doubles_and_disorder_are_found(self):
        self.assertIn("not shown", self.wrong([*STORED, STORED[0]]))
        self.assertIn("another order", self.wrong([*STORED[2:], *STORED[:2]]))

    def test_text_that_the_model_did_not_write_is_found(self):
        short = SimpleNamespace(turns=[said("a", "a answe")])
        self.assertIn("completed reply", self.wrong([["user", "a"], ["assistant", "a answe"]], short))
        other = SimpleNamespace(turns=[said("a", "a b", "incomplete")])
        self.assertIn("beginning", self.wrong([["user", "a"], ["assistant", "a b"]], other))

    def test_only_a_kill_excuses_an_incomplete_reply(self):
        talk = SimpleNamespace(turns=[said("a", "a", "incomplete", begun=10, ended=20)])
        self.assertEqual(list(checks.unexcused(talk, [("kill -9", 15, 16)])), [])
        for faults in ([("deploy", 15, 16)], [("kill -9", 5, 9)], [("kill -9", 21, 22)], []):
            self.assertEqual(len(list(checks.unexcused(talk, faults))), 1, faults)
        talk.turns[0].outcome = "failed"
        self.assertEqual(len(list(checks.unexcused(talk, [("kill -9", 15, 16)]))), 1)

    def test_only_a_failover_excuses_a_failed_reply(self):
        talk = SimpleNamespace(turns=[said("a", "a answered", begun=10, ended=20, failures=2)])
        self.assertEqual(list(checks.unexcused(talk, [("failover", 15, 16)])), [])
        self.assertEqual(len(list(checks.unexcused(talk, [("kill -9", 15, 16)]))), 1)

    def test_a_list_that_is_behind_is_found(self):
        person = SimpleNamespace(talks={"1": None}, list={"1": (3, "Trees")}, titles={"1": ["Trees"]})
        self.assertEqual(list(checks.behind(person, {"1": ("Trees", 3)})), [])
        for rows in ({"1": ("Trees", 4)}, {"1": ("Tools", 3)}):
            self.assertTrue(list(checks.behind(person, rows)), rows)
        person.titles = {"1": ["Tools", "Trees"]}
        self.assertTrue(list(checks.behind(person, {"1": ("Trees", 3)})))


class FiguresTest(unittest.TestCase):
    def lives(self, *sizes):
        return [figures.Life("node", 0, [(age, size(age)) for age in range(60)]) for size in sizes]

    def verdict(self, *sizes, spreads={}):
        return " ".join(figures.verdict(*figures.growth(self.lives(*sizes), 10), spreads))

    def test_flat_memory_passes_after_its_warm_up(self):
        def flat(age):
            return 100 if age >= 10 else 50

        self.assertEqual(self.verdict(flat, flat), "")

    def test_growth_is_found_within_a_process_and_between_two(self):
        self.assertIn("a process grew", self.verdict(lambda age: 100 + age / 4, lambda age: 100 + age / 4))
        self.assertIn("larger than the first", self.verdict(lambda age: 100, lambda age: 106))
        self.assertIn("lived long enough", self.verdict(lambda age: 100))

    def test_a_slot_that_was_not_lived_to_its_end_does_not_count(self):
        life = figures.Life("node", 0, [(age, 1) for age in range(15)])
        self.assertEqual(list(life.slots(10)), [0])

    def test_samples_of_a_fault_do_not_count_and_a_slow_minute_is_found(self):
        samples = [(at / 2, at / 2 + 1, 9 if 100 <= at / 2 < 110 else 1) for at in range(480)]
        quiet = figures.minutes(samples, [("deploy", 100, 108)], 5)
        self.assertEqual(figures.spread(quiet), 1)
        self.assertEqual(figures.spread(figures.minutes(samples, [], 5)), 9)
        self.assertEqual(figures.spread(figures.minutes(samples, [], 5, busy={1})), 1)
        self.assertEqual(figures.spread(figures.minutes(samples, [], 5, busy={1, 2, 3})), 9)
        self.assertEqual(figures.busy(samples), {0, 1, 2, 3})
        self.assertEqual(figures.busy([(at / 10, at / 10, 0.3 if at < 600 and at % 10 == 0 else 0) for at in range(1200)]), {0})
        self.assertIn("9.00 times", self.verdict(lambda age: 1, lambda age: 1, spreads={"title": 9}))
        self.assertIn("fewer than two", self.verdict(lambda age: 1, lambda age: 1, spreads={"title": None}))


if __name__ == "__main__":
    unittest.main()
