//! Where a WebSocket's stream of frames stands (RFC 6455 section 5.2), so that a Close frame of ours can be put between two
//! of its frames. Pure. Nothing of a frame is kept, changed or judged.

use rand::Rng;

/// Two octets, eight of length, four of mask.
const LONGEST_HEAD: usize = 14;
const CLOSE: u8 = 0x8;
const MASKED: u8 = 0x80;

/// Why we end a WebSocket (RFC 6455 section 7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseCode {
    /// An endpoint is going away: the sidecar stops, or nobody says anything any more.
    GoingAway = 1001,
    /// The policy no longer allows it.
    PolicyViolation = 1008,
}

/// One direction of a WebSocket.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    head: [u8; LONGEST_HEAD],
    held: usize,
    payload: u64,
    is_closed: bool,
}

impl Frames {
    /// These bytes have passed.
    pub(crate) fn advance(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.payload > 0 {
                let passed = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
                self.payload -= passed as u64;
                bytes = bytes.get(passed..).unwrap_or_default();
                continue;
            }
            if let Some(octet) = self.head.get_mut(self.held) {
                *octet = *first;
            }
            self.held += 1;
            bytes = rest;
            if self.held >= 2 && self.held == self.head_length() {
                self.payload = self.payload_length();
                self.is_closed |= self.head[0] & 0xf == CLOSE;
                self.held = 0;
            }
        }
    }

    /// Whether a frame of ours may follow: nothing is half sent, and it was not said that nothing will follow.
    pub(crate) fn takes_more(&self) -> bool {
        self.held == 0 && self.payload == 0 && !self.is_closed
    }

    /// How many bytes at least are missing of the frame that is half sent, or begin the next one.
    pub(crate) fn missing(&self) -> usize {
        let of_head = if self.held < 2 { 2 } else { self.head_length() } - self.held;
        if self.payload > 0 { usize::try_from(self.payload).unwrap_or(usize::MAX) } else { of_head }
    }

    /// Whether a Close frame has passed.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    fn head_length(&self) -> usize {
        let length = match self.head[1] & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.head[1] & MASKED == 0 { 0 } else { 4 };
        2 + length + mask
    }

    fn payload_length(&self) -> u64 {
        let of = |octets: &[u8]| octets.iter().fold(0, |length, octet| length << 8 | u64::from(*octet));
        match self.head[1] & !MASKED {
            126 => of(&self.head[2..4]),
            127 => of(&self.head[2..10]),
            short => u64::from(short),
        }
    }
}

/// A Close frame with a word of why; towards a server it is masked, as all of a client's are.
pub(crate) fn close(code: CloseCode, why: &str, to_server: bool) -> Vec<u8> {
    // A control frame's payload has at most 125 octets.
    let payload: Vec<u8> = (code as u16).to_be_bytes().into_iter().chain(why.bytes()).take(125).collect();
    let mask: [u8; 4] = if to_server { rand::rng().random() } else { [0; 4] };
    let length = u8::try_from(payload.len()).unwrap_or(125);
    let mut frame = vec![0x80 | CLOSE, if to_server { MASKED | length } else { length }];
    if to_server {
        frame.extend_from_slice(&mask);
    }
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(octet, mask)| octet ^ mask));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a frame may follow after each piece.
    fn passed(pieces: &[&[u8]]) -> Vec<bool> {
        let mut frames = Frames::default();
        let mut after = |piece: &&[u8]| {
            frames.advance(piece);
            frames.takes_more()
        };
        pieces.iter().map(&mut after).collect()
    }

    #[test]
    fn a_frame_ends_where_its_length_says() {
        assert_eq!(passed(&[b"\x81", b"\x05", b"hel", b"lo"]), [false, false, false, true]);
        assert_eq!(passed(&[b"\x81\x85\x01\x02\x03", b"\x04", b"hello"]), [false, false, true]);
        assert_eq!(passed(&[b"\x82\x7e\x01", b"\x00", &[0; 255], &[0; 1]]), [false, false, false, true]);
        assert_eq!(
            passed(&[b"\x82\xff\0\0\0\0\0\x01\0\0", b"mask", &[0; 65_535], &[0; 1]]),
            [false, false, false, true]
        );
        assert_eq!(passed(&[b"\x89\0", b"\x81\x01a\x81\x01", b"b\x81", b"\0"]), [true, false, false, true]);
    }

    #[test]
    fn what_is_missing_of_a_frame_never_reaches_into_the_next() {
        let stream = [&b"\x81\x85mask"[..], b"hello\x82\x7e\x01\x00", &[0; 256], b"\x88\0"].concat();
        let (mut frames, mut left) = (Frames::default(), &stream[..]);
        let mut ends = Vec::new();
        while !left.is_empty() {
            let (passed, rest) = left.split_at(frames.missing());
            frames.advance(passed);
            left = rest;
            if frames.takes_more() {
                ends.push(stream.len() - left.len());
            }
        }
        assert_eq!(ends, [11, 11 + 4 + 256]);
        assert!(frames.is_closed());
    }

    #[test]
    fn nothing_follows_a_close() {
        assert_eq!(passed(&[b"\x88", b"\x02\x03\xe8"]), [false, false]);
        assert_eq!(passed(&[b"\x88\x80mask"]), [false]);
        for to_server in [false, true] {
            let mut frames = Frames::default();
            frames.advance(&close(CloseCode::PolicyViolation, "expired", to_server));
            assert!(!frames.takes_more() && frames.held == 0 && frames.payload == 0, "it is a whole frame");
        }
        assert_eq!(close(CloseCode::PolicyViolation, "expired", false), b"\x88\x09\x03\xf0expired");
    }
}
