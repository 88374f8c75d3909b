//! Assembles the tool calls of a streamed reply from their fragments.
//!
//! Servers name a call by its position, its id, or neither, and many name the id only once. A known id takes
//! precedence; a new id is a new call, even at a known position; a fragment without id and position belongs to the
//! previous call. A fragment with a name begins another call if the previous arguments are complete: some servers give
//! all calls one position, or one id. A fragment without a name continues incomplete arguments, whatever its id and
//! position.

use super::{json_end::JsonEnd, surrogates::SurrogateJoiner, wire::ToolDelta};
use crate::llm::ToolCall;

/// The maximum length of arguments. Longer ones are dropped, because truncated JSON is useless.
const MAX_ARGUMENT_BYTES: usize = 64 * 1024;

/// The maximum length of an id or name, in characters.
const MAX_NAME_CHARS: usize = 256;

/// The maximum number of calls in one reply.
const MAX_CALLS: usize = 128;

/// The calls of one reply.
#[derive(Debug, Default)]
pub(super) struct ToolCalls {
    calls: Vec<Call>,
    /// The position of the call that the last fragment belonged to.
    current: usize,
}

#[derive(Debug, Default)]
struct Call {
    index: Option<u64>,
    item: String,
    call: ToolCall,
    /// Where the arguments end.
    end: JsonEnd,
    /// A surrogate half at the end of the arguments so far.
    half: SurrogateJoiner,
    is_too_long: bool,
    is_passed_on: bool,
    /// Whether the list at the end of the answer has included it.
    is_listed: bool,
}

impl ToolCalls {
    /// Adds a fragment; returns the call if the fragment completes it.
    pub(super) fn add(&mut self, delta: ToolDelta) -> Option<ToolCall> {
        let delta = cleaned(delta);
        let at = self.place(&delta)?;
        self.current = at;
        let call = self.calls.get_mut(at)?;
        call.is_listed |= delta.is_listed;
        if call.is_passed_on || call.is_repeated_by(&delta) {
            return None;
        }
        let is_done = delta.is_done;
        call.add(delta);
        is_done.then(|| call.pass_on())
    }

    /// The complete calls that were not passed on yet: they precede the text that follows.
    pub(super) fn take_complete(&mut self) -> Vec<ToolCall> {
        let is_whole = |call: &&mut Call| {
            !call.is_passed_on && !call.call.name.is_empty() && call.end.is_complete()
        };
        self.calls
            .iter_mut()
            .filter(is_whole)
            .map(Call::pass_on)
            .collect()
    }

    /// Ends the reply; returns the calls that were not passed on yet, in order.
    pub(super) fn finish(&mut self) -> Vec<ToolCall> {
        let rest = self.calls.iter_mut().filter(|call| !call.is_passed_on);
        rest.map(Call::pass_on).collect()
    }

    /// Ends a truncated reply, for example at the token limit; leaves out calls whose arguments are incomplete.
    pub(super) fn finish_cut(&mut self) -> Vec<ToolCall> {
        self.calls.retain(|call| call.end.is_complete());
        self.finish()
    }

    /// The call that a fragment belongs to, which may be a new one. `None` over the limit.
    fn place(&mut self, delta: &ToolDelta) -> Option<usize> {
        let known = match delta.is_whole {
            true => self.place_of_whole(delta),
            false => self.place_of_fragment(delta),
        };
        // White space after a call that was passed on.
        let is_blank = delta.id.is_empty()
            && delta.name.is_empty()
            && delta.item.is_empty()
            && delta.arguments.trim().is_empty();
        if known.is_some() || is_blank && !self.calls.is_empty() {
            return known;
        }
        if self.calls.len() == MAX_CALLS {
            return None;
        }
        self.calls.push(Call::default());
        Some(self.calls.len() - 1)
    }

    fn last(&self, is_it: impl Fn(&Call) -> bool) -> Option<usize> {
        self.calls.iter().rposition(is_it)
    }

