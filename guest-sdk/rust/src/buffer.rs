//! What states other than values collect during a call.

use crate::host::{Host, Platform};
use std::any::Any;
use std::fmt::Debug;

/// Changes of one state that are collected and not yet staged: those of records that are done (*kept*), and those of the record in hand (*its own*).
///
/// An object, made where the state is declared: what an operator has no state for is then not even linked into it, and its component does not import it.
pub(crate) trait StateBuffer: Debug {
    /// Makes room for a call, and forgets one that came to no end.
    fn begin(&mut self, key_rows: usize);
    /// The record in hand is done: what it changed is kept.
    fn keep_record(&mut self);
    /// The record in hand is refused: what it changed is forgotten.
    fn undo_record(&mut self);
    /// Whether the record in hand has changed something.
    fn has_own(&self) -> bool;
    /// Hands what is kept to the host.
    fn stage_kept(&mut self);
    /// Hands what the record in hand has changed to the host; what was kept is there already.
    fn stage_own(&mut self);
    /// Whether so much is collected that it should be handed over before the next record.
    fn is_full(&self) -> bool;
    /// Hands everything over and forgets what was read. Only between records.
    fn make_room(&mut self);
    /// Itself, for the handle that knows what it is.
    fn as_any(&mut self) -> &mut dyn Any;
}

/// The buffers of an operator's states, and how far staging had come before the record in hand staged something.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    all: Vec<Box<dyn StateBuffer>>,
    mark: Option<HostMark>,
}

/// A mark of the host's, with what undoes to it.
#[derive(Debug)]
struct HostMark {
    mark: u32,
    undo_to: fn(u32),
}

impl Buffers {
    /// Takes a buffer in; gives what it is found by.
    pub(crate) fn add(&mut self, buffer: impl StateBuffer + 'static) -> u32 {
        self.all.push(Box::new(buffer));
        self.all.len() as u32 - 1
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn get<B: 'static>(&mut self, at: u32) -> Option<&mut B> {
        self.all.get_mut(at as usize)?.as_any().downcast_mut()
    }

    pub(crate) fn begin(&mut self, key_rows: usize) {
        self.mark = None;
        self.all.iter_mut().for_each(|buffer| buffer.begin(key_rows));
    }

    pub(crate) fn keep_record(&mut self) {
        self.mark = None;
        self.all.iter_mut().for_each(|buffer| buffer.keep_record());
    }

    pub(crate) fn undo_record(&mut self) {
        if let Some(HostMark { mark, undo_to }) = self.mark.take() {
            undo_to(mark);
        }
        self.all.iter_mut().for_each(|buffer| buffer.undo_record());
    }

    pub(crate) fn stage(&mut self) {
        self.all.iter_mut().for_each(|buffer| buffer.stage_kept());
    }

    pub(crate) fn make_room(&mut self) {
        self.all.iter_mut().filter(|buffer| buffer.is_full()).for_each(|buffer| buffer.make_room());
    }

    /// Gets ready for staging something of the record in hand: all that is kept, of any state, is staged first, as the record may be refused and undone.
    pub(crate) fn mark_record(&mut self) {
        if self.mark.is_none() {
            self.stage();
            self.mark = Some(HostMark { mark: Platform::mark(), undo_to: Platform::undo_to });
        }
    }

    /// Lets the host see all changes of one state: it is about to be asked for many things at once.
    pub(crate) fn show(&mut self, at: u32) {
        let has_own = self.all.get(at as usize).is_some_and(|buffer| buffer.has_own());
        if has_own {
            self.mark_record();
        }
        if let Some(buffer) = self.all.get_mut(at as usize) {
            buffer.stage_kept();
            buffer.stage_own();
        }
    }
}
