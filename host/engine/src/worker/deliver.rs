use super::{Report, Worker, WorkerError};
use crate::call::Call;
use crate::exchange::{Load, Parcel, split_rows};
use crate::swap::Tally;
use crate::time::Route;
use millstream_model::descriptor::InputKind;
use millstream_model::ids::{OperatorIndex, SinkIndex};
use millstream_model::plan::Target;
use millstream_model::record::RecordBatch;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

/// Rows after which outputs are handed to the committer.
const OUTPUT_ROWS: usize = 4_096;

/// Bytes after which outputs are handed to the committer.
const OUTPUT_BYTES: usize = 1 << 20;

/// Who puts the records of broadcast inputs into an order, and tells what became of them.
pub(super) const FIRST_WORKER: usize = 0;

/// Emptied batches kept for later.
const SPARE_MAX: usize = 16;

impl Worker {
    /// Hands records to where they go next.
    pub(super) fn deliver(&mut self, target: Target, batch: &Arc<RecordBatch>) -> Result<(), WorkerError> {
        match target {
            Target::Operator { operator, input } => self.hand_over(operator, input, batch),
            Target::Sink(sink) => {
                self.touched = true;
                // A batch that would fit as a whole has no record that does not.
                if batch.framed_bytes_len() > self.shared.sizes.of_sink(sink) {
                    self.deliver_fitting(sink, batch)?;
                } else if let Some(output) = self.outputs.get_mut(sink.at()) {
                    output.append(batch);
                }
                self.flush_full(sink.at());
                Ok(())
            }
        }
    }

    /// Hands records to an operator: the rows of a keyed one to the owners of their keys.
    fn hand_over(&mut self, operator: OperatorIndex, input: u32, batch: &Arc<RecordBatch>) -> Result<(), WorkerError> {
        let plan = Arc::clone(&self.plan);
        let Some(node) = plan.operator(operator) else { return Ok(()) };
        if self.exchange.workers() == 1 {
            return self.run_operator(operator.at(), input, batch);
        }
        if node.descriptor.input_kind(input) == InputKind::Broadcast {
            return self.broadcast(operator, input, batch);
        }
        if !node.keyed {
            return self.run_operator(operator.at(), input, batch);
        }
        self.touched = true;
        let mut owners = std::mem::take(&mut self.split);
        split_rows(batch, &mut owners);
        let own = self.exchange.worker();
        for (owner, rows) in owners.iter().enumerate() {
            if owner != own && !rows.is_empty() {
                let mut part = RecordBatch::default();
                part.gather(batch, rows);
                let load = Load::Records { input, batch: part };
                self.exchange.push(owner, node.stage, Parcel { operator: operator.0, now_ms: self.now_ms, load });
            }
        }
        let rows = owners.get_mut(own).map(std::mem::take).unwrap_or_default();
        self.split = owners;
        if rows.len() == batch.len() {
            return self.run_operator(operator.at(), input, batch);
        }
        if rows.is_empty() {
            return Ok(());
        }
        let mut part = self.empty_batch();
        part.gather(batch, &rows);
        self.run_and_reuse(operator, input, part)
    }

    /// Hands records to every worker: by way of the first one, so that all of them see the records of all partitions in one order.
    fn broadcast(&mut self, operator: OperatorIndex, input: u32, batch: &Arc<RecordBatch>) -> Result<(), WorkerError> {
        self.touched = true;
        let plan = Arc::clone(&self.plan);
        let Some(node) = plan.operator(operator) else { return Ok(()) };
        let now_ms = self.now_ms;
        let load = || Load::Records { input, batch: RecordBatch::clone(batch) };
        let parcel = || Parcel { operator: operator.0, now_ms, load: load() };
        if self.exchange.worker() != FIRST_WORKER {
            // Whatever comes to the first worker for the stage before is on to all workers before that one says it has nothing more for this stage.
            self.exchange.push(FIRST_WORKER, node.stage.saturating_sub(1), parcel());
            return Ok(());
        }
        for other in 1..self.exchange.workers() {
            self.exchange.push(other, node.stage, parcel());
        }
        self.run_operator(operator.at(), input, batch)
    }

