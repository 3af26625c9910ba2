use millstream_model::column::BytesColumn;
use std::collections::BTreeMap;

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
    /// The entries of a map that are known.
    Map(Box<Entries>),
}

/// Known entries of one key's map; what is not here may still be in the store.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) known: BTreeMap<Box<[u8]>, Entry>,
    /// No entry in the store that is not known here is of a version to be migrated.
    pub(super) is_migrated: bool,
    bytes: usize,
}

/// One known entry.
#[derive(Debug)]
pub(super) struct Entry {
    /// None: known to be absent.
    pub(super) value: Option<Box<[u8]>>,
    /// Changed in the open epoch.
    pub(super) dirty: bool,
}

/// Memory of a map without its entries.
const MAP_BYTES: usize = 48;

/// Memory of a node of a B-tree, and the entries one has on average (at most 11).
const NODE_BYTES: usize = 464;
const NODE_ENTRIES: usize = 7;

/// Memory of an allocation: allocators round up and keep notes.
fn allocated(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { (bytes + 8).next_multiple_of(16).max(32) }
}

impl Entries {
    fn memory_bytes(&self) -> usize {
        MAP_BYTES + (1 + self.known.len() / NODE_ENTRIES) * NODE_BYTES + self.bytes
    }

    /// Sets what is known of an entry; one that is dirty stays so until the cut.
    pub(super) fn insert(&mut self, map_key: &[u8], value: Option<&[u8]>, dirty: bool) {
        let of = |value: Option<&[u8]>| allocated(map_key.len()) + allocated(value.map_or(0, <[u8]>::len));
        self.bytes += of(value);
        let entry = Entry { value: value.map(Into::into), dirty };
        if let Some(before) = self.known.insert(map_key.into(), entry) {
            self.bytes -= of(before.value.as_deref());
        }
    }
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
            Self::Map(entries) => entries.known.contains_key(cell_key),
            other => !other.is_unknown(),
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
