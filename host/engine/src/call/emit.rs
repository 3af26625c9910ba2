use super::{Call, Fault, Metric};
use millstream_model::column::{BytesColumn, HeadersColumn};
use millstream_model::column_ref::{CheckedColumn, ColumnRef};

/// An emission as it arrives from a guest; columns that are `None` are the parents'.
#[derive(Debug, Clone, Copy)]
pub struct OutputColumns<'a> {
    /// Position of the output in the descriptor.
    pub port: u32,
    /// The row each record comes from, never descending.
    pub parents: &'a [u32],
    /// Keys, absent for a null key.
    pub keys: Option<ColumnRef<'a>>,
    /// Values, absent for a tombstone.
    pub values: Option<ColumnRef<'a>>,
    /// Event times in milliseconds since 1970.
    pub timestamps_ms: Option<&'a [i64]>,
    /// Rows, names and values of headers.
    pub headers: Option<(&'a [u32], ColumnRef<'a>, ColumnRef<'a>)>,
}

pub(super) fn misuse<T>(reason: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Misuse(reason.into()))
}

pub(super) fn checked<'a>(column: ColumnRef<'a>, rows: usize, what: &str) -> Result<CheckedColumn<'a>, Fault> {
    let column = column.check().map_err(|error| Fault::Misuse(format!("{what}: {error}")))?;
    if column.len() != rows {
        return misuse(format!("{what}: {} rows where {rows} were due", column.len()));
    }
    Ok(column)
}

fn owned(column: CheckedColumn<'_>) -> BytesColumn {
    let mut owned = BytesColumn::default();
    column.append_to(&mut owned);
    owned
}

impl Call {
    /// Stages records to emit.
    ///
    /// # Errors
    /// [`Fault::Misuse`] for parts that break the contract, [`Fault::Refuse`] and [`Fault::Limit`] for what is beyond a limit.
    pub fn emit(&mut self, output: OutputColumns<'_>) -> Result<(), Fault> {
        let rows = output.parents.len();
        if self.is_broadcast() {
            return misuse("a record of a broadcast input emits nothing: it may only change broadcast states");
        }
        if self.rules.is_windowed && self.window.is_none() {
            return misuse(
                "records in windows emit nothing: which of them belong together is settled when the window fires",
            );
        }
        if self.rules.ports.get(output.port as usize).is_none() {
            return misuse(format!("there is no output {} (there are {})", output.port, self.rules.ports.len()));
        }
        self.check_parents(output.parents)?;
        if self.fired.is_some() && output.values.is_none() && rows > 0 {
            return misuse("a timer or window has no value that an emission could take over");
        }
        let keys = output.keys.map(|column| checked(column, rows, "emitted keys")).transpose()?;
        let values = output.values.map(|column| checked(column, rows, "emitted values")).transpose()?;
        if output.timestamps_ms.is_some_and(|times| times.len() != rows) {
            return misuse("emitted timestamps: not one per record");
        }
        let headers = output.headers.map(|headers| check_headers(headers, rows)).transpose()?;
        self.check_sizes(&output, keys, values, headers.as_ref())?;
        let staged = self.staged.next_output();
        staged.port = output.port;
        staged.parents.extend_from_slice(output.parents);
        staged.keys = keys.map(owned);
        staged.values = values.map(owned);
        staged.timestamps_ms = output.timestamps_ms.map(<[i64]>::to_vec);
        staged.headers = headers;
        Ok(())
    }

    fn check_parents(&self, parents: &[u32]) -> Result<(), Fault> {
        let rows = self.batch.len() as u32;
        if !parents.is_sorted() {
            return misuse("the parents of an emission descend");
        }
        if let Some(&last) = parents.last()
            && last >= rows
        {
            return misuse(format!("an emission has parent row {last}, the batch has {rows} rows"));
        }
        if let Some(refused) = self.staged.rejections.iter().find(|r| parents.binary_search(&r.row).is_ok()) {
            return misuse(format!("row {} was refused and is the parent of an emission", refused.row));
        }
        Ok(())
    }