    fn by_item(&self, delta: &ToolDelta) -> Option<usize> {
        self.last(|call| !delta.item.is_empty() && call.item == delta.item)
    }

    fn place_of_fragment(&self, delta: &ToolDelta) -> Option<usize> {
        let goes_on = |call: &Call| match call.is_passed_on {
            // Text has followed the call; a repetition is still the same call.
            true => call.is_repeated_by(delta),
            false => !call.is_followed_by(delta),
        };
        let is_rest = |call: &Call| delta.name.is_empty() && call.end.is_partial();
        let by_id = || {
            let is_it = |call: &Call| call.call.id == delta.id && goes_on(call);
            (!delta.id.is_empty()).then(|| self.last(is_it)).flatten()
        };
        let by_index = || {
            delta.index?;
            // A call without an id so far may get it later.
            let is_nameless = |call: &Call| delta.id.is_empty() || call.call.id.is_empty();
            self.last(|call| {
                let is_it = is_nameless(call) || is_rest(call);
                call.index == delta.index && is_it && goes_on(call)
            })
        };
        let is_anonymous = delta.id.is_empty() && delta.index.is_none();
        let current = || {
            let call = self.calls.get(self.current)?;
            let is_it = (is_anonymous || is_rest(call)) && goes_on(call);
            (delta.item.is_empty() && is_it).then_some(self.current)
        };
        let known = self.by_item(delta).or_else(by_id);
        known.or_else(by_index).or_else(current)
    }

    /// Like [`Self::place_of_fragment`], for a whole call or whole arguments: a call that was already passed on matches
    /// only if it is equal.
    fn place_of_whole(&self, delta: &ToolDelta) -> Option<usize> {
        let is_same = |call: &Call| !call.is_passed_on || call.is_equal(delta);
        let by_id = || {
            let is_it = |call: &Call| call.call.id == delta.id && is_same(call);
            (!delta.id.is_empty()).then(|| self.last(is_it)).flatten()
        };
        let equal = || {
            let mut calls = self.calls.iter();
            let is_it = |call: &Call| call.is_passed_on && call.is_equal(delta);
            delta.is_listed.then(|| calls.position(is_it)).flatten()
        };
        let by_index = || {
            delta.index?;
            self.last(|call| {
                let is_nameless = delta.id.is_empty() || call.call.id.is_empty();
                call.index == delta.index && is_nameless && !call.is_passed_on
            })
        };
        let is_anonymous = delta.id.is_empty() && delta.item.is_empty() && delta.index.is_none();
        let current = || {
            let call = self.calls.get(self.current)?;
            (is_anonymous && !call.is_passed_on).then_some(self.current)
        };
        let known = self.by_item(delta).or_else(by_id);
        known.or_else(equal).or_else(by_index).or_else(current)
    }
}

impl Call {
    fn add(&mut self, delta: ToolDelta) {
        let (is_again, is_grown) = (
            self.is_all(&delta.arguments),
            self.is_grown(&delta.arguments),
        );
        self.index = self.index.or(delta.index);
        for (field, text) in [
            (&mut self.item, delta.item),
            (&mut self.call.id, delta.id),
            (&mut self.call.name, delta.name),
        ] {
            if field.is_empty() {
                *field = text;
            }
        }
        // Some gateways send an empty object before the arguments.
        let is_placeholder = self.call.arguments == "{}" && delta.arguments.starts_with('{');
        // Some servers send the whole arguments again at the end, or all of them so far with each fragment.
        if is_again && !delta.is_whole {
            return;
        }
        if delta.is_whole || is_placeholder || is_grown {
            self.call.arguments.clear();
            self.end = JsonEnd::default();
            self.half = SurrogateJoiner::default();
            self.is_too_long = false;
        }
        let more = self.half.add(delta.arguments, delta.marked.as_deref());
        self.append(&more);
    }

    fn append(&mut self, more: &str) {
        self.end.push(more);
        self.is_too_long |= self.call.arguments.len() + more.len() > MAX_ARGUMENT_BYTES;
        match self.is_too_long {
            true => self.call.arguments.clear(),
            false => self.call.arguments += more,
        }
    }

