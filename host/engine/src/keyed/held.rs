use super::entries::Entries;
use millstream_model::column::BytesColumn;

/// What is held of one key and state. Bytes live in place up to 22 of them: most keys and counters cause no allocation and no second cache
/// miss.
#[derive(Debug, Default)]
pub(super) enum Held {
    /// Nothing is known yet.
    #[default]
    Unknown,
    /// Known to be absent.
    Absent,
    /// In place.
    Inline(u8, [u8; INLINE]),
    /// On the heap.
    Heap(Box<[u8]>),
    /// The entries of a map that are known, or the elements of a list.
    Map(Box<Entries>),
}

/// Memory of an allocation: allocators round up and keep notes.
fn allocated(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { (bytes + 8).next_multiple_of(16).max(32) }
}

const INLINE: usize = 22;

impl Held {
    #[inline]
    pub(super) fn from_slice(bytes: &[u8]) -> Self {
        let mut inline = [0; INLINE];
        match inline.get_mut(..bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                Self::Inline(bytes.len() as u8, inline)
            }
            None => Self::Heap(bytes.into()),
        }
    }

    pub(super) fn from_option(bytes: Option<&[u8]>) -> Self {
        bytes.map_or(Self::Absent, Self::from_slice)
    }

    /// The bytes; none if absent or unknown.
    #[inline]
    pub(super) fn get(&self) -> Option<&[u8]> {
        match self {
            Self::Unknown | Self::Absent | Self::Map(_) => None,
            Self::Inline(len, bytes) => bytes.get(..*len as usize),
            Self::Heap(bytes) => Some(bytes),
        }
    }

    /// Whether these are the bytes.
    #[inline]
    pub(super) fn is(&self, bytes: &[u8]) -> bool {
        self.get() == Some(bytes)
    }

    /// Appends the bytes, absent if there are none.
    #[inline]
    pub(super) fn push_to(&self, column: &mut BytesColumn) {
        match self {
            // A copy of fixed length is a few instructions, one of unknown length a call.
            Self::Inline(len, bytes) => column.push_with(|to| {
                let end = to.len() + *len as usize;
                to.extend_from_slice(bytes);
                to.truncate(end);
            }),
            _ => column.push(self.get()),
        }
    }

    #[inline]
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown)
    }

    /// Replaces the bytes, in place where they fit.
    #[inline]
    pub(super) fn set(&mut self, bytes: Option<&[u8]>) {
        match (&mut *self, bytes) {
            (Self::Inline(len, place), Some(bytes)) if bytes.len() <= INLINE => {
                *len = bytes.len() as u8;
                // Eight bytes are a counter, what most values are: one store, where a copy of unknown length is a call.
                if let (Ok(number), Some(place)) = (<&[u8; 8]>::try_from(bytes), place.first_chunk_mut()) {
                    *place = *number;
                } else if let Some(place) = place.get_mut(..bytes.len()) {
                    place.copy_from_slice(bytes);
                }
            }
            (Self::Heap(place), Some(bytes)) if place.len() == bytes.len() => place.copy_from_slice(bytes),
            _ => *self = Self::from_option(bytes),
        }
    }

    /// The known entries of a map; an empty set to begin with.
    pub(super) fn entries(&mut self) -> &mut Entries {
        if !matches!(self, Self::Map(_)) {
            *self = Self::Map(Box::default());
        }
        match self {
            Self::Map(entries) => entries,
            #[expect(clippy::unreachable, reason = "set to a map just above")]
            _ => unreachable!(),
        }
    }

    /// Whether something is known of the cell with this cell key, that of a map or the only one of a value.
    pub(super) fn knows(&self, cell_key: &[u8]) -> bool {
        match self {
            Self::Map(entries) => entries.get(cell_key).is_some(),
            other => !other.is_unknown(),
        }
    }

    /// Memory of a value outside of this, nearly; not of a map.
    #[inline]
    pub(super) fn value_bytes(&self) -> usize {
        match self {
            Self::Heap(bytes) => allocated(bytes.len()),
            _ => 0,
        }
    }

    /// Memory outside of this, nearly.
    #[inline]
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Heap(bytes) => allocated(bytes.len()),
            Self::Map(entries) => entries.memory_bytes(),
            _ => 0,
        }
    }
}
