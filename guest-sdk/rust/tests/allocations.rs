//! The loop over the records of a batch allocates nothing per record.
#![expect(unsafe_code, reason = "an allocator is unsafe; this one only counts")]

use millstream_sdk::harness::{Harness, Message};
use millstream_sdk::{
    Context, Counter, Field, Header, List, Map, Operator, Outgoing, Output, Record, Result, Setup, Value,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// The count as each record began, over all runs of the harness.
    static AT_RECORD: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const RECORDS: usize = 1_000;

/// Reads and writes state, emits in every way there is, counts.
struct Busy {
    items: Map<u64, u64>,
    names: Map<(u32, Vec<u8>), u64>,
    log: List<u64>,
    seen: Value<u64>,
    last: Value<Vec<u8>>,
    counter: Counter,
    outputs: [Output; 5],
}

impl Operator for Busy {
    fn open(setup: &mut Setup) -> Result<Self> {
        let outputs = ["forward", "emit", "display", "keyed", "record"].map(|name| setup.output(name));
        let (items, names, log) = (setup.map("items"), setup.map("names"), setup.list("log"));
        Ok(Self {
            items,
            names,
            log,
            seen: setup.value("seen"),
            last: setup.value("last"),
            counter: setup.counter("records"),
            outputs,
        })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        AT_RECORD.with_borrow_mut(|at| at.push(ALLOCATIONS.get()));
        let [forward, emit, display, keyed, whole] = self.outputs;
        let seen = self.seen.get(ctx)?.unwrap_or(0) + 1;
        self.seen.set(ctx, &seen);
        let has_last = self.last.bytes(ctx).is_some();
        if has_last {
            self.last.clear(ctx);
        }
        for item in [0, seen % 2] {
            let count = self.items.get(ctx, &item)?.unwrap_or(0) + 1;
            self.items.put(ctx, &item, &count);
        }
        self.items.remove(ctx, &7);
        self.names.put(ctx, &(1, Vec::new()), &seen);
        self.log.append(ctx, &seen);
        ctx.forward(forward);
        ctx.emit(emit, record.bytes()?);
        // As long in both batches.
        ctx.emit_display(display, 1_000_000 + seen);
        ctx.emit_keyed(keyed, record.bytes()?, record.key().unwrap_or_default());
        let headers: [Header<'_>; 1] = [("trace", record.header("trace").flatten())];
        let timestamp_ms = Some(record.timestamp_ms() + 1);
        let outgoing = Outgoing { key: Field::Set(None), value: Field::Keep, timestamp_ms, headers: Some(&headers) };
        ctx.emit_record(whole, &outgoing);
        ctx.count(self.counter, 1);
        Ok(())
    }
}

#[test]
fn a_record_allocates_nothing_once_buffers_are_large_enough() {
    AT_RECORD.set(Vec::with_capacity(100 * RECORDS));
    let mut harness = Harness::<Busy>::new("{}");
    // The watermark ends the first batch, which makes room for the second.
    for batch in 0..2 {
        for number in 0..RECORDS {
            let key = format!("key-{}", number % 10);
            harness.push_message(Message::new(key, "0123456789").header("trace", "t"));
        }
        harness.watermark(batch);
    }
    assert_eq!(harness.counter("records"), 2 * RECORDS as u64);
    let counts = AT_RECORD.take();
    // The harness runs one record at a time first, then in as few batches as can be: two. The first record of a batch asks the host for
    // columns, and those of the first three rounds of keys for entries of maps; from then on nobody may allocate.
    let second: Vec<u64> = counts.iter().skip(3 * RECORDS + 30).take(RECORDS - 30).copied().collect();
    assert_eq!(second.len(), RECORDS - 30);
    let steps: Vec<u64> = second.iter().zip(second.iter().skip(1)).map(|(before, after)| after - before).collect();
    assert!(steps.iter().all(|&count| count == 0), "allocations from record to record: {steps:?}");
    // The first batch shows that the count counts: there buffers grow.
    let first: Vec<u64> = counts.iter().skip(2 * RECORDS).take(RECORDS).copied().collect();
    let grown = first.last().zip(first.first()).map(|(last, first)| last - first);
    assert!(
        grown.is_some_and(|count| count > 0 && count < RECORDS as u64 / 2),
        "{grown:?} allocations while buffers grow"
    );
}