    /// Takes what another worker sent.
    pub(super) fn take_parcel(&mut self, parcel: Parcel) -> Result<(), WorkerError> {
        let Parcel { operator, now_ms, load } = parcel;
        match load {
            Load::Records { input, batch } => {
                self.now_ms = now_ms;
                let (operator, batch) = (OperatorIndex(operator), Arc::new(batch));
                if self.exchange.worker() == FIRST_WORKER && self.is_broadcast(operator.at(), input) {
                    return self.broadcast(operator, input, &batch);
                }
                self.run_operator(operator.at(), input, &batch)
            }
            Load::Mark { edge, sender, time } => {
                self.take_mark(Route { operator, edge }, sender, time, now_ms);
                Ok(())
            }
        }
    }

    /// Whether an input gets all records on all workers.
    pub(super) fn is_broadcast(&self, at: usize, input: u32) -> bool {
        let node = self.plan.operators.get(at);
        node.is_some_and(|node| node.descriptor.input_kind(input) == InputKind::Broadcast)
    }

    fn run_and_reuse(&mut self, operator: OperatorIndex, input: u32, batch: RecordBatch) -> Result<(), WorkerError> {
        let batch = Arc::new(batch);
        self.run_operator(operator.at(), input, &batch)?;
        self.reuse(batch);
        Ok(())
    }

    /// Takes what a call emitted to where its outputs lead.
    pub(super) fn route(&mut self, at: usize, call: &Call) -> Result<(), WorkerError> {
        let plan = Arc::clone(&self.plan);
        let Some(node) = plan.operators.get(at) else { return Ok(()) };
        self.count_emitted(at, call);
        let mut records = 0;
        for output in call.staged.outputs() {
            records += output.parents.len() as u64;
            for target in node.outputs.get(output.port as usize).map_or(&[][..], Vec::as_slice) {
                let Target::Sink(sink) = target else { continue };
                if let Some(batch) = self.outputs.get_mut(sink.at()) {
                    output.append_to(&call.batch, batch);
                }
                self.flush_full(sink.at());
            }
        }
        if let Some(counters) = self.shared.board.operators.get(at) {
            counters.records_out.add(records);
        }
        self.count(at, Tally { emitted: records, ..Tally::default() });
        for (port, targets) in (0u32..).zip(&node.outputs) {
            if targets.iter().any(|target| matches!(target, Target::Operator { .. })) {
                self.route_on(port, targets, call)?;
            }
        }
        Ok(())
    }

    /// Takes the records of one output to the operators behind it.
    fn route_on(&mut self, port: u32, targets: &[Target], call: &Call) -> Result<(), WorkerError> {
        let mut batch = self.empty_batch();
        for output in call.staged.outputs().iter().filter(|output| output.port == port) {
            output.append_to(&call.batch, &mut batch);
        }
        if batch.is_empty() {
            self.between.push(batch);
            return Ok(());
        }
        let batch = Arc::new(batch);
        for target in targets {
            if let Target::Operator { operator, input } = *target {
                self.hand_over(operator, input, &batch)?;
            }
        }
        self.reuse(batch);
        Ok(())
    }

    fn empty_batch(&mut self) -> RecordBatch {
        self.between.pop().unwrap_or_default()
    }

    fn reuse(&mut self, batch: Arc<RecordBatch>) {
        if let Ok(mut batch) = Arc::try_unwrap(batch)
            && self.between.len() < SPARE_MAX
        {
            batch.clear();
            self.between.push(batch);
        }
    }

    /// Hands the records for a sink to the committer if they are enough to be worth it.
    pub(super) fn flush_full(&mut self, sink: usize) {
        let is_full =
            self.outputs.get(sink).is_some_and(|batch| batch.len() >= OUTPUT_ROWS || batch.bytes_len() >= OUTPUT_BYTES);
        if is_full {
            self.flush_output(sink);
        }
    }

    /// Hands the records for a sink to the committer.
    pub(super) fn flush_output(&mut self, sink: usize) {
        let Some(output) = self.outputs.get_mut(sink).filter(|batch| !batch.is_empty()) else { return };
        let spare = self.shared.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let batch = std::mem::replace(output, spare.unwrap_or_default());
        self.shared.output_bytes.fetch_add(batch.bytes_len() as u64, Ordering::Relaxed);
        let worker = self.exchange.worker();
        self.report(Report::Output { worker, sink: SinkIndex(sink as u16), batch });
    }
}
