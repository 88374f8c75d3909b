//! Tracks JSON that arrives in pieces, to find the end of its document.

/// The state after the pieces so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct JsonEnd {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    is_begun: bool,
    is_complete: bool,
}

impl JsonEnd {
    /// Adds a piece. After the end of a document nothing changes.
    pub(super) fn push(&mut self, piece: &str) {
        for byte in piece.bytes() {
            if self.is_complete {
                return;
            }
            self.is_begun |= !byte.is_ascii_whitespace();
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.in_string => self.is_escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth > 0 => {
                    self.depth -= 1;
                    self.is_complete = self.depth == 0;
                }
                _ => {}
            }
        }
    }

    /// Whether an object or a list has ended.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether a string has begun and has not ended.
    pub(super) fn is_in_string(&self) -> bool {
        self.in_string
    }

    /// Whether a document has begun and has not ended.
    pub(super) fn is_partial(&self) -> bool {
        self.is_begun && !self.is_complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_documents_end() {
        #[rustfmt::skip]
        let table = [
            ("", false, false),
            (" \n", false, false),
            ("{", false, true),
            ("{}", true, false),
            (" [1, [2], {\"a\": {}}] ", true, false),
            ("{\"a\": \"}\"", false, true),
            ("{\"a\": \"\\\"}\"", false, true),
            ("{\"a\": \"\\\\\"}", true, false),
            ("{}{", true, false),
            ("}", false, true),
            ("12", false, true),
        ];
        for (json, is_complete, is_partial) in table {
            let mut whole = JsonEnd::default();
            whole.push(json);
            let mut pieces = JsonEnd::default();
            json.split_inclusive(|_| true)
                .for_each(|piece| pieces.push(piece));
            for end in [whole, pieces] {
                let found = (end.is_complete(), end.is_partial());
                assert_eq!(found, (is_complete, is_partial), "{json}");
            }
        }
    }
}