    /// Whether a fragment repeats all arguments, which are complete JSON: a repetition cannot continue them.
    fn is_all(&self, fragment: &str) -> bool {
        self.end.is_complete() && self.call.arguments == fragment
    }

    /// Whether a fragment repeats all arguments so far, and perhaps adds more. False if it may be their continuation,
    /// as in the two halves of `{"a":{"a":1}}`: where a value may begin, an object may begin. Elsewhere the arguments
    /// cannot continue with `{"` and a letter of a key: in a string, the quotation mark would end it, and outside, it
    /// is not JSON. `{` or `{"` alone may follow itself.
    fn is_grown(&self, fragment: &str) -> bool {
        let known = self.call.arguments.as_str();
        let key = known.strip_prefix('{').map(str::trim_start);
        let key = key.and_then(|rest| rest.strip_prefix('"'));
        let has_key = key.is_some_and(|key| key.starts_with(char::is_alphanumeric));
        let may_begin = match known.trim_end().chars().next_back() {
            _ if self.end.is_in_string() => false,
            Some(':' | '[') => true,
            Some(',') => known.contains('['),
            _ => false,
        };
        has_key && !may_begin && self.end.is_partial() && fragment.starts_with(known)
    }

    /// Whether a fragment begins another call, although it has the id or the position of this one, or neither.
    fn is_followed_by(&self, delta: &ToolDelta) -> bool {
        if delta.name.is_empty() || self.is_repeated_by(delta) {
            return false;
        }
        let has_arguments = !delta.arguments.trim().is_empty();
        let is_same_id = !delta.id.is_empty() && delta.id == self.call.id;
        let is_other_name = !self.call.name.is_empty() && delta.name != self.call.name;
        let is_elsewhere =
            self.index.is_some() && delta.index.is_some() && self.index != delta.index;
        self.end.is_complete() && has_arguments
            || is_elsewhere && !self.end.is_partial()
            || is_other_name && !is_same_id
    }

    /// Whether a fragment repeats this call: some servers repeat it with the finish reason.
    fn is_repeated_by(&self, delta: &ToolDelta) -> bool {
        let is_there = self.index.is_none() || delta.index.is_none() || self.index == delta.index;
        let is_same = !delta.id.is_empty() && delta.id == self.call.id && is_there;
        is_same && self.end.is_complete() && self.call.arguments == delta.arguments
    }

    /// Whether a whole call matches this one, which the list has not included yet.
    fn is_equal(&self, delta: &ToolDelta) -> bool {
        let plain = |text: &str| text.split_whitespace().collect::<String>();
        let is_same_text = || plain(&self.call.arguments) == plain(&delta.arguments);
        let is_same = self.call.name == delta.name && (self.is_too_long || is_same_text());
        is_same && !(self.is_listed && delta.is_listed)
    }

    fn pass_on(&mut self) -> ToolCall {
        let rest = self.half.finish();
        self.append(&rest);
        self.is_passed_on = true;
        if self.is_too_long {
            tracing::warn!("the arguments of a tool call are too long; they are left out");
        }
        self.call.clone()
    }
}

