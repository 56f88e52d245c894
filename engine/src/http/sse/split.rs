//! Cuts a byte stream into server-sent events, whatever pieces it comes in.

use bytes::{Bytes, BytesMut};
use farebox_core::challenge::event::{EVENT_NEED_VOUCHER, EVENT_RECEIPT};

/// The longest event, with all its lines.
pub const EVENT_BYTES_MAX: usize = 1 << 20;

/// The word by which services close a stream: no service, so no unit.
const DONE: &[u8] = b"[DONE]";

/// One event, or a block of lines that is none (comments).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SseEvent {
    /// Its lines and the empty line after them, as they came.
    pub bytes: Bytes,
    /// Whether it is one unit.
    pub is_billed: bool,
    /// Whether it bears a name that only the door may use.
    pub is_reserved: bool,
}

/// An event does not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a server-sent event has more than {EVENT_BYTES_MAX} bytes")]
pub struct EventTooLong;

/// Finds the events. Bytes go in with [`SseSplitter::push`], events come out of [`SseSplitter::next_event`].
#[derive(Debug, Default)]
pub struct SseSplitter {
    /// What is not yet given out; it begins with an event.
    buffer: BytesMut,
    /// Where the line begins that was not looked at.
    line_start: usize,
    /// Up to where that line was searched for its end.
    searched: usize,
    seen: Seen,
}

/// What the lines of the current event said.
#[derive(Debug, Default)]
struct Seen {
    data_lines: usize,
    /// Some line had data other than the closing word.
    has_data: bool,
    is_done: bool,
    is_reserved: bool,
}

impl SseSplitter {
    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole event.
    pub fn next_event(&mut self) -> Result<Option<SseEvent>, EventTooLong> {
        while let Some((end, next)) = self.line_end(false) {
            let is_end = end == self.line_start;
            if !is_end {
                self.seen.line(&self.buffer[self.line_start..end]);
            }
            (self.line_start, self.searched) = (next, next);
            if is_end {
                return Ok(Some(self.take(next)));
            }
        }
        if self.buffer.len() > EVENT_BYTES_MAX { Err(EventTooLong) } else { Ok(None) }
    }

    /// What is left when the stream ended in good order: an event without its empty line, which is added.
    pub fn finish(&mut self) -> Option<SseEvent> {
        // A carriage return at the very end is a line end after all.
        while let Some((end, next)) = self.line_end(true) {
            self.seen.line(&self.buffer[self.line_start..end]);
            (self.line_start, self.searched) = (next, next);
        }
        if self.buffer.is_empty() {
            return None;
        }
        let rest = self.buffer.len();
        if self.line_start < rest {
            let line = self.buffer.split_off(self.line_start);
            self.seen.line(&line);
            self.buffer.unsplit(line);
            self.buffer.extend_from_slice(b"\n");
        }
        self.buffer.extend_from_slice(b"\n");
        Some(self.take(self.buffer.len()))
    }

    /// Where the current line ends and the next begins. A carriage return that is the last byte may be
    /// half of a line end: then only `is_over` makes it one.
    fn line_end(&mut self, is_over: bool) -> Option<(usize, usize)> {
        let rest = &self.buffer[self.searched..];
        let Some(found) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            self.searched = self.buffer.len();
            return None;
        };
        let end = self.searched + found;
        match (self.buffer[end], self.buffer.get(end + 1)) {
            (b'\r', Some(b'\n')) => Some((end, end + 2)),
            (b'\r', None) if !is_over => {
                self.searched = end;
                None
            }
            _ => Some((end, end + 1)),
        }
    }

    fn take(&mut self, length: usize) -> SseEvent {
        let bytes = self.buffer.split_to(length).freeze();
        let seen = std::mem::take(&mut self.seen);
        (self.line_start, self.searched) = (0, 0);
        let is_closing_word = seen.data_lines == 1 && seen.is_done;
        SseEvent { bytes, is_billed: seen.has_data && !is_closing_word, is_reserved: seen.is_reserved }
    }
}

