//! Operators without a sandbox: what the guests do, in Rust inside the host, behind the same port.

use std::sync::Arc;

use millstream_engine::call::{Call, Fault, OutputColumns};
use millstream_engine::ports::{CallError, OpenError, Operator, OperatorFactory};
use millstream_model::column::BytesColumn;
use millstream_model::column_ref::ColumnRef;
use millstream_model::descriptor::Descriptor;
use millstream_model::ids::Digest;
use serde::Deserialize;

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Native {
    /// As the guest `identity`.
    Identity,
    /// As the plugin `count`.
    Count,
    /// As the guest `json-filter`.
    JsonFilter,
    /// As the guest `reminders`.
    Remind {
        /// How long after a record, in milliseconds.
        after_ms: i64,
    },
}

/// Makes native operators that describe themselves as the guest does.
#[must_use]
pub fn factory(native: Native, descriptor: Descriptor) -> Arc<dyn OperatorFactory> {
    Arc::new(Factory { native, descriptor })
}

struct Factory {
    native: Native,
    descriptor: Descriptor,
}

impl OperatorFactory for Factory {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn digest(&self) -> Digest {
        Digest::default()
    }

    fn instantiate(&self) -> Result<Box<dyn Operator>, OpenError> {
        Ok(match self.native {
            Native::Identity => Box::new(Identity::default()),
            Native::Count => Box::new(Count::default()),
            Native::JsonFilter => Box::new(JsonFilter::default()),
            Native::Remind { after_ms } => Box::new(Remind { after_ms, ..Remind::default() }),
        })
    }
}

fn borrowed(column: &BytesColumn) -> ColumnRef<'_> {
    ColumnRef { ends: column.ends(), bytes: column.bytes(), absent: column.absent() }
}

/// Emits under the parents' keys; without values, the parents' too.
fn emit(call: &mut Call, parents: &[u32], values: Option<ColumnRef<'_>>) -> Result<(), Fault> {
    call.emit(OutputColumns { port: 0, parents, keys: None, values, timestamps_ms: None, headers: None })
}

#[derive(Default)]
struct Identity {
    rows: Vec<u32>,
}

impl Operator for Identity {
    fn process(&mut self, mut call: Box<Call>) -> (Box<Call>, Result<(), CallError>) {
        self.rows.clear();
        self.rows.extend(0..call.batch.len() as u32);
        let emitted = emit(&mut call, &self.rows, None);
        (call, emitted.map_err(CallError::from))
    }
}

#[derive(Default)]
struct Count {
    stored: BytesColumn,
    counts: Vec<i64>,
    keys: Vec<u32>,
    rows: Vec<u32>,
    state: BytesColumn,
    texts: BytesColumn,
}

impl Count {
    fn run(&mut self, call: &mut Call) -> Result<(), Fault> {
        self.stored.clear();
        call.values(0, &mut self.stored)?;
        self.counts.clear();
        let number = |bytes: Option<&[u8]>| bytes.and_then(|b| b.try_into().ok()).map_or(0, i64::from_be_bytes);
        self.counts.extend(self.stored.iter().map(number));
        self.texts.clear();
        self.rows.clear();
        for (row, key_row) in (0u32..).zip(&call.key_rows) {
            let Some(count) = self.counts.get_mut(*key_row as usize) else { continue };
            *count += 1;
            self.rows.push(row);
            self.texts.push_with(|text| text.extend_from_slice(itoa::Buffer::new().format(*count).as_bytes()));
        }
        self.state.clear();
        self.keys.clear();
        self.keys.extend(0..self.counts.len() as u32);
        self.counts.iter().for_each(|count| self.state.push(Some(&count.to_be_bytes())));
        call.put_values(0, &self.keys, borrowed(&self.state))?;
        emit(call, &self.rows, Some(borrowed(&self.texts)))
    }
}

impl Operator for Count {
    fn process(&mut self, mut call: Box<Call>) -> (Box<Call>, Result<(), CallError>) {
        let result = self.run(&mut call);
        (call, result.map_err(CallError::from))
    }
}

#[derive(Default)]
struct JsonFilter {
    rows: Vec<u32>,
}

#[derive(Deserialize)]
struct Order {
    cents: u64,
    status: String,
}

impl Operator for JsonFilter {
    fn process(&mut self, mut call: Box<Call>) -> (Box<Call>, Result<(), CallError>) {
        self.rows.clear();
        let mut refused = Vec::new();
        for (row, value) in (0u32..).zip(call.batch.values.iter()) {
            match serde_json::from_slice::<Order>(value.unwrap_or_default()) {
                Ok(order) if order.cents >= 100 && order.status == "paid" => self.rows.push(row),
                Ok(_) => {}
                Err(error) => refused.push((row, error.to_string())),
            }
        }
        if !refused.is_empty() {
            return (call, Err(CallError::Reject(refused)));
        }
        let emitted = emit(&mut call, &self.rows, None);
        (call, emitted.map_err(CallError::from))
    }
}

#[derive(Default)]
struct Remind {
    after_ms: i64,
    ids: Vec<u64>,
    times_ms: Vec<i64>,
    rows: Vec<u32>,
    texts: BytesColumn,
}

impl Remind {
    fn set(&mut self, call: &mut Call) -> Result<(), Fault> {
        self.ids.clear();
        self.times_ms.clear();
        self.ids.extend(call.batch.timestamps_ms.iter().map(|time_ms| time_ms.cast_unsigned()));
        self.times_ms.extend(call.batch.timestamps_ms.iter().map(|time_ms| time_ms + self.after_ms));
        let key_rows = std::mem::take(&mut call.key_rows);
        let set = call.set_timers(0, &key_rows, &self.ids, &self.times_ms);
        call.key_rows = key_rows;
        set
    }

    fn fire(&mut self, call: &mut Call) -> Result<(), Fault> {
        self.rows.clear();
        self.texts.clear();
        for row in 0..call.batch.len() as u32 {
            self.rows.push(row);
            self.texts.push(Some(b"due"));
        }
        emit(call, &self.rows, Some(borrowed(&self.texts)))
    }
}

impl Operator for Remind {
    fn process(&mut self, mut call: Box<Call>) -> (Box<Call>, Result<(), CallError>) {
        let result = self.set(&mut call);
        (call, result.map_err(CallError::from))
    }

    fn on_timers(&mut self, mut call: Box<Call>) -> (Box<Call>, Result<(), CallError>) {
        let result = self.fire(&mut call);
        (call, result.map_err(CallError::from))
    }
}