/// Bounds ids and names. Some servers send the text `null` as an id.
fn cleaned(mut delta: ToolDelta) -> ToolDelta {
    for text in [&mut delta.id, &mut delta.item, &mut delta.name] {
        if let Some((end, _)) = text.char_indices().nth(MAX_NAME_CHARS) {
            text.truncate(end);
        }
    }
    for id in [&mut delta.id, &mut delta.item] {
        if matches!(id.as_str(), "null" | "None") {
            id.clear();
        }
    }
    delta
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Index, id, name, arguments.
    type Fragment = (Option<u64>, &'static str, &'static str, &'static str);

    fn assembled(fragments: &[Fragment]) -> Vec<(String, String, String)> {
        let mut calls = ToolCalls::default();
        for &(index, id, name, arguments) in fragments {
            let delta = ToolDelta {
                index,
                id: id.to_owned(),
                name: name.to_owned(),
                arguments: arguments.to_owned(),
                ..ToolDelta::default()
            };
            assert_eq!(calls.add(delta), None);
        }
        let calls = calls.finish().into_iter();
        calls
            .map(|call| (call.id, call.name, call.arguments))
            .collect()
    }

    #[test]
    fn fragments_by_index_by_id_or_by_neither() {
        type Calls = &'static [(&'static str, &'static str, &'static str)];
        #[rustfmt::skip]
        let table: [(&[Fragment], Calls); 31] = [
            (&[(Some(0), "a", "f", ""), (Some(0), "", "", "{\"x\":"), (Some(0), "", "", "1}")], &[("a", "f", "{\"x\":1}")]),
            // Interleaved, with ids only in the first fragments.
            (&[(Some(0), "a", "f", "1"), (Some(1), "b", "g", "2"), (Some(0), "", "", "3"), (Some(1), "", "", "4")], &[("a", "f", "13"), ("b", "g", "24")]),
            // Without positions, each new id is a new call.
            (&[(None, "a", "f", "1"), (None, "", "", "2"), (None, "b", "g", "3"), (None, "", "", "4")], &[("a", "f", "12"), ("b", "g", "34")]),
            // Two ids at the same position are two calls.
            (&[(Some(0), "a", "f", "1"), (Some(0), "b", "g", "2"), (Some(0), "", "", "3")], &[("a", "f", "1"), ("b", "g", "23")]),
            // A known id wins over the position.
            (&[(Some(0), "a", "f", "1"), (Some(1), "b", "g", "2"), (Some(1), "a", "", "3")], &[("a", "f", "13"), ("b", "g", "2")]),
            // The id comes late.
            (&[(Some(0), "", "f", "1"), (Some(0), "a", "", "2")], &[("a", "f", "12")]),
            // Neither, ever.
            (&[(None, "", "f", "1"), (None, "", "", "2")], &[("", "f", "12")]),
            // No ids.
            (&[(Some(0), "", "f", "{}"), (Some(1), "", "g", "{}")], &[("", "f", "{}"), ("", "g", "{}")]),
            // One id for all.
            (&[(Some(0), "f", "f", "{\"a\":1}"), (Some(1), "f", "f", "{\"a\":2}")], &[("f", "f", "{\"a\":1}"), ("f", "f", "{\"a\":2}")]),
            (&[(Some(0), "f", "f", ""), (Some(0), "", "", "{\"a\":1}"), (Some(1), "f", "f", ""), (Some(1), "", "", "{\"a\":2}")],
                &[("f", "f", "{\"a\":1}"), ("f", "f", "{\"a\":2}")]),
            (&[(Some(0), "f", "f", ""), (Some(1), "f", "f", ""), (Some(0), "", "", "[1]"), (Some(1), "", "", "[2]")], &[("f", "f", "[1]"), ("f", "f", "[2]")]),
            // One position for all.
            (&[(Some(0), "", "f", "{\"a\":1}"), (Some(0), "", "f", "{\"a\":2}")], &[("", "f", "{\"a\":1}"), ("", "f", "{\"a\":2}")]),
            (&[(Some(0), "", "f", "{\"a\""), (Some(0), "", "f", ":1}"), (Some(0), "", "f", "{\"a\":2}")], &[("", "f", "{\"a\":1}"), ("", "f", "{\"a\":2}")]),
            // Neither, but complete arguments, or another name.
            (&[(None, "", "f", "{\"a\":1}"), (None, "", "f", "{\"a\":2}")], &[("", "f", "{\"a\":1}"), ("", "f", "{\"a\":2}")]),
            (&[(None, "", "f", ""), (None, "", "g", "{}")], &[("", "f", ""), ("", "g", "{}")]),
            // Id and name in each fragment, and all of it again in the end.
            (&[(Some(0), "a", "f", "{\"a\""), (Some(0), "a", "f", ":1}"), (Some(0), "a", "f", ""), (Some(0), "a", "f", "{\"a\":1}")], &[("a", "f", "{\"a\":1}")]),
            // Another position, or another id, within the arguments.
            (&[(Some(0), "a", "f", "{\"k\":1}"), (Some(0), "b", "g", "{\"ser"), (Some(1), "", "", "ies\":2}")], &[("a", "f", "{\"k\":1}"), ("b", "g", "{\"series\":2}")]),
            (&[(Some(0), "x", "f", "{\"a\""), (Some(0), "null", "", ":1}")], &[("x", "f", "{\"a\":1}")]),
            (&[(Some(0), "x", "f", "{\"a\""), (Some(0), "y", "", ":1"), (None, "z", "", "}")], &[("x", "f", "{\"a\":1}")]),
            (&[(Some(0), "x", "f", "{"), (Some(1), "x", "f", "}")], &[("x", "f", "{}")]),
            // An empty object before the arguments.
            (&[(Some(0), "a", "f", "{}"), (Some(0), "", "", "{\"a\""), (Some(0), "", "", ":1}")], &[("a", "f", "{\"a\":1}")]),
            // All of the arguments again.
            (&[(Some(0), "a", "f", ""), (Some(0), "", "", "{\"a\":1}"), (Some(0), "", "", "{\"a\":1}")], &[("a", "f", "{\"a\":1}")]),
            (&[(Some(0), "a", "f", "{\"a\":"), (Some(0), "", "", "1}"), (Some(0), "", "", "{\"a\":1}")], &[("a", "f", "{\"a\":1}")]),
            // All of the arguments so far with each fragment.
            (&[(Some(0), "a", "f", "{\"a"), (Some(0), "", "", "{\"a\":1,"), (Some(0), "", "", "{\"a\":1,\"b\":2}")], &[("a", "f", "{\"a\":1,\"b\":2}")]),
            (&[(Some(0), "a", "f", "{\"a\":\"x"), (Some(0), "", "", "{\"a\":\"xy\"}")], &[("a", "f", "{\"a\":\"xy\"}")]),
            // Objects that are continuations.
            (&[(Some(0), "a", "f", "{\"a\":"), (Some(0), "", "", "{\"a\":1}}")], &[("a", "f", "{\"a\":{\"a\":1}}")]),
            (&[(Some(0), "a", "f", "{\"a\":[{\"a\":[1]},"), (Some(0), "", "", "{\"a\":[{\"a\":[1]},2]}]}")], &[("a", "f", "{\"a\":[{\"a\":[1]},{\"a\":[{\"a\":[1]},2]}]}")]),
            (&[(Some(0), "a", "f", "{\""), (Some(0), "", "", "{\":1}")], &[("a", "f", "{\"{\":1}")]),
            (&[(Some(0), "a", "f", "{\"{"), (Some(0), "", "", "{"), (Some(0), "", "", "{\":1}")], &[("a", "f", "{\"{{{\":1}")]),
            // More than JSON stays as the model wrote it.
            (&[(Some(0), "a", "f", "{}"), (Some(0), "", "", "}")], &[("a", "f", "{}}")]),
            (&[], &[]),
        ];
        for (fragments, expected) in table {
            let found = assembled(fragments);
            let found: Vec<_> = found
                .iter()
                .map(|(id, name, text)| (id.as_str(), name.as_str(), text.as_str()))
                .collect();
            assert_eq!(found, expected, "{fragments:?}");
        }
    }

    #[test]
    fn a_complete_call_is_passed_on_once() {
        let mut calls = ToolCalls::default();
        let delta = |arguments: &str, is_whole, is_done| ToolDelta {
            index: Some(1),
            item: "fc_1".to_owned(),
            arguments: arguments.to_owned(),
            is_whole,
            is_done,
            ..ToolDelta::default()
        };
        assert_eq!(calls.add(delta("{", false, false)), None);
        assert_eq!(calls.add(delta("{}", true, false)), None);
        let done = calls.add(delta("{}", true, true)).unwrap();
        assert_eq!(done.arguments, "{}");
        assert_eq!(calls.add(delta("{}", true, true)), None, "again");
        assert_eq!(calls.finish(), []);
    }

    #[test]
    fn whole_calls_are_the_same_by_item_by_id_or_by_their_content() {
        /// Item, id, name, arguments; whether it is of the list at the end.
        type Whole = (&'static str, &'static str, &'static str, &'static str, bool);
        #[rustfmt::skip]
        let table: [(&[Whole], &[&str]); 8] = [
            (&[("i", "a", "f", "1", false), ("i", "a", "f", "1", true)], &["a f 1"]),
            (&[("i", "", "f", "1", false), ("j", "", "g", "2", false), ("i", "", "f", "1", true), ("j", "", "g", "2", true)], &[" f 1", " g 2"]),
            // No ids at all.
            (&[("", "", "f", "1", true), ("", "", "f", "1", true), ("", "", "g", "2", true)], &[" f 1", " f 1", " g 2"]),
            (&[("", "", "f", "1", false), ("", "", "g", "2", false), ("", "", "f", "1", true), ("", "", "g", "2", true)], &[" f 1", " g 2"]),
            // One id for all.
            (&[("i", "a", "f", "1", false), ("j", "a", "f", "2", false), ("i", "a", "f", "1", true), ("j", "a", "f", "2", true)], &["a f 1", "a f 2"]),
            (&[("", "a", "f", "1", true), ("", "a", "f", "1", true)], &["a f 1", "a f 1"]),
            // Other ids in the list, and other white space.
            (&[("i", "a", "f", "[1]", false), ("x", "a", "f", "[ 1 ]", true)], &["a f [1]"]),
            (&[("i", "a", "f", "1", false), ("x", "b", "f", "1", true)], &["a f 1"]),
        ];
        for (wholes, expected) in table {
            let mut calls = ToolCalls::default();
            let mut position = 0;
            let mut found = Vec::new();
            for &(item, id, name, arguments, is_listed) in wholes {
                let delta = ToolDelta {
                    index: Some(position).filter(|_| is_listed),
                    item: item.to_owned(),
                    id: id.to_owned(),
                    name: name.to_owned(),
                    arguments: arguments.to_owned(),
                    is_whole: true,
                    is_done: true,
                    is_listed,
                    ..ToolDelta::default()
                };
                position += u64::from(is_listed);
                found.extend(calls.add(delta));
            }
            assert_eq!(calls.finish(), [], "{wholes:?}");
            let found: Vec<String> = found
                .iter()
                .map(|call| format!("{} {} {}", call.id, call.name, call.arguments))
                .collect();
            assert_eq!(found, expected, "{wholes:?}");
        }
    }

    #[test]
    fn a_cut_reply_has_no_cut_calls() {
        let mut calls = ToolCalls::default();
        for (index, arguments) in (0..).zip(["{\"a\":1}", "{\"a\":", ""]) {
            calls.add(ToolDelta {
                index: Some(index),
                name: "f".to_owned(),
                arguments: arguments.to_owned(),
                ..ToolDelta::default()
            });
        }
        let rest = calls.finish_cut();
        assert_eq!(rest.len(), 1);
        assert_eq!(rest[0].arguments, "{\"a\":1}");
    }

    #[test]
    fn arguments_and_calls_are_bounded() {
        let long = "x".repeat(MAX_ARGUMENT_BYTES);
        let calls = assembled(&[
            (Some(0), "a", "f", long.leak()),
            (Some(0), "", "", "y"),
            (Some(0), "", "", "z"),
        ]);
        assert_eq!(calls, [("a".to_owned(), "f".to_owned(), String::new())]);
        let mut calls = ToolCalls::default();
        for index in 0..1_000 {
            calls.add(ToolDelta {
                index: Some(index),
                name: "f".to_owned(),
                ..ToolDelta::default()
            });
        }
        assert_eq!(calls.finish().len(), MAX_CALLS);
    }
}
