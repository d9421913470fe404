//! Cuts a source into lines. Owns where each begins and ends; must never judge what a line holds.
//! Invariant: a line over 64 KiB is passed over without being held, and a piece of a line is never taken for one.

use std::io::{BufRead, BufReader, Read};

use super::source::Input;
use crate::base::error::Result;

/// Bytes of a line without its line feed, at most.
pub(super) const LINE_BYTES_MAX: usize = 64 * 1024;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A line.
    Line,
    /// A line longer than allowed.
    TooLong,
    /// Nothing now; a followed file may have more later.
    End,
}

/// Lines over a source.
pub(super) struct Lines {
    input: BufReader<Input>,
    line: Vec<u8>,
    line_at: u64,
    next_at: u64,
    too_long: bool,
    /// The line in hand was told of: the next call begins another.
    told: bool,
}

impl Lines {
    pub(super) fn over(input: Input) -> Self {
        let input = BufReader::with_capacity(64 * 1024, input);
        Lines { input, line: Vec::new(), line_at: 0, next_at: 0, too_long: false, told: false }
    }

    pub(super) fn input(&self) -> &Input {
        self.input.get_ref()
    }

    pub(super) fn input_mut(&mut self) -> &mut Input {
        self.input.get_mut()
    }

    /// The line in hand without its line feed; `None` where it is too long.
    pub(super) fn line(&self) -> Option<&[u8]> {
        (!self.too_long).then(|| self.line.strip_suffix(b"\n").unwrap_or(&self.line))
    }

    /// Bytes of the source before the line in hand.
    pub(super) fn line_at(&self) -> u64 {
        self.line_at
    }

    /// Bytes of the source up to the end of the last line told of.
    pub(super) fn next_at(&self) -> u64 {
        if self.told { self.next_at } else { self.line_at }
    }

    /// Reads up to the next line feed. A piece without one stays in hand for a later call. Errors: those of the source.
    pub(super) fn advance(&mut self) -> Result<Next> {
        if self.told {
            self.line.clear();
            (self.line_at, self.too_long, self.told) = (self.next_at, false, false);
        }
        loop {
            let got = if self.too_long { self.pass_over() } else { self.fill() };
            let (got, whole) = got.map_err(|error| self.input().failed(error))?;
            self.next_at += got;
            self.told = whole;
            match (whole, self.too_long) {
                (true, false) => return Ok(Next::Line),
                (true, true) => return Ok(Next::TooLong),
                (false, _) if got == 0 => return Ok(Next::End),
                (false, _) => {}
            }
        }
    }

    /// Tells of the piece in hand as a line, at the very end of a source.
    pub(super) fn rest(&mut self) -> Option<Next> {
        self.told = self.too_long || !self.line.is_empty();
        self.told.then_some(if self.too_long { Next::TooLong } else { Next::Line })
    }

    /// Bytes added to the line, and whether it is whole.
    fn fill(&mut self) -> std::io::Result<(u64, bool)> {
        let room = (LINE_BYTES_MAX + 1).saturating_sub(self.line.len()) as u64;
        let got = (&mut self.input).take(room).read_until(b'\n', &mut self.line)? as u64;
        let whole = self.line.last() == Some(&b'\n');
        if !whole && self.line.len() > LINE_BYTES_MAX {
            self.too_long = true;
            self.line = Vec::new();
        }
        Ok((got, whole))
    }

    /// Bytes of the overlong line passed over, and whether its end was found.
    fn pass_over(&mut self) -> std::io::Result<(u64, bool)> {
        let chunk = self.input.fill_buf()?;
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let got = end.map_or(chunk.len(), |at| at + 1);
        self.input.consume(got);
        Ok((got as u64, end.is_some()))
    }
}