    /// Sizes are checked here, before anything joins the epoch: too large is a failure of that record.
    fn check_sizes(
        &mut self,
        output: &OutputColumns<'_>,
        keys: Option<CheckedColumn<'_>>,
        values: Option<CheckedColumn<'_>>,
        headers: Option<&HeadersColumn>,
    ) -> Result<(), Fault> {
        let (limits, rules) = (&self.rules.limits, &self.rules);
        let batch = &self.batch;
        let sinks = rules.port_sinks.get(output.port as usize).map_or(&[][..], Vec::as_slice);
        let record_max = rules.sizes.of_sinks(sinks);
        let has_headers = headers.is_some_and(|h| !h.is_empty()) || (headers.is_none() && !batch.headers.is_empty());
        let (mut run, mut run_of, mut total) = (0u32, u32::MAX, 0u64);
        for (at, &parent) in output.parents.iter().enumerate() {
            let at = at as u32;
            let key = keys.map_or_else(|| batch.keys.value_len(parent), |column| column.value_len(at));
            let value = values.map_or_else(|| batch.values.value_len(parent), |column| column.value_len(at));
            let head = if has_headers {
                headers.map_or_else(|| batch.headers.framed_bytes_of(parent), |own| own.framed_bytes_of(at))
            } else {
                0
            };
            run = if parent == run_of { run + 1 } else { 1 };
            run_of = parent;
            total += (key + value + head) as u64;
            let refusal = if value > limits.value_bytes_max as usize {
                format!("an emitted value has {value} bytes, `limits.value` allows {}", limits.value_bytes_max)
            } else if keys.is_some() && key > limits.key_bytes_max as usize {
                format!("an emitted key has {key} bytes, `limits.key` allows {}", limits.key_bytes_max)
            } else if key + value + head > record_max {
                format!(
                    "an emitted record has {} bytes, a sink behind the output takes {record_max} (the topic's `max.message.bytes`)",
                    key + value + head
                )
            } else if run > limits.outputs_per_record_max {
                format!("more than {} records from one (`limits.outputs_per_record`)", limits.outputs_per_record_max)
            } else {
                continue;
            };
            return Err(Fault::Refuse { row: parent, reason: refusal });
        }
        let bytes = self.staged.output_bytes + total;
        if bytes > limits.output_bytes_max {
            let reason = format!("{bytes} bytes emitted by one call, {} allowed", limits.output_bytes_max);
            return Err(Fault::Limit { limit: "output_bytes", reason });
        }
        self.staged.output_bytes = bytes;
        Ok(())
    }

    /// Refuses a row that left nothing in what is staged.
    ///
    /// # Errors
    /// When the row does not exist, was refused before, or is the parent of an emission.
    pub fn reject(&mut self, row: u32, reason: &str) -> Result<(), Fault> {
        if row as usize >= self.batch.len() {
            return misuse(format!("row {row} was refused, the batch has {} rows", self.batch.len()));
        }
        if self.staged.is_rejected(row) {
            return misuse(format!("row {row} was refused twice"));
        }
        if self.staged.outputs().iter().any(|output| output.parents.binary_search(&row).is_ok()) {
            return misuse(format!("row {row} was refused and is the parent of an emission"));
        }
        self.staged.push_rejection(row, reason);
        Ok(())
    }

    /// A mark to undo to.
    pub fn mark_staged(&mut self) -> u32 {
        self.staged.mark(self.state.changes())
    }

    /// Drops what was staged after a mark.
    ///
    /// # Errors
    /// When there is no such mark.
    pub fn undo_to(&mut self, mark: u32) -> Result<(), Fault> {
        let changes = self.staged.undo_to(mark).ok_or_else(|| Fault::Misuse(format!("there is no mark {mark}")))?;
        self.state.undo_to(changes);
        Ok(())
    }

    /// Stages a measurement.
    ///
    /// # Errors
    /// [`Fault::Misuse`] for what is no name, or has another kind; [`Fault::Limit`] for one name too many.
    pub fn metric(&mut self, metric: Metric) -> Result<(), Fault> {
        if self.is_broadcast() {
            // Every worker would count it.
            return misuse("a record of a broadcast input measures nothing: it may only change broadcast states");
        }
        let names_max = self.rules.limits.metric_names_max;
        self.metric_names.check(&self.rules.metrics, names_max, &metric)?;
        self.staged.metrics.push(metric);
        Ok(())
    }
}

fn check_headers(
    (rows, names, values): (&[u32], ColumnRef<'_>, ColumnRef<'_>),
    records: usize,
) -> Result<HeadersColumn, Fault> {
    let names = checked(names, rows.len(), "header names")?;
    let values = checked(values, rows.len(), "header values")?;
    if !rows.is_sorted() || rows.last().is_some_and(|&last| last as usize >= records) {
        return misuse("the rows of headers descend or do not exist");
    }
    let names = owned(names);
    if !names.absent().is_empty() || names.iter().flatten().any(|name| std::str::from_utf8(name).is_err()) {
        return misuse("a header's name is absent or not UTF-8");
    }
    Ok(HeadersColumn { rows: rows.to_vec(), names, values: owned(values) })
}
