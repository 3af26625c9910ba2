//! Places in a pipeline file: named by fields from the top, found again as line and column.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};
use std::fmt;

/// One step into a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(String),
    Item(usize),
}

/// Something in a pipeline file, by the fields that lead there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place(Vec<Step>);

impl Place {
    /// A field at the top.
    pub(crate) fn at(name: &str) -> Self {
        Self::default().field(name)
    }

    /// A field within this one.
    pub(crate) fn field(&self, name: &str) -> Self {
        self.then(Step::Field(name.to_owned()))
    }

    /// An entry of this list.
    pub(crate) fn item(&self, position: usize) -> Self {
        self.then(Step::Item(position))
    }

    /// Its fields, as documents name them.
    pub(crate) fn name(&self) -> String {
        let fields = self.0.iter().filter_map(|step| match step {
            Step::Field(name) => Some(name.as_str()),
            Step::Item(_) => None,
        });
        fields.collect::<Vec<_>>().join(".")
    }

    fn then(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }
}

/// Line, column and length of something, in characters; line and column count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) length: usize,
}

impl Mark {
    pub(super) fn of(location: &Location) -> Option<Self> {
        let number = |number: u64| usize::try_from(number).ok();
        let (line, column) = (number(location.line())?, number(location.column())?);
        (line > 0).then_some(Self { line, column, length: number(location.span().len()).unwrap_or(1) })
    }
}

/// Where a place is in a text: its value if that is one word, else the name of its field. What is missing is shown at what it is missing in.
pub(super) fn find(text: &str, place: &Place) -> Option<Mark> {
    let root: Spanned<Node> = serde_saphyr::from_str(text).ok()?;
    let mut node = &root;
    let mut found = None;
    for (depth, step) in place.0.iter().enumerate() {
        let (key, next) = match (step, &node.value) {
            (Step::Field(name), Node::Fields(fields)) => {
                let Some((key, next)) = fields.iter().find(|(key, _)| key.value == *name) else { break };
                (Some(&key.referenced), next)
            }
            (Step::Item(position), Node::Items(items)) => {
                let Some(next) = items.get(*position) else { break };
                (None, next)
            }
            _ => break,
        };
        let is_last = depth + 1 == place.0.len();
        let own = if is_last && matches!(next.value, Node::Word) { Some(&next.referenced) } else { key };
        found = own.and_then(Mark::of).or_else(|| Mark::of(&next.referenced)).or(found);
        node = next;
    }
    found
}

/// A value of any kind.
enum Node {
    Word,
    Fields(Vec<(Spanned<String>, Spanned<Node>)>),
    Items(Vec<Spanned<Node>>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyNode)
    }
}

struct AnyNode;

/// What a word is does not matter here.
macro_rules! word {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E>(self, _: $type) -> Result<Node, E> { Ok(Node::Word) })*
    };
}

impl<'de> Visitor<'de> for AnyNode {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    word!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Word)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = map.next_key()? {
            fields.push((key, map.next_value()?));
        }
        Ok(Node::Fields(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::Items(items))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "id: words\noperators:\n  count: { inputs: [a, words], limits: { memory: 1 } }\n  b:\n    config:\n";

    fn at(place: &Place) -> Option<(usize, usize, usize)> {
        find(TEXT, place).map(|mark| (mark.line, mark.column, mark.length))
    }

    #[test]
    fn a_value_is_found_where_it_is_and_not_where_its_word_is() {
        let count = Place::at("operators").field("count");
        assert_eq!(at(&Place::at("id")), Some((1, 5, 5)));
        assert_eq!(at(&count.field("inputs").item(1)), Some((3, 24, 5)));
        assert_eq!(at(&count.field("limits").field("memory")), Some((3, 50, 1)));
    }

    #[test]
    fn a_group_of_fields_is_found_at_its_name_and_what_is_missing_at_its_group() {
        let count = Place::at("operators").field("count");
        assert_eq!(at(&count), Some((3, 3, 5)));
        assert_eq!(at(&count.field("key_by")), Some((3, 3, 5)));
        assert_eq!(at(&count.field("inputs").item(7)), Some((3, 12, 6)));
        assert_eq!(at(&Place::at("sinks")), None);
        assert_eq!(at(&Place::default()), None);
    }
}
