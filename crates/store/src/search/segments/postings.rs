//! Where a term stands: for each message, in ascending order, the places of the term in it.
//!
//! The bytes of a chunk: for each message but the first the distance from the one before, then the
//! places, each as the distance from the one before, and a zero. All numbers are at least 1, in
//! seven bits a byte, lowest first, so that a zero byte ends the places and nothing else.

use crate::StoreError;

/// Bytes of a chunk, so that two fill a block; one message's places may be more.
pub(in crate::search) const CHUNK_BYTES: usize = 3_900;
/// Low bits of a place that tell the field; the rest tells the word, counted through all fields.
pub(in crate::search) const FIELD_BITS: u32 = 3;
/// From the place of a word to that of the next in the same field.
pub(in crate::search) const NEXT_WORD: u32 = 1 << FIELD_BITS;

/// The error of bytes that nobody has written.
pub(in crate::search) fn damaged() -> StoreError {
    StoreError::Io(
        "the search index is damaged: it is made anew when the node starts again".to_owned(),
    )
}

/// Writes a number.
pub(in crate::search) fn put(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads a number.
pub(in crate::search) fn get(bytes: &mut &[u8]) -> Result<u32, StoreError> {
    let (mut value, mut shift) = (0_u32, 0);
    loop {
        let (byte, rest) = bytes.split_first().ok_or_else(damaged)?;
        *bytes = rest;
        let bits = u32::from(byte & 0x7f);
        if shift > 28 || (shift == 28 && bits > 0xf) {
            return Err(damaged());
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
        shift += 7;
    }
}

/// Some messages of a term, as they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::search) struct Chunk<'b> {
    /// The first message.
    pub first: u32,
    /// The last message.
    pub last: u32,
    pub body: &'b [u8],
}

impl<'b> Chunk<'b> {
    /// Tells each message with the bytes of its places.
    pub(in crate::search) fn each(
        &self,
        mut take: impl FnMut(u32, &'b [u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let (mut rest, mut message) = (self.body, self.first);
        loop {
            let end = rest.iter().position(|byte| *byte == 0);
            let (places, behind) = rest.split_at(end.ok_or_else(damaged)?);
            take(message, places)?;
            rest = &behind[1..];
            if rest.is_empty() {
                return if message == self.last {
                    Ok(())
                } else {
                    Err(damaged())
                };
            }
            let distance = get(&mut rest)?;
            message = message.checked_add(distance).ok_or_else(damaged)?;
        }
    }
}

/// Tells each place.
pub(in crate::search) fn each_place(
    mut places: &[u8],
    mut take: impl FnMut(u32),
) -> Result<(), StoreError> {
    let mut place = 0_u32;
    while !places.is_empty() {
        place = place.checked_add(get(&mut places)?).ok_or_else(damaged)?;
        take(place);
    }
    Ok(())
}

/// A term's messages while they come, one place after another.
#[derive(Debug)]
pub(in crate::search) struct Growing {
    first: u32,
    last: u32,
    place: u32,
    body: Vec<u8>,
}

impl Growing {
    /// With its first place, which is not 0.
    pub(in crate::search) fn new(message: u32, place: u32) -> Self {
        let mut body = Vec::with_capacity(8);
        put(&mut body, place);
        Self {
            first: message,
            last: message,
            place,
            body,
        }
    }

    /// Adds a place: a later message, or a later place of the same.
    pub(in crate::search) fn add(&mut self, message: u32, place: u32) {
        if message == self.last {
            put(&mut self.body, place - self.place);
        } else {
            self.body.push(0);
            put(&mut self.body, message - self.last);
            put(&mut self.body, place);
            self.last = message;
        }
        self.place = place;
    }

    /// Ends the last message.
    pub(in crate::search) fn end(&mut self) -> Chunk<'_> {
        self.body.push(0);
        Chunk {
            first: self.first,
            last: self.last,
            body: &self.body,
        }
    }
}

/// A chunk that others are added to.
#[derive(Default, Debug)]
pub(in crate::search) struct Joined {
    first: u32,
    last: u32,
    body: Vec<u8>,
}

impl Joined {
    pub(in crate::search) fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// Whether so many bytes can be added and leave it small enough.
    pub(in crate::search) fn has_room(&self, bytes: usize) -> bool {
        self.body.len() + bytes <= CHUNK_BYTES
    }

    /// Adds a chunk whose messages all come later.
    pub(in crate::search) fn add(&mut self, chunk: Chunk<'_>) -> Result<(), StoreError> {
        if self.body.is_empty() {
            self.first = chunk.first;
        } else {
            let distance = chunk.first.checked_sub(self.last);
            let distance = distance.filter(|distance| *distance > 0);
            put(&mut self.body, distance.ok_or_else(damaged)?);
        }
        self.last = chunk.last;
        self.body.extend_from_slice(chunk.body);
        Ok(())
    }

    /// Adds a later message with the bytes of its places.
    pub(in crate::search) fn add_message(
        &mut self,
        message: u32,
        places: &[u8],
    ) -> Result<(), StoreError> {
        self.add(Chunk {
            first: message,
            last: message,
            body: places,
        })?;
        self.body.push(0);
        Ok(())
    }

    pub(in crate::search) fn chunk(&self) -> Chunk<'_> {
        Chunk {
            first: self.first,
            last: self.last,
            body: &self.body,
        }
    }

    pub(in crate::search) fn clear(&mut self) {
        self.body.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers() {
        for value in [1, 127, 128, 16_383, 16_384, u32::MAX - 1, u32::MAX] {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            let mut rest = bytes.as_slice();
            assert_eq!(get(&mut rest), Ok(value));
            assert!(rest.is_empty());
            assert!(!bytes.contains(&0));
        }
        for bad in [
            &b""[..],
            b"\xff",
            b"\xff\xff\xff\xff\x1f",
            b"\x80\x80\x80\x80\x80\x01",
        ] {
            assert!(get(&mut &*bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        /// What is written place by place is read again, whole and joined from two.
        #[test]
        fn messages_and_places(
            all in proptest::collection::btree_map(
                1..100_000_u32, proptest::collection::btree_set(1..2_000_000_u32, 1..5), 1..20),
            cut in 0..20_usize,
        ) {
            let grow = |part: &[(u32, Vec<u32>)]| {
                let mut growing: Option<Growing> = None;
                for (message, places) in part {
                    for place in places {
                        match &mut growing {
                            None => growing = Some(Growing::new(*message, *place)),
                            Some(growing) => growing.add(*message, *place),
                        }
                    }
                }
                growing
            };
            let all: Vec<(u32, Vec<u32>)> = all
                .into_iter()
                .map(|(message, places)| (message, places.into_iter().collect()))
                .collect();
            let (early, late) = all.split_at(cut.min(all.len()));
            let mut joined = Joined::default();
            for part in [early, late] {
                if let Some(mut growing) = grow(part) {
                    joined.add(growing.end()).unwrap();
                }
            }
            let mut whole = grow(&all).unwrap();
            prop_assert_eq!(joined.chunk(), whole.end());
            let mut read = Vec::new();
            joined.chunk().each(|message, bytes| {
                let mut places = Vec::new();
                each_place(bytes, |place| places.push(place))?;
                read.push((message, places));
                Ok(())
            }).unwrap();
            prop_assert_eq!(read, all);
        }

        /// Bytes that nobody has written end in an error, never in a panic.
        #[test]
        fn any_bytes(body: Vec<u8>, first: u32) {
            let chunk = Chunk { first, last: first, body: &body };
            let _ = chunk.each(|_, places| each_place(places, |_| ()));
        }
    }
}