impl Seen {
    /// Takes note of one line that is not empty.
    fn line(&mut self, line: &[u8]) {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        // A byte order mark may stand before the first line of a stream.
        match name.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(name) {
            b"data" => {
                self.data_lines += 1;
                self.has_data |= !value.is_empty();
                self.is_done |= value == DONE;
            }
            // The last name counts, as clients read it.
            b"event" => {
                let value = value.trim_ascii();
                self.is_reserved =
                    value == EVENT_NEED_VOUCHER.as_bytes() || value == EVENT_RECEIPT.as_bytes();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(pieces: &[&[u8]]) -> Vec<SseEvent> {
        let mut splitter = SseSplitter::default();
        let mut events = Vec::new();
        for piece in pieces {
            splitter.push(piece);
            while let Some(event) = splitter.next_event().unwrap() {
                events.push(event);
            }
        }
        events.extend(splitter.finish());
        events
    }

    fn billed(text: &str) -> Vec<bool> {
        split(&[text.as_bytes()]).iter().map(|event| event.is_billed).collect()
    }

    #[test]
    fn what_counts() {
        assert_eq!(billed("data: a\n\n"), [true]);
        assert_eq!(billed("data:a\n\n"), [true]);
        assert_eq!(billed("event: message\nid: 7\ndata: a\ndata: b\n\n"), [true]);
        assert_eq!(billed(": heartbeat\n\n"), [false]);
        assert_eq!(billed("retry: 10\n\nid: 3\n\nevent: ping\n\n"), [false, false, false]);
        assert_eq!(billed("data\n\ndata:\n\ndata: \n\n"), [false, false, false]);
        assert_eq!(billed("data: [DONE]\n\n"), [false]);
        assert_eq!(billed("data: [DONE]\ndata: and more\n\n"), [true]);
        assert_eq!(billed("data: [DONE] \n\n"), [true]);
        assert_eq!(billed("Data: a\n\ndatum: a\n\n"), [false, false]);
        assert_eq!(billed("\u{feff}data: a\n\n"), [true]);
        assert_eq!(billed("\n\n"), [false, false]);
        assert!(billed("").is_empty());
    }

    #[test]
    fn every_line_end_is_one() {
        for text in ["data: a\n\ndata: b\n\n", "data: a\r\n\r\ndata: b\r\n\r\n", "data: a\r\rdata: b\r\r"] {
            assert_eq!(billed(text), [true, true], "{text:?}");
        }
    }

    #[test]
    fn an_event_without_its_end_is_completed() {
        for (text, whole) in [
            ("data: a", "data: a\n\n"),
            ("data: a\n", "data: a\n\n"),
            ("data: a\r\n", "data: a\r\n\n"),
            ("data: a\r", "data: a\r\n"),
            ("data: a\n\r", "data: a\n\r\n"),
        ] {
            let events = split(&[text.as_bytes()]);
            assert_eq!(events.len(), 1, "{text:?}");
            assert_eq!(events[0].bytes, whole, "{text:?}");
            assert!(events[0].is_billed);
        }
    }

    #[test]
    fn our_names_are_known() {
        let reserved = |text: &str| split(&[text.as_bytes()])[0].is_reserved;
        assert!(reserved("event: payment-receipt\ndata: {}\n\n"));
        assert!(reserved("event:payment-need-voucher\ndata: {}\n\n"));
        assert!(reserved("event: x\nevent: payment-receipt \ndata: {}\n\n"));
        assert!(!reserved("event: payment-receipts\ndata: {}\n\n"));
        assert!(!reserved("data: payment-receipt\n\n"));
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut splitter = SseSplitter::default();
        splitter.push(b"data: ");
        let piece = vec![b'a'; 1 << 16];
        for _ in 0..16 {
            splitter.push(&piece);
        }
        assert_eq!(splitter.next_event(), Err(EventTooLong));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            text in "(data|event|id|:|payment-receipt|\\[DONE\\]| |a|\n|\r|\r\n){0,60}",
            cuts in prop::collection::vec(0usize..200, 0..12),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&bytes[from..cut]);
                from = cut;
            }
            pieces.push(&bytes[from..]);
            let whole = split(&[bytes]);
            prop_assert_eq!(&split(&pieces), &whole);
            // Nothing is lost: the events are the text, but for the line ends that complete the last.
            let joined: Vec<u8> = whole.iter().flat_map(|event| event.bytes.to_vec()).collect();
            prop_assert!(joined.starts_with(bytes));
            prop_assert!(joined.len() <= bytes.len() + 2);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            split(&[&bytes]);
        }
    }
}
