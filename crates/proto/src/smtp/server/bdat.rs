//! BDAT: RFC 3030 §2, §3. Lines must end with CR LF here too, as the letter may travel on by DATA;
//! only a letter given with BODY=BINARYMIME may hold any octet.

use super::{Event, Mode, Reply, Server, Step, Waiting};

impl Server {
    pub(super) fn bdat(&mut self, argument: &str) -> Step {
        let Some((size, last)) = parse(argument) else {
            // Where the chunk ends is not known, so nothing after it can be understood.
            let reply = Reply::bad_chunk_size();
            self.close(&reply);
            return Step::Event(Event::Refused(reply));
        };
        if self.letter.fault.is_none() {
            self.letter.fault = self.letter_out_of_place();
        }
        // RFC 3030 §2: the octets follow at once, so they are taken even when they are refused.
        if self.letter.started || self.letter.fault.is_some() {
            self.mode = Mode::Chunk {
                remaining: size,
                size,
                last,
            };
            return Step::Again;
        }
        self.ask(Waiting::Chunk { size, last }, Event::LetterStart)
    }

    pub(super) fn next_chunk(&mut self) -> Step {
        let Mode::Chunk {
            remaining,
            size,
            last,
        } = &mut self.mode
        else {
            return Step::NeedInput;
        };
        let (size, last) = (*size, *last);
        if *remaining == 0 {
            return self.end_chunk(size, last);
        }
        let available = usize::try_from(*remaining)
            .unwrap_or(usize::MAX)
            .min(self.input.len());
        if available == 0 {
            return Step::NeedInput;
        }
        *remaining -= available as u64;
        // RFC 3030 §3: of a binary letter any octet is taken.
        let any =
            self.letter.fault.is_some() || self.transaction.as_ref().is_some_and(|t| t.binary);
        let keeps = any || self.letter.keeps_line_ends(&self.input[..available]);
        if keeps {
            self.take_chunk(available)
        } else {
            bytes::Buf::advance(&mut self.input, available);
            self.drop_letter(Reply::bare_line_end_in_letter())
        }
    }

    fn end_chunk(&mut self, size: u64, last: bool) -> Step {
        self.mode = Mode::Command;
        self.progress_at = self.now;
        if last && self.letter.after_cr && self.letter.fault.is_none() {
            let step = self.drop_letter(Reply::bare_line_end_in_letter());
            self.mode = Mode::Chunk {
                remaining: 0,
                size,
                last,
            };
            return step;
        }
        let Some(fault) = self.letter.fault.take() else {
            if last {
                return self.ask(Waiting::LetterEnd, Event::LetterEnd);
            }
            Reply::chunk_received(size).write(&mut self.output);
            return Step::Again;
        };
        if last || self.transaction.is_none() {
            self.write_for_the_others(&fault);
            self.end_transaction();
        } else {
            // RFC 3030 §2: after a failed chunk the rest fails too, until RSET.
            self.letter.fault = Some(Reply::bad_sequence("An earlier BDAT has failed"));
        }
        self.refuse_command(fault)
    }
}

/// `BDAT SP chunk-size [ SP "LAST" ]`.
fn parse(argument: &str) -> Option<(u64, bool)> {
    let (digits, last) = match argument.split_once(' ') {
        None => (argument, false),
        Some((digits, word)) if word.eq_ignore_ascii_case("LAST") => (digits, true),
        Some(_) => return None,
    };
    let number = (1..=20).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    number
        .then(|| digits.parse().ok())
        .flatten()
        .map(|size| (size, last))
}
